//! One mount.

#![forbid(unsafe_code)]

use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{NewFs, Overlay, Propagation, Target};
use crate::error::{Error, Result};
use crate::ns_fd::NsFd;
use crate::sys::mount::{NODEV, NOEXEC, NOSUID};

/// Something to mount in a new mount namespace: a part of the file system again elsewhere, or a new file
/// system.
///
/// It affects what [`Command::mount`](crate::Command::mount) or
/// [`Unshare::mount`](crate::Unshare::mount) makes: nothing is mounted outside. Mounts are made in the order
/// in which they are given, and below a [`Rootfs`](crate::Rootfs) if there is one.
///
/// The sources of binds and overlays are opened when the command is compiled, and the child looks
/// whether it found the same file; so nobody can put another one in its place. The targets are looked up
/// below the new root, which no link leads out of. A target that is missing is made: below a root of one's
/// own, or below an earlier mount of the same command; elsewhere it has to be there.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Command, Mount, NamespaceSet, Rootfs};
///
/// let mut command = Command::new("/bin/sh");
/// command
///     .args(["-c", "test $$ = 1 && ! touch /usr/x 2>/dev/null && touch /tmp/x"])
///     .unshare(NamespaceSet::PID)
///     .map_root()
///     .rootfs(Rootfs::tmpfs())
///     .mount(Mount::proc("/proc")?)
///     .mount(Mount::dev("/dev")?)
///     .mount(Mount::tmpfs("/tmp")?.size(1 << 20));
/// for dir in ["/usr", "/bin", "/lib", "/lib64"] {
///     if std::path::Path::new(dir).exists() {
///         command.mount(Mount::bind(dir, dir)?.read_only());
///     }
/// }
/// match command.status() {
///     Ok(status) => assert!(status.success()),
///     Err(error) => eprintln!("{error:#}"),     // says why, for example a security policy
/// }
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # Privileges
///
/// `CAP_SYS_ADMIN` in the user namespace that owns the mount namespace: none with a new user namespace.
///
/// # Kernel
///
/// `open_tree(2)`, `fsopen(2)`, `move_mount(2)`; where a filter hides these, `mount(2)` on the same open files,
/// by way of `/proc`.
///
/// # References
///
/// [mount_namespaces(7)](https://man7.org/linux/man-pages/man7/mount_namespaces.7.html),
/// [open_tree(2)](https://man7.org/linux/man-pages/man2/open_tree.2.html),
/// [mount(2)](https://man7.org/linux/man-pages/man2/mount.2.html)
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mount {
    pub(crate) target: Target,
    pub(crate) kind: Kind,
    pub(crate) read_only: bool,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) idmap: Option<Arc<NsFd>>,
    /// An option that what is mounted does not have.
    misplaced: Option<&'static str>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Bind(PathBuf),
    New(NewFs),
    Overlay(Overlay),
    /// A directory with the devices that every program may expect.
    Dev,
    /// What is there, out of sight.
    Mask,
    /// What is there, as it is but read-only.
    Protect,
}

