//! `/proc`, looked at before it is believed.
//!
//! Who controls the mount namespace may have put something else there, or something else over a part of it: also a
//! link over a link, as `self`, which the kernel follows from where it lies. So its root is opened once and held, and
//! what is opened below it is reached across no other mount. Where a magic link has to be followed, what was opened is
//! compared with what the link says.

#![forbid(unsafe_code)]

mod links;
mod processes;
mod text;

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags};

use crate::error::{Error, ErrorKind, Result, Step};
use crate::mountinfo;
use crate::namespace::Namespace;
use crate::ns_fd::NsFd;
use crate::sys::file::{cached_statx, is_on};
use crate::sys::in_root::open_on_same_mount_here;
use crate::sys::mount::is_known_on;
use crate::sys::{Errno, abi};

pub(crate) use text::{command_line, task_flags};

/// Whether a thread of this process is in a root that somebody else laid out, so that nobody else pays for the care that
/// it takes there: see `process_state.rs`.
pub(crate) static OTHER_ROOTS: AtomicBool = AtomicBool::new(false);

/// The root of a proc mount that was found to be one.
#[derive(Debug)]
pub(crate) struct ProcFs {
    root: OwnedFd,
    mount: u64,
    /// Whether something may be mounted over what it says of processes.
    may_be_covered: bool,
}

impl ProcFs {
    /// Opens and checks `/proc`.
    pub(crate) fn open() -> Result<Self> {
        let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, "/proc", path, Mode::empty()).map_err(|errno| {
            let kind = match errno {
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP => ErrorKind::UntrustedProc,
                _ => Error::os(Step::ReadProc, errno).kind(),
            };
            Error::os(Step::ReadProc, errno).with_kind(kind)
        })?;
        let about = cached_statx(&root).map_err(refused)?;
        // Others have that number, too.
        let is_root = about.stx_ino == abi::PROC_ROOT_INO;
        let is_on = if OTHER_ROOTS.load(Relaxed) { is_known_on } else { is_on };
        if !is_root || !is_on(root.as_fd(), abi::PROC_SUPER_MAGIC).map_err(refused)? {
            return Err(untrusted("/proc is not the root of a proc file system"));
        }
        Ok(Self { root, mount: about.stx_mnt_id, may_be_covered: true })
    }

    /// Opens what lies below a directory of this or another proc mount, reached across no other mount.
    pub(crate) fn open_below(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
        flags: OFlags,
    ) -> core::result::Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let how = ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(dir, path, flags, Mode::empty(), how) {
            // A filter hides the call.
            Err(Errno::NOSYS | Errno::PERM) => {
                let path = CString::new(path).map_err(|_| Errno::INVAL)?;
                open_on_same_mount_here(dir.as_raw_fd(), &path, flags.bits() as i32)
            }
            answer => answer,
        }
    }

    /// The whole of a file there.
    pub(crate) fn read(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
    ) -> core::result::Result<Vec<u8>, Errno> {
        let file = self.open_below(dir, path, OFlags::RDONLY)?;
        let mut bytes = Vec::with_capacity(4096);
        while rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes))? > 0 {
            bytes.reserve(4096);
        }
        Ok(bytes)
    }

    /// What one read gives, for files that have all ready at once.
    pub(crate) fn read_once(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
    ) -> core::result::Result<Vec<u8>, Errno> {
        let file = self.open_below(dir, path, OFlags::RDONLY)?;
        let mut bytes = Vec::with_capacity(4096);
        rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes))?;
        Ok(bytes)
    }

    /// Spares itself two calls for each link if nothing is mounted over what it says of processes, by this `mountinfo`,
    /// and nobody but the caller mounts here.
    pub(crate) fn check_covers(&mut self, mounts: &[u8], is_in_other_root: bool) {
        let Some(top) = mountinfo::lines(mounts).find(|mount| mount.id == self.mount) else {
            return;
        };
        let is_of_system = |point: &[u8]| {
            let name = point.strip_prefix(&*top.point).and_then(|rest| rest.strip_prefix(b"/"));
            let name = name.and_then(|name| name.split(|&byte| byte == b'/').next());
            name.is_some_and(|name| {
                let is_number = name.iter().all(u8::is_ascii_digit);
                !is_number && ![&b"self"[..], b"thread-self"].contains(&name)
            })
        };
        let mut above = mountinfo::lines(mounts).filter(|mount| mount.parent == top.id);
        self.may_be_covered = is_in_other_root
            || !above.all(|mount| is_of_system(&mount.point))
            || !has_own_mounts().unwrap_or(false);
    }

    /// How many directories are in one, at least.
    pub(crate) fn count_dirs(&self, dir: BorrowedFd<'_>, path: &str) -> u32 {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let held = self.may_be_covered.then(|| self.open_below(dir, path, flags));
        let about = match held {
            None => rustix::fs::statx(dir, path, AtFlags::empty(), StatxFlags::NLINK),
            Some(held) => held.and_then(|held| {
                rustix::fs::statx(held, "", AtFlags::EMPTY_PATH, StatxFlags::NLINK)
            }),
        };
        about.map_or(0, |about| about.stx_nlink.saturating_sub(2))
    }

    /// The number of the mount, as mountinfo has it.
    pub(crate) fn mount(&self) -> u64 {
        self.mount
    }

    fn dir(&self, path: String) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        self.open_below(self.as_fd(), &path, flags).map_err(|errno| match errno {
            Errno::NOENT if path.starts_with("thread-self") => {
                untrusted("/proc belongs to a pid namespace in which this process is not visible")
            }
            Errno::NOENT => refused(Errno::SRCH),
            _ => refused(errno),
        })
    }
}

impl AsFd for ProcFs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl AsRawFd for ProcFs {
    fn as_raw_fd(&self) -> RawFd {
        self.root.as_raw_fd()
    }
}

fn refused(errno: Errno) -> Error {
    if errno == Errno::XDEV { covered() } else { Error::os(Step::ReadProc, errno) }
}

pub(crate) fn covered() -> Error {
    untrusted("something is mounted over a part of /proc")
}

fn untrusted(why: &'static str) -> Error {
    Error::new(ErrorKind::UntrustedProc, why).at_step(Step::ReadProc)
}

/// Whether the mount namespace belongs to this thread's user namespace, so that no user below it can mount there.
fn has_own_mounts() -> Result<bool> {
    let owner = NsFd::current(Namespace::Mount)?.owner()?;
    Ok(owner == NsFd::current(Namespace::User)?)
}
