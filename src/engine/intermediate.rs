//! The end of the process that enters namespaces and makes the child.

#![allow(
    unsafe_code,
    reason = "it takes over descriptors that another process opened in our table"
)]

use core::sync::atomic::Ordering::SeqCst;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::engine::child::Job;
use crate::plan::Memory;
use crate::sys::Errno;
use crate::sys::file::Fd;
use crate::sys::process::{self, Ended};

/// Awaits the end of the process that enters namespaces and makes the child, and returns the child, if it made one; or
/// how that process ended, if it was killed before the child ran exec.
pub(crate) fn await_intermediate(
    job: &Job<'_>,
    intermediate: &OwnedFd,
) -> Result<Option<(u32, OwnedFd)>, Option<Ended>> {
    let slot = job.context.slot;
    // The child is made where the kernel told its pid: the number of its descriptor alone may be one that it took back,
    // which others have got since.
    let made = || slot.pid_fd.number().filter(|_| slot.pid.load(SeqCst) != 0);
    let has_copy = job.plan.memory != Memory::Shared;
    let is_done = |child| job.plan.goes_on() || process::is_seen_after_exec(child);
    // Who may signal it in the entered user namespace can stop it when the program runs already.
    while has_copy && has_not_ended(intermediate) {
        if made().is_some_and(is_done) {
            let _ = process::pidfd_send_signal(intermediate.as_raw_fd(), libc::SIGKILL);
            break;
        }
    }
    let ended = process::await_end(intermediate.as_raw_fd());
    // SAFETY: the intermediate process opened them in our table, and is gone.
    slot.left_open().for_each(|file| drop(unsafe { Fd::from_raw(file) }));
    // What was killed had nothing left to do but to sleep, and a child of a copy does not use our memory.
    if slot.is_finished() || made().is_some_and(|child| has_copy || is_done(child)) {
        // SAFETY: the kernel made it for us: the clone is over, and was not refused.
        let pid_fd = slot.pid_fd.number().map(|number| unsafe { OwnedFd::from_raw_fd(number) });
        return Ok(pid_fd.map(|pid_fd| (slot.pid.load(SeqCst), pid_fd)));
    }
    // It was killed, so its child may not be done yet with the memory that we are about to free.
    if let Some(child) = made().or_else(|| made_by_clone2(job)) {
        // SAFETY: so it is the descriptor that the kernel made for us.
        let child = unsafe { OwnedFd::from_raw_fd(child) };
        let _ = process::pidfd_send_signal(child.as_raw_fd(), libc::SIGKILL);
        process::await_end(child.as_raw_fd());
    }
    Err(ended)
}

/// Whether it is still there a while later.
fn has_not_ended(process: &OwnedFd) -> bool {
    let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let mut ready = [PollFd::new(process, PollFlags::IN)];
    // A filter may refuse the call.
    matches!(poll(&mut ready, Some(&pause)), Ok(0) | Err(Errno::INTR))
}

/// The descriptor of the child that a process made by clone(2), which tells no pid, and was killed. What cannot be waited
/// for is no child of ours; where a filter refuses to wait, it is better not to free what one may use.
fn made_by_clone2(job: &Job<'_>) -> Option<RawFd> {
    let child = job.context.slot.pid_fd.number()?;
    let is_other = |errno| matches!(errno, Errno::CHILD | Errno::BADF | Errno::INVAL);
    let is_made = job.is_legacy() && !process::wait(child, false).is_err_and(is_other);
    is_made.then_some(child)
}
