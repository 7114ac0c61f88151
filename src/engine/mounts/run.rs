//! Executes the steps that mount. As all of `engine::run`, it allocates nothing and locks nothing.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::SeqCst;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, RawFd};

use super::TakenTree;
use crate::engine::helper::decimal;
use crate::engine::run::Context;
use crate::plan::mounts::mount_point::MountPoint;
use crate::plan::mounts::{Attr, Fs, MountOp, RootSource, Tree};
use crate::sys::file::Fd;
use crate::sys::in_child::InChild;
use crate::sys::in_root::{
    identity, is_mount_root, is_root_of_mount, make_dir, make_link, mount_flags, mount_id,
    without_umask,
};
use crate::sys::mount::{self, clone_tree};
use crate::sys::{Errno, Result, file, in_root, process};

const BIND: libc::c_ulong = libc::MS_BIND | libc::MS_REC;

pub(crate) fn run(op: &MountOp, context: &Context<'_>, child: Option<InChild>) -> Result<()> {
    let mount_state = context.mount_state;
    match op {
        MountOp::Take(tree) => {
            let taken = take(tree, mount_state.cell(tree.index)?);
            if let Some(child) = child {
                // A copy of what the parent holds open, which could lead out of the new root.
                file::close_copy(tree.held.as_raw_fd(), child);
            }
            taken
        }
        MountOp::ActAsRoot => process::make_files_as_root(),
        MountOp::Attach { tree, point, attr, below, .. } => {
            let cell = mount_state.cell(*tree)?;
            at(point, context, |root, target| {
                let mount = attach(cell, root, target, point, context)?;
                if cell.is_late.load(SeqCst) {
                    remount_all(&mount, *attr, below, context)?;
                }
                Ok(mount)
            })
        }
        MountOp::New { fs, point, attr } => {
            at(point, context, |root, target| put_new(fs, *attr, root, target, point, context))
        }
        MountOp::Overlay { layers, point, attr } => at(point, context, |_, target| {
            attach_changed(layers.mount(mount_state)?, *attr, false, target, context)
        }),
        MountOp::Mask { null, empty, point } => {
            let cell = mount_state.cell(*null)?;
            let done = if_there(point, context, |root, target| {
                if identity(target.raw())?.is_dir() {
                    return put_new(empty, Attr::READ_ONLY, root, target, point, context);
                }
                attach(cell, root, target, point, context)
            });
            drop(cell.mount.take());
            done
        }
        MountOp::Protect(point) => protect(point, context),
        MountOp::MakeDir { point, mode } => in_root(context, |root| {
            let make = |dir, name: &CStr| without_umask(|| make_dir(dir, name, *mode));
            point.in_dir(root, mount_state, make)
        }),
        MountOp::MakeLink { point, text } => in_root(context, |root| {
            point.in_dir(root, mount_state, |dir, name| make_link(dir, name, text))
        }),
        MountOp::Root { base, attr, below } => make_root(base, *attr, below, context),
        MountOp::ReadOnlyRoot => {
            in_root(context, |root| match change(root, Attr::READ_ONLY, false) {
                Err(Errno::NOSYS | Errno::PERM) => remount(root, Attr::READ_ONLY, context),
                answer => answer,
            })
        }
        MountOp::Pivot => enter_root(context, || {
            mount::pivot_root_here()?;
            mount::detach_here()
        }),
        MountOp::Chroot => enter_root(context, file::chroot_here),
    }
}

/// Copies the source's mounts as they are in this mount namespace, if it is the same file still.
fn take(tree: &Tree, cell: &TakenTree) -> Result<()> {
    let here = libc::AT_FDCWD;
    let (mount, is_source) = if tree.is_ready {
        (file::copy(tree.held.as_raw_fd())?, false)
    } else {
        match clone_tree(here, &tree.path, true) {
            Err(Errno::NOSYS | Errno::PERM) => {
                (file::open_at(here, &tree.path, libc::O_PATH)?, true)
            }
            answer => (answer?, false),
        }
    };
    let identity = identity(mount.raw())?;
    let changed = if is_source { Err(Errno::NOSYS) } else { change(mount.raw(), tree.attr, true) };
    cell.mount.keep(mount);
    cell.is_source.store(is_source, SeqCst);
    if identity != tree.identity {
        return Err(Errno::STALE);
    }
    match changed {
        Err(Errno::NOSYS | Errno::PERM) => {
            cell.is_late.store(!tree.attr.is_empty(), SeqCst);
            Ok(())
        }
        answer => answer,
    }
}