/// What a new `proc` shows of processes that a program may not trace.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{HidePid, Mount};
///
/// let proc = Mount::proc("/proc")?.hidepid(HidePid::Invisible);
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [proc(5)](https://man7.org/linux/man-pages/man5/proc.5.html), "Mount options"
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HidePid {
    /// Their directories, and nothing in them.
    NoAccess,
    /// Nothing.
    Invisible,
    /// Nothing, of those of the same user either. Linux 5.8.
    Ptraceable,
}

impl Mount {
    fn new(target: &Path, kind: Kind) -> Result<Self> {
        let target = Target::new(target)?;
        Ok(Self { target, kind, read_only: false, propagation: None, idmap: None, misplaced: None })
    }

    /// `source`, a file or a directory with all that is mounted below it, on `target` again. A relative source
    /// starts from the working directory of the caller.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "! touch /etc/x 2>/dev/null"]).map_root();
    /// command.mount(Mount::bind("/etc", "/etc")?.read_only());
    /// if let Ok(status) = command.status() {
    ///     assert!(status.success());
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput), here and below, for a target that is not absolute,
    /// has a `..` or a NUL byte, or is `/`. The plan of a command answers
    /// [`NotFound`](crate::ErrorKind::NotFound) for a source that is not there.
    #[doc(alias = "MS_BIND")]
    #[doc(alias = "open_tree")]
    pub fn bind(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<Self> {
        super::c_path(source.as_ref())?;
        Self::new(target.as_ref(), Kind::Bind(source.as_ref().to_owned()))
    }

    /// An empty file system in memory, gone with its last user, without setuid programs and devices. Anybody
    /// may write into it, as into `/tmp`, unless [`mode`](Self::mode) says otherwise.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`bind`](Self::bind).
    pub fn tmpfs(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), Kind::New(NewFs::tmpfs(0o1777)))
    }

    /// A new `proc`, which shows the pid namespace of the process that mounts it, without setuid
    /// programs, devices or executables.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`bind`](Self::bind). The spawn answers `EPERM` where
    /// the user namespace does not own the pid namespace, and where parts of the present `/proc` are
    /// covered, as in most containers: the new one would show them.
    pub fn proc(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), Kind::New(NewFs::new(c"proc", NOSUID | NODEV | NOEXEC)))
    }

    /// A new `sysfs`, which shows the network namespace of the process that mounts it.
    ///
    /// # Errors
    ///
    /// As of [`proc`](Self::proc), for the network namespace and the present `/sys`.
    pub fn sysfs(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), Kind::New(NewFs::new(c"sysfs", NOSUID | NODEV | NOEXEC)))
    }

    /// New pseudo-terminals, none of which is anybody else's.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`bind`](Self::bind).
    pub fn devpts(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), Kind::New(NewFs::devpts()))
    }

    /// The POSIX message queues of the IPC namespace.
    ///
    /// # Errors
    ///
    /// As of [`proc`](Self::proc), for the IPC namespace.
    pub fn mqueue(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), Kind::New(NewFs::new(c"mqueue", NOSUID | NODEV | NOEXEC)))
    }

    /// The cgroups of version 2, from the root of the cgroup namespace on.
    ///
    /// # Errors
    ///
    /// As of [`proc`](Self::proc), for the cgroup namespace and the present mount of it.
    pub fn cgroup2(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), Kind::New(NewFs::new(c"cgroup2", NOSUID | NODEV | NOEXEC)))
    }

    /// Directories over each other, seen as one.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`bind`](Self::bind).
    pub fn overlay(target: impl AsRef<Path>, overlay: Overlay) -> Result<Self> {
        Self::new(target.as_ref(), Kind::Overlay(overlay))
    }

    /// A minimal `/dev`: `null`, `zero`, `full`, `random`, `urandom` and `tty` are the machine's own; `fd`,
    /// `stdin`, `stdout`, `stderr` and `ptmx` are links; `pts` are new pseudo-terminals, and `shm` is empty.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`bind`](Self::bind). The plan of a command answers
    /// [`NotFound`](crate::ErrorKind::NotFound) where the machine's `/dev` has not all of these.
    pub fn dev(target: impl AsRef<Path>) -> Result<Self> {
        Self::new(target.as_ref(), Kind::Dev)
    }

    /// Puts a file or directory out of sight, as container engines do with parts of `/proc`: a file becomes
    /// empty, and so does a directory, which is read-only as well. One that is not there need not be hidden.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`bind`](Self::bind).
    pub fn mask(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(path.as_ref(), Kind::Mask)
    }

    /// Makes a file or directory read-only, with all that is mounted below it, and leaves it as it is
    /// otherwise. One that is not there need not be protected.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`bind`](Self::bind).
    pub fn read_only_path(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(path.as_ref(), Kind::Protect)
    }
}

/// Options.
impl Mount {
    /// Nothing can be written, in a bind not in what is mounted below it either.
    ///
    /// # Kernel
    ///
    /// Linux 5.12; before that each mount below a bind is changed on its own, as many as were there when the
    /// command was compiled.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// How many bytes a [`tmpfs`](Self::tmpfs) holds at most; half of the memory without this.
    #[must_use]
    pub fn size(self, bytes: u64) -> Self {
        self.option(c"tmpfs", "size is an option of tmpfs", c"size", bytes.to_string())
    }

