//! A directory of pinned namespaces.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Dir, FlockOperation, Mode, OFlags};
use rustix::mount::MountPropagationFlags;

use super::target::{PinTarget, TargetState, open_path, parent};
use super::{Pinned, mount};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::namespace::Namespace;
use crate::ns_fd::{NsFd, NsId};
use crate::sys::Errno;

/// A directory in which namespaces are pinned by name, such as `/run/netns` of `ip-netns(8)`.
///
/// Any number of processes may work in it at once, `ip` among them: a name is claimed by the making of its
/// file, and whoever mounts on the file or removes it holds its `flock(2)` meanwhile. What a process leaves
/// that is killed in the middle is listed as [stale](PinState::Stale), and is used or removed by the next
/// who comes to that name.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Namespace, NamespaceSet, NsFd, PinDir, Unshare};
///
/// // mounts of our own, so that this needs no privileges and leaves nothing behind
/// let set = NamespaceSet::NET | NamespaceSet::MOUNT;
/// if let Err(error) = Unshare::new(set).map_root().apply() {
///     return Ok(eprintln!("{error:#}"));
/// }
/// let home = tempfile::tempdir()?;
/// let nets = PinDir::create(home.path().join("nets"))?;
/// nets.pin("blue", &NsFd::current(Namespace::Net)?)?.keep();
/// for (name, state) in nets.list()? {
///     println!("{name:?}: {state:?}");
/// }
/// assert_eq!(nets.get("blue")?, NsFd::current(Namespace::Net)?);
/// nets.remove("blue")?;
/// assert_eq!(nets.list()?.len(), 0);
/// # drop(nets);
/// # rustix::mount::unmount(home.path().join("nets"), rustix::mount::UnmountFlags::DETACH)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// [ip-netns(8)](https://man7.org/linux/man-pages/man8/ip-netns.8.html)
#[derive(Debug)]
#[doc(alias = "netns")]
pub struct PinDir {
    dir: OwnedFd,
    path: PathBuf,
}

/// What a name in a [`PinDir`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PinState {
    /// A namespace is pinned.
    #[non_exhaustive]
    Live {
        /// The kind of the namespace.
        kind: Namespace,
        /// Device and inode number, which identify the namespace while it exists.
        id: NsId,
    },
    /// The bare file was left: by a process that was killed before it could pin or remove, by an unmount
    /// elsewhere, or because the pin was made in a mount namespace that this one does not see. A process
    /// that is pinning right now shows itself so, too.
    Stale,
}

impl PinDir {
    /// Where `ip netns` has its network namespaces.
    pub const NETNS: &str = "/run/netns";

