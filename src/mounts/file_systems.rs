//! Mounts of new file systems.

#![forbid(unsafe_code)]

use std::path::Path;

use super::{Mount, MountKind, NewFs};
use crate::error::Result;
use crate::sys::mount::{NODEV, NOEXEC, NOSUID};

/// New file systems.
impl Mount {
    /// An empty file system in memory, gone with its last user, without setuid programs and devices. Anybody
    /// may write into it, as into `/tmp`, unless [`mode`](Self::mode) says otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "echo only here >/tmp/file && test $(ls /tmp | wc -l) = 1"]).map_root();
    /// command.mount(Mount::tmpfs("/tmp")?.size(16 << 20));
    /// match command.status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`bind`](Self::bind).
    pub fn tmpfs(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), MountKind::New(NewFs::tmpfs(0o1777)))
    }

    /// A new `proc`, which shows the pid namespace of the process that mounts it, without setuid
    /// programs, devices or executables.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount, NamespaceSet};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "test $(readlink /proc/self) -lt 10"]).map_root().unshare(NamespaceSet::PID);
    /// command.mount(Mount::proc("/proc")?);
    /// match command.status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`bind`](Self::bind). The spawn fails with `EPERM` where
    /// the user namespace does not own the pid namespace, and where parts of the present `/proc` are
    /// covered, as in most containers: the new one would show them.
    pub fn proc(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), MountKind::New(NewFs::new(c"proc", NOSUID | NODEV | NOEXEC)))
    }

    /// A minimal `/dev`: `null`, `zero`, `full`, `random`, `urandom` and `tty` are the machine's own; `fd`,
    /// `stdin`, `stdout`, `stderr` and `ptmx` are links; `pts` are new pseudo-terminals, and `shm` is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "test -c /dev/null && test $(ls /dev | wc -l) -lt 20"]).map_root();
    /// command.mount(Mount::dev("/dev")?);
    /// match command.status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`bind`](Self::bind). The plan of a command answers
    /// [`NotFound`](crate::ErrorKind::NotFound) where the machine's `/dev` has not all of these.
    pub fn dev(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), MountKind::Dev)
    }

    /// New pseudo-terminals, none of which is anybody else's.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "test $(ls /dev/pts) = ptmx"]).map_root();
    /// command.mount(Mount::devpts("/dev/pts")?);
    /// match command.status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`bind`](Self::bind).
    pub fn devpts(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), MountKind::New(NewFs::devpts()))
    }

    /// A new `sysfs`, which shows the network namespace of the process that mounts it.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount, NamespaceSet};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "test $(ls /sys/class/net) = lo"]).map_root().unshare(NamespaceSet::NET);
    /// command.mount(Mount::sysfs("/sys")?);
    /// match command.status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`proc`](Self::proc), for the network namespace and the present `/sys`.
    pub fn sysfs(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), MountKind::New(NewFs::new(c"sysfs", NOSUID | NODEV | NOEXEC)))
    }

    /// The cgroups of version 2, from the root of the cgroup namespace on.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount, NamespaceSet};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "test -e /mnt/cgroup.procs"]).map_root().unshare(NamespaceSet::CGROUP);
    /// command.mount(Mount::cgroup2("/mnt")?);
    /// match command.status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`proc`](Self::proc), for the cgroup namespace and the present mount of it.
    pub fn cgroup2(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), MountKind::New(NewFs::new(c"cgroup2", NOSUID | NODEV | NOEXEC)))
    }

    /// The POSIX message queues of the IPC namespace.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount, NamespaceSet};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "test -z $(ls /mnt)"]).map_root().unshare(NamespaceSet::IPC);
    /// command.mount(Mount::mqueue("/mnt")?);
    /// match command.status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`proc`](Self::proc), for the IPC namespace.
    pub fn mqueue(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), MountKind::New(NewFs::new(c"mqueue", NOSUID | NODEV | NOEXEC)))
    }
}
