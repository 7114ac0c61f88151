//! The new root: what it is made of, and the way into it.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::SeqCst;
use std::os::fd::RawFd;

use super::attach::{attach_to_root, bind_on_root_by_path, remount_all, with_old_root};
use super::new_fs::{create_mount, mount_new_by_path};
use crate::engine::run::Context;
use crate::plan::mounts::mount_point::MountPoint;
use crate::plan::mounts::{Attr, RootSource};
use crate::sys::file;
use crate::sys::mount;
use crate::sys::{Errno, Result};

pub(super) fn mount_root(
    base: &RootSource,
    attr: Attr,
    submounts: &[MountPoint],
    context: &Context<'_>,
) -> Result<()> {
    let mount_state = context.mount_state;
    let (mount, late) = match base {
        RootSource::Tree { tree, .. } => {
            let tree_state = mount_state.tree(*tree)?;
            let late = tree_state.needs_remount.load(SeqCst);
            let mount = tree_state.mount.take().ok_or(Errno::INVAL)?;
            if tree_state.is_source.load(SeqCst) {
                bind_on_root_by_path(&mount, context)?;
                (None, late)
            } else {
                (Some(mount), late)
            }
        }
        RootSource::New(fs) => match mount::fsopen(fs.new.name) {
            Err(Errno::NOSYS | Errno::PERM) => {
                with_old_root(|root| mount_new_by_path(fs, attr, root.raw(), context))?;
                (None, false)
            }
            fs_fd => (Some(create_mount(&fs_fd?, fs, attr)?), false),
        },
        RootSource::Overlay(layers) => (Some(layers.mount(mount_state)?), false),
    };
    let root = match mount {
        Some(mount) => {
            attach_to_root(&mount)?;
            mount
        }
        // Up from the root, which stays where it is, leads to what covers it.
        None => file::open_at(libc::AT_FDCWD, c"/..", libc::O_PATH | libc::O_DIRECTORY)?,
    };
    if late {
        remount_all(&root, attr, submounts, context)?;
    }
    mount_state.root.set(root);
    Ok(())
}

pub(super) fn in_root<T>(
    context: &Context<'_>,
    work: impl FnOnce(RawFd) -> Result<T>,
) -> Result<T> {
    match context.mount_state.root.get() {
        None => with_old_root(|root| work(root.raw())),
        Some(root) => work(root),
    }
}

/// From here on the root is the new one, and the working directory, too.
pub(super) fn enter_root(context: &Context<'_>, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let root = context.mount_state.root.take().ok_or(Errno::INVAL)?;
    file::fchdir(root.raw())?;
    change()
}
