//! What a child tells its parent, in memory that both see.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::SeqCst};

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
    /// The new process's descriptor, written by the kernel; -1 for none.
    pub(crate) pid_fd: AtomicI32,
    /// Its number, where an intermediate process made it.
    pub(crate) pid: AtomicU32,
    /// Whether the intermediate process has come to its end, its child being done with our memory.
    finished: AtomicBool,
    /// The process whose id maps are to be written, as `/proc` counts; 0 not yet, [`CALLED_OFF`].
    target: AtomicU32,
    /// How far the id-map helper came: 0 not ready, [`WRITTEN`], or 1 + the file that failed.
    maps: AtomicU32,
    maps_errno: AtomicI32,
}

/// The child ended before it asked for its maps.
const CALLED_OFF: u32 = u32::MAX;
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
            pid_fd: AtomicI32::new(-1),
            pid: AtomicU32::new(0),
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

    /// The parent says that nobody will ask, or asked and is gone.
    pub(crate) fn call_maps_off(&self) {
        self.target.store(CALLED_OFF, SeqCst);
        futex::wake(&self.target);
    }

    /// The helper waits for the process to serve; `None` if there is none.
    pub(crate) fn await_target(&self) -> Option<u32> {
        loop {
            match self.target.load(SeqCst) {
                // Woken for no reason or by a change: the load decides.
                0 => drop(futex::wait(&self.target, 0)),
                CALLED_OFF => return None,
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