    /// The permissions of the root directory of a [`tmpfs`](Self::tmpfs), as of `chmod(2)`.
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        self.option(c"tmpfs", "mode is an option of tmpfs", c"mode", format!("{:o}", mode & 0o7777))
    }

    /// What a [`proc`](Self::proc) hides.
    ///
    /// # Kernel
    ///
    /// Linux 5.8: before that all mounts of one pid namespace have the same options.
    #[must_use]
    pub fn hidepid(self, hide: HidePid) -> Self {
        let value = match hide {
            HidePid::NoAccess => "1",
            HidePid::Invisible => "2",
            HidePid::Ptraceable => "4",
        };
        self.option(c"proc", "hidepid is an option of proc", c"hidepid", value.to_owned())
    }

    /// A [`proc`](Self::proc) with nothing in it but processes. Linux 5.8; from 7.2 on it is allowed also where
    /// the present `/proc` is covered in part.
    #[must_use]
    pub fn subset_pid(self) -> Self {
        self.option(c"proc", "subset_pid is an option of proc", c"subset", "pid".to_owned())
    }

    /// Whether mounts made below it later pass to other namespaces and from them.
    #[must_use]
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = Some(propagation);
        self
    }

    /// A bind in which files have other owners, by the id maps of a user namespace: if its 0 is 100000
    /// outside, what is root's on disk belongs to 100000 here, which is root inside of that namespace; and what
    /// that root makes is root's on disk. What is mounted below is not taken along.
    ///
    /// The mount is made by the caller when the command is compiled, with the caller's rights.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount, Namespace, NsFd, Step};
    ///
    /// // the first user namespace changes nothing, so that the kernel refuses it
    /// let first = NsFd::current(Namespace::User)?;
    /// let mut command = Command::new("true");
    /// let error = command.mount(Mount::bind("/etc", "/mnt")?.idmapped(first)).plan().unwrap_err();
    /// assert_eq!(error.step(), Some(Step::MapIds));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The plan of a command answers `EPERM` for the first user namespace and for callers without
    /// `CAP_SYS_ADMIN` over the file system; `EINVAL` for a file system that cannot do it.
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_ADMIN` in the user namespace in which the file system was mounted: root's, for a disk.
    ///
    /// # Kernel
    ///
    /// Linux 5.12; tmpfs 6.3. There is no other way before.
    ///
    /// # References
    ///
    /// [mount_setattr(2)](https://man7.org/linux/man-pages/man2/mount_setattr.2.html), "ID-mapped mounts"
    #[doc(alias = "MOUNT_ATTR_IDMAP")]
    #[must_use]
    pub fn idmapped(mut self, namespace: NsFd) -> Self {
        self.idmap = Some(Arc::new(namespace));
        self
    }

    fn option(
        mut self,
        of: &core::ffi::CStr,
        misplaced: &'static str,
        key: &'static core::ffi::CStr,
        value: String,
    ) -> Self {
        match self.kind {
            Kind::New(fs) if fs.name == of => self.kind = Kind::New(fs.with(key, value)),
            _ => self.misplaced = Some(misplaced),
        }
        self
    }

    /// Options that cannot be meant.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(misplaced) = self.misplaced {
            return Err(Error::invalid(format!("{misplaced}, not of {self}")));
        }
        if self.idmap.is_some() && !matches!(self.kind, Kind::Bind(_)) {
            return Err(Error::invalid(format!("idmapped is an option of bind, not of {self}")));
        }
        let no_options = matches!(self.kind, Kind::Dev | Kind::Mask | Kind::Protect);
        if no_options && (self.read_only || self.propagation.is_some()) {
            return Err(Error::invalid(format!("{self} has no options")));
        }
        Ok(())
    }
}

/// What is mounted, without the target.
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Bind(source) => write!(f, "{source:?}"),
            Kind::New(fs) => f.write_str(&fs.name.to_string_lossy()),
            Kind::Overlay(_) => f.write_str("an overlay"),
            Kind::Dev => f.write_str("dev"),
            Kind::Mask => f.write_str("a mask"),
            Kind::Protect => f.write_str("a read-only path"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_of_one_kind() {
        let fs = |mount: Mount| match mount.kind {
            Kind::New(fs) => fs.data(),
            _ => unreachable!(),
        };
        let tmpfs = Mount::tmpfs("/tmp").unwrap().mode(0o755).size(4096).size(8192);
        assert_eq!(fs(tmpfs), c"mode=755,size=8192".to_owned());
        let proc = Mount::proc("/proc").unwrap().hidepid(HidePid::Ptraceable).subset_pid();
        assert_eq!(fs(proc), c"hidepid=4,subset=pid".to_owned());
        assert!(Mount::proc("/proc").unwrap().size(1).check().is_err());
        assert!(Mount::bind("/", "/a").unwrap().subset_pid().check().is_err());
        assert!(Mount::mask("/a").unwrap().read_only().check().is_err());
        assert!(Mount::bind("/", "/a").unwrap().read_only().check().is_ok());
    }
}
