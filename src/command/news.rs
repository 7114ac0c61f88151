//! What a parent learns of a child that it does not, or no longer, sleep for.

#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::error::{AtStep, Result, Step};
use crate::sys::{Errno, file};

/// A pipe whose ends have numbers that the child does not replace by its streams, 0 to 2.
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Pipe {
    fn new() -> Result<Self> {
        let above = |end| rustix::io::fcntl_dupfd_cloexec(end, 3);
        let make = || {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
            Ok(Self { reader: above(reader)?, writer: above(writer)? })
        };
        make().at_step(Step::Prepare)
    }
}

/// That a child runs on without exec.
pub(super) struct Start(Pipe);

impl Start {
    pub(super) fn new() -> Result<Self> {
        Pipe::new().map(Self)
    }

    /// What the child writes a byte to.
    pub(super) fn for_child(&self) -> RawFd {
        self.0.writer.as_raw_fd()
    }

    /// Waits until the child tells, or ends without a word.
    pub(super) fn happens(self, child: &OwnedFd) -> bool {
        let Pipe { reader, writer } = self.0;
        drop(writer);
        loop {
            let mut ready = [&reader, child].map(|fd| PollFd::new(fd, PollFlags::IN));
            match poll(&mut ready, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                // A filter. Without the call, one who ended without a word is heard of when nobody has a copy
                // of its end of the pipe.
                Err(_) => return rustix::io::read(&reader, &mut [0]) == Ok(1),
            }
            // Also one that has ended since may have told before.
            let told = ready[0].revents().contains(PollFlags::IN);
            if told || ready.iter().any(|ready| !ready.revents().is_empty()) {
                return told;
            }
        }
    }
}

/// That a child's exec has entered its time namespace. A thread that sleeps in `clone3` is woken before:
/// the memory goes first (`exec_mmap`), then the namespace is entered, then what is close-on-exec is closed.
///
/// So the child locks a descriptor of its own, and the parent waits for that lock. Unlike the end of the
/// pipe, it does not wait for copies that processes made by other threads have of the descriptors: a lock
/// of `fcntl(2)` belongs to a table of descriptors, and any close in there ends it.
pub(super) struct Arrival(Pipe);

impl Arrival {
    pub(super) fn new() -> Result<Self> {
        Pipe::new().map(Self)
    }

    /// What the child locks.
    pub(super) fn for_child(&self) -> RawFd {
        self.0.writer.as_raw_fd()
    }

    /// Waits until the child has closed it, by exec or by its end.
    pub(super) fn wait(self) {
        file::await_unlocked(self.0.reader.as_raw_fd());
    }
}
