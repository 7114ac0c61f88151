//! One name in one directory, at which a namespace is pinned or is to be.
//!
//! Who mounts on the file, or removes it, holds its `flock(2)` meanwhile, and has looked that the name
//! still leads to it. So an empty file without a lock is what someone left who was interrupted. A file
//! without permissions can be locked by nobody but its owner and root.

#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, ResolveFlags, Statx, StatxFlags,
};

use super::mount;
use crate::error::{AtStep, Error, ErrorKind, Result, Step};
use crate::ns_fd::{self, NsFd, NsId};
use crate::proc_fs::ProcFs;
use crate::process_state;
use crate::sys::in_root::{open_inside_here, open_on_same_mount_here};
use crate::sys::{self, Errno, file, ids};

/// Without following a link, nor waiting for whoever is at the other end of a FIFO.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// The directory that a path's last name is in.
pub(crate) fn parent(path: &Path) -> sys::Result<OwnedFd> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    open_path(parent.unwrap_or(Path::new(".")))
}

/// A directory. In a root that is not the caller's, a magic link would lead out.
pub(crate) fn open_path(path: &Path) -> sys::Result<OwnedFd> {
    if process_state::is_in_other_root() {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
        return open_inside_here(&path);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

#[derive(Debug)]
pub(super) struct PinTarget {
    parent: OwnedFd,
    name: OsString,
    path: PathBuf,
}

/// What stands at a place.
pub(super) enum TargetState {
    /// A namespace, and the mount that it is on.
    Namespace(OwnedFd, NsId),
    /// A file as [`PinTarget::claim`] makes it, without a mount on it.
    Empty,
    /// Anything else.
    Foreign,
}

impl PinTarget {
    pub(super) fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| {
            Error::invalid(format!("the path {path:?} does not end in the name of a file"))
        })?;
        let parent = parent(path).map_err(|errno| Error::os(Step::OpenPinDir, errno).at(path))?;
        Ok(Self { parent, name: name.to_owned(), path: path.to_owned() })
    }

    pub(super) fn below(dir: &OwnedFd, dir_path: &Path, name: &OsStr) -> Result<Self> {
        let path = dir_path.join(name);
        let parent = rustix::io::fcntl_dupfd_cloexec(dir, 0).at_step(Step::OpenPinDir)?;
        Ok(Self { parent, name: name.to_owned(), path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The namespace that is mounted here.
    pub(super) fn namespace(&self) -> Result<NsFd> {
        match self.look(Step::OpenNamespace)? {
            TargetState::Namespace(mount, _) => self.open_found(&mount),
            _ => {
                let error = Error::new(ErrorKind::NotANamespace, "no namespace is pinned at");
                Err(error.at(&self.path))
            }
        }
    }

    /// Opens what was found here. By its name it would be looked up again, and may be another file by now.
    pub(super) fn open_found(&self, mount: &OwnedFd) -> Result<NsFd> {
        let file = ProcFs::open()?.reopen(mount.as_fd());
        file.and_then(NsFd::try_from).map_err(|error| error.at(&self.path))
    }

    /// The file to mount on, locked: a new one, or one that was left.
    pub(super) fn claim(&self) -> Result<OwnedFd> {
        let refused = |errno| self.refused(Step::CreatePinTarget, errno);
        let taken = |why: &'static str| refused(Errno::EXIST).on(why);
        let busy = || taken("(another process is at work there)");
        // Removed as soon as it was seen, or mounted on.
        let vanished = |error: Error| match error.errno() {
            Some(Errno::NOENT | Errno::XDEV) => busy(),
            _ => error,
        };
        let new = READ | OFlags::CREATE | OFlags::EXCL;
        let made = rustix::fs::openat(&self.parent, &self.name, new, Mode::empty());
        let is_new = made.is_ok();
        let file = match made {
            Err(Errno::EXIST) => match self.look(Step::CreatePinTarget).map_err(vanished)? {
                TargetState::Empty => self.open_bare().map_err(|errno| vanished(refused(errno)))?,
                TargetState::Namespace(..) => return Err(taken("(a namespace is pinned there)")),
                TargetState::Foreign => return Err(taken("(there is something else)")),
            },
            file => file.map_err(refused)?,
        };
        match self.lock(&file) {
            Ok(Some(about)) if about.stx_uid == ids::geteuid() => Ok(file),
            Ok(Some(_)) if is_new => {
                self.give_up(file);
                Err(taken("(files that are made there belong to another user)"))
            }
            Ok(Some(_)) => Err(taken("(there is another user's file)")),
            Ok(None) => Err(busy()),
            Err(errno) => {
                if is_new {
                    self.give_up(file);
                }
                Err(refused(errno))
            }
        }
    }

    /// Removes the file that was claimed.
    pub(super) fn give_up(&self, _claimed: OwnedFd) {
        let _ = rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::empty());
    }

    /// The mount that was just made on the claimed file, where the kernel returned no descriptor of it.
    pub(super) fn mount_of(&self, namespace: &NsFd) -> Result<OwnedFd> {
        let id = namespace.id()?;
        match self.look(Step::Pin)? {
            TargetState::Namespace(mount, found) if found == id => Ok(mount),
            _ => Err(self.refused(Step::Pin, Errno::NOENT)),
        }
    }

    /// Unmounts whatever namespace is here and removes the file below, or a file that was left.
    pub(super) fn clear(&self) -> Result<()> {
        loop {
            match self.look(Step::Unpin)? {
                TargetState::Empty => return self.remove_bare(),
                TargetState::Foreign => return Err(self.not_unpinned("there is another file")),
                TargetState::Namespace(mount, _) => match mount::detach(&mount) {
                    Ok(()) => return self.remove_bare(),
                    Err(error) if self.is_here(&mount).unwrap_or(true) => {
                        return Err(error.at(&self.path));
                    }
                    // Another process was faster.
                    Err(_) => {}
                },
            }
        }
    }

    /// Unmounts this mount and removes the file below. The mount need not be here any more: the owner of the
    /// directory can rename the file, from a mount namespace in which it is no mount point, or let nobody see it.
    pub(super) fn release(&self, mount: impl AsFd) -> Result<()> {
        let at_path = |error: Error| error.at(&self.path);
        // The unmount depends neither on an error of this nor on a file system that does not respond.
        let is_here = self.is_here_at_once(&mount);
        // By a descriptor, the kernel unmounts what is on top.
        if is_here != Ok(true) && mount::is_covered(&mount).map_err(at_path)? {
            return Err(self.not_unpinned("something else is mounted over it"));
        }
        match mount::detach(&mount) {
            Ok(()) => match is_here {
                Ok(true) => self.remove_bare(),
                Err(_) if self.look(Step::Unpin).is_ok() => self.remove_bare(),
                _ => Ok(()),
            },
            Err(error)
                if error.errno() != Some(Errno::INVAL) || self.is_here(&mount).unwrap_or(true) =>
            {
                Err(at_path(error))
            }
            Err(_) => {
                self.look(Step::Unpin)?;
                Err(self.not_unpinned("it is not mounted any more"))
            }
        }
    }

    fn not_unpinned(&self, why: &str) -> Error {
        let message = format!("cannot unpin the namespace, since {why}:");
        let error = Error::new(ErrorKind::NotANamespace, message);
        error.at_step(Step::Unpin).at(&self.path)
    }

    /// Whether the name leads to this mount.
    fn is_here(&self, mount: impl AsFd) -> core::result::Result<bool, Errno> {
        is_at(self.open(LOOK), mount)
    }

    /// As [`is_here`](Self::is_here), without a query to the directory's file system: `EAGAIN` where that has to be
    /// queried, or refuses. Before Linux 5.12, or where a filter blocks `openat2(2)`, it is queried.
    fn is_here_at_once(&self, mount: impl AsFd) -> core::result::Result<bool, Errno> {
        // A mount that somebody makes or removes in this moment leads to the same error.
        for _ in 0..64 {
            let (flags, how) = (LOOK, ResolveFlags::CACHED);
            match rustix::fs::openat2(&self.parent, &self.name, flags, Mode::empty(), how) {
                Err(Errno::AGAIN) => {}
                Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => return self.is_here(mount),
                here => return is_at(here, mount),
            }
        }
        Err(Errno::AGAIN)
    }

    /// Removes the file, unless another process is about to mount on it, or has.
    fn remove_bare(&self) -> Result<()> {
        match self.look(Step::Unpin) {
            Ok(TargetState::Empty) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error),
        }
        let removed = self.open_bare().and_then(|file| match self.lock(&file)? {
            Some(_) => rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::empty()),
            None => Ok(()),
        });
        match removed {
            Err(Errno::NOENT | Errno::XDEV) => Ok(()),
            answer => answer.map_err(|errno| self.refused(Step::Unpin, errno)),
        }
    }

    /// What is here now. If something is mounted here, its file system is not queried: others may have mounted it, and
    /// it may never respond.
    pub(super) fn look(&self, step: Step) -> Result<TargetState> {
        let refused = |errno| self.refused(step, errno);
        let found = self.open(LOOK).map_err(refused)?;
        let known = file::cached_statx(&found).map_err(refused)?;
        if !self.is_beside(&known).map_err(refused)? {
            let dev = ns_fd::device().map_err(|error| error.at(&self.path))?;
            return Ok(match ns_fd::inode_on(dev, &known) {
                Some(ino) => TargetState::Namespace(found, NsId { dev, ino }),
                None => TargetState::Foreign,
            });
        }
        let about = about(&found, AtFlags::STATX_DONT_SYNC).map_err(refused)?;
        if about.stx_nlink == 0 {
            return Err(refused(Errno::NOENT));
        }
        Ok(if is_bare(&about) { TargetState::Empty } else { TargetState::Foreign })
    }

    /// Whether a file is on the same mount as the directory, so that nothing is mounted on it.
    fn is_beside(&self, known: &Statx) -> core::result::Result<bool, Errno> {
        Ok(known.stx_mnt_id == mount::number(&self.parent)?)
    }

    /// Locks the file, if it still is the one that stands here, bare.
    fn lock(&self, file: impl AsFd) -> core::result::Result<Option<Statx>, Errno> {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            answer => answer?,
        }
        let held = about(file, AtFlags::empty())?;
        let here = match self.open(LOOK) {
            Err(Errno::NOENT) => return Ok(None),
            here => file::cached_statx(here?)?,
        };
        let id = |it: &Statx| (it.stx_dev_major, it.stx_dev_minor, it.stx_ino);
        let same = self.is_beside(&here)? && id(&here) == id(&held);
        Ok((same && is_bare(&held)).then_some(held))
    }

    /// Opens the file that is here. `EXDEV` if something is mounted on it by now, which is not opened.
    fn open_bare(&self) -> core::result::Result<OwnedFd, Errno> {
        let name = CString::new(self.name.as_bytes()).map_err(|_| Errno::INVAL)?;
        #[expect(clippy::cast_possible_wrap, reason = "flags")]
        open_on_same_mount_here(self.parent.as_raw_fd(), &name, READ.bits() as i32)
    }

    fn open(&self, flags: OFlags) -> core::result::Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.parent, &self.name, flags, Mode::empty())
    }

    fn refused(&self, step: Step, errno: Errno) -> Error {
        Error::os(step, errno).at(&self.path)
    }
}

/// Whether what was opened by a name is this mount.
fn is_at(
    here: core::result::Result<OwnedFd, Errno>,
    mount: impl AsFd,
) -> core::result::Result<bool, Errno> {
    match here {
        Err(Errno::NOENT) => Ok(false),
        here => Ok(mount::number(here?)? == mount::number(mount)?),
    }
}

fn about(file: impl AsFd, flags: AtFlags) -> core::result::Result<Statx, Errno> {
    rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH | flags, StatxFlags::BASIC_STATS)
}

/// Empty, and nobody may do anything with it: as `ip netns add` makes them, too.
fn is_bare(about: &Statx) -> bool {
    let mode = u32::from(about.stx_mode);
    let (kind, mode) = (FileType::from_raw_mode(mode), Mode::from_raw_mode(mode));
    kind == FileType::RegularFile && mode.is_empty() && about.stx_size == 0 && about.stx_nlink == 1
}
