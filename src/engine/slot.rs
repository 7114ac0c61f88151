//! What a child tells its parent, in memory that both see, and the protocol of a spawn.
//!
//! Up to four processes take part: the parent, the child that becomes the program, an intermediate process
//! that makes the child where namespaces are entered first, and the id-map helper. All but the helper may
//! share the parent's memory or have a copy; it always shares, where memory can be shared at all. Any of
//! them may be killed at any moment. `tests/protocol` tries every interleaving of this, but for children that go
//! on in their copy (an init, the caller's code), of which a pipe and their pidfd tell, and what the helper starts:
//!
//! 1. *Whoever shares the parent's memory has let go of it before the parent frees or reuses any.* The
//!    parent sleeps in `clone3` (`CLONE_VFORK`) until the process it made has let go by exec or by its end. Of a process
//!    with a copy it learns both by a pipe, which exec closes, and its pidfd: such a process may belong to somebody who
//!    stops it, and nobody interrupts a sleep in `clone3`.
//!    If that was the intermediate process, then a `finished` that is still false says that it was killed,
//!    maybe while its own child is at work. `pid` says that there is one: the kernel writes it before the child runs, and
//!    only if it does. A child of a copy is watched like any other. One that shares our memory and has not run exec is
//!    killed, and its end awaited; until then it runs on a stack of its own, since the parent runs on the one that it would
//!    have. The helper's end is waited for in any case; what it starts, `newuidmap(1)`, has a copy, as nobody would wait
//!    for that if the helper is killed.
//! 2. *Each field has one writer at a time, and is read only when that is done:* `step`, `errno` and
//!    `detail` by the intermediate process and then the child, read when both have let go; `maps_errno` and
//!    then `maps` by the helper, read when it has ended. So no order of stores matters but that of one
//!    process, and all are `SeqCst`.
//! 3. `target` is the one word that somebody sleeps on: the helper. It is stored before the wake-up, and
//!    `futex(2)` sleeps only if it still is what the helper loaded, so no wake-up is lost; after each, the
//!    helper loads again. It goes from 0 to a process that asks, and from either to [`CANCELED`]. The
//!    parent may overwrite an asker: that one has let go of the memory then, so nobody waits for the answer.
//! 4. *Nobody waits for a word that a killed process owes.* Whoever waits for another process waits for its
//!    end, which the kernel tells: the child for the helper's, then reads what it achieved; the parent for
//!    that of every process that is not to be left. If the parent is killed, then so is the helper, which
//!    looks, once it is tied to its parent, whether it still had one; so the child's wait ends as well.
//! 5. *The helper writes the maps of who asked and nobody else.* A number means another process once its
//!    own has been waited for. So the helper opens `/proc/NUMBER` first and looks afterwards whether the
//!    process that asked, by its pidfd, still lives. `newuidmap(1)` looks the number up by itself: should the
//!    helper be killed meanwhile, only its own check of the owner is left.
//! 6. *A program with a time namespace of its own is in it when the spawn answers:* exec enters it only
//!    after it has woken the parent, which therefore looks, and waits (`engine/watch.rs`).
//! 7. *The parent's table of descriptors is its own.* The helper shares it until it starts work, and an intermediate
//!    process that shares the parent's memory, too, for the pidfd of the child that it makes. With a copy it may belong to
//!    somebody else, who kills it when he likes: then the child says that it is there, and goes on when the parent has a
//!    pidfd of it (`engine/handshake.rs`, `engine/intermediate.rs`).

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::SeqCst};
use std::os::fd::RawFd;

use crate::sys::clone::PidFdCell;
use crate::sys::{Errno, futex};

