//! Where something is to be mounted, as names.

#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};

/// The detail of a step that failed to create the mount point.
pub(crate) const CREATING: usize = 1;

/// What a missing mount point becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Create {
    Nothing,
    Dir,
    File,
}

#[derive(Debug)]
pub(crate) struct MountPoint {
    pub(crate) names: Vec<CString>,
    /// The path, from the root, up to each of the names.
    pub(crate) paths: Vec<CString>,
    pub(crate) create: Create,
    /// Earlier mounts of the same plan in which it lies, the latest first.
    pub(crate) bases: Vec<EarlierMount>,
    /// What later places know the mount here by, if one lies in it.
    pub(crate) number: Option<usize>,
}

/// An earlier mount: its number, and how many of the names lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EarlierMount {
    pub(crate) mount: usize,
    pub(crate) depth: usize,
}

impl MountPoint {
    pub(crate) fn of(names: Vec<CString>, create: Create) -> Self {
        let longer = |path: &mut Vec<u8>, name: &CString| {
            path.push(b'/');
            path.extend(name.to_bytes());
            CString::new(path.clone()).ok()
        };
        let paths = names.iter().scan(Vec::new(), longer).collect();
        Self { names, paths, create, bases: Vec::new(), number: None }
    }

    pub(crate) fn path(&self) -> &CStr {
        self.paths.last().map_or(c"/", |path| path)
    }
}
