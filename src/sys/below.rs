//! Files below an open directory, of which no path leads out.

use core::ffi::CStr;

use super::file::{close, open_at};
use super::process::{RawFd, arg, fd};
use super::syscall::syscall;
use super::{Errno, Result};

/// What a file is known by as long as it is held open, and its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: [u32; 2],
    inode: u64,
    kind: u32,
}

impl Identity {
    pub(crate) const fn is_dir(&self) -> bool {
        self.kind == libc::S_IFDIR
    }

    const fn is_link(&self) -> bool {
        self.kind == libc::S_IFLNK
    }
}

/// `statx(2)`.
pub(crate) fn identity(file: RawFd) -> Result<Identity> {
    let mut about = Statx::default();
    let at = core::ptr::from_mut(&mut about).expose_provenance();
    let empty = c"".as_ptr().expose_provenance();
    let wanted = (libc::STATX_TYPE | libc::STATX_INO) as usize;
    // SAFETY: a C string, and a struct statx to write.
    unsafe { syscall(libc::SYS_statx, [arg(file), empty, arg(libc::AT_EMPTY_PATH), wanted, at]) }?;
    Ok(Identity {
        device: about.device,
        inode: about.inode,
        kind: u32::from(about.mode) & libc::S_IFMT,
    })
}

/// `struct statx`.
#[repr(C)]
#[derive(Default)]
struct Statx {
    before_mode: [u32; 7],
    mode: u16,
    spare: u16,
    inode: u64,
    before_device: [u64; 12],
    device: [u32; 2],
    rest: [u64; 14],
}
const _: () = assert!(size_of::<Statx>() == 256);
const _: () = assert!(core::mem::offset_of!(Statx, mode) == 28);
const _: () = assert!(core::mem::offset_of!(Statx, device) == 136);

/// Opens a path below `root` for what needs no right to the file. Links are followed as if `root` were the
/// root; where a filter hides `openat2(2)`, none is followed. `names` are those that `path` consists of.
pub(crate) fn open_in_root<'a>(
    root: RawFd,
    path: &CStr,
    names: impl Iterator<Item = &'a CStr>,
) -> Result<RawFd> {
    let at = path.as_ptr().expose_provenance();
    let how = [
        (libc::O_PATH | libc::O_CLOEXEC) as u64,
        0,
        libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS,
    ];
    let how_at = how.as_ptr().expose_provenance();
    for _ in 0..64 {
        // SAFETY: a C string and an open_how, which is three numbers, of the size told.
        let answer =
            unsafe { syscall(libc::SYS_openat2, [arg(root), at, how_at, size_of_val(&how)]) };
        match answer {
            // Something was renamed meanwhile, so that `..` in a link may have led outside.
            Err(Errno::AGAIN) => {}
            Err(Errno::NOSYS | Errno::PERM) => return walk(root, names),
            answer => return answer.map(fd),
        }
    }
    Err(Errno::AGAIN)
}

/// One name after the other, no link among them.
fn walk<'a>(root: RawFd, names: impl Iterator<Item = &'a CStr>) -> Result<RawFd> {
    let mut dir = open_at(root, c".", libc::O_PATH)?;
    for name in names {
        let next = open_at(dir, name, libc::O_PATH | libc::O_NOFOLLOW);
        close(dir);
        dir = next?;
        let refused = match identity(dir) {
            Ok(about) if about.is_link() => Errno::LOOP,
            Ok(_) => continue,
            Err(errno) => errno,
        };
        close(dir);
        return Err(refused);
    }
    Ok(dir)
}

/// Makes things with exactly the permissions told.
pub(crate) struct NoUmask(usize);

impl NoUmask {
    pub(crate) fn begin() -> Self {
        Self(umask(0))
    }
}

impl Drop for NoUmask {
    fn drop(&mut self) {
        umask(self.0);
    }
}

fn umask(mask: usize) -> usize {
    // SAFETY: no pointers. It always succeeds.
    unsafe { syscall(libc::SYS_umask, [mask]) }.unwrap_or(0)
}

/// `mkdirat(2)`.
pub(crate) fn make_dir(dir: RawFd, name: &CStr, mode: u32) -> Result<()> {
    let name = name.as_ptr().expose_provenance();
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_mkdirat, [arg(dir), name, mode as usize]) }.map(drop)
}

/// `mknodat(2)`: an empty file.
pub(crate) fn make_file(dir: RawFd, name: &CStr) -> Result<()> {
    let name = name.as_ptr().expose_provenance();
    let mode = (libc::S_IFREG | 0o644) as usize;
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_mknodat, [arg(dir), name, mode, 0]) }.map(drop)
}

/// `symlinkat(2)`.
pub(crate) fn make_link(dir: RawFd, name: &CStr, text: &CStr) -> Result<()> {
    let [name, text] = [name, text].map(|text| text.as_ptr().expose_provenance());
    // SAFETY: C strings.
    unsafe { syscall(libc::SYS_symlinkat, [text, arg(dir), name]) }.map(drop)
}

/// The flags of the mount that a file is on, as a remount by `mount(2)` has to repeat them.
pub(crate) fn mount_flags(file: RawFd) -> Result<libc::c_ulong> {
    // struct statfs is made of words; of the flags, these have the numbers that mount(2) takes.
    const SAME: usize = 0xc0f;
    const ST_RELATIME: usize = 0x1000;
    let mut about = [0_usize; 32];
    let at = about.as_mut_ptr().expose_provenance();
    // SAFETY: room for a struct statfs, which has 16 words, or 15 of 8 bytes.
    unsafe { syscall(libc::SYS_fstatfs, [arg(file), at]) }?;
    let told = about[if cfg!(target_pointer_width = "64") { 10 } else { 11 }];
    let relative = if told & ST_RELATIME == 0 { 0 } else { libc::MS_RELATIME };
    Ok((told & SAME) as libc::c_ulong | relative)
}