    /// Opens an existing directory as it is. Listing and opening what is there takes no privilege.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound), also for a symbolic link, which is not followed as the path's
    /// last part; [`PermissionDenied`](crate::ErrorKind::PermissionDenied).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let dir = open(path).map_err(|errno| Error::os(Step::OpenPinDir, errno).at(path))?;
        Ok(Self { dir, path: path.to_owned() })
    }

    /// Opens a directory for namespaces of all kinds, and creates it if it is missing. It becomes a mount point whose
    /// mounts propagate to nobody, since the kernel refuses to pin mount namespaces where they would.
    ///
    /// So it should be a directory for this purpose alone: one that is a mount point already, as `/run` may be,
    /// stops to propagate to others.
    ///
    /// # Errors
    ///
    /// - [`PermissionDenied`](crate::ErrorKind::PermissionDenied).
    /// - [`NotFound`](crate::ErrorKind::NotFound) if the parent directory does not exist.
    /// - `EBUSY` if another process holds the `flock(2)` of a directory that is not a mount point yet, for more
    ///   than three seconds. Any user who may read the directory can do so; `lslocks(8)` shows the process. A new
    ///   directory has a new lock.
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_ADMIN` in the user namespace that owns the mount namespace.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Self::make(path.as_ref(), MountPropagationFlags::PRIVATE)
    }

    /// Opens the directory of `ip netns`, [`NETNS`](Self::NETNS), and creates it if it is missing, as `ip netns add`
    /// does: a mount point whose mounts propagate to the mount namespaces that are copied from this one. Each then
    /// sees the network namespaces that are named later.
    ///
    /// To list and open what is there, [`open`](Self::open) is enough.
    ///
    /// # Errors
    ///
    /// As of [`create`](Self::create).
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_ADMIN` in the user namespace that owns the mount namespace.
    pub fn create_netns() -> Result<Self> {
        Self::make(Path::new(Self::NETNS), MountPropagationFlags::SHARED)
    }

    /// Pins a namespace under a name: see [`NsFd::pin`].
    ///
    /// # Errors
    ///
    /// As of [`NsFd::pin`]; [`InvalidInput`](crate::ErrorKind::InvalidInput) for a name that is none: empty,
    /// longer than 255 bytes, `.`, `..`, or with a `/` or NUL in it.
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_ADMIN` in the user namespace that owns the mount namespace.
    pub fn pin(&self, name: impl AsRef<OsStr>, namespace: &NsFd) -> Result<Pinned> {
        Pinned::at(self.place(name.as_ref())?, namespace)
    }

    /// The namespace of this name.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound); [`NotANamespace`](crate::ErrorKind::NotANamespace) if the
    /// name is stale, or of another file; [`InvalidInput`](crate::ErrorKind::InvalidInput) for a name that is none;
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc) if `/proc` cannot be believed, by way of which is opened what
    /// was found.
    pub fn get(&self, name: impl AsRef<OsStr>) -> Result<NsFd> {
        self.place(name.as_ref())?.namespace()
    }

    /// Unpins what has this name, whoever pinned it, or removes what was left of it.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound); [`NotANamespace`](crate::ErrorKind::NotANamespace) for
    /// another file, which is not touched; [`InvalidInput`](crate::ErrorKind::InvalidInput) for a name that is
    /// none; and as of [`Pinned::unpin`].
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_ADMIN` in the user namespace that owns the mount namespace.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.place(name.as_ref())?.clear()
    }

    /// All names, sorted, with what each stands for. Files that are neither a namespace nor what is left of
    /// one are not among them. A file system that somebody mounted on a name is not queried.
    ///
    /// # Errors
    ///
    /// [`LimitReached`](crate::ErrorKind::LimitReached) for `EMFILE`;
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc) as of [`get`](Self::get), if a namespace is there.
    pub fn list(&self) -> Result<Vec<(OsString, PinState)>> {
        let refused = |errno| Error::os(Step::OpenPinDir, errno).at(&self.path);
        let mut all = Vec::new();
        for entry in Dir::read_from(&self.dir).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                all.extend(self.state(name)?.map(|state| (name.to_owned(), state)));
            }
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    /// The directory's path, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn make(path: &Path, propagation: MountPropagationFlags) -> Result<Self> {
        let refused = |errno| Error::os(Step::CreatePinDir, errno).at(path);
        let everyone = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
        let name = path.file_name().unwrap_or(path.as_os_str());
        let made = parent(path).and_then(|parent| rustix::fs::mkdirat(parent, name, everyone));
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(refused(errno)),
        }
        let no_mount = |error: &Error| error.raw_os_error() == Some(Errno::INVAL.raw_os_error());
        let mut dir = open(path).map_err(refused)?;
        let mut done = mount::propagate(&dir, propagation);
        if done.as_ref().is_err_and(no_mount) {
            let locked = lock(&dir);
            let mut top = open(path).map_err(refused)?;
            done = mount::propagate(&top, propagation);
            if done.as_ref().is_err_and(no_mount) {
                locked.map_err(|errno| match errno {
                    Errno::BUSY => refused(errno).on("(another process holds its lock)"),
                    _ => refused(errno),
                })?;
                mount::attach_to_itself(&top).map_err(|error| error.at(path))?;
                top = open(path).map_err(refused)?;
                done = mount::propagate(&top, propagation);
            }
            dir = top;
        }
        done.map_err(|error| error.at(path))?;
        Ok(Self { dir, path: path.to_owned() })
    }

    fn state(&self, name: &OsStr) -> Result<Option<PinState>> {
        let place = self.place(name)?;
        let (mount, id) = match place.look(Step::OpenPinDir) {
            Ok(TargetState::Namespace(mount, id)) => (mount, id),
            Ok(TargetState::Empty) => return Ok(Some(PinState::Stale)),
            Ok(TargetState::Foreign) => return Ok(None),
            Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        match place.open_found(&mount) {
            Ok(namespace) => Ok(Some(PinState::Live { kind: namespace.kind(), id })),
            // Of a kind that is not known here.
            Err(error) if error.kind() == ErrorKind::NotANamespace => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn place(&self, name: &OsStr) -> Result<PinTarget> {
        const NAME_MAX: usize = 255;
        let bytes = name.as_bytes();
        let bad = bytes.is_empty()
            || bytes.len() > NAME_MAX
            || [&b"."[..], b".."].contains(&bytes)
            || bytes.iter().any(|byte| [b'/', 0].contains(byte));
        if bad {
            return Err(Error::invalid(format!("{name:?} is no name for a pinned namespace")));
        }
        PinTarget::below(&self.dir, &self.path, name)
    }
}

/// Taken once in the life of a directory, as ip does it, so that two of us make one mount. Any user who may read
/// the directory can hold it for ever.
fn lock(dir: &OwnedFd) -> core::result::Result<(), Errno> {
    // For a few system calls of another process.
    let limit = Instant::now() + Duration::from_secs(3);
    loop {
        match rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < limit => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(Errno::WOULDBLOCK) => return Err(Errno::BUSY),
            answer => return answer,
        }
    }
}

/// For a look into it, and for its lock.
fn open(path: &Path) -> core::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match path.file_name() {
        Some(name) => rustix::fs::openat(parent(path)?, name, flags, Mode::empty()),
        None => rustix::fs::openat(open_path(path)?, ".", flags, Mode::empty()),
    }
}

/// For a lock of one's own: do not close it.
impl AsFd for PinDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl AsRawFd for PinDir {
    fn as_raw_fd(&self) -> RawFd {
        self.dir.as_raw_fd()
    }
}
