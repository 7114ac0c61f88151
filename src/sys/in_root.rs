//! Files below a directory, or below the root that this process has by now: no path leads out.

use core::ffi::CStr;
use std::os::fd::{OwnedFd, RawFd};

use super::args::{arg, owned};
use super::file::{Fd, open_at};
use super::path_buffer::{Name, PathBuffer};
use super::stat::{fs_type, identity, mount_id};
use super::syscall::syscall;
use super::{Errno, Result, abi};

/// Where a path may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    /// Links are followed as if the directory were the root.
    Root,
    /// A link that leads out of the directory is refused with `EXDEV`.
    Mount,
}

/// Opens a path below `dir` with `O_PATH`, never through a magic link. Where a filter hides `openat2(2)`, no
/// link at all is followed. `names` are those that `path` consists of.
pub(crate) fn open_in_root<'a>(
    dir: RawFd,
    path: &CStr,
    within: Within,
    names: impl Iterator<Item = &'a CStr>,
) -> Result<Fd> {
    let resolve = match within {
        Within::Root => libc::RESOLVE_IN_ROOT,
        Within::Mount => libc::RESOLVE_BENEATH,
    };
    match openat2(dir, path, libc::O_PATH, resolve) {
        Err(Errno::NOSYS | Errno::PERM) => open_by_names(dir, names),
        answer => answer,
    }
}

/// Opens a path with `O_PATH` and these flags as this process sees it, never through a magic link: `ELOOP`.
/// Relative paths start at `dir`.
///
/// A magic link, as `/proc/self/exe` or `/proc/self/fd/7`, leads to an open file wherever that lies, also out of
/// the root.
pub(crate) fn open_inside(dir: RawFd, path: &CStr, flags: i32) -> Result<Fd> {
    match openat2(dir, path, flags | libc::O_PATH, 0) {
        Err(Errno::NOSYS | Errno::PERM) => follow_links(dir, path, flags, MOST_LINKS),
        answer => answer,
    }
}

/// As [`open_inside`] from the working directory, where no link of any kind is followed: `ELOOP`.
pub(crate) fn open_without_links(path: &CStr, flags: i32) -> Result<Fd> {
    match openat2(libc::AT_FDCWD, path, flags | libc::O_PATH, libc::RESOLVE_NO_SYMLINKS) {
        Err(Errno::NOSYS | Errno::PERM) => follow_links(libc::AT_FDCWD, path, flags, 0),
        answer => answer,
    }
}

/// Opens a path across no mount and through no magic link, so that nothing can have been put over what it names: for
/// `/proc`, where links are relative. With `O_PATH | O_NOFOLLOW` the last name may be a link of any kind.
pub(crate) fn open_on_same_mount(dir: RawFd, path: &CStr, flags: i32) -> Result<Fd> {
    match openat2(dir, path, flags, libc::RESOLVE_NO_XDEV) {
        Err(Errno::NOSYS | Errno::PERM) => stay_on_mount(dir, path, flags),
        answer => answer,
    }
}

/// As [`open_inside`] from the working directory. For the parent.
pub(crate) fn open_inside_here(path: &CStr) -> Result<OwnedFd> {
    let file = open_inside(libc::AT_FDCWD, path, 0)?;
    Ok(owned(arg(file.into_raw())))
}

/// As [`open_on_same_mount`]. For the parent.
pub(crate) fn open_on_same_mount_here(dir: RawFd, path: &CStr, flags: i32) -> Result<OwnedFd> {
    let file = open_on_same_mount(dir, path, flags)?;
    Ok(owned(arg(file.into_raw())))
}

fn openat2(dir: RawFd, path: &CStr, flags: i32, resolve: u64) -> Result<Fd> {
    let at = path.as_ptr().expose_provenance();
    #[expect(clippy::cast_sign_loss, reason = "flags")]
    let how = [(flags | libc::O_CLOEXEC) as u64, 0, resolve | libc::RESOLVE_NO_MAGICLINKS];
    let how_at = how.as_ptr().expose_provenance();
    for _ in 0..64 {
        // SAFETY: a C string and an open_how, which is three numbers, of the given size.
        let answer =
            unsafe { syscall(libc::SYS_openat2, [arg(dir), at, how_at, size_of_val(&how)]) };
        match answer {
            // Something was renamed meanwhile, so that `..` in a link may have led outside.
            Err(Errno::AGAIN) => {}
            answer => return answer.map(Fd::new),
        }
    }
    Err(Errno::AGAIN)
}

