//! Mounts of what is held by descriptors.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::error::{AtStep, Result, Step};
use crate::mountinfo;
use crate::ns_fd::NsFd;
use crate::proc_fs::ProcFs;
use crate::sys::Errno;
use crate::sys::stat::mount_id;

/// Mounts a namespace's file on a file. The mount itself, which [`bind`] does not always know.
pub(super) fn attach(namespace: &NsFd, target: impl AsFd) -> Result<Option<OwnedFd>> {
    bind(namespace, target, OpenTreeFlags::empty(), Step::Pin)
}

/// Makes a directory a mount point, of itself with what is mounted below.
pub(super) fn attach_to_itself(dir: impl AsFd) -> Result<()> {
    bind(&dir, &dir, OpenTreeFlags::AT_RECURSIVE, Step::CreatePinDir).map(drop)
}

/// `open_tree(2)` and `move_mount(2)`: nothing is looked up again. Linux 5.2; where a filter hides them,
/// `mount(2)` by way of `/proc`, which returns no descriptor.
fn bind(
    source: impl AsFd,
    target: impl AsFd,
    deep: OpenTreeFlags,
    step: Step,
) -> Result<Option<OwnedFd>> {
    let (source, target) = (source.as_fd(), target.as_fd());
    let copy = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let here = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    let moved = rustix::mount::open_tree(source, c"", copy | deep)
        .and_then(|tree| rustix::mount::move_mount(&tree, c"", target, c"", here).map(|()| tree));
    if !matches!(moved, Err(Errno::NOSYS | Errno::PERM)) {
        return moved.map(Some).at_step(step);
    }
    let proc = ProcFs::open()?;
    let (source, target) = (proc.fd_path(source)?, proc.fd_path(target)?);
    if deep.is_empty() {
        rustix::mount::mount_bind(source, target)
    } else {
        rustix::mount::mount_bind_recursive(source, target)
    }
    .map(|()| None)
    .at_step(step)
}

/// Whether mounts below pass on to peers. `EINVAL` for a directory that is no mount point.
pub(super) fn propagate(dir: impl AsFd, how: MountPropagationFlags) -> Result<()> {
    let path = ProcFs::open()?.fd_path(dir.as_fd())?;
    rustix::mount::mount_change(path, how).at_step(Step::CreatePinDir)
}

/// The number of the mount that a descriptor is on, which no other mount has as long as it is open.
pub(super) fn number(mount: impl AsFd) -> core::result::Result<u64, Errno> {
    mount_id(mount.as_fd().as_raw_fd())
}

/// Whether something is mounted on what this mount shows, as this thread sees it.
pub(super) fn is_covered(mount: impl AsFd) -> Result<bool> {
    let number = number(mount).at_step(Step::Unpin)?;
    let proc = ProcFs::open()?;
    let table = proc.read(proc.as_fd(), "thread-self/mountinfo").at_step(Step::ReadProc)?;
    Ok(mountinfo::lines(&table).any(|mount| mount.parent == number))
}

/// Unmounts the mount that a descriptor is on, wherever that is by now, or else what is mounted on it.
pub(super) fn detach(mount: impl AsFd) -> Result<()> {
    let path = ProcFs::open()?.fd_path(mount.as_fd())?;
    rustix::mount::unmount(path, UnmountFlags::DETACH).at_step(Step::Unpin)
}
