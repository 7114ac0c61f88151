//! An overlay: its layers are gathered on a file system of its own, where they have short names.
//!
//! The kernel takes layers by their paths. Relative to a directory that nobody else sees, these need no
//! trust in anything else, are short, and have no character in them that means something to it.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::SeqCst;
use std::ffi::CStr;

use super::MountState;
use super::attach::{attach_mount, attach_to_root, working_directory};
use super::new_fs::create_fs;
use crate::plan::mounts::Attr;
use crate::plan::mounts::overlay::{Layers, TOP};
use crate::sys::create::{mkdir, without_umask};
use crate::sys::file::Fd;
use crate::sys::mount::{self, clone_tree};
use crate::sys::stat::{MS_NOSYMFOLLOW, mount_flags};
use crate::sys::{Errno, Result, file};

const MERGED: &CStr = c"merged";
impl Layers {
    /// A mount of it that is attached nowhere.
    pub(crate) fn mount(&self, mount_state: &MountState) -> Result<Fd> {
        let here = working_directory()?;
        let stage = create_fs(&self.stage, Attr::default())?;
        attach_to_root(&stage)?;
        let merge = || without_umask(|| self.merge(&stage, mount_state));
        let merged = file::fchdir(stage.raw()).and_then(|()| merge());
        let left = file::fchdir(stage.raw()).and_then(|()| mount::detach_here());
        let left = left.and_then(|()| file::fchdir(here.raw()));
        let merged = merged?;
        left.map(|()| merged)
    }

    /// In the stage, which is the working directory.
    fn merge(&self, stage: &Fd, mount_state: &MountState) -> Result<Fd> {
        mkdir(stage.raw(), MERGED, 0o755)?;
        for (tree, name) in &self.lowers {
            mkdir(stage.raw(), name, 0o755)?;
            put(stage, name, *tree, mount_state)?;
        }
        mkdir(stage.raw(), TOP, 0o755)?;
        let open_top = || file::open_at(stage.raw(), TOP, libc::O_PATH | libc::O_DIRECTORY);
        match &self.upper {
            Some(upper) => {
                put(stage, TOP, upper.tree, mount_state)?;
                let top = open_top()?;
                make_own_dir(&top, &upper.name)?;
                make_own_dir(&top, &upper.work)?;
                // overlayfs looks both up again by name: no link that has come in their place is followed.
                let flags = libc::MS_REMOUNT | libc::MS_BIND | MS_NOSYMFOLLOW;
                mount::mount(None, TOP, None, flags | mount_flags(top.raw())?, None)?;
            }
            None => {
                let top = open_top()?;
                mkdir(top.raw(), c"upper", self.mode)?;
                mkdir(top.raw(), c"work", 0o755)?;
            }
        }
        mount::mount(Some(c"overlay"), MERGED, Some(c"overlay"), 0, Some(&self.data))?;
        // A copy, since the original goes with the stage.
        clone_tree(stage.raw(), MERGED, false)
    }
}

fn put(stage: &Fd, name: &CStr, tree: usize, mount_state: &MountState) -> Result<()> {
    let tree_state = mount_state.tree(tree)?;
    if tree_state.is_source.load(SeqCst) {
        return Err(Errno::NOSYS);
    }
    let mount = tree_state.mount.take().ok_or(Errno::INVAL)?;
    let target = file::open_at(stage.raw(), name, libc::O_PATH)?;
    attach_mount(&mount, &target)
}

/// One that is no link to elsewhere.
fn make_own_dir(dir: &Fd, name: &CStr) -> Result<()> {
    match mkdir(dir.raw(), name, 0o755) {
        Ok(()) | Err(Errno::EXIST) => {}
        refused => return refused,
    }
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_DIRECTORY;
    file::open_at(dir.raw(), name, flags).map(drop)
}