/// One name after the other, no link among them.
fn open_by_names<'a>(root: RawFd, names: impl Iterator<Item = &'a CStr>) -> Result<Fd> {
    let mut dir = open_at(root, c".", libc::O_PATH)?;
    for name in names {
        dir = open_at(dir.raw(), name, libc::O_PATH | libc::O_NOFOLLOW)?;
        if identity(dir.raw())?.is_link() {
            return Err(Errno::LOOP);
        }
    }
    Ok(dir)
}

/// What [`open_inside`] does, without `openat2(2)`: no link is left to the kernel, so none is magic.
#[inline(never)] // Its buffer is on the stack only where it is needed.
fn follow_links(dir: RawFd, path: &CStr, flags: i32, most_links: u32) -> Result<Fd> {
    let mut left = PathBuffer::EMPTY;
    left.set(path.to_bytes())?;
    let mut at = open_at(dir, if left.is_absolute() { c"/" } else { c"." }, libc::O_PATH)?;
    let mut links = 0;
    while let Some(name) = left.next_name()? {
        let next = open_at(at.raw(), name.as_c_str(), libc::O_PATH | libc::O_NOFOLLOW)?;
        let about = identity(next.raw())?;
        if !about.is_link() {
            at = next;
            continue;
        }
        links += 1;
        // Links that are not magic lie in the root of proc alone. A magic one may be mounted in another directory with
        // its inode number.
        let is_in_root = identity(at.raw())?.inode == abi::PROC_ROOT_INO
            && mount_id(at.raw())? == mount_id(next.raw())?;
        let is_magic = !is_in_root && fs_type(next.raw())? == abi::PROC_SUPER_MAGIC;
        if links > most_links || is_magic {
            return Err(Errno::LOOP);
        }
        left.put_link_before(next.raw())?;
        if left.is_absolute() {
            at = open_at(at.raw(), c"/", libc::O_PATH)?;
        }
    }
    let wants_dir = flags & libc::O_DIRECTORY != 0 || path.to_bytes().last() == Some(&b'/');
    if wants_dir && !identity(at.raw())?.is_dir() {
        return Err(Errno::NOTDIR);
    }
    Ok(at)
}

/// What [`open_on_same_mount`] does, without `openat2(2)`.
#[inline(never)] // See follow_links.
fn stay_on_mount(dir: RawFd, path: &CStr, flags: i32) -> Result<Fd> {
    let mut left = PathBuffer::EMPTY;
    left.set(path.to_bytes())?;
    let mut at = open_at(dir, c".", libc::O_PATH)?;
    let mount = mount_id(at.raw())?;
    let open = |at: &Fd, name: &Name, flags| {
        let file = open_at(at.raw(), name.as_c_str(), flags | libc::O_NOFOLLOW)?;
        if mount_id(file.raw())? == mount { Ok(file) } else { Err(Errno::XDEV) }
    };
    let mut links = 0;
    while let Some(name) = left.next_name()? {
        let next = open(&at, &name, libc::O_PATH)?;
        let is_link = identity(next.raw())?.is_link();
        if left.is_done() && (!is_link || flags & libc::O_NOFOLLOW != 0) {
            // Nothing that blocks, should something else have come there since.
            return open(&at, &name, flags | libc::O_NONBLOCK | libc::O_NOCTTY);
        }
        if !is_link {
            at = next;
            continue;
        }
        links += 1;
        let is_magic = identity(at.raw())?.inode != abi::PROC_ROOT_INO;
        if links > MOST_LINKS || is_magic {
            return Err(Errno::LOOP);
        }
        left.put_link_before(next.raw())?;
        if left.is_absolute() {
            return Err(Errno::XDEV);
        }
    }
    open_at(at.raw(), c".", flags)
}

/// As many links as the kernel follows in one path.
pub(super) const MOST_LINKS: u32 = 40;
