//! One mount.

#![forbid(unsafe_code)]

use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{MountTarget, NewFs, Overlay, Propagation};
use crate::error::Result;
use crate::ns_fd::NsFd;

/// Something to mount in a new mount namespace: a part of the file system again elsewhere, or a new file
/// system.
///
/// It affects what [`Command::mount`](crate::Command::mount) or
/// [`Unshare::mount`](crate::Unshare::mount) makes: nothing is mounted outside. Mounts are made in the order
/// in which they are given, and below a [`Rootfs`](crate::Rootfs) if there is one.
///
/// The sources of binds and overlays are opened when the command is compiled, and the child looks
/// whether it found the same file; so nobody can put another one in its place. The targets are looked up
/// below the new root, which no link leads out of, and below an earlier mount of the same command in that mount. A target that is missing is made: below a root of one's
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
    pub(crate) target: MountTarget,
    pub(crate) kind: MountKind,
    pub(crate) read_only: bool,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) idmap: Option<Arc<NsFd>>,
    /// An option that what is mounted does not have.
    pub(super) misplaced: Option<&'static str>,
    /// A size that the kernel takes for "no limit".
    pub(super) bad_size: Option<u64>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum MountKind {
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

impl Mount {
    pub(super) fn new(target: &Path, kind: MountKind) -> Result<Self> {
        let target = MountTarget::new(target)?;
        Ok(Self {
            target,
            kind,
            read_only: false,
            propagation: None,
            idmap: None,
            misplaced: None,
            bad_size: None,
        })
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
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput), here and for every other mount, for a target that is not absolute,
    /// has a `..` or a NUL byte, or is `/`. The plan of a command answers
    /// [`NotFound`](crate::ErrorKind::NotFound) for a source that is not there; the spawn `ESTALE` where the child
    /// sees another file there than the caller, as in a mount namespace that it enters; `EBUSY` where links lead from
    /// the target to `/`, since the program would stand underneath that mount.
    #[doc(alias = "MS_BIND")]
    #[doc(alias = "open_tree")]
    pub fn bind(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<Self> {
        super::c_path(source.as_ref())?;
        Self::new(target.as_ref(), MountKind::Bind(source.as_ref().to_owned()))
    }

    /// Directories over each other, seen as one.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount, Overlay};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "echo mine >/etc/motd && cat /etc/motd"]).map_root();
    /// command.mount(Mount::overlay("/etc", Overlay::new(["/etc"])?)?);
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
    pub fn overlay(target: impl AsRef<Path>, overlay: Overlay) -> Result<Self> {
        Self::new(target.as_ref(), MountKind::Overlay(overlay))
    }
}

/// What is mounted, without the target.
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            MountKind::Bind(source) => write!(f, "{source:?}"),
            MountKind::New(fs) => f.write_str(&fs.name.to_string_lossy()),
            MountKind::Overlay(_) => f.write_str("an overlay"),
            MountKind::Dev => f.write_str("dev"),
            MountKind::Mask => f.write_str("a mask"),
            MountKind::Protect => f.write_str("a read-only path"),
        }
    }
}
