//! What a child is born with, as only `clone3(2)` can give it.

#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::Command;
use crate::namespace::NamespaceSet;

/// Birth.
impl Command {
    /// The cgroup that the program is in from its first moment on: a directory of a cgroup file system of
    /// version 2. A new cgroup namespace has it as its root.
    ///
    /// Where `clone3(2)` is hidden by a filter the child moves there itself, before any step of the
    /// plan: for that moment it belongs to the caller's cgroup, to which the memory of its birth is
    /// charged.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use linux_namespaces::{Command, NamespaceSet};
    /// use std::fs::{self, File};
    ///
    /// fs::create_dir("/sys/fs/cgroup/job")?;
    /// fs::write("/sys/fs/cgroup/job/memory.max", "100M")?;
    /// let cgroup = File::open("/sys/fs/cgroup/job")?;
    /// Command::new("make").cgroup(cgroup).unshare(NamespaceSet::CGROUP).status()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// From the spawn: [`InvalidInput`](crate::ErrorKind::InvalidInput) for a cgroup that is frozen or below a frozen
    /// one, since the child would not run and the caller sleep until it is thawed, which also happens if somebody
    /// freezes the cgroup during the spawn; [`NotFound`](crate::ErrorKind::NotFound) for one that has been removed;
    /// `EBADF` for what is no cgroup of version 2 (`ENOENT` where `clone3(2)` is hidden), `EBUSY` for one whose
    /// controllers are for its children alone, `EOPNOTSUPP` for one of a broken threaded subtree, and
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied).
    ///
    /// # Privileges
    ///
    /// Write access to `cgroup.procs` there, and to that of the nearest cgroup above both.
    ///
    /// # References
    ///
    /// `CLONE_INTO_CGROUP` in [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html), Linux 5.7;
    /// [cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html)
    #[doc(alias = "CLONE_INTO_CGROUP")]
    pub fn cgroup(&mut self, dir: impl Into<OwnedFd>) -> &mut Self {
        self.cgroup = Some(Arc::new(dir.into()));
        self
    }

    /// The program's pids, from the innermost pid namespace outwards; the kernel chooses those that are
    /// not given. This is how a container that was moved to another machine keeps its numbers.
    ///
    /// In a new pid namespace the first is 1. What the program got is told by
    /// [`PidFd::pids`](crate::PidFd::pids).
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, NamespaceSet};
    ///
    /// let mut command = Command::new("true");
    /// command.unshare(NamespaceSet::PID).map_root().set_tid([1, 31_007]);
    /// assert!(command.plan()?.to_string().contains("pids [1, 31007]"));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// From the plan: [`InvalidInput`](crate::ErrorKind::InvalidInput) for 0 and above 2147483647.
    /// From the spawn: [`AlreadyExists`](crate::ErrorKind::AlreadyExists) for a number in use; `EINVAL` for more
    /// numbers than pid namespaces, or another than 1 for a new one;
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied);
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where `clone3(2)` is hidden.
    ///
    /// # Privileges
    ///
    /// `CAP_CHECKPOINT_RESTORE` (from Linux 5.9 on) or `CAP_SYS_ADMIN` in the user namespaces that own
    /// the pid namespaces.
    ///
    /// # References
    ///
    /// `set_tid` in [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html), Linux 5.5
    pub fn set_tid(&mut self, pids: impl Into<Vec<u32>>) -> &mut Self {
        self.set_tid = pids.into();
        self
    }

    /// Has the kernel reap the program: it never is a zombie, and no wait of this process is needed or
    /// takes notice. [`Child::wait`](crate::Child::wait) still tells how it ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, ErrorKind};
    ///
    /// match Command::new("true").auto_reap().status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),      // before Linux 7.1
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Kernel
    ///
    /// Linux 7.1; before, the spawn fails with [`Unsupported`](crate::ErrorKind::Unsupported). Not for a
    /// program that enters namespaces, nor for an init or code of the caller's with clocks of its own.
    #[doc(alias = "CLONE_AUTOREAP")]
    pub fn auto_reap(&mut self) -> &mut Self {
        self.auto_reap = true;
        self
    }

    /// Has the kernel kill the program when the [`Child`](crate::Child) is dropped, or this process ends,
    /// however it does. Implies [`auto_reap`](Self::auto_reap).
    ///
    /// Unlike [`kill_on_parent_exit`](Self::kill_on_parent_exit) it is tied to no thread, and the program
    /// cannot shed it. Copies of the handle that others hold count as well.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, ErrorKind};
    ///
    /// let mut command = Command::new("sleep");
    /// match command.arg("60").kill_on_drop().no_new_privs().spawn() {
    ///     Ok(child) => drop(child),      // and with it the sleeper ends
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),      // before Linux 7.1
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Privileges
    ///
    /// [`no_new_privs`](Self::no_new_privs), or `CAP_SYS_ADMIN` in the caller's user namespace.
    ///
    /// # Kernel
    ///
    /// As of [`auto_reap`](Self::auto_reap).
    #[doc(alias = "CLONE_PIDFD_AUTOKILL")]
    pub fn kill_on_drop(&mut self) -> &mut Self {
        self.kill_on_drop = true;
        self
    }

    /// Makes the new mount namespace without any mount but an empty root, instead of as a copy of the
    /// caller's. There is no program to run in it, unless [`pre_exec`](Self::pre_exec) mounts one.
    ///
    /// # Kernel
    ///
    /// Linux 7.1; before, the spawn fails with [`Unsupported`](crate::ErrorKind::Unsupported).
    #[doc(alias = "CLONE_EMPTY_MNTNS")]
    pub fn empty_mounts(&mut self) -> &mut Self {
        self.setup.namespaces |= NamespaceSet::MOUNT;
        self.empty_mounts = true;
        self
    }
}
