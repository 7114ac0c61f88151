//! Calls on files, most of them for a child between clone and exec.

use core::ffi::CStr;
use core::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::os::fd::{AsFd, RawFd};

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags};

use super::abi::Timespec;
use super::args::{arg, fd};
use super::in_child::InChild;
use super::syscall::syscall;
use super::{Errno, Result};

/// Whether a file lies on the file system with this magic number, which is queried for it. For the parent.
pub(crate) fn is_on(file: impl AsFd, magic: u64) -> Result<bool> {
    let kind = rustix::fs::fstatfs(file)?.f_type;
    // Its width and sign differ between architectures.
    #[allow(
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        reason = "magic numbers are positive"
    )]
    Ok(kind as u64 == magic)
}

/// What the kernel knows of a file without a request to its file system, which may never respond: its device, inode
/// number and mount. Of a file system that refuses all else to this user, the inode number is 0. For the parent.
pub(crate) fn cached_statx(file: impl AsFd) -> Result<Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(file, c"", flags, StatxFlags::empty())
}

/// `/dev/null`.
pub(crate) const NULL_DEVICE: (u32, u32) = (1, 3);

/// The type of a file, and which device it is: its major and minor number. Its file system is not queried, unless a filter
/// hides `statx(2)`. For the parent.
pub(crate) fn kind(file: impl AsFd) -> Result<(FileType, (u32, u32))> {
    match cached_statx(&file) {
        Err(Errno::NOSYS | Errno::PERM) => {
            let about = rustix::fs::fstat(file)?;
            #[allow(clippy::useless_conversion, reason = "its width differs between architectures")]
            let device = u64::from(about.st_rdev);
            let numbers = (rustix::fs::major(device), rustix::fs::minor(device));
            Ok((FileType::from_raw_mode(about.st_mode), numbers))
        }
        about => {
            let about = about?;
            let numbers = (about.stx_rdev_major, about.stx_rdev_minor);
            Ok((FileType::from_raw_mode(about.stx_mode.into()), numbers))
        }
    }
}

/// Whether it is the character device with this major and minor number. As [`kind`].
pub(crate) fn is_device(file: impl AsFd, numbers: (u32, u32)) -> Result<bool> {
    Ok(kind(file)? == (FileType::CharacterDevice, numbers))
}

/// A descriptor of this process's own, closed when it is dropped. An `OwnedFd` is closed by libc, which a child
/// must not call.
#[derive(Debug)]
pub(crate) struct Fd(RawFd);

impl Fd {
    /// # Safety
    ///
    /// This is its only owner.
    pub(crate) unsafe fn from_raw(fd: RawFd) -> Self {
        Self(fd)
    }

    /// What a call returned.
    pub(super) fn new(answer: usize) -> Self {
        Self(fd(answer))
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.0
    }

    /// To be kept by its number.
    pub(crate) fn into_raw(self) -> RawFd {
        core::mem::ManuallyDrop::new(self).0
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        close(self.0);
    }
}

/// A descriptor that steps hand on to each other; none at first.
#[derive(Debug)]
pub(crate) struct AtomicFd(AtomicI32);

impl AtomicFd {
    pub(crate) const fn none() -> Self {
        Self(AtomicI32::new(-1))
    }

    /// In place of what was kept, which is closed.
    pub(crate) fn set(&self, fd: Fd) {
        drop(self.take());
        self.0.store(fd.into_raw(), SeqCst);
    }

    pub(crate) fn get(&self) -> Option<RawFd> {
        Some(self.0.load(SeqCst)).filter(|&fd| fd >= 0)
    }

    pub(crate) fn take(&self) -> Option<Fd> {
        Some(self.0.swap(-1, SeqCst)).filter(|&fd| fd >= 0).map(Fd)
    }
}

