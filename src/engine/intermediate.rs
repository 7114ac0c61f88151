//! The process that enters namespaces and makes the child: how the child comes to its parent, which did not make it.
//!
//! Where the parent sleeps for the intermediate process, that shares the parent's table of descriptors, in which the
//! kernel puts the child's pidfd; it opens nothing else there. Who can kill it could also kill the parent. Where it has a
//! copy of the memory it may belong to somebody else: then child and parent meet by a [`Handshake`].

#![allow(
    unsafe_code,
    reason = "it takes over a descriptor that another process opened in our table"
)]

use core::sync::atomic::Ordering::SeqCst;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::engine::child::ChildJob;
use crate::engine::handshake::Handshake;
use crate::namespace::Namespace;
use crate::ns_fd::NsFd;
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
    /// The child could not be met, and is not left.
    NotMet(Errno),
}

/// Of an intermediate process that this one slept for.
pub(crate) fn take_child(job: &ChildJob<'_>, intermediate: &OwnedFd) -> Outcome {
    let slot = job.context.slot;
    let ended = wait::await_end(intermediate.as_raw_fd());
    let pid = slot.pid.load(SeqCst);
    // A clone that was killed may leave a number that the kernel took back. clone3 tells the pid only if there is a child.
    let is_made = |number| pid != 0 || (job.is_legacy() && wait::can_wait(number));
    let Some(number) = slot.pid_fd.number().filter(|&number| is_made(number)) else {
        return without_child(job, ended);
    };
    // SAFETY: so the kernel made it for us.
    let child = unsafe { OwnedFd::from_raw_fd(number) };
    let lets_go =
        || job.plan.memory != Memory::Shared || wait::has_surely_run_exec(child.as_raw_fd());
    if slot.is_finished() || (pid != 0 && lets_go()) {
        return Outcome::Child(pid, child);
    }
    // It may not be done yet with the memory that we are about to free.
    let _ = pidfd::send_signal(child.as_raw_fd(), libc::SIGKILL);
    wait::await_end(child.as_raw_fd());
    Outcome::Killed(ended)
}

fn without_child(job: &ChildJob<'_>, ended: Option<Ended>) -> Outcome {
    if job.context.slot.is_finished() { Outcome::Failed } else { Outcome::Killed(ended) }
}

/// Of one that has a copy of the memory.
pub(crate) fn meet_child(
    job: &ChildJob<'_>,
    intermediate: &OwnedFd,
    handshake: &Handshake,
) -> Outcome {
    let is_done =
        |child: &OwnedFd| job.plan.stays_in_copy() || wait::has_surely_run_exec(child.as_raw_fd());
    let mut child = None;
    loop {
        let has_ended = wait_for_either(intermediate, child.is_none().then_some(handshake));
        if child.is_none() {
            match handshake.pid().and_then(|pid| meet(pid, handshake)) {
                Ok(met) => child = met,
                Err(errno) => return not_met(job, intermediate, errno),
            }
        }
        if has_ended {
            break;
        }
        // Who may signal it in the entered user namespace can stop it when the program runs already.
        if child.as_ref().is_some_and(|(_, child)| is_done(child)) {
            let _ = pidfd::send_signal(intermediate.as_raw_fd(), libc::SIGKILL);
            break;
        }
    }
    let ended = wait::await_end(intermediate.as_raw_fd());
    match child {
        // What was killed had nothing left to do but to sleep, and its child does not use our memory.
        Some((pid, child)) => Outcome::Child(pid, child),
        None => match job.context.slot.pid.load(SeqCst) {
            0 => without_child(job, ended),
            pid => late_child(pid, handshake, ended),
        },
    }
}

fn meet(pid: Option<u32>, handshake: &Handshake) -> Result<Option<(u32, OwnedFd)>> {
    pid.map(|pid| handshake.meet(pid).map(|child| (pid, child))).transpose()
}

/// A child that waits for ever has not run exec.
fn not_met(job: &ChildJob<'_>, intermediate: &OwnedFd, errno: Errno) -> Outcome {
    let _ = pidfd::send_signal(intermediate.as_raw_fd(), libc::SIGKILL);
    wait::await_end(intermediate.as_raw_fd());
    let pid = job.context.slot.pid.load(SeqCst);
    if pid != 0 && children_are_here() {
        wait::end_child(pid);
    }
    Outcome::NotMet(errno)
}

/// Whether children are born in this process's pid namespace, so that the numbers of an intermediate process are ours.
fn children_are_here() -> bool {
    let id = |it: crate::error::Result<NsFd>| it.and_then(|it| it.id());
    match (id(NsFd::current(Namespace::Pid)), id(NsFd::for_children(Namespace::Pid))) {
        (Ok(ours), Ok(theirs)) => ours == theirs,
        _ => false,
    }
}

/// A child that has not introduced itself, made by a process that was killed. It will, or it has ended.
fn late_child(pid: u32, handshake: &Handshake, ended: Option<Ended>) -> Outcome {
    let met = if children_are_here() {
        match pidfd::open(pid, 0) {
            Ok(child) => handshake.let_go(child).map(|child| Some((pid, child))),
            // Another thread has waited with `__WALL`.
            Err(Errno::SRCH) => Ok(None),
            Err(errno) => {
                wait::end_child(pid);
                Err(errno)
            }
        }
    } else if wait_for(handshake, 1) {
        handshake.pid().and_then(|pid| meet(pid, handshake))
    } else {
        Ok(None)
    };
    match met {
        Ok(Some((pid, child))) => Outcome::Child(pid, child),
        Ok(None) => Outcome::Killed(ended),
        Err(errno) => Outcome::NotMet(errno),
    }
}

/// Waits until a process has ended or somebody has introduced himself, or for a while. Says whether it has ended.
fn wait_for_either(process: &OwnedFd, handshake: Option<&Handshake>) -> bool {
    let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let mut ready = [PollFd::new(process, PollFlags::IN), PollFd::new(process, PollFlags::IN)];
    if let Some(socket) = handshake {
        ready[1] = PollFd::new(socket, PollFlags::IN);
    }
    match poll(&mut ready, Some(&pause)) {
        Ok(_) | Err(Errno::INTR) => {}
        // A filter refuses the call: whether it has ended is known when it is waited for.
        Err(_) => return handshake.is_none(),
    }
    !ready[0].revents().is_empty()
}

fn wait_for(handshake: &Handshake, seconds: i64) -> bool {
    let pause = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let mut ready = [PollFd::new(handshake, PollFlags::IN)];
    matches!(poll(&mut ready, Some(&pause)), Ok(1))
}
