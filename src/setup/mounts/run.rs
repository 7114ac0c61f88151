//! Executes the steps that mount. As all of `setup::run`, it allocates nothing and locks nothing.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::SeqCst;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, RawFd};

use super::place::Place;
use super::{Attr, Base, Cell, Fs, MountOp, Tree, close};
use crate::setup::helper::decimal;
use crate::setup::run::Context;
use crate::sys::below::{NoUmask, identity, make_dir, make_link, mount_flags};
use crate::sys::mount::{self, clone_tree};
use crate::sys::{Errno, Result, file, process};

const BIND: libc::c_ulong = libc::MS_BIND | libc::MS_REC;

pub(crate) fn run(op: &MountOp, context: &Context<'_>) -> Result<()> {
    let workshop = &context.workshop;
    match op {
        MountOp::Take(tree) => {
            let taken = take(tree, workshop.cell(tree.index)?);
            if workshop.is_child {
                file::close(tree.held.as_raw_fd());
            }
            taken
        }
        MountOp::ActAsRoot => process::make_files_as_root(),
        MountOp::Attach { tree, place, attr, below, .. } => {
            let cell = workshop.cell(*tree)?;
            at(place, context, |root, target| {
                attach(cell, target, context)?;
                if cell.is_late.load(SeqCst) {
                    change_attached(root, place, *attr, below, context)?;
                }
                Ok(())
            })
        }
        MountOp::New { fs, place, attr } => at(place, context, |root, target| {
            let late = put_new(fs, *attr, target, context)?;
            change_late(late, root, place, *attr, context)
        }),
        MountOp::Overlay { layers, place, attr } => at(place, context, |root, target| {
            let overlay = layers.mount(workshop)?;
            let late = attach_changed(overlay, *attr, false, target);
            file::close(overlay);
            change_late(late?, root, place, *attr, context)
        }),
        MountOp::Mask { null, empty, place } => {
            let cell = workshop.cell(*null)?;
            let done = if_there(place, context, |_, target| {
                if identity(target)?.is_dir() {
                    return put_new(empty, Attr::READ_ONLY, target, context).map(drop);
                }
                attach(cell, target, context)
            });
            close(&cell.mount);
            done
        }
        MountOp::Protect(place) => protect(place, context),
        MountOp::MakeDir { place, mode } => in_root(context, |root| {
            let _exactly = NoUmask::begin();
            place.in_dir(root, |dir, name| make_dir(dir, name, *mode))
        }),
        MountOp::MakeLink { place, text } => {
            in_root(context, |root| place.in_dir(root, |dir, name| make_link(dir, name, text)))
        }
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
fn take(tree: &Tree, cell: &Cell) -> Result<()> {
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
    cell.mount.store(mount, SeqCst);
    cell.is_source.store(is_source, SeqCst);
    if identity(mount)? != tree.identity {
        return Err(Errno::STALE);
    }
    let changed = if is_source { Err(Errno::NOSYS) } else { change(mount, tree.attr, true) };
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

fn attach(cell: &Cell, target: RawFd, context: &Context<'_>) -> Result<()> {
    let mount = cell.mount.load(SeqCst);
    let done = if cell.is_source.load(SeqCst) {
        by_numbers(Some(mount), target, None, BIND, context)
    } else {
        attach_mount(mount, target)
    };
    close(&cell.mount);
    done
}

/// `mount(2)` answers `ENOTDIR` for a file on a directory; `move_mount(2)` answers the same as for much else.
pub(super) fn attach_mount(mount: RawFd, target: RawFd) -> Result<()> {
    match mount::attach(mount, target) {
        Err(Errno::INVAL) if identity(mount)?.is_dir() != identity(target)?.is_dir() => {
            Err(Errno::NOTDIR)
        }
        answer => answer,
    }
}

/// Attributes of what is attached already, by `mount(2)`.
fn change_attached(
    root: RawFd,
    place: &Place,
    attr: Attr,
    below: &[Place],
    context: &Context<'_>,
) -> Result<()> {
    let top = place.open(root)?;
    let done = remount_all(top, attr, below, context);
    file::close(top);
    done
}

fn remount_all(top: RawFd, attr: Attr, below: &[Place], context: &Context<'_>) -> Result<()> {
    remount(top, attr, context)?;
    for place in below {
        let mount = match place.open(top) {
            // Covered by another mount, or where nobody in here may search.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => continue,
            mount => mount?,
        };
        let done = remount(mount, attr, context);
        file::close(mount);
        done?;
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

/// Answers whether the attributes are still to be changed, once it is attached.
fn attach_changed(mount: RawFd, attr: Attr, below: bool, target: RawFd) -> Result<bool> {
    let late = match change(mount, attr, below) {
        Err(Errno::NOSYS | Errno::PERM) => true,
        answer => answer.map(|()| false)?,
    };
    attach_mount(mount, target).map(|()| late)
}

fn change_late(
    late: bool,
    root: RawFd,
    place: &Place,
    attr: Attr,
    context: &Context<'_>,
) -> Result<()> {
    if late { change_attached(root, place, attr, &[], context) } else { Ok(()) }
}

/// A mount of a new file system that is attached nowhere.
pub(super) fn make_fs(fs: &Fs, attr: Attr) -> Result<RawFd> {
    mount::fsopen(fs.new.name).and_then(|maker| make_by(maker, fs, attr))
}

fn make_by(maker: RawFd, fs: &Fs, attr: Attr) -> Result<RawFd> {
    let made = (|| {
        for (key, value) in &fs.new.options {
            mount::fs_option(maker, key, value.as_deref())?;
        }
        mount::fs_create(maker)?;
        mount::fsmount(maker, fs.new.flags | attr.for_kernel().set)
    })();
    file::close(maker);
    made
}

/// Answers whether the attributes are still to be changed.
fn put_new(fs: &Fs, attr: Attr, target: RawFd, context: &Context<'_>) -> Result<bool> {
    let maker = match mount::fsopen(fs.new.name) {
        Err(Errno::NOSYS | Errno::PERM) => return put_new_by_path(fs, attr, target, context),
        answer => answer?,
    };
    let mount = make_by(maker, fs, attr)?;
    let late = attach_changed(mount, Attr { read_only: false, ..attr }, false, target);
    file::close(mount);
    late
}

fn put_new_by_path(fs: &Fs, attr: Attr, target: RawFd, context: &Context<'_>) -> Result<bool> {
    let read_only = if attr.read_only { libc::MS_RDONLY } else { 0 };
    #[allow(clippy::cast_possible_truncation, reason = "the low bits, where it has but 32")]
    let flags = fs.new.flags as libc::c_ulong | read_only;
    by_numbers(None, target, Some((fs.new.name, &fs.data)), flags, context)?;
    Ok(attr.propagation.is_some())
}

fn protect(place: &Place, context: &Context<'_>) -> Result<()> {
    if_there(place, context, |root, target| {
        let late = match clone_tree(target, c"", true) {
            Err(Errno::NOSYS | Errno::PERM) => {
                by_numbers(Some(target), target, None, BIND, context).map(|()| true)
            }
            answer => {
                let mount = answer?;
                let late = attach_changed(mount, Attr::READ_ONLY, true, target);
                file::close(mount);
                late
            }
        };
        change_late(late?, root, place, Attr::READ_ONLY, context)
    })
}

fn make_root(base: &Base, attr: Attr, below: &[Place], context: &Context<'_>) -> Result<()> {
    let workshop = &context.workshop;
    let (mount, late) = match base {
        Base::Tree { tree, .. } => {
            let cell = workshop.cell(*tree)?;
            let late = cell.is_late.load(SeqCst);
            if cell.is_source.load(SeqCst) {
                with_old_root(|root| attach(cell, root, context))?;
                (None, late)
            } else {
                (Some(cell.mount.swap(-1, SeqCst)), late)
            }
        }
        Base::New(fs) => match mount::fsopen(fs.new.name) {
            Err(Errno::NOSYS | Errno::PERM) => {
                with_old_root(|root| put_new_by_path(fs, attr, root, context))?;
                (None, false)
            }
            answer => (Some(make_by(answer?, fs, attr)?), false),
        },
        Base::Overlay(layers) => (Some(layers.mount(workshop)?), false),
    };
    let root = match mount {
        Some(mount) => mount,
        // Up from the root, which stays where it is, leads to what covers it.
        None => file::open_at(libc::AT_FDCWD, c"/..", libc::O_PATH | libc::O_DIRECTORY)?,
    };
    workshop.root.store(root, SeqCst);
    if mount.is_some() {
        attach_to_root(root)?;
    }
    if late { remount_all(root, attr, below, context) } else { Ok(()) }
}

/// On top of the present root, which stays the root for all paths.
pub(super) fn attach_to_root(mount: RawFd) -> Result<()> {
    with_old_root(|root| mount::attach(mount, root))
}

fn with_old_root<T>(work: impl FnOnce(RawFd) -> Result<T>) -> Result<T> {
    let root = file::open_at(libc::AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    let done = work(root);
    file::close(root);
    done
}

fn in_root<T>(context: &Context<'_>, work: impl FnOnce(RawFd) -> Result<T>) -> Result<T> {
    match context.workshop.root.load(SeqCst) {
        -1 => with_old_root(work),
        root => work(root),
    }
}

/// With the root and the mount point.
fn at(
    place: &Place,
    context: &Context<'_>,
    work: impl FnOnce(RawFd, RawFd) -> Result<()>,
) -> Result<()> {
    in_root(context, |root| {
        let target = place.reach(root, context.slot)?;
        let done = work(root, target);
        file::close(target);
        done
    })
}

/// The same, and nothing where there is no such file.
fn if_there(
    place: &Place,
    context: &Context<'_>,
    work: impl FnOnce(RawFd, RawFd) -> Result<()>,
) -> Result<()> {
    in_root(context, |root| match place.open(root) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        target => {
            let target = target?;
            let done = work(root, target);
            file::close(target);
            done
        }
    })
}

/// From here on the root is the new one, and the working directory, too.
fn enter_root(context: &Context<'_>, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let root = &context.workshop.root;
    file::fchdir(root.load(SeqCst))?;
    close(root);
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
    if context.proc < 0 {
        return Err(Errno::NOSYS);
    }
    let (mut source_text, mut target_text) = ([0; 11], [0; 11]);
    let number = |fd: RawFd| u32::try_from(fd).map_err(|_| Errno::BADF);
    let source = match (source, fs) {
        (Some(source), _) => decimal(number(source)?, &mut source_text),
        (None, fs) => fs.map(|(name, _)| name),
    };
    let target = decimal(number(target)?, &mut target_text).ok_or(Errno::BADF)?;
    let here = file::open_at(libc::AT_FDCWD, c".", libc::O_PATH | libc::O_DIRECTORY)?;
    let flags_of_dir = libc::O_PATH | libc::O_DIRECTORY;
    let done = file::open_on_same_mount(context.proc, c"thread-self/fd", flags_of_dir).and_then(
        |numbers| {
            let done = file::fchdir(numbers).and_then(|()| {
                mount::mount(
                    source,
                    target,
                    fs.map(|(name, _)| name),
                    flags,
                    fs.map(|(_, data)| data),
                )
            });
            file::close(numbers);
            file::fchdir(here).and(done)
        },
    );
    file::close(here);
    done
}
