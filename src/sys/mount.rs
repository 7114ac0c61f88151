//! Mounts: the calls of Linux 5.2, which take descriptors, and mount(2), which takes paths.

use core::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use rustix::fs::{AtFlags, StatxFlags};

use super::args::{arg, owned};
use super::file::{self, Fd};
use super::syscall::syscall;
use super::{Errno, Result, abi};

// The same on all architectures but alpha. libc has not all of them.
pub(super) const SYS_OPEN_TREE: libc::c_long = 428;
const SYS_MOVE_MOUNT: libc::c_long = 429;
const SYS_FSOPEN: libc::c_long = 430;
const SYS_FSCONFIG: libc::c_long = 431;
const SYS_FSMOUNT: libc::c_long = 432;
pub(super) const SYS_MOUNT_SETATTR: libc::c_long = 442;

/// Attributes of a mount: these have the same numbers in both interfaces.
pub(crate) const RDONLY: u64 = 1;
pub(crate) const NOSUID: u64 = 2;
pub(crate) const NODEV: u64 = 4;
pub(crate) const NOEXEC: u64 = 8;
pub(crate) const IDMAP: u64 = 0x0010_0000;

const AT_RECURSIVE: usize = 0x8000;
const EMPTY_PATH: usize = libc::AT_EMPTY_PATH as usize;

/// `struct mount_attr`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MountAttr {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) user_namespace: u64,
}

fn text(text: Option<&CStr>) -> usize {
    text.map_or(0, |text| text.as_ptr().expose_provenance())
}

/// `open_tree(2)`: a copy of the mount at a path, and, if told, of those below it, attached nowhere.
pub(crate) fn clone_tree(dir: RawFd, path: &CStr, recursive: bool) -> Result<Fd> {
    open_tree(dir, path, recursive).map(Fd::new)
}

/// The mount of an open file alone. For the parent.
pub(crate) fn clone_one(source: RawFd) -> Result<OwnedFd> {
    open_tree(source, c"", false).map(owned)
}

fn open_tree(dir: RawFd, path: &CStr, recursive: bool) -> Result<usize> {
    const CLONE: usize = 1;
    let recursive = if recursive { AT_RECURSIVE } else { 0 };
    let flags = CLONE | arg(libc::O_CLOEXEC | libc::AT_NO_AUTOMOUNT) | EMPTY_PATH | recursive;
    // SAFETY: a C string.
    unsafe { syscall(SYS_OPEN_TREE, [arg(dir), text(Some(path)), flags]) }
}

/// `mount_setattr(2)`, of the mount that is open and, if told, those below it. Linux 5.12.
pub(crate) fn set_attributes(mount: RawFd, attr: &MountAttr, recursive: bool) -> Result<()> {
    let flags = EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    let at = core::ptr::from_ref(attr).expose_provenance();
    let words = [arg(mount), text(Some(c"")), flags, at, size_of::<MountAttr>()];
    // SAFETY: a C string and a mount_attr of the given size.
    unsafe { syscall(SYS_MOUNT_SETATTR, words) }.map(drop)
}

/// `move_mount(2)`: attaches a mount to an open file or directory.
pub(crate) fn attach(mount: RawFd, target: RawFd) -> Result<()> {
    const BOTH_EMPTY: usize = 0x4 | 0x40;
    let empty = text(Some(c""));
    // SAFETY: C strings.
    unsafe { syscall(SYS_MOVE_MOUNT, [arg(mount), empty, arg(target), empty, BOTH_EMPTY]) }
        .map(drop)
}

/// `fsopen(2)`, close-on-exec.
pub(crate) fn fsopen(name: &CStr) -> Result<Fd> {
    // SAFETY: a C string.
    unsafe { syscall(SYS_FSOPEN, [text(Some(name)), 1]) }.map(Fd::new)
}

