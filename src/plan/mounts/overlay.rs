//! The layers of an overlay.

#![forbid(unsafe_code)]

use core::fmt;
use std::ffi::{CStr, CString};

use super::Fs;

#[derive(Debug)]
pub(crate) struct Layers {
    pub(crate) stage: Fs,
    /// Each with its name there.
    pub(crate) lowers: Vec<(usize, CString)>,
    pub(crate) upper: Option<Upper>,
    /// The permissions of the uppermost, which an upper directory of ours is to have.
    pub(crate) mode: u32,
    pub(crate) data: CString,
    /// For people.
    pub(crate) text: String,
}

#[derive(Debug)]
pub(crate) struct Upper {
    /// The directory with both.
    pub(crate) tree: usize,
    pub(crate) name: CString,
    pub(crate) work: CString,
}

pub(crate) const TOP: &CStr = c"top";

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
