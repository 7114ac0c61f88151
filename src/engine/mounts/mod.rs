//! The steps that mount, and what they pass on to each other.

mod attach;
mod mount_point;
mod new_fs;
mod overlay;
mod root;
mod run;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::os::fd::RawFd;

use crate::plan::mounts::MountOp;
use crate::plan::mounts::mount_point::MountPoint;
use crate::sys::file::{self, AtomicFd, Fd};
use crate::sys::stat::{is_mount_root, mount_id};
use crate::sys::{Errno, Result};

pub(crate) use run::run;

/// What the steps pass on to each other: descriptors of whoever executes them.
#[derive(Debug)]
pub(crate) struct MountState {
    /// The new root; none while the present one is worked in.
    root: AtomicFd,
    trees: Vec<ClonedTree>,
    mounts: Vec<Mounted>,
    /// The ids of all mounts that were attached by now; 0 where none was yet.
    attached: Vec<AtomicU64>,
}

#[derive(Debug)]
pub(crate) struct ClonedTree {
    mount: AtomicFd,
    /// Whether it is a mere descriptor of the source, where `open_tree(2)` is hidden.
    is_source: AtomicBool,
    /// Whether its attributes are still to be changed, where `mount_setattr(2)` is missing.
    needs_remount: AtomicBool,
}

/// A mount in which a later step has something to find.
#[derive(Debug)]
struct Mounted {
    top: AtomicFd,
    id: AtomicU64,
}

impl MountState {
    pub(crate) fn of<'a>(ops: impl IntoIterator<Item = &'a MountOp>) -> Self {
        let (mut trees, mut mounts, mut attached) = (Vec::new(), Vec::new(), Vec::new());
        for op in ops {
            if op.point().is_some() {
                attached.push(AtomicU64::new(0));
            }
            if matches!(op, MountOp::OpenSource(_)) {
                trees.push(ClonedTree {
                    mount: AtomicFd::none(),
                    is_source: AtomicBool::new(false),
                    needs_remount: AtomicBool::new(false),
                });
            } else if op.point().is_some_and(|point| point.number.is_some()) {
                mounts.push(Mounted { top: AtomicFd::none(), id: AtomicU64::new(0) });
            }
        }
        Self { root: AtomicFd::none(), trees, mounts, attached }
    }

    fn tree(&self, tree: usize) -> Result<&ClonedTree> {
        self.trees.get(tree).ok_or(Errno::INVAL)
    }

    fn mounted(&self, number: usize) -> Option<RawFd> {
        self.mounts.get(number)?.top.get()
    }

    /// Whether a mount was attached by an earlier step, or is the root.
    fn is_earlier(&self, mount: RawFd) -> Result<bool> {
        let id = mount_id(mount)?;
        if let Some(root) = self.root.get() {
            if mount_id(root)? == id {
                return Ok(true);
            }
        }
        Ok(self.attached.iter().any(|earlier| earlier.load(SeqCst) == id))
    }

    /// Notes what was mounted at a place, if something is to be found in it. If it covers an earlier mount, which a
    /// link led to, it stands for that one, too.
    fn record(&self, point: &MountPoint, mount: Fd, target: &Fd) -> Result<()> {
        let id = mount_id(mount.raw())?;
        if let Some(free) = self.attached.iter().find(|earlier| earlier.load(SeqCst) == 0) {
            free.store(id, SeqCst);
        }
        let is_kept = |mounted: &&Mounted| mounted.top.get().is_some();
        if self.mounts.iter().any(|it| is_kept(&it)) && is_mount_root(target.raw())? {
            let covered = mount_id(target.raw())?;
            for earlier in self.mounts.iter().filter(is_kept) {
                if earlier.id.load(SeqCst) == covered {
                    earlier.top.set(file::copy(mount.raw())?);
                    earlier.id.store(id, SeqCst);
                }
            }
        }
        if let Some(own) = point.number.and_then(|number| self.mounts.get(number)) {
            own.id.store(id, SeqCst);
            own.top.set(mount);
        }
        Ok(())
    }

    /// When all is mounted, or has failed in a process that goes on.
    pub(crate) fn close(&self) {
        let trees = self.trees.iter().map(|tree_state| &tree_state.mount);
        let mounts = self.mounts.iter().map(|mounted| &mounted.top);
        trees.chain(mounts).chain([&self.root]).for_each(|kept| drop(kept.take()));
    }
}
