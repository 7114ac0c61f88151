//! Where something is to be mounted, found and made without a way out of the root, or of an earlier mount.

#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

use super::MountState;
use crate::engine::slot::Slot;
use crate::plan::mounts::mount_point::{CREATING, Create, EarlierMount, MountPoint};
use crate::sys::create::{mkdir, mknod, without_umask};
use crate::sys::file::{self, Fd};
use crate::sys::in_root::{Within, open_in_root};
use crate::sys::{Errno, Result};

/// Where a lookup starts.
#[derive(Clone, Copy)]
struct LookupStart {
    dir: RawFd,
    depth: usize,
    within: Within,
}

impl MountPoint {
    /// In the latest earlier mount that it lies in, or else in the root. A mount that was made nowhere, as the mask
    /// of something missing, is none.
    fn start(&self, root: RawFd, depth: usize, mount_state: &MountState) -> LookupStart {
        let mounted = |base: &EarlierMount| {
            let dir = mount_state.mounted(base.mount).filter(|_| base.depth <= depth)?;
            Some(LookupStart { dir, depth: base.depth, within: Within::Mount })
        };
        let from_root = LookupStart { dir: root, depth: 0, within: Within::Root };
        self.bases.iter().find_map(mounted).unwrap_or(from_root)
    }

    pub(crate) fn open(&self, root: RawFd, mount_state: &MountState) -> Result<Fd> {
        self.open_up_to(root, self.names.len(), mount_state)
    }

    /// The same by the names alone: what is mounted there by now.
    pub(crate) fn open_top(&self, root: RawFd, mount_state: &MountState) -> Result<Fd> {
        let Some(last) = self.names.len().checked_sub(1) else {
            return Err(Errno::INVAL);
        };
        let start = self.start(root, last, mount_state);
        self.look_up(start, self.names.len())
    }

    fn open_up_to(&self, root: RawFd, count: usize, mount_state: &MountState) -> Result<Fd> {
        self.look_up(self.start(root, count, mount_state), count)
    }

    fn look_up(&self, start: LookupStart, count: usize) -> Result<Fd> {
        let names = self.names.iter().take(count).skip(start.depth).map(CString::as_c_str);
        let path = match (start.within, count) {
            _ if start.depth == count && start.depth > 0 => return file::copy(start.dir),
            (Within::Root, 0) => c"/",
            (Within::Root, count) => self.path_up_to(count),
            (Within::Mount, count) => self.path_between(start.depth, count)?,
        };
        open_in_root(start.dir, path, start.within, names)
    }

    fn path_up_to(&self, count: usize) -> &CStr {
        let path = count.checked_sub(1).and_then(|last| self.paths.get(last));
        path.map_or(c"/", |path| path)
    }

    /// Without the names before, and the slash behind them.
    fn path_between(&self, depth: usize, count: usize) -> Result<&CStr> {
        let before = self.path_up_to(depth).count_bytes() + 1;
        let rest = self.path_up_to(count).to_bytes_with_nul().get(before..);
        rest.and_then(|rest| CStr::from_bytes_with_nul(rest).ok()).ok_or(Errno::INVAL)
    }

    /// Opens it, and makes it before where that is wanted.
    pub(crate) fn reach(&self, root: RawFd, mount_state: &MountState, slot: &Slot) -> Result<Fd> {
        match self.open(root, mount_state) {
            Err(Errno::NOENT) if self.create != Create::Nothing => {
                slot.set_detail(CREATING);
                let made = self.create_all(root, mount_state);
                if made.is_ok() {
                    slot.set_detail(0);
                }
                made
            }
            answer => answer,
        }
    }

    /// One name after the other.
    fn create_all(&self, root: RawFd, mount_state: &MountState) -> Result<Fd> {
        let first = self.start(root, self.names.len(), mount_state).depth;
        let mut dir = self.open_up_to(root, first, mount_state)?;
        for (index, name) in self.names.iter().enumerate().skip(first) {
            dir = match self.open_up_to(root, index + 1, mount_state) {
                Err(Errno::NOENT) => {
                    let is_file = index + 1 == self.names.len() && self.create == Create::File;
                    create(dir.raw(), name, is_file)?;
                    self.open_up_to(root, index + 1, mount_state)?
                }
                answer => answer?,
            };
        }
        Ok(dir)
    }

    /// For what is to be in its directory.
    pub(crate) fn in_dir(
        &self,
        root: RawFd,
        mount_state: &MountState,
        work: impl FnOnce(RawFd, &CStr) -> Result<()>,
    ) -> Result<()> {
        let Some((name, before)) = self.names.split_last() else {
            return Err(Errno::INVAL);
        };
        let dir = self.open_up_to(root, before.len(), mount_state)?;
        match work(dir.raw(), name) {
            // As wanted, presumably.
            Err(Errno::EXIST) => Ok(()),
            done => done,
        }
    }
}

fn create(dir: RawFd, name: &CStr, is_file: bool) -> Result<()> {
    let make = || if is_file { mknod(dir, name) } else { mkdir(dir, name, 0o755) };
    match without_umask(make) {
        // A link that leads nowhere, or somebody else was faster: opening it tells.
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}
