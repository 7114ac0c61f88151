//! A root of its own.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Overlay, c_path};
use crate::error::Result;
use crate::ns_fd::NsFd;

/// The root of a new mount namespace, in place of the caller's, which goes out of sight.
///
/// It affects what [`Command::rootfs`](crate::Command::rootfs) or
/// [`Unshare::rootfs`](crate::Unshare::rootfs) makes. The mounts of the same command are below it, and nothing
/// else: no other directory can be reached, by any path, but for descriptors that the program inherits
/// ([`close_other_fds`](crate::Command::close_other_fds)). Its working directory is `/` unless [`current_dir`](crate::Command::current_dir) names another.
///
/// The contents of the root are not trusted: until the program runs, no link in it is followed out of it, be it one of
/// `/proc` to the caller's program or descriptors, whether for the program, the working directory or a mount point.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Command, Mount, Rootfs};
///
/// // the machine's files, none of which can be written, but for a /tmp of one's own
/// let mut command = Command::new("sh");
/// command.args(["-c", "! touch /etc/x 2>/dev/null && touch /tmp/x"]).map_root();
/// command.rootfs(Rootfs::dir("/")?.read_only()).mount(Mount::tmpfs("/tmp")?);
/// match command.status() {
///     Ok(status) => assert!(status.success()),
///     Err(error) => eprintln!("{error:#}"),     // says why, for example a security policy
/// }
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # Errors
///
/// The spawn fails with `EINVAL` at [`Step::PivotRoot`](crate::Step::PivotRoot) where the present root is no mount
/// point, as in a chroot, or the first one of a machine before Linux 7.0, as in an initramfs:
/// [`chroot`](Self::chroot) does there.
///
/// # Privileges
///
/// `CAP_SYS_ADMIN` in the user namespace that owns the mount namespace: none with a new user namespace.
///
/// # References
///
/// [pivot_root(2)](https://man7.org/linux/man-pages/man2/pivot_root.2.html)
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[doc(alias = "pivot_root")]
pub struct Rootfs {
    pub(crate) base: Base,
    pub(crate) read_only: bool,
    pub(crate) chroot: bool,
    pub(crate) idmap: Option<Arc<NsFd>>,
}

/// What the root is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Base {
    Dir(PathBuf),
    Tmpfs,
    Overlay(Overlay),
}

impl Rootfs {
    fn new(base: Base) -> Self {
        Self { base, read_only: false, chroot: false, idmap: None }
    }

    /// A directory, with all that is mounted below it. Mount points that are missing are made in it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a NUL byte.
    pub fn dir(path: impl AsRef<Path>) -> Result<Self> {
        c_path(path.as_ref())?;
        Ok(Self::new(Base::Dir(path.as_ref().to_owned())))
    }

    /// A new, empty file system in memory.
    #[must_use]
    pub fn tmpfs() -> Self {
        Self::new(Base::Tmpfs)
    }

    /// Directories over each other.
    #[must_use]
    pub fn overlay(overlay: Overlay) -> Self {
        Self::new(Base::Overlay(overlay))
    }

    /// Nothing can be written in it, but in what is mounted below it. A tmpfs or an overlay becomes so when all
    /// mount points are made, a directory before, so that in it they have to be there.
    ///
    /// Root inside a new user namespace can undo it, unless the command gives up the capability:
    /// [`Command::lock_mounts`](crate::Command::lock_mounts).
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// A [`dir`](Self::dir) with other owners of files: as of [`Mount::idmapped`](crate::Mount::idmapped).
    #[must_use]
    pub fn idmapped(mut self, namespace: NsFd) -> Self {
        self.idmap = Some(Arc::new(namespace));
        self
    }

    /// Changes the root by `chroot(2)`, for where `pivot_root(2)` cannot: the old root stays mounted below, and
    /// a program with `CAP_SYS_CHROOT` can go back to it.
    #[must_use]
    pub fn chroot(mut self) -> Self {
        self.chroot = true;
        self
    }
}
