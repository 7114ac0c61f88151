//! A standard stream of the program.

#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;

/// A stream made ready for a spawn.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The child's descriptor: never 0 to 2, which the child is about to replace; `None` to inherit.
    pub(crate) child: Option<OwnedFd>,
    /// The parent's end of a pipe.
    pub(crate) parent: Option<OwnedFd>,
}
