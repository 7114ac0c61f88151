//! Executes the steps that mount. As all of `engine::run`, it allocates nothing and locks nothing.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::SeqCst;
use std::os::fd::{AsRawFd, RawFd};

use super::ClonedTree;
use super::attach::{attach, attach_with_attr, bind_by_path, remount, remount_all, set_attr};
use super::new_fs::mount_new;
use super::root::{enter_root, in_root, mount_root};
use crate::engine::run::Context;
use crate::plan::mounts::mount_point::MountPoint;
use crate::plan::mounts::{Attr, Fs, MountOp, Tree};
use crate::sys::create::{mkdir, symlink, without_umask};
use crate::sys::file::Fd;
use crate::sys::in_child::InChild;
use crate::sys::mount::{self, clone_tree};
use crate::sys::stat::{identity, mount_id};
use crate::sys::{Errno, Result, file, ids};

pub(crate) fn run(op: &MountOp, context: &Context<'_>, child: Option<InChild>) -> Result<()> {
    let mount_state = context.mount_state;
    match op {
        MountOp::OpenSource(tree) => {
            let cloned = clone_source(tree, mount_state.tree(tree.index)?);
            if let Some(child) = child {
                // A copy of what the parent holds open, which could lead out of the new root.
                file::close_copy(tree.held.as_raw_fd(), child);
            }
            cloned
        }
        MountOp::SetFsIds => ids::set_fs_ids_to_root(),
        MountOp::Attach { tree, point, attr, submounts, .. } => {
            let tree_state = mount_state.tree(*tree)?;
            at(point, context, |root, target| {
                let mount = attach(tree_state, root, target, point, context)?;
                if tree_state.needs_remount.load(SeqCst) {
                    remount_all(&mount, *attr, submounts, context)?;
                }
                Ok(mount)
            })
        }
        MountOp::New { fs, point, attr } => {
            at(point, context, |root, target| mount_new(fs, *attr, root, target, point, context))
        }
        MountOp::Overlay { layers, point, attr } => at(point, context, |_, target| {
            attach_with_attr(layers.mount(mount_state)?, *attr, false, target, context)
        }),
        MountOp::Mask { null, empty, point } => mask(*null, empty, point, context),
        MountOp::MakeReadOnly(point) => make_read_only(point, context),
        MountOp::CreateDir { point, mode } => in_root(context, |root| {
            let make = |dir, name: &core::ffi::CStr| without_umask(|| mkdir(dir, name, *mode));
            point.in_dir(root, mount_state, make)
        }),
        MountOp::CreateLink { point, text } => in_root(context, |root| {
            point.in_dir(root, mount_state, |dir, name| symlink(dir, name, text))
        }),
        MountOp::Root { base, attr, submounts } => mount_root(base, *attr, submounts, context),
        MountOp::MakeRootReadOnly => {
            in_root(context, |root| match set_attr(root, Attr::READ_ONLY, false) {
                Err(Errno::NOSYS | Errno::PERM) => remount(root, Attr::READ_ONLY, context),
                answer => answer,
            })
        }
        MountOp::PivotRoot => enter_root(context, || {
            mount::pivot_root_here()?;
            mount::detach_here()
        }),
        MountOp::ChangeRoot => enter_root(context, file::chroot_here),
    }
}

/// With an empty directory, or with the null device: a tree that is of no use afterwards.
fn mask(null: usize, empty: &Fs, point: &MountPoint, context: &Context<'_>) -> Result<()> {
    let null = context.mount_state.tree(null)?;
    let done = if_there(point, context, |root, target| {
        if identity(target.raw())?.is_dir() {
            return mount_new(empty, Attr::READ_ONLY, root, target, point, context);
        }
        attach(null, root, target, point, context)
    });
    drop(null.mount.take());
    done
}

/// Copies the source's mounts as they are in this mount namespace, if it is the same file still.
fn clone_source(tree: &Tree, tree_state: &ClonedTree) -> Result<()> {
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
    // Both now: the root of a FUSE gets another number when its server is queried for the first time.
    let is_it = identity(mount.raw())? == identity(tree.held.as_raw_fd())?;
    let changed =
        if is_source { Err(Errno::NOSYS) } else { set_attr(mount.raw(), tree.attr, true) };
    tree_state.mount.set(mount);
    tree_state.is_source.store(is_source, SeqCst);
    if !is_it {
        return Err(Errno::STALE);
    }
    match changed {
        Err(Errno::NOSYS | Errno::PERM) => {
            tree_state.needs_remount.store(!tree.attr.is_empty(), SeqCst);
            Ok(())
        }
        answer => answer,
    }
}

fn make_read_only(point: &MountPoint, context: &Context<'_>) -> Result<()> {
    if_there(point, context, |root, target| match clone_tree(target.raw(), c"", true) {
        Err(Errno::NOSYS | Errno::PERM) => {
            let top = bind_by_path(target.raw(), root, target, point, context)?;
            remount(top.raw(), Attr::READ_ONLY, context)?;
            Ok(top)
        }
        mount => attach_with_attr(mount?, Attr::READ_ONLY, true, target, context),
    })
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
        mount_state.record(point, work(root, &target)?, &target)
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
            mount_state.record(point, work(root, &target)?, &target)
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
