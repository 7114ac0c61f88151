//! The process that enters namespaces and makes the child: how the child comes to its parent, which did not make it.
//!
//! Nobody but the parent can wait for the child, so its number is its own until it has run exec. The child's first step
//! sends a pidfd of itself. If it is not there when the intermediate process is gone, the child has not run exec: then the
//! number leads to it, which the kernel wrote when it made the child, and only then.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::SeqCst;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::engine::child::ChildJob;
use crate::engine::pid_fd_socket::PidFdSocket;
use crate::plan::Memory;
use crate::sys::wait::Ended;
use crate::sys::{Errno, Result, pidfd, wait};

/// How it went.
pub(crate) enum Outcome {
    /// There is a child, which is to be watched as any other.
    Child(u32, OwnedFd),
    /// The intermediate process has failed, as the slot says.
    Failed,
    /// It was killed, and no child is left.
    Killed(Option<Ended>),
    /// This process has no room for the child's descriptor, and no child is left.
    NoRoom(Errno),
}

/// Awaits the end of the intermediate process, or that it is of no use any more.
pub(crate) fn await_intermediate(
    job: &ChildJob<'_>,
    intermediate: &OwnedFd,
    pid_fd_socket: &PidFdSocket,
) -> Outcome {
    let slot = job.context.slot;
    let has_copy = job.plan.memory != Memory::Shared;
    let is_done =
        |child: &OwnedFd| job.plan.stays_in_copy() || wait::has_surely_run_exec(child.as_raw_fd());
    let mut received = Ok(None);
    // Who may signal it in the entered user namespace can stop it when the program runs already.
    while has_copy && has_not_ended(intermediate) {
        if let Ok(None) = received {
            received = pid_fd_socket.receive();
        }
        if matches!(&received, Ok(Some(child)) if is_done(child)) {
            let _ = pidfd::send_signal(intermediate.as_raw_fd(), libc::SIGKILL);
            break;
        }
    }
    let ended = wait::await_end(intermediate.as_raw_fd());
    let pid = slot.pid.load(SeqCst);
    let received = match received {
        Ok(None) => pid_fd_socket.receive(),
        received => received,
    };
    let child = match received {
        Ok(None) if pid == 0 => {
            return if slot.is_finished() { Outcome::Failed } else { Outcome::Killed(ended) };
        }
        Ok(None) => open_by_pid(pid, pid_fd_socket),
        received => received,
    };
    match child {
        // What was killed had nothing left to do but to sleep, and a child of a copy does not use our memory.
        Ok(Some(child)) if slot.is_finished() || has_copy || is_done(&child) => {
            Outcome::Child(pid, opened_here(pid, child))
        }
        Ok(Some(child)) => {
            // It may not be done yet with the memory that we are about to free.
            let _ = pidfd::send_signal(child.as_raw_fd(), libc::SIGKILL);
            wait::await_end(child.as_raw_fd());
            Outcome::Killed(ended)
        }
        Ok(None) => Outcome::Killed(ended),
        Err(errno) => {
            wait::end_child(pid);
            Outcome::NoRoom(errno)
        }
    }
}

/// The same pidfd, opened by this process: who opens one keeps its user namespace with it (`f_cred`), here that of the
/// child. The number is the child's own while nobody has waited for that.
fn opened_here(pid: u32, child: OwnedFd) -> OwnedFd {
    match pidfd::open(pid, 0) {
        Ok(opened) if wait::can_wait(child.as_raw_fd()) => opened,
        _ => child,
    }
}

/// The child that has not sent its pidfd. What comes now is its own; otherwise it had not run exec when the
/// descriptor was opened, so that nobody can have waited for it.
fn open_by_pid(pid: u32, pid_fd_socket: &PidFdSocket) -> Result<Option<OwnedFd>> {
    let opened = pidfd::open(pid, 0);
    match (pid_fd_socket.receive()?, opened) {
        (Some(child), _) => Ok(Some(child)),
        (None, Ok(child)) => Ok(Some(child)),
        // Another thread has waited with `__WALL`.
        (None, Err(Errno::SRCH)) => Ok(None),
        (None, Err(errno)) => Err(errno),
    }
}

/// Whether it is still there a while later.
fn has_not_ended(process: &OwnedFd) -> bool {
    let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let mut ready = [PollFd::new(process, PollFlags::IN)];
    // A filter may refuse the call.
    matches!(poll(&mut ready, Some(&pause)), Ok(0) | Err(Errno::INTR))
}