/// One for each spawn. The child writes; the parent reads once the child has let go, by exec or by
/// its end. A child that was killed leaves the step that it was at.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Which entry of the plan is being executed.
    step: AtomicU32,
    /// Why it failed; 0 if it did not.
    errno: AtomicI32,
    /// Which of the step's objects failed.
    detail: AtomicU32,
    /// The new process's descriptor.
    pub(crate) pid_fd: PidFdCell,
    /// As that, of the intermediate process.
    pub(crate) intermediate_pid_fd: PidFdCell,
    /// Its number, where an intermediate process made it.
    pub(crate) pid: AtomicU32,
    /// Whether `clone(2)` had to do for the last process that was made, which leaves more to that.
    pub(crate) legacy: AtomicBool,
    /// Whether the intermediate process has come to its end, its child being done with our memory.
    finished: AtomicBool,
    /// The process whose id maps are to be written, as `/proc` counts; 0 not yet, [`CANCELED`].
    target: AtomicU32,
    /// How far the id-map helper came: 0 not ready, [`WRITTEN`], or 1 + the file that failed.
    maps: AtomicU32,
    maps_errno: AtomicI32,
}

/// The child ended before it asked for its maps.
const CANCELED: u32 = u32::MAX;
const WRITTEN: u32 = u32::MAX;

/// A failure, as the child left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: usize,
    pub(crate) errno: Errno,
}

impl Slot {
    pub(crate) const fn new() -> Self {
        Self {
            step: AtomicU32::new(0),
            errno: AtomicI32::new(0),
            detail: AtomicU32::new(0),
            pid_fd: PidFdCell::new(),
            intermediate_pid_fd: PidFdCell::new(),
            pid: AtomicU32::new(0),
            legacy: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            target: AtomicU32::new(0),
            maps: AtomicU32::new(0),
            maps_errno: AtomicI32::new(0),
        }
    }

    pub(crate) fn begin(&self, step: usize) {
        self.step.store(narrow(step), SeqCst);
    }

    pub(crate) fn fail(&self, errno: Errno) {
        self.errno.store(errno.raw_os_error(), SeqCst);
    }

    pub(crate) fn finish(&self) {
        self.finished.store(true, SeqCst);
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(SeqCst)
    }

    pub(crate) fn set_detail(&self, detail: usize) {
        self.detail.store(narrow(detail), SeqCst);
    }

    pub(crate) fn detail(&self) -> usize {
        self.detail.load(SeqCst) as usize
    }

    pub(crate) fn step(&self) -> usize {
        self.step.load(SeqCst) as usize
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        match self.errno.load(SeqCst) {
            0 => None,
            errno => Some(Failure { step: self.step(), errno: Errno::from_raw_os_error(errno) }),
        }
    }

    /// The child asks for its maps.
    pub(crate) fn ask_for_maps(&self, pid: u32) {
        self.target.store(pid, SeqCst);
        futex::wake(&self.target);
    }

    /// The descriptor of the process that asked: the intermediate one does, if there is one.
    pub(crate) fn asker(&self) -> Option<RawFd> {
        self.intermediate_pid_fd.number().or_else(|| self.pid_fd.number())
    }

    /// The parent says that nobody will ask, or asked and is gone.
    pub(crate) fn cancel_maps(&self) {
        self.target.store(CANCELED, SeqCst);
        futex::wake(&self.target);
    }

    /// The helper waits for the process to serve; `None` if there is none.
    pub(crate) fn wait_for_target(&self) -> Option<u32> {
        loop {
            match self.target.load(SeqCst) {
                // Woken for no reason or by a change: the load decides.
                0 => drop(futex::wait(&self.target, 0)),
                CANCELED => return None,
                pid => return Some(pid),
            }
        }
    }

    pub(crate) fn maps_done(&self, result: Result<(), (usize, Errno)>) {
        let state = match result {
            Ok(()) => WRITTEN,
            Err((file, errno)) => {
                self.maps_errno.store(errno.raw_os_error(), SeqCst);
                narrow(file) + 1
            }
        };
        self.maps.store(state, SeqCst);
    }

    /// What the helper, now gone, achieved: the file that failed and why.
    pub(crate) fn maps_result(&self) -> Result<(), (usize, Errno)> {
        match self.maps.load(SeqCst) {
            WRITTEN => Ok(()),
            // It was killed.
            0 => Err((0, Errno::PIPE)),
            file => {
                let errno = Errno::from_raw_os_error(self.maps_errno.load(SeqCst));
                Err((file as usize - 1, errno))
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a plan has a handful of steps")]
fn narrow(number: usize) -> u32 {
    number as u32
}
