//! Arguments and results of system calls, as registers hold them.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::syscall::syscall;

/// A C `int` as the kernel takes it in a register.
pub(super) fn arg(value: i32) -> usize {
    #[expect(clippy::cast_sign_loss, reason = "the kernel takes the low 32 bits")]
    let word = value as isize as usize;
    word
}

/// A descriptor that a call answered.
#[expect(clippy::cast_possible_truncation, reason = "descriptors have 32 bits")]
#[expect(clippy::cast_possible_wrap, reason = "descriptors are positive")]
pub(super) fn fd(answer: usize) -> RawFd {
    answer as RawFd
}

/// A new descriptor that a call answered to the parent. A child keeps raw ones: dropping an
/// `OwnedFd` goes through libc.
pub(super) fn owned(answer: usize) -> OwnedFd {
    // SAFETY: the kernel just made it, and nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd(answer)) }
}

/// A call without arguments that cannot fail.
#[expect(clippy::cast_possible_truncation, reason = "pids and ids have 32 bits")]
pub(super) fn get(call: libc::c_long) -> u32 {
    // SAFETY: the get calls take nothing and change nothing.
    unsafe { syscall(call, []) }.unwrap_or(0) as u32
}
