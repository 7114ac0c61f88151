//! What the kernel knows of a file and of the mount that it is on: `statx(2)`, `statfs(2)`.

use std::os::fd::RawFd;

use super::Result;
use super::args::arg;
use super::syscall::syscall;

/// What a file is known by as long as it is held open, and its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: [u32; 2],
    pub(super) inode: u64,
    kind: u32,
}

impl Identity {
    pub(crate) const fn is_dir(&self) -> bool {
        self.kind == libc::S_IFDIR
    }

    pub(crate) const fn is_file(&self) -> bool {
        self.kind == libc::S_IFREG
    }

    pub(crate) const fn is_link(&self) -> bool {
        self.kind == libc::S_IFLNK
    }
}

/// What a file is known by. Its file system is not queried, which may never respond.
pub(crate) fn identity(file: RawFd) -> Result<Identity> {
    let about = statx(file, libc::STATX_TYPE | libc::STATX_INO, AT_STATX_DONT_SYNC)?;
    Ok(Identity {
        device: about.device,
        inode: about.inode,
        kind: u32::from(about.mode) & libc::S_IFMT,
    })
}

/// What the mount is known by that a file is on. Also a file system that refuses all else to this user returns this.
fn statx_of_mount(file: RawFd) -> Result<Statx> {
    statx(file, 0, AT_STATX_DONT_SYNC)
}

/// The number of the mount that a file is on, its own among those that are mounted. Linux 5.8.
pub(crate) fn mount_id(file: RawFd) -> Result<u64> {
    Ok(statx_of_mount(file)?.mount)
}

/// `STATX_ATTR_MOUNT_ROOT`: Linux 5.8, so always there.
pub(crate) fn is_mount_root(file: RawFd) -> Result<bool> {
    const MOUNT_ROOT: u64 = 0x2000;
    Ok(statx_of_mount(file)?.attributes & MOUNT_ROOT != 0)
}

/// Whether a file is the root of a mount of this type of file system. Linux 5.8; before, only the type is known.
pub(crate) fn is_root_of_mount(file: RawFd, magic: u64) -> Result<bool> {
    Ok(is_mount_root(file)? && fs_type(file)? == magic)
}

/// Whether a file has no permission to execute it for anybody, or is on a mount with `noexec`.
pub(crate) fn nobody_may_execute(file: RawFd) -> Result<bool> {
    let has_none = statx(file, libc::STATX_MODE, 0)?.mode & 0o111 == 0;
    Ok(has_none || mount_flags(file)? & libc::MS_NOEXEC != 0)
}

const AT_STATX_DONT_SYNC: i32 = 0x4000;

/// `statx(2)`.
fn statx(file: RawFd, wanted: u32, flags: i32) -> Result<Statx> {
    let mut about = Statx::default();
    let at = core::ptr::from_mut(&mut about).expose_provenance();
    let empty = c"".as_ptr().expose_provenance();
    let flags = arg(libc::AT_EMPTY_PATH | flags);
    // SAFETY: a C string, and a struct statx to write.
    unsafe { syscall(libc::SYS_statx, [arg(file), empty, flags, wanted as usize, at]) }?;
    Ok(about)
}

/// `struct statx`.
#[repr(C)]
#[derive(Default)]
struct Statx {
    mask_and_block: [u32; 2],
    attributes: u64,
    before_mode: [u32; 3],
    mode: u16,
    spare: u16,
    inode: u64,
    before_device: [u64; 12],
    device: [u32; 2],
    mount: u64,
    rest: [u64; 13],
}
const _: () = assert!(size_of::<Statx>() == 256);
const _: () = assert!(core::mem::offset_of!(Statx, mode) == 28);
const _: () = assert!(core::mem::offset_of!(Statx, device) == 136);
const _: () = assert!(core::mem::offset_of!(Statx, mount) == 144);

/// What `statfs(2)` returns of a file: the type of its file system, and the flags of its mount.
#[cfg(any(target_pointer_width = "64", target_arch = "x86_64"))]
#[expect(clippy::cast_possible_truncation, reason = "flags of the low 32 bits")]
fn statfs(file: RawFd) -> Result<(u64, usize)> {
    let mut about = [0_u64; 16];
    let at = about.as_mut_ptr().expose_provenance();
    // SAFETY: room for a struct statfs, which has 15 words of 8 bytes or fewer.
    unsafe { syscall(libc::SYS_fstatfs, [arg(file), at]) }?;
    // s390x has most of it in 32 bits.
    Ok(if cfg!(target_arch = "s390x") {
        (about[0] >> 32, (about[8] >> 32) as usize)
    } else {
        (about[0], about[10] as usize)
    })
}

/// The same where words have 32 bits: fstatfs(2) fails with `EOVERFLOW` for a large file system there.
#[cfg(not(any(target_pointer_width = "64", target_arch = "x86_64")))]
fn statfs(file: RawFd) -> Result<(u64, usize)> {
    // struct statfs64: type and block size, five numbers of 64 bits, the id in two words, the length of names, another
    // size, flags, and four words for later. Where 64 bits are aligned to 8 bytes it ends with another one.
    const SIZE: usize = if cfg!(any(target_arch = "x86", target_arch = "arm")) { 84 } else { 88 };
    let mut about = [0_u32; 22];
    let at = about.as_mut_ptr().expose_provenance();
    // SAFETY: room for a struct statfs64.
    unsafe { syscall(libc::SYS_fstatfs64, [arg(file), SIZE, at]) }?;
    Ok((about[0].into(), about[16] as usize))
}

pub(super) fn fs_type(file: RawFd) -> Result<u64> {
    Ok(statfs(file)?.0)
}

/// The flags of the mount that a file is on, as a remount by `mount(2)` has to repeat them, or it loses them.
pub(crate) fn mount_flags(file: RawFd) -> Result<libc::c_ulong> {
    Ok(for_mount(statfs(file)?.1))
}

/// From the flags of `statfs(2)` to those of `mount(2)`.
fn for_mount(told: usize) -> libc::c_ulong {
    // These have the same numbers in both: ro, nosuid, nodev, noexec, noatime, nodiratime.
    const SAME: usize = 0xc0f;
    const NOATIME: usize = 0x400;
    const RELATIME: usize = 0x1000;
    const NOSYMFOLLOW: usize = 0x2000;
    let has = |flag| told & flag != 0;
    let mut flags = (told & SAME) as libc::c_ulong;
    if has(NOSYMFOLLOW) {
        flags |= MS_NOSYMFOLLOW;
    }
    // Without any of these mount(2) takes relatime for granted.
    flags
        | match (has(NOATIME), has(RELATIME)) {
            (true, _) => 0,
            (false, true) => libc::MS_RELATIME,
            (false, false) => libc::MS_STRICTATIME,
        }
}

/// Linux 5.10; libc does not have it on all targets.
pub(crate) const MS_NOSYMFOLLOW: libc::c_ulong = 0x100;

#[cfg(test)]
mod tests {
    use super::for_mount;

    #[test]
    fn each_flag_of_a_mount_survives_a_remount() {
        for (told, flags) in [
            (0x1000, libc::MS_RELATIME),
            (0, libc::MS_STRICTATIME),
            (0x800, libc::MS_STRICTATIME | libc::MS_NODIRATIME),
            (0x2400, libc::MS_NOATIME | 0x100),
            (0x100f, libc::MS_RELATIME | 0xf),
        ] {
            assert_eq!(for_mount(told), flags, "{told:#x}");
        }
    }
}