/// Attributes of a mount that is attached nowhere yet, or of the root.
pub(super) fn change(mount: RawFd, attr: Attr, below: bool) -> Result<()> {
    if attr.is_empty() { Ok(()) } else { mount::set_attributes(mount, &attr.for_kernel(), below) }
}

/// Returns the mount that is there now.
fn attach(
    cell: &TakenTree,
    root: RawFd,
    target: &Fd,
    point: &MountPoint,
    context: &Context<'_>,
) -> Result<Fd> {
    let mount = cell.mount.take().ok_or(Errno::INVAL)?;
    if !cell.is_source.load(SeqCst) {
        attach_mount(&mount, target)?;
        return Ok(mount);
    }
    by_numbers(Some(mount.raw()), target.raw(), None, BIND, context)?;
    let is_it =
        |top: &Fd| Ok(is_mount_root(top.raw())? && identity(top.raw())? == identity(mount.raw())?);
    on_top(root, point, context, is_it)
}

/// What `mount(2)` has put there, which tells no descriptor: found by its names, and looked at, since another
/// directory may have come to have them: also that of an earlier mount of the same file system.
fn on_top(
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

/// Attributes of what is attached already, by `mount(2)`.
fn remount_all(top: &Fd, attr: Attr, below: &[MountPoint], context: &Context<'_>) -> Result<()> {
    remount(top.raw(), attr, context)?;
    for point in below {
        match point.open(top.raw(), context.mount_state) {
            // Covered by another mount, or where nobody in here may search.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
            mount => remount(mount?.raw(), attr, context)?,
        }
    }
    Ok(())
}

/// In a user namespace the flags that a mount has may not be taken from it.
fn remount(mount: RawFd, attr: Attr, context: &Context<'_>) -> Result<()> {
    if attr.read_only {
        let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | mount_flags(mount)?;
        by_numbers(None, mount, None, flags, context)?;
    }
    match attr.propagation {
        Some(flag) => by_numbers(None, mount, None, libc::MS_REC | flag, context),
        None => Ok(()),
    }
}

/// Attaches a mount with these attributes, which it gets afterwards where `mount_setattr(2)` is missing.
fn attach_changed(
    mount: Fd,
    attr: Attr,
    below: bool,
    target: &Fd,
    context: &Context<'_>,
) -> Result<Fd> {
    let is_late = match change(mount.raw(), attr, below) {
        Err(Errno::NOSYS | Errno::PERM) => true,
        answer => answer.map(|()| false)?,
    };
    attach_mount(&mount, target)?;
    if is_late {
        remount_all(&mount, attr, &[], context)?;
    }
    Ok(mount)
}

/// A mount of a new file system that is attached nowhere.
pub(super) fn make_fs(fs: &Fs, attr: Attr) -> Result<Fd> {
    mount::fsopen(fs.new.name).and_then(|maker| make_by(&maker, fs, attr))
}

fn make_by(maker: &Fd, fs: &Fs, attr: Attr) -> Result<Fd> {
    for (key, value) in &fs.new.options {
        mount::fs_option(maker.raw(), key, value.as_deref())?;
    }
    mount::fs_create(maker.raw())?;
    mount::fsmount(maker.raw(), fs.new.flags | attr.for_kernel().set)
}

fn put_new(
    fs: &Fs,
    attr: Attr,
    root: RawFd,
    target: &Fd,
    point: &MountPoint,
    context: &Context<'_>,
) -> Result<Fd> {
    let maker = match mount::fsopen(fs.new.name) {
        Err(Errno::NOSYS | Errno::PERM) => {
            put_new_by_path(fs, attr, target.raw(), context)?;
            let is_it = |top: &Fd| is_root_of_mount(top.raw(), fs.new.magic());
            let top = on_top(root, point, context, is_it)?;
            // What is read-only is so from the start.
            remount(top.raw(), Attr { read_only: false, ..attr }, context)?;
            return Ok(top);
        }
        answer => answer?,
    };
    let mount = make_by(&maker, fs, attr)?;
    attach_changed(mount, Attr { read_only: false, ..attr }, false, target, context)
}

fn put_new_by_path(fs: &Fs, attr: Attr, target: RawFd, context: &Context<'_>) -> Result<()> {
    let read_only = if attr.read_only { libc::MS_RDONLY } else { 0 };
    #[allow(clippy::cast_possible_truncation, reason = "the low bits, where it has but 32")]
    let flags = fs.new.flags as libc::c_ulong | read_only;
    by_numbers(None, target, Some((fs.new.name, &fs.data)), flags, context)
}

fn protect(point: &MountPoint, context: &Context<'_>) -> Result<()> {
    if_there(point, context, |root, target| match clone_tree(target.raw(), c"", true) {
        Err(Errno::NOSYS | Errno::PERM) => {
            by_numbers(Some(target.raw()), target.raw(), None, BIND, context)?;
            let is_it = |top: &Fd| {
                Ok(is_mount_root(top.raw())? && identity(top.raw())? == identity(target.raw())?)
            };
            let top = on_top(root, point, context, is_it)?;
            remount(top.raw(), Attr::READ_ONLY, context)?;
            Ok(top)
        }
        mount => attach_changed(mount?, Attr::READ_ONLY, true, target, context),
    })
}

fn make_root(
    base: &RootSource,
    attr: Attr,
    below: &[MountPoint],
    context: &Context<'_>,
) -> Result<()> {
    let mount_state = context.mount_state;
    let (mount, late) = match base {
        RootSource::Tree { tree, .. } => {
            let cell = mount_state.cell(*tree)?;
            let late = cell.is_late.load(SeqCst);
            let mount = cell.mount.take().ok_or(Errno::INVAL)?;
            if cell.is_source.load(SeqCst) {
                with_old_root(|root| {
                    by_numbers(Some(mount.raw()), root.raw(), None, BIND, context)
                })?;
                (None, late)
            } else {
                (Some(mount), late)
            }
        }
        RootSource::New(fs) => match mount::fsopen(fs.new.name) {
            Err(Errno::NOSYS | Errno::PERM) => {
                with_old_root(|root| put_new_by_path(fs, attr, root.raw(), context))?;
                (None, false)
            }
            maker => (Some(make_by(&maker?, fs, attr)?), false),
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
        remount_all(&root, attr, below, context)?;
    }
    mount_state.root.keep(root);
    Ok(())
}

/// On top of the present root, which stays the root for all paths.
pub(super) fn attach_to_root(mount: &Fd) -> Result<()> {
    with_old_root(|root| mount::attach(mount.raw(), root.raw()))
}

fn with_old_root<T>(work: impl FnOnce(&Fd) -> Result<T>) -> Result<T> {
    work(&file::open_at(libc::AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?)
}

fn in_root<T>(context: &Context<'_>, work: impl FnOnce(RawFd) -> Result<T>) -> Result<T> {
    match context.mount_state.root.get() {
        None => with_old_root(|root| work(root.raw())),
        Some(root) => work(root),
    }
}

/// With the root and the mount point. The mount that comes to be there is noted for what is mounted in it.
fn at(
    point: &MountPoint,
    context: &Context<'_>,
    work: impl FnOnce(RawFd, &Fd) -> Result<Fd>,
) -> Result<()> {
    let mount_state = context.mount_state;
    in_root(context, |root| {
        let target = point.reach(root, mount_state, context.slot)?;
        is_below(root, &target)?;
        mount_state.note(point, work(root, &target)?, &target)
    })
}

/// The same, and nothing where there is no such file.
fn if_there(
    point: &MountPoint,
    context: &Context<'_>,
    work: impl FnOnce(RawFd, &Fd) -> Result<Fd>,
) -> Result<()> {
    let mount_state = context.mount_state;
    in_root(context, |root| match point.open(root, mount_state) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        target => {
            let target = target?;
            is_below(root, &target)?;
            mount_state.note(point, work(root, &target)?, &target)
        }
    })
}

/// `EBUSY` for the root itself, where a link leads to it. The program would stand underneath such a mount, and see
/// nothing of it.
fn is_below(root: RawFd, target: &Fd) -> Result<()> {
    let is_root =
        identity(target.raw())? == identity(root)? && mount_id(target.raw())? == mount_id(root)?;
    if is_root { Err(Errno::BUSY) } else { Ok(()) }
}

/// From here on the root is the new one, and the working directory, too.
fn enter_root(context: &Context<'_>, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let root = context.mount_state.root.take().ok_or(Errno::INVAL)?;
    file::fchdir(root.raw())?;
    change()
}

/// `mount(2)` on open files, whose paths are their numbers in `/proc/thread-self/fd`.
fn by_numbers(
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
    let numbers = in_root::open_on_same_mount(proc, c"thread-self/fd", flags_of_dir)?;
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