/// `fsconfig(2)`: an option with a value, or without.
pub(crate) fn fs_option(fs: RawFd, key: &CStr, value: Option<&CStr>) -> Result<()> {
    fsconfig(fs, usize::from(value.is_some()), Some(key), value)
}

/// `fsconfig(2)`: no more options.
pub(crate) fn fs_create(fs: RawFd) -> Result<()> {
    fsconfig(fs, 6, None, None)
}

fn fsconfig(fs: RawFd, command: usize, key: Option<&CStr>, value: Option<&CStr>) -> Result<()> {
    // SAFETY: C strings or null, as the command takes them; no descriptor.
    unsafe { syscall(SYS_FSCONFIG, [arg(fs), command, text(key), text(value), 0]) }.map(drop)
}

/// `fsmount(2)`: a mount of a new file system, attached nowhere. Close-on-exec.
pub(crate) fn fsmount(fs: RawFd, attributes: u64) -> Result<Fd> {
    let attributes = usize::try_from(attributes).map_err(|_| Errno::INVAL)?;
    // SAFETY: no pointers.
    unsafe { syscall(SYS_FSMOUNT, [arg(fs), 1, attributes]) }.map(Fd::new)
}

/// Changes the propagation of the mount at `target`.
pub(crate) fn set_propagation(target: &CStr, flags: libc::c_ulong) -> Result<()> {
    // Valgrind reads the type.
    mount(None, target, Some(c""), flags, None)
}

/// `mount(2)`.
#[expect(clippy::cast_possible_truncation, reason = "c_ulong is as wide as a register")]
pub(crate) fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    data: Option<&CStr>,
) -> Result<()> {
    let words = [text(source), text(Some(target)), text(kind), flags as usize, text(data)];
    // SAFETY: C strings or null where mount(2) allows it.
    unsafe { syscall(libc::SYS_mount, words) }.map(drop)
}

/// Whether a file lies on the file system with this magic number, which others may have mounted in this mount namespace:
/// from Linux 6.8 on it is not queried, as it may never respond. For the parent.
pub(crate) fn is_known_on(at: impl AsFd, magic: u64) -> Result<bool> {
    const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let about = rustix::fs::statx(&at, c"", flags, UNIQUE);
    let mount = about.ok().filter(|about| about.stx_mask & UNIQUE.bits() != 0);
    match mount.and_then(|about| magic_of_mount(about.stx_mnt_id).ok()) {
        Some(its) => Ok(its == magic),
        // It refuses all to this user, which is the same without a query; or the kernel does not return it.
        None => file::is_on(at, magic),
    }
}

/// `statmount(2)`: the magic number of a mount's file system, by the id that no other mount ever has. Linux 6.8.
fn magic_of_mount(id: u64) -> Result<u64> {
    let (size, param) = (abi::MNT_ID_REQ_SIZE, abi::STATMOUNT_SB_BASIC);
    let request = abi::MntIdReq { size, spare: 0, mount: id, param };
    // struct statmount: this number is its fourth 64 bits.
    let mut about = [0_u64; 64];
    let at = about.as_mut_ptr().expose_provenance();
    let request = core::ptr::from_ref(&request).expose_provenance();
    let words = [request, at, size_of_val(&about), 0];
    // SAFETY: a request of the size that it says, and room for as many bytes as told.
    unsafe { syscall(abi::SYS_STATMOUNT, words) }?;
    Ok(about[3])
}

/// `pivot_root(".", ".")`: the working directory becomes the root, with the old one on top of it.
pub(crate) fn pivot_root_here() -> Result<()> {
    let here = text(Some(c"."));
    // SAFETY: C strings.
    unsafe { syscall(libc::SYS_pivot_root, [here, here]) }.map(drop)
}

/// `umount2(".", MNT_DETACH)`: takes away what is mounted on top of the working directory, or that itself.
pub(crate) fn detach_here() -> Result<()> {
    let words = [text(Some(c".")), arg(libc::MNT_DETACH)];
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_umount2, words) }.map(drop)
}
