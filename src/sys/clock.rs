//! The monotonic clock, and sleep.

use core::ptr;
use core::time::Duration;

use super::abi::Timespec;
use super::args::arg;
use super::syscall::syscall;

/// What `CLOCK_MONOTONIC` shows.
pub(crate) fn monotonic() -> Duration {
    let mut time = Timespec::default();
    let at = ptr::from_mut(&mut time).expose_provenance();
    // SAFETY: the kernel writes one timespec.
    let _ = unsafe { syscall(libc::SYS_clock_gettime, [arg(libc::CLOCK_MONOTONIC), at]) };
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.nanoseconds).unwrap_or(0).min(999_999_999))
}

/// For a tenth of a millisecond, or until a signal.
pub(super) fn sleep_a_moment() {
    let moment = Timespec::new(Duration::from_micros(100));
    let at = ptr::from_ref(&moment).expose_provenance();
    // SAFETY: no descriptors, a timespec, no signal mask.
    let _ = unsafe { syscall(libc::SYS_ppoll, [0, 0, at, 0, 0]) };
}
