//! What a parent learns of a child that it does not, or no longer, sleep for.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::error::{AtStep, Result, Step};
use crate::namespace::Namespace;
use crate::ns_fd::NsFd;
use crate::pid_fd::PidFd;
use crate::proc_fs::ProcFs;
use crate::sys::{Errno, abi, file, pidfd, wait};

/// How a parent that does not sleep in `clone3` learns that its child runs on without exec, or has run exec.
///
/// A child that has its own memory may also have the ids of somebody else, who can stop it before exec: a parent that
/// slept in `clone3` would do so uninterruptibly.
pub(crate) struct StartPipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl StartPipe {
    pub(crate) fn new() -> Result<Self> {
        let make = || {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
            // 0 to 2 are replaced in the child.
            Ok(Self { reader, writer: rustix::io::fcntl_dupfd_cloexec(writer, 3)? })
        };
        make().at_step(Step::Prepare)
    }

    /// What the child writes a byte to.
    pub(crate) fn for_child(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// Waits until the child tells, or ends without a word.
    pub(crate) fn wait_for_start(self, child: &OwnedFd) -> bool {
        drop(self.writer);
        loop {
            let mut ready = [&self.reader, child].map(|fd| PollFd::new(fd, PollFlags::IN));
            match poll(&mut ready, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                // A filter. Without the call, one who ended without a word is heard of when nobody has a copy
                // of its end of the pipe.
                Err(_) => {
                    return retry_on_intr(|| rustix::io::read(&self.reader, &mut [0])) == Ok(1);
                }
            }
            // Also one that has ended since may have told before.
            let told = ready[0].revents().contains(PollFlags::IN);
            if told || ready.iter().any(|ready| !ready.revents().is_empty()) {
                return told;
            }
        }
    }
}

impl StartPipe {
    /// Waits until the child has run exec, or has ended.
    pub(crate) fn wait_for_exec(self, child: &OwnedFd) {
        drop(self.writer);
        let has_run_exec = || wait::has_surely_run_exec(child.as_raw_fd());
        let (mut watched, mut pause) = (2, Duration::from_millis(50));
        loop {
            let mut ready = [child, &self.reader].map(|fd| PollFd::new(fd, PollFlags::IN));
            let wait = Timespec::try_from(pause).ok();
            match poll(&mut ready[..watched], wait.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                // A filter.
                Err(_) => {
                    let _ = retry_on_intr(|| rustix::io::read(&self.reader, &mut [0]));
                    return;
                }
            }
            let [ended, closed] = ready.map(|ready| !ready.revents().is_empty());
            // Another thread's fork may have the other end of the pipe for as long as it likes.
            if ended || has_run_exec() {
                return;
            }
            if closed {
                // Before Linux 5.11, `close_other_fds` closes it before exec.
                if !wait::can_wait(child.as_raw_fd()) {
                    return;
                }
                (watched, pause) = (1, Duration::from_millis(1));
            }
        }
    }
}

/// Waits until a child that the kernel reaps by itself has run exec, and says whether it has; `None` where `/proc` does
/// not say it. No wait finds such a child. One that a signal killed before anybody saw its program did not run it, as
/// far as can be known.
pub(crate) fn wait_for_exec_of_autoreaped(child: &OwnedFd) -> Option<bool> {
    let proc = ProcFs::open().ok()?;
    let moment = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    loop {
        let has_run_exec = proc.has_run_exec(child.as_fd());
        // The number is the child's own if it has not ended since.
        if file::poll_readable(child.as_raw_fd(), false).ok()? {
            // The status is kept a moment later.
            file::poll_hang_up(child.as_raw_fd(), true).ok()?;
            let ended = pidfd::info(child.as_raw_fd()).ok()?;
            let is_kept = ended.mask & abi::PIDFD_INFO_EXIT != 0;
            return is_kept.then_some(libc::WIFEXITED(ended.exit_code));
        }
        if has_run_exec? {
            return Some(true);
        }
        let _ = poll(&mut [PollFd::new(child, PollFlags::IN)], Some(&moment));
    }
}

/// Waits until exec has brought the program into its time namespace. A thread that sleeps in `clone3` is woken
/// before: the memory goes first, and nothing later in an exec wakes anybody on all kernels (what is
/// close-on-exec is closed after the entry on some, before it on others).
///
/// So it is looked at, by the questions that whoever wants to enter it will ask; where they are refused to us,
/// they are to all of this process.
pub(crate) fn wait_for_time_namespace(child: &PidFd) {
    let is_underway = || -> Result<bool> {
        let own = NsFd::of_process(child, Namespace::Time)?;
        // Once there, a program may make others.
        Ok(own == NsFd::current(Namespace::Time)?
            && own != NsFd::for_children_of(child, Namespace::Time)?)
    };
    let moment = Timespec { tv_sec: 0, tv_nsec: 50_000 };
    while is_underway().unwrap_or(false) {
        // A child that ends does not arrive.
        let _ = poll(&mut [PollFd::new(child, PollFlags::IN)], Some(&moment));
    }
}