/// `openat(2)`, close-on-exec.
pub(crate) fn open_at(dir: RawFd, path: &CStr, flags: i32) -> Result<Fd> {
    let path = path.as_ptr().expose_provenance();
    let flags = arg(flags | libc::O_CLOEXEC);
    // SAFETY: a C string; no mode is read without O_CREAT.
    unsafe { syscall(libc::SYS_openat, [arg(dir), path, flags]) }.map(Fd::new)
}

fn close(file: RawFd) {
    // SAFETY: no pointers; the callers give up what they own.
    let _ = unsafe { syscall(libc::SYS_close, [arg(file)]) };
}

/// Closes the copy that a child has of its parent's descriptor.
pub(crate) fn close_copy(file: RawFd, _: InChild) {
    close(file);
}

/// One `write(2)` of the whole: a part is an error, since id maps cannot be written in parts.
pub(crate) fn write_once(file: RawFd, bytes: &[u8]) -> Result<()> {
    let at = bytes.as_ptr().expose_provenance();
    // SAFETY: the kernel reads len bytes at the pointer.
    let written = unsafe { syscall(libc::SYS_write, [arg(file), at, bytes.len()]) }?;
    if written == bytes.len() { Ok(()) } else { Err(Errno::IO) }
}

/// `read(2)`: how many bytes of `buffer` were filled; 0 at the end.
pub(crate) fn read(file: RawFd, buffer: &mut [u8]) -> Result<usize> {
    let at = buffer.as_mut_ptr().expose_provenance();
    // SAFETY: room for len bytes.
    unsafe { syscall(libc::SYS_read, [arg(file), at, buffer.len()]) }
}

/// Moves this process into the cgroup of a directory: `cgroups(7)`.
pub(crate) fn join_cgroup(dir: RawFd) -> Result<()> {
    let list = open_at(dir, c"cgroup.procs", libc::O_WRONLY)?;
    write_once(list.raw(), b"0")
}

/// `readlinkat(2)`: how many bytes of `buffer` the link's text fills.
pub(crate) fn readlink_at(dir: RawFd, path: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let path = path.as_ptr().expose_provenance();
    let at = buffer.as_mut_ptr().expose_provenance();
    // SAFETY: a C string, and room for len bytes.
    unsafe { syscall(libc::SYS_readlinkat, [arg(dir), path, at, buffer.len()]) }
}

/// `dup3(2)` without close-on-exec. `from` and `to` differ.
pub(crate) fn duplicate(from: RawFd, to: RawFd, _: InChild) -> Result<()> {
    // SAFETY: no pointers; nobody in this child owns what `to` was.
    unsafe { syscall(libc::SYS_dup3, [arg(from), arg(to), 0]) }.map(drop)
}

/// `fcntl(2)`: the same file by another number, close-on-exec.
pub(crate) fn copy(file: RawFd) -> Result<Fd> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_fcntl, [arg(file), arg(libc::F_DUPFD_CLOEXEC), 3]) }.map(Fd::new)
}

/// `close_range(2)`: exec closes all descriptors from `first` on. Linux 5.11; 5.10 closes them now.
pub(crate) fn close_on_exec_from(first: u32, _: InChild) -> Result<()> {
    const CLOEXEC: usize = 1 << 2;
    let last = u32::MAX as usize;
    // SAFETY: no pointers; nobody in this child owns a descriptor.
    let range = |flags| unsafe { syscall(libc::SYS_close_range, [first as usize, last, flags]) };
    match range(CLOEXEC) {
        Err(Errno::INVAL) => range(0),
        answer => answer,
    }
    .map(drop)
}

/// `close_range(2)`: closes all from 3 on, but one of them.
pub(crate) fn close_all_but(kept: RawFd, _: InChild) -> Result<()> {
    let last = arg(-1);
    // SAFETY: no pointers; nobody in this child owns a descriptor.
    let close = |from, to| unsafe { syscall(libc::SYS_close_range, [from, to, 0]) };
    if kept > 3 {
        close(3, arg(kept - 1))?;
    }
    close(arg(kept + 1), last).map(drop)
}

