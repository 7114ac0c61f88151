//! Mounts of what is held by descriptors.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::error::{AtStep, Result, Step};
use crate::ns_fd::NsFd;
use crate::proc_fs::ProcFs;
use crate::sys::Errno;

/// Mounts a namespace's file on a file.
pub(super) fn attach(namespace: &NsFd, target: impl AsFd) -> Result<()> {
    bind(namespace, target, OpenTreeFlags::empty(), Step::Pin)
}

/// Makes a directory a mount point, of itself with what is mounted below.
pub(super) fn attach_to_itself(dir: impl AsFd) -> Result<()> {
    bind(&dir, &dir, OpenTreeFlags::AT_RECURSIVE, Step::MakePinDir)
}

/// `open_tree(2)` and `move_mount(2)`: nothing is looked up again. Linux 5.2; where a filter hides them,
/// `mount(2)` by way of `/proc`.
fn bind(source: impl AsFd, target: impl AsFd, deep: OpenTreeFlags, step: Step) -> Result<()> {
    let (source, target) = (source.as_fd(), target.as_fd());
    let copy = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let here = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    let moved = rustix::mount::open_tree(source, c"", copy | deep)
        .and_then(|tree| rustix::mount::move_mount(tree, c"", target, c"", here));
    if !matches!(moved, Err(Errno::NOSYS | Errno::PERM)) {
        return moved.at_step(step);
    }
    let proc = ProcFs::open()?;
    let (source, target) = (proc.path_of(source)?, proc.path_of(target)?);
    if deep.is_empty() {
        rustix::mount::mount_bind(source, target)
    } else {
        rustix::mount::mount_bind_recursive(source, target)
    }
    .at_step(step)
}

/// Whether mounts below pass on to peers. `EINVAL` for a directory that is no mount point.
pub(super) fn propagate(dir: impl AsFd, how: MountPropagationFlags) -> Result<()> {
    let path = ProcFs::open()?.path_of(dir.as_fd())?;
    rustix::mount::mount_change(path, how).at_step(Step::MakePinDir)
}

/// Unmounts the very mount that a descriptor is on, whatever else its path may lead to by now.
pub(super) fn detach(mount: impl AsFd) -> Result<()> {
    let path = ProcFs::open()?.path_of(mount.as_fd())?;
    rustix::mount::unmount(path, UnmountFlags::DETACH).at_step(Step::Unpin)
}
