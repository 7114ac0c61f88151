//! Attaches mounts, with their attributes: `move_mount(2)`, or `mount(2)` where a filter blocks that.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::SeqCst;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, RawFd};

use super::ClonedTree;
use crate::engine::helper::decimal;
use crate::engine::run::Context;
use crate::plan::mounts::Attr;
use crate::plan::mounts::mount_point::MountPoint;
use crate::sys::file::{self, Fd};
use crate::sys::in_root::open_on_same_mount;
use crate::sys::mount;
use crate::sys::stat::{identity, is_mount_root, mount_flags};
use crate::sys::{Errno, Result};

const BIND: libc::c_ulong = libc::MS_BIND | libc::MS_REC;

/// Attributes of a mount that is attached nowhere yet, or of the root.
pub(super) fn set_attr(mount: RawFd, attr: Attr, recursive: bool) -> Result<()> {
    if attr.is_empty() {
        Ok(())
    } else {
        mount::set_attributes(mount, &attr.for_kernel(), recursive)
    }
}

/// Returns the mount that is there now.
pub(super) fn attach(
    tree_state: &ClonedTree,
    root: RawFd,
    target: &Fd,
    point: &MountPoint,
    context: &Context<'_>,
) -> Result<Fd> {
    let mount = tree_state.mount.take().ok_or(Errno::INVAL)?;
    if !tree_state.is_source.load(SeqCst) {
        attach_mount(&mount, target)?;
        return Ok(mount);
    }
    bind_by_path(mount.raw(), root, target, point, context)
}

/// Binds by `mount(2)`, and returns the mount that is there now.
pub(super) fn bind_by_path(
    source: RawFd,
    root: RawFd,
    target: &Fd,
    point: &MountPoint,
    context: &Context<'_>,
) -> Result<Fd> {
    mount_by_path(Some(source), target.raw(), None, BIND, context)?;
    find_top(root, point, context, |top| {
        Ok(is_mount_root(top.raw())? && identity(top.raw())? == identity(source)?)
    })
}

/// Binds on the present root, by `mount(2)`.
pub(super) fn bind_on_root_by_path(source: &Fd, context: &Context<'_>) -> Result<()> {
    with_old_root(|root| mount_by_path(Some(source.raw()), root.raw(), None, BIND, context))
}

/// What `mount(2)` has put there, which tells no descriptor: found by its names, and looked at, since another
/// directory may have come to have them: also that of an earlier mount of the same file system.
pub(super) fn find_top(
    root: RawFd,
    point: &MountPoint,
    context: &Context<'_>,
    is_it: impl FnOnce(&Fd) -> Result<bool>,
) -> Result<Fd> {
    let top = point.open_top(root, context.mount_state)?;
    let is_new = is_it(&top)? && !context.mount_state.is_earlier(top.raw())?;
    if is_new { Ok(top) } else { Err(Errno::STALE) }
}

/// `mount(2)` answers `ENOTDIR` for a file on a directory; `move_mount(2)` answers the same as for much else.
pub(super) fn attach_mount(mount: &Fd, target: &Fd) -> Result<()> {
    match mount::attach(mount.raw(), target.raw()) {
        Err(Errno::INVAL)
            if identity(mount.raw())?.is_dir() != identity(target.raw())?.is_dir() =>
        {
            Err(Errno::NOTDIR)
        }
        answer => answer,
    }
}

/// Attaches a mount with these attributes, which it gets afterwards where `mount_setattr(2)` is missing.
pub(super) fn attach_with_attr(
    mount: Fd,
    attr: Attr,
    recursive: bool,
    target: &Fd,
    context: &Context<'_>,
) -> Result<Fd> {
    let needs_remount = match set_attr(mount.raw(), attr, recursive) {
        Err(Errno::NOSYS | Errno::PERM) => true,
        answer => answer.map(|()| false)?,
    };
    attach_mount(&mount, target)?;
    if needs_remount {
        remount_all(&mount, attr, &[], context)?;
    }
    Ok(mount)
}

/// Attributes of what is attached already, by `mount(2)`.
pub(super) fn remount_all(
    top: &Fd,
    attr: Attr,
    submounts: &[MountPoint],
    context: &Context<'_>,
) -> Result<()> {
    remount(top.raw(), attr, context)?;
    for point in submounts {
        match point.open(top.raw(), context.mount_state) {
            // Covered by another mount, or where nobody in here may search.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
            mount => remount(mount?.raw(), attr, context)?,
        }
    }
    Ok(())
}

/// In a user namespace the flags that a mount has may not be taken from it.
pub(super) fn remount(mount: RawFd, attr: Attr, context: &Context<'_>) -> Result<()> {
    if attr.read_only {
        let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | mount_flags(mount)?;
        mount_by_path(None, mount, None, flags, context)?;
    }
    match attr.propagation {
        Some(flag) => mount_by_path(None, mount, None, libc::MS_REC | flag, context),
        None => Ok(()),
    }
}

/// `mount(2)` on open files, whose paths are their numbers in `/proc/thread-self/fd`.
pub(super) fn mount_by_path(
    source: Option<RawFd>,
    target: RawFd,
    fs: Option<(&CStr, &CStr)>,
    flags: libc::c_ulong,
    context: &Context<'_>,
) -> Result<()> {
    let proc = context.proc.ok_or(Errno::NOSYS)?.as_raw_fd();
    let (mut source_text, mut target_text) = ([0; 11], [0; 11]);
    let number = |fd: RawFd| u32::try_from(fd).map_err(|_| Errno::BADF);
    let source = match (source, fs) {
        (Some(source), _) => decimal(number(source)?, &mut source_text),
        (None, fs) => fs.map(|(name, _)| name),
    };
    let target = decimal(number(target)?, &mut target_text).ok_or(Errno::BADF)?;
    let flags_of_dir = libc::O_PATH | libc::O_DIRECTORY;
    let here = working_directory()?;
    let numbers = open_on_same_mount(proc, c"thread-self/fd", flags_of_dir)?;
    let (name, data) = (fs.map(|(name, _)| name), fs.map(|(_, data)| data));
    let done =
        file::fchdir(numbers.raw()).and_then(|()| mount::mount(source, target, name, flags, data));
    file::fchdir(here.raw()).and(done)
}

/// The working directory, to return to. Where this process may not search it, it is the root: a later step changes
/// into a new root, or to the directory that the program gets.
pub(super) fn working_directory() -> Result<Fd> {
    let open = |path| file::open_at(libc::AT_FDCWD, path, libc::O_PATH | libc::O_DIRECTORY);
    match open(c".") {
        Err(Errno::ACCESS) => open(c"/"),
        here => here,
    }
}

/// On top of the present root, which stays the root for all paths.
pub(super) fn attach_to_root(mount: &Fd) -> Result<()> {
    with_old_root(|root| mount::attach(mount.raw(), root.raw()))
}

pub(super) fn with_old_root<T>(work: impl FnOnce(&Fd) -> Result<T>) -> Result<T> {
    work(&file::open_at(libc::AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?)
}
