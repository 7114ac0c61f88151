//! Both outputs of a child, read to their ends.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, poll};

use crate::sys::{self, Errno};

/// An output being read, to its end.
pub(super) struct Pipe {
    file: Option<File>,
    pub(super) bytes: Vec<u8>,
}

impl Pipe {
    pub(super) fn new(pipe: Option<impl Into<OwnedFd>>) -> Self {
        Self { file: pipe.map(|pipe| File::from(pipe.into())), bytes: Vec::new() }
    }

    /// Reads once: a pipe that is ready answers at once.
    fn read(&mut self) -> sys::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        self.bytes.reserve(16 * 1024);
        match rustix::io::read(file, spare_capacity(&mut self.bytes)) {
            Ok(0) => self.file = None,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }
}

/// Both at a time: a child that fills one pipe while we read the other would wait for ever.
pub(super) fn read_both(one: &mut Pipe, other: &mut Pipe) -> sys::Result<()> {
    loop {
        match (&one.file, &other.file) {
            (None, None) => return Ok(()),
            (Some(_), None) => one.read()?,
            (None, Some(_)) => other.read()?,
            (Some(first), Some(second)) => {
                let mut ready =
                    [PollFd::new(first, PollFlags::IN), PollFd::new(second, PollFlags::IN)];
                match poll(&mut ready, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
                let [first, second] = ready.map(|ready| !ready.revents().is_empty());
                if first {
                    one.read()?;
                }
                if second {
                    other.read()?;
                }
            }
        }
    }
}
