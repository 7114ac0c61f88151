//! Calls on pidfds.

use core::ptr;
use std::os::fd::{OwnedFd, RawFd};

use super::Result;
use super::abi::{self, PidfdInfo};
use super::args::{arg, owned};
use super::syscall::syscall;

/// `pidfd_open(2)`.
pub(crate) fn open(pid: u32, flags: u32) -> Result<OwnedFd> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_pidfd_open, [pid as usize, flags as usize]) }.map(owned)
}

/// `pidfd_getfd(2)`: a copy of a descriptor of that process, close-on-exec. Linux 5.6.
pub(crate) fn getfd(pidfd: RawFd, number: RawFd) -> Result<OwnedFd> {
    // SAFETY: no pointers; flags must be 0.
    unsafe { syscall(libc::SYS_pidfd_getfd, [arg(pidfd), arg(number), 0]) }.map(owned)
}

/// `pidfd_send_signal(2)` with the kernel's default information.
pub(crate) fn send_signal(pidfd: RawFd, signal: i32) -> Result<()> {
    // SAFETY: no information given: a null pointer is allowed there.
    unsafe { syscall(libc::SYS_pidfd_send_signal, [arg(pidfd), arg(signal), 0, 0]) }.map(drop)
}

/// `PIDFD_GET_INFO`, asking for the exit status too. Linux 6.13; the status 6.15.
pub(crate) fn info(pidfd: RawFd) -> Result<PidfdInfo> {
    let mut info = PidfdInfo { mask: abi::PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    let at = ptr::from_mut(&mut info).expose_provenance();
    // SAFETY: the ioctl number carries the size of the structure that it reads and writes.
    unsafe { syscall(libc::SYS_ioctl, [arg(pidfd), abi::PIDFD_GET_INFO as usize, at]) }?;
    Ok(info)
}
