//! Creates file systems: `fsopen(2)`, or `mount(2)` where a filter blocks that.

#![forbid(unsafe_code)]

use std::os::fd::RawFd;

use super::attach::{attach_with_attr, find_top, mount_by_path, remount};
use crate::engine::run::Context;
use crate::plan::mounts::mount_point::MountPoint;
use crate::plan::mounts::{Attr, Fs};
use crate::sys::file::Fd;
use crate::sys::mount;
use crate::sys::stat::is_root_of_mount;
use crate::sys::{Errno, Result};

/// A mount of a new file system that is attached nowhere.
pub(super) fn create_fs(fs: &Fs, attr: Attr) -> Result<Fd> {
    mount::fsopen(fs.new.name).and_then(|fs_fd| create_mount(&fs_fd, fs, attr))
}

pub(super) fn create_mount(fs_fd: &Fd, fs: &Fs, attr: Attr) -> Result<Fd> {
    for (key, value) in &fs.new.options {
        mount::fs_option(fs_fd.raw(), key, value.as_deref())?;
    }
    mount::fs_create(fs_fd.raw())?;
    mount::fsmount(fs_fd.raw(), fs.new.flags | attr.for_kernel().set)
}

pub(super) fn mount_new(
    fs: &Fs,
    attr: Attr,
    root: RawFd,
    target: &Fd,
    point: &MountPoint,
    context: &Context<'_>,
) -> Result<Fd> {
    let fs_fd = match mount::fsopen(fs.new.name) {
        Err(Errno::NOSYS | Errno::PERM) => {
            mount_new_by_path(fs, attr, target.raw(), context)?;
            let is_it = |top: &Fd| is_root_of_mount(top.raw(), fs.new.magic());
            let top = find_top(root, point, context, is_it)?;
            // What is read-only is so from the start.
            remount(top.raw(), Attr { read_only: false, ..attr }, context)?;
            return Ok(top);
        }
        answer => answer?,
    };
    let mount = create_mount(&fs_fd, fs, attr)?;
    attach_with_attr(mount, Attr { read_only: false, ..attr }, false, target, context)
}

pub(super) fn mount_new_by_path(
    fs: &Fs,
    attr: Attr,
    target: RawFd,
    context: &Context<'_>,
) -> Result<()> {
    let read_only = if attr.read_only { libc::MS_RDONLY } else { 0 };
    #[allow(clippy::cast_possible_truncation, reason = "the low bits, where it has but 32")]
    let flags = fs.new.flags as libc::c_ulong | read_only;
    mount_by_path(None, target, Some((fs.new.name, &fs.data)), flags, context)
}
