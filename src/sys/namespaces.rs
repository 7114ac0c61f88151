//! `unshare(2)` and `setns(2)`.

use std::os::fd::RawFd;

use super::args::arg;
use super::syscall::syscall;
use super::{Errno, Result, abi, clock};

/// Bits that name no namespace are refused: `CLONE_FILES` here would take the meaning of `OwnedFd`
/// away from every thread.
fn only_namespaces(flags: u32) -> Result<usize> {
    if flags & !abi::NAMESPACE_FLAGS != 0 {
        return Err(Errno::INVAL);
    }
    Ok(flags as usize)
}

/// `unshare(2)`, of namespaces only.
pub(crate) fn unshare(namespaces: u32) -> Result<()> {
    let flags = only_namespaces(namespaces)?;
    // SAFETY: no pointers. Namespaces are no part of what Rust's safety rests on.
    unsafe { syscall(libc::SYS_unshare, [flags]) }.map(drop)
}

/// `setns(2)`: `fd` is a namespace file, or a pidfd with one or several namespaces.
pub(crate) fn setns(fd: RawFd, namespaces: u32) -> Result<()> {
    let flags = only_namespaces(namespaces)?;
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_setns, [arg(fd), flags]) }.map(drop)
}

/// `unshare(CLONE_FS)`: root, working directory and umask become this thread's own.
pub(crate) fn unshare_fs() -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_unshare, [fits(abi::CLONE_FS)]) }.map(drop)
}

/// `unshare(CLONE_FILES)`, for a helper process of our own with one thread.
pub(crate) fn unshare_files() -> Result<()> {
    // SAFETY: no pointers; descriptors keep their meaning, in a table of this process's own.
    unsafe { syscall(libc::SYS_unshare, [fits(abi::CLONE_FILES)]) }.map(drop)
}

/// Whether a filter has forbidden an [`unshare_fs`] or [`unshare_files`], which then says nothing about who shares.
pub(crate) fn is_filtered(answer: Result<()>) -> bool {
    matches!(answer, Err(Errno::PERM | Errno::NOSYS))
}

/// Whether nobody else uses this process's memory.
///
/// Exec wakes the thread that sleeps for it a moment before it leaves that thread's memory. So where there are no
/// other threads, this waits; for a second or so, since others may share it in other ways.
pub(crate) fn has_private_memory() -> bool {
    // Where it is as they say these are allowed, and do nothing.
    // SAFETY: no pointers; there is nothing to unshare.
    let unshare = |flag| unsafe { syscall(libc::SYS_unshare, [fits(flag)]) };
    for _ in 0..10_000 {
        match unshare(abi::CLONE_VM) {
            Ok(_) => return true,
            Err(Errno::INVAL) if unshare(abi::CLONE_THREAD).is_ok() => clock::sleep_a_moment(),
            Err(_) => return false,
        }
    }
    false
}

#[expect(clippy::cast_possible_truncation, reason = "the flag lies in the low 32 bits")]
const fn fits(flag: u64) -> usize {
    flag as usize
}
