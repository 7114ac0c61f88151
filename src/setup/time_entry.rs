//! How this kernel lets a process into a new time namespace whose clocks were set: by exec, or only by
//! birth.

#![allow(unsafe_code, reason = "it makes a process that looks")]

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::sys::clone::{self, Request, SharedBox};
use crate::sys::signal::MaskGuard;
use crate::sys::{abi, process};

/// Whether exec moves a process into the time namespace that waits for its children, as from Linux 6.2
/// on. Asked once, of a process made for it; `false` also where that cannot be told, as birth works
/// everywhere.
///
/// This thread's next child must not be the first of a new pid namespace.
pub(crate) fn exec_enters_time_namespace() -> bool {
    static KNOWN: AtomicU32 = AtomicU32::new(UNKNOWN);
    if KNOWN.load(SeqCst) == UNKNOWN {
        // Whoever may make a time namespace may do it in a user namespace, or else without one.
        let answer = ask(abi::CLONE_NEWUSER).or_else(|| ask(0)).unwrap_or(UNKNOWN);
        KNOWN.store(answer, SeqCst);
    }
    KNOWN.load(SeqCst) == YES
}

const UNKNOWN: u32 = 0;
const NO: u32 = 1;
const YES: u32 = 2;

/// Answers in a new namespace of the kind in `namespaces`; `None` if it is refused.
fn ask(namespaces: u32) -> Option<u32> {
    let answer = SharedBox::new(AtomicU32::new(UNKNOWN)).ok()?;
    let mut pid_fd: RawFd = -1;
    let flags = abi::CLONE_PIDFD | abi::CLONE_CLEAR_SIGHAND | u64::from(namespaces);
    let request = Request::new(flags, &raw mut pid_fd, None);
    let blocked = MaskGuard::block_all();
    // SAFETY: the child has a copy of the memory, where it makes system calls and ends.
    let made = unsafe { clone::clone(&request, &AtomicBool::new(false), look, &*answer) };
    drop(blocked);
    made.ok()?;
    // SAFETY: the kernel has just made this descriptor for us.
    let child = unsafe { OwnedFd::from_raw_fd(pid_fd) };
    process::await_end(child.as_raw_fd());
    Some(answer.load(SeqCst)).filter(|&answer| answer != UNKNOWN)
}

fn look(answer: &AtomicU32) -> ! {
    if process::unshare(abi::CLONE_NEWTIME).is_ok() {
        answer.store(if clone::exec_enters_time_namespace() { YES } else { NO }, SeqCst);
    }
    process::exit(0)
}
