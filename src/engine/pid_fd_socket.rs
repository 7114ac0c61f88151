//! A pidfd on its way from a child to its parent, which did not make it.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::error::{self, AtStep, Step};
use crate::sys::{Result, pidfd, scm_rights};

/// The socket that the pidfd comes over.
#[derive(Debug)]
pub(crate) struct PidFdSocket {
    ours: OwnedFd,
    childs: OwnedFd,
}

impl PidFdSocket {
    pub(crate) fn new() -> error::Result<Self> {
        let [ours, childs] = scm_rights::pair().at_step(Step::Prepare)?;
        Ok(Self { ours, childs })
    }

    pub(crate) fn for_child(&self) -> BorrowedFd<'_> {
        self.childs.as_fd()
    }

    pub(crate) fn receive(&self) -> Result<Option<OwnedFd>> {
        scm_rights::receive(self.ours.as_raw_fd())
    }
}

/// The detail of a clone after which this failed.
pub(crate) const SENDING_PID_FD: usize = 1;

/// What a child that an intermediate process made does first.
pub(crate) fn send_own_pid_fd(socket: BorrowedFd<'_>) -> Result<()> {
    let own = pidfd::open_own()?;
    scm_rights::send(socket.as_raw_fd(), own.raw())
}
