//! Where something is to be mounted, found and made without a way out of the root.

#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

use crate::mounts::Target;
use crate::setup::slot::Slot;
use crate::sys::below::{NoUmask, make_dir, make_file, open_in_root};
use crate::sys::{Errno, Result, file};

/// The detail of a step that failed at making the mount point.
pub(super) const MAKING: usize = 1;

/// What a missing mount point becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    Nothing,
    Dir,
    File,
}

#[derive(Debug)]
pub(crate) struct Place {
    names: Vec<CString>,
    /// The path, from the root, up to each of the names.
    paths: Vec<CString>,
    make: Make,
}

impl Place {
    pub(super) fn new(target: &Target, make: Make) -> Self {
        Self::of(target.names().to_vec(), make)
    }

    pub(super) fn of(names: Vec<CString>, make: Make) -> Self {
        let longer = |path: &mut Vec<u8>, name: &CString| {
            path.push(b'/');
            path.extend(name.to_bytes());
            CString::new(path.clone()).ok()
        };
        let paths = names.iter().scan(Vec::new(), longer).collect();
        Self { names, paths, make }
    }

    pub(super) fn path(&self) -> &CStr {
        self.paths.last().map_or(c"/", |path| path)
    }

    pub(super) fn open(&self, root: RawFd) -> Result<RawFd> {
        self.open_up_to(root, self.names.len())
    }

    fn open_up_to(&self, root: RawFd, count: usize) -> Result<RawFd> {
        let names = self.names.iter().take(count).map(CString::as_c_str);
        let path = count.checked_sub(1).and_then(|last| self.paths.get(last));
        open_in_root(root, path.map_or(c"/", |path| path), names)
    }

    /// Opens it, and makes it before where that is wanted.
    pub(super) fn reach(&self, root: RawFd, slot: &Slot) -> Result<RawFd> {
        match self.open(root) {
            Err(Errno::NOENT) if self.make != Make::Nothing => {
                slot.set_detail(MAKING);
                let made = self.make_all(root);
                if made.is_ok() {
                    slot.set_detail(0);
                }
                made
            }
            answer => answer,
        }
    }

    /// One name after the other.
    fn make_all(&self, root: RawFd) -> Result<RawFd> {
        let mut dir = self.open_up_to(root, 0)?;
        for (index, name) in self.names.iter().enumerate() {
            let next = match self.open_up_to(root, index + 1) {
                Err(Errno::NOENT) => {
                    let is_file = index + 1 == self.names.len() && self.make == Make::File;
                    let made = make(dir, name, is_file);
                    made.and_then(|()| self.open_up_to(root, index + 1))
                }
                answer => answer,
            };
            file::close(dir);
            dir = next?;
        }
        Ok(dir)
    }

    /// For what is to be in its directory, which is made if it is missing.
    pub(super) fn in_dir(
        &self,
        root: RawFd,
        work: impl FnOnce(RawFd, &CStr) -> Result<()>,
    ) -> Result<()> {
        let Some((name, before)) = self.names.split_last() else {
            return Err(Errno::INVAL);
        };
        let dir = self.open_up_to(root, before.len())?;
        let done = work(dir, name);
        file::close(dir);
        match done {
            // As wanted, presumably.
            Err(Errno::EXIST) => Ok(()),
            done => done,
        }
    }
}

fn make(dir: RawFd, name: &CStr, is_file: bool) -> Result<()> {
    let _exactly = NoUmask::begin();
    let made = if is_file { make_file(dir, name) } else { make_dir(dir, name, 0o755) };
    match made {
        // A link that leads nowhere, or somebody else was faster: opening it tells.
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}