/// Whether a name in a directory, which is no link, may be executed: by the ids that exec looks at.
pub(super) fn may_execute(dir: RawFd, name: &CStr) -> Result<()> {
    const SYS_FACCESSAT2: libc::c_long = 439;
    let at = name.as_ptr().expose_provenance();
    let flags = arg(libc::AT_EACCESS | libc::AT_SYMLINK_NOFOLLOW);
    // SAFETY: a C string.
    match unsafe { syscall(SYS_FACCESSAT2, [arg(dir), at, arg(libc::X_OK), flags]) } {
        // A filter. Whom the permissions are for remains unknown, so that only what nobody may execute is refused.
        Err(Errno::NOSYS | Errno::PERM) => {
            let flags = libc::O_PATH | libc::O_NOFOLLOW;
            let file = open_at(dir, name, flags)?;
            if super::stat::nobody_may_execute(file.raw())? { Err(Errno::ACCESS) } else { Ok(()) }
        }
        answer => answer.map(drop),
    }
}

/// Whether the path can be followed to something that is there.
pub(crate) fn exists(path: &CStr) -> bool {
    let path = path.as_ptr().expose_provenance();
    let here = arg(libc::AT_FDCWD);
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_faccessat, [here, path, arg(libc::F_OK)]) }.is_ok()
}

/// Changes the working directory by a path in a root that is not trusted: no magic link is followed.
pub(crate) fn chdir_inside(path: &CStr) -> Result<()> {
    let dir = super::in_root::open_inside(libc::AT_FDCWD, path, libc::O_DIRECTORY)?;
    fchdir(dir.raw())
}

/// Changes the working directory by a path without links: `ELOOP` where there is one by now.
pub(crate) fn chdir_without_links(path: &CStr) -> Result<()> {
    let dir = super::in_root::open_without_links(path, libc::O_DIRECTORY)?;
    fchdir(dir.raw())
}

pub(crate) fn chdir(path: &CStr) -> Result<()> {
    let path = path.as_ptr().expose_provenance();
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_chdir, [path]) }.map(drop)
}

pub(crate) fn fchdir(dir: RawFd) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_fchdir, [arg(dir)]) }.map(drop)
}

/// Sets the file mode creation mask, and returns the old one. Fails only where a filter refuses the call.
pub(crate) fn umask(mask: u32) -> Result<u32> {
    // SAFETY: no pointers.
    let old = unsafe { syscall(libc::SYS_umask, [mask as usize]) }?;
    u32::try_from(old).map_err(|_| Errno::INVAL)
}

/// `chroot(".")`.
pub(crate) fn chroot_here() -> Result<()> {
    let path = c".".as_ptr().expose_provenance();
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_chroot, [path]) }.map(drop)
}

/// Whether `file` is readable now: for a pidfd, whether its process has ended. With `wait`, sleeps
/// until it is.
pub(crate) fn poll_readable(file: RawFd, wait: bool) -> Result<bool> {
    poll(file, libc::POLLIN, wait)
}

/// Whether the process of a pidfd is not even a zombie any more: from Linux 6.9 on. With `wait`, sleeps
/// until it is so.
pub(crate) fn poll_hang_up(pidfd: RawFd, wait: bool) -> Result<bool> {
    poll(pidfd, 0, wait)
}

fn poll(file: RawFd, events: i16, wait: bool) -> Result<bool> {
    let mut entry = libc::pollfd { fd: file, events, revents: 0 };
    let at = core::ptr::from_mut(&mut entry).expose_provenance();
    let zero = Timespec::default();
    let timeout = if wait { 0 } else { core::ptr::from_ref(&zero).expose_provenance() };
    loop {
        // SAFETY: one pollfd to read and write, a timespec or none, no signal mask.
        match unsafe { syscall(libc::SYS_ppoll, [at, 1, timeout, 0, 0]) } {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(ready) => return Ok(ready != 0),
        }
    }
}
