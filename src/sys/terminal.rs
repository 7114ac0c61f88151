//! The terminal of a session: who is in its foreground.

use core::ptr;
use std::os::fd::RawFd;

use super::Result;
use super::args::arg;
use super::syscall::syscall;

/// The process group in the foreground. `ENOTTY` unless it is this session's terminal.
pub(crate) fn foreground(terminal: RawFd) -> Result<i32> {
    let mut group = 0_i32;
    let at = ptr::from_mut(&mut group).expose_provenance();
    // SAFETY: the kernel writes one int.
    unsafe { ioctl(terminal, libc::TIOCGPGRP, at) }?;
    Ok(group)
}

/// Puts a process group of this session into the foreground.
pub(crate) fn set_foreground(terminal: RawFd, group: i32) -> Result<()> {
    let at = ptr::from_ref(&group).expose_provenance();
    // SAFETY: the kernel reads one int.
    unsafe { ioctl(terminal, libc::TIOCSPGRP, at) }
}

/// Makes it the terminal of this session, whose leader this process is.
pub(crate) fn take(terminal: RawFd) -> Result<()> {
    // SAFETY: the request takes a number: nobody is robbed of it.
    unsafe { ioctl(terminal, libc::TIOCSCTTY, 0) }
}

/// Gives up the terminal of this session; if this process is its leader, for all of the session.
pub(crate) fn give_up(terminal: RawFd) -> Result<()> {
    // SAFETY: the request takes nothing.
    unsafe { ioctl(terminal, libc::TIOCNOTTY, 0) }
}

/// # Safety
///
/// The request's argument is what `ioctl_tty(2)` asks for.
unsafe fn ioctl(terminal: RawFd, request: libc::Ioctl, argument: usize) -> Result<()> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "numbers of 32 bits"
    )]
    let request = request as usize;
    // SAFETY: the caller's contract.
    unsafe { syscall(libc::SYS_ioctl, [arg(terminal), request, argument]) }.map(drop)
}
