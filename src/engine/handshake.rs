//! How a child meets a parent that did not make it: the child's first step says that it is there, and waits until the
//! parent has its pidfd. Until then it has not run exec, so that nobody can have waited for it and its number is its own.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::error::{self, AtStep, Step};
use crate::sys::in_child::InChild;
use crate::sys::{Errno, Result, file, pidfd, scm_credentials, wait};

/// The socket over which they meet.
#[derive(Debug)]
pub(crate) struct Handshake {
    parents: OwnedFd,
    childs: OwnedFd,
}

/// Its ends, in the copies that a child has of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandshakeEnds<'a> {
    parents: BorrowedFd<'a>,
    pub(crate) childs: BorrowedFd<'a>,
}

impl Handshake {
    pub(crate) fn new() -> error::Result<Self> {
        let [parents, childs] = scm_credentials::pair().at_step(Step::Prepare)?;
        Ok(Self { parents, childs })
    }

    pub(crate) fn ends(&self) -> HandshakeEnds<'_> {
        HandshakeEnds { parents: self.parents.as_fd(), childs: self.childs.as_fd() }
    }

    /// The number of the child that waits, as this process counts.
    pub(crate) fn pid(&self) -> Result<Option<u32>> {
        scm_credentials::sender(self.parents.as_raw_fd())
    }

    /// The pidfd of the child that waits, which goes on. On a failure it has ended.
    pub(crate) fn meet(&self, pid: u32) -> Result<OwnedFd> {
        match pidfd::open(pid, 0) {
            Ok(child) => self.let_go(child),
            Err(errno) => {
                wait::end_child(pid);
                Err(errno)
            }
        }
    }

    /// Lets a child go on, also one that has not come to wait for that.
    pub(crate) fn let_go(&self, child: OwnedFd) -> Result<OwnedFd> {
        match scm_credentials::send(self.parents.as_raw_fd()) {
            // It has ended.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(child),
            Err(errno) => {
                let _ = pidfd::send_signal(child.as_raw_fd(), libc::SIGKILL);
                wait::await_end(child.as_raw_fd());
                Err(errno)
            }
        }
    }
}

impl AsFd for Handshake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.parents.as_fd()
    }
}

impl HandshakeEnds<'_> {
    /// In the process that makes the child: so that this one hears of it if the parent has ended.
    pub(crate) fn leave(self, child: InChild) {
        file::close_copy(self.parents.as_raw_fd(), child);
    }

    /// In the child.
    pub(crate) fn introduce(self) -> Result<()> {
        let socket = self.childs.as_raw_fd();
        scm_credentials::send(socket).and_then(|()| scm_credentials::receive(socket))
    }
}

/// The detail of a clone after which this failed.
pub(crate) const INTRODUCING: usize = 1;
