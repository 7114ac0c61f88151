//! A part of a trial in a process of its own: for filters, ids and limits, which have no way back.

use std::io::{Read, Write};
use std::panic::{self, AssertUnwindSafe};

use super::{harness, machine};

/// Runs `work` in a forked process and fails as it fails. It may leave neither a child nor a
/// descriptor. The calling process has one thread.
pub(crate) fn in_fork(work: impl FnOnce()) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    // SAFETY: this process has one thread, so the child may do anything.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        drop(reader);
        panic::set_hook(Box::new(move |info| drop(writeln!(&writer, "{info}"))));
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| checked(work)));
        // SAFETY: ends the process without what the test binary registered for its end.
        unsafe { libc::_exit(outcome.is_err().into()) }
    }
    drop(writer);
    let mut message = String::new();
    reader.read_to_string(&mut message).unwrap();
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert!(status == 0, "in a forked process, which ended with {status:#x}: {message}");
}

fn checked(work: impl FnOnce()) {
    // SAFETY: plain calls on this process, which ends with the trial, and gets its own orphans.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
    }
    let before = harness::descriptors();
    work();
    assert_eq!(harness::descriptors(), before, "descriptors are left");
    // SAFETY: waits for nothing.
    let left = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
    assert_eq!(left, -1, "a process is left");
}

/// As `in_fork`, as a user without rights also where the suite runs as root.
pub(crate) fn as_ordinary(work: impl FnOnce()) {
    const NOBODY_ELSE: u32 = 54_321;
    in_fork(|| {
        if machine::is_uid_0() {
            // SAFETY: this process has one thread. Another user's process is not dumpable at first.
            unsafe {
                assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
                assert_eq!(libc::setresgid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE), 0);
                assert_eq!(libc::setresuid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE), 0);
                libc::prctl(libc::PR_SET_DUMPABLE, 1);
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            }
        }
        work();
    });
}
