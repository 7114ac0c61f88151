//! Parts of a trial in processes of their own: for filters, ids and limits, which have no way back. The calling process
//! has one thread.

use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::panic::{self, AssertUnwindSafe};

use super::{harness, machine};

/// A forked process, which is killed and waited for by the drop.
pub(crate) struct Fork(i32);

impl Fork {
    /// Ends with what `work` returns, if it comes to that.
    pub(crate) fn start(work: impl FnOnce() -> i32) -> Self {
        // SAFETY: this process has one thread, so the child may do anything.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let code = work();
            // SAFETY: ends the process without what the test binary registered for its end.
            unsafe { libc::_exit(code) }
        }
        assert!(pid > 0, "{}", std::io::Error::last_os_error());
        Self(pid)
    }

    /// Returns when it has done what there is to do before, and sleeps.
    pub(crate) fn sleeping(before: impl FnOnce()) -> Self {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let fork = Self::start(|| {
            before();
            end_with_parent();
            drop(writer);
            sleep()
        });
        reader.read_to_end(&mut Vec::new()).unwrap();
        fork
    }

    pub(crate) fn pid(&self) -> i32 {
        self.0
    }

    /// Leaves it to whoever waits for it, by its pid.
    pub(crate) fn leave(self) -> i32 {
        ManuallyDrop::new(self).0
    }

    /// Its wait status.
    pub(crate) fn wait(self) -> i32 {
        wait(self.leave())
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        // SAFETY: a child of this process that was not waited for.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL);
        }
    }
}

/// The wait status of a child.
pub(crate) fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the kernel writes a number.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    assert_eq!(waited, pid, "{}", std::io::Error::last_os_error());
    status
}

/// Waits for all children, and for the orphans that come to this process meanwhile.
pub(crate) fn wait_for_all() {
    // SAFETY: waits.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL) } > 0 {}
}

/// Closes the copy of its parent's descriptor in a fork, which drops nothing.
pub(crate) fn close(fd: &impl AsRawFd) {
    // SAFETY: of this process alone.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Until it is killed.
pub(crate) fn sleep() -> ! {
    loop {
        // SAFETY: sleeps.
        unsafe { libc::pause() };
    }
}

/// A change of ids undoes it.
pub(crate) fn end_with_parent() {
    // SAFETY: this process alone.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Ends this process as it is, where a trial cannot take back what it did.
pub(crate) fn exit() -> ! {
    // SAFETY: ends the process without what the test binary registered for its end.
    unsafe { libc::_exit(0) }
}

/// Runs `work` in a forked process and fails as it fails. It may leave neither a child nor a descriptor.
pub(crate) fn in_fork(work: impl FnOnce()) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let fork = Fork::start(|| {
        panic::set_hook(Box::new(move |info| drop(writeln!(&writer, "{info}"))));
        panic::catch_unwind(AssertUnwindSafe(|| checked(work))).is_err().into()
    });
    let mut message = String::new();
    reader.read_to_string(&mut message).unwrap();
    let status = fork.wait();
    assert!(status == 0, "in a forked process, which ended with {status:#x}: {message}");
}

fn checked(work: impl FnOnce()) {
    end_with_parent();
    // SAFETY: this process alone: it gets its own orphans.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let before = harness::descriptors();
    work();
    assert_eq!(harness::descriptors(), before, "descriptors are left");
    // SAFETY: waits for nothing.
    let left = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
    assert_eq!(left, -1, "a process is left");
}

/// Becomes a user without groups. Another user's process is not dumpable at first.
pub(crate) fn become_user(id: u32) {
    // SAFETY: this process has one thread.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(id, id, id), 0);
        assert_eq!(libc::setresuid(id, id, id), 0);
        libc::prctl(libc::PR_SET_DUMPABLE, 1);
    }
}

/// As `in_fork`, as a user without rights also where the suite runs as root.
pub(crate) fn as_ordinary(work: impl FnOnce()) {
    const NOBODY_ELSE: u32 = 54_321;
    in_fork(|| {
        if machine::is_uid_0() {
            become_user(NOBODY_ELSE);
            end_with_parent();
        }
        work();
    });
}
