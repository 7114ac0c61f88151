//! Files below a directory, or below the root that this process has by now: no path leads out.

use core::ffi::CStr;
use std::os::fd::{OwnedFd, RawFd};

use super::args::{arg, owned};
use super::file::{Fd, open_at, readlink_at, umask};
use super::syscall::syscall;
use super::{Errno, Result, abi};

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
        Err(Errno::NOSYS | Errno::PERM) => walk(dir, names),
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
        Err(Errno::NOSYS | Errno::PERM) => follow(dir, path, flags, MOST_LINKS),
        answer => answer,
    }
}

/// The same from the working directory. For the parent.
pub(crate) fn open_inside_here(path: &CStr) -> Result<OwnedFd> {
    let file = open_inside(libc::AT_FDCWD, path, 0)?;
    Ok(owned(arg(file.into_raw())))
}

/// As [`open_on_same_mount`]. For the parent.
pub(crate) fn open_on_same_mount_here(dir: RawFd, path: &CStr, flags: i32) -> Result<OwnedFd> {
    let file = open_on_same_mount(dir, path, flags)?;
    Ok(owned(arg(file.into_raw())))
}

/// The same, where no link of any kind is followed: `ELOOP`.
pub(crate) fn open_without_links(path: &CStr, flags: i32) -> Result<Fd> {
    match openat2(libc::AT_FDCWD, path, flags | libc::O_PATH, libc::RESOLVE_NO_SYMLINKS) {
        Err(Errno::NOSYS | Errno::PERM) => follow(libc::AT_FDCWD, path, flags, 0),
        answer => answer,
    }
}

/// Opens a path across no mount and through no magic link, so that nothing can have been put over what it names: for
/// `/proc`, where links are relative. With `O_PATH | O_NOFOLLOW` the last name may be a link of any kind.
pub(crate) fn open_on_same_mount(dir: RawFd, path: &CStr, flags: i32) -> Result<Fd> {
    match openat2(dir, path, flags, libc::RESOLVE_NO_XDEV) {
        Err(Errno::NOSYS | Errno::PERM) => stay(dir, path, flags),
        answer => answer,
    }
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
fn walk<'a>(root: RawFd, names: impl Iterator<Item = &'a CStr>) -> Result<Fd> {
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
fn follow(dir: RawFd, path: &CStr, flags: i32, most_links: u32) -> Result<Fd> {
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
#[inline(never)] // See follow.
fn stay(dir: RawFd, path: &CStr, flags: i32) -> Result<Fd> {
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

/// The part of a path that is not looked up yet, on the stack.
pub(super) struct PathBuffer {
    bytes: [u8; PATH_MAX],
    start: usize,
    end: usize,
}

pub(super) const PATH_MAX: usize = libc::PATH_MAX as usize;

/// One name of a path, as a C string on the stack.
pub(super) struct Name {
    bytes: [u8; 256],
}

impl Name {
    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }

    fn new(name: &[u8]) -> Result<Self> {
        let mut bytes = [0; 256];
        let room = bytes.get_mut(..name.len()).filter(|room| room.len() < 256);
        room.ok_or(Errno::NAMETOOLONG)?.copy_from_slice(name);
        Ok(Self { bytes })
    }
}

impl PathBuffer {
    pub(super) const EMPTY: Self = Self { bytes: [0; PATH_MAX], start: 0, end: 0 };

    /// In place: a buffer that is returned would be on the stack twice.
    pub(super) fn set(&mut self, path: &[u8]) -> Result<()> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        let room = self.bytes.get_mut(..path.len()).filter(|room| room.len() < PATH_MAX);
        room.ok_or(Errno::NAMETOOLONG)?.copy_from_slice(path);
        (self.start, self.end) = (0, path.len());
        Ok(())
    }

    /// All zero, for other use.
    pub(super) fn clear(&mut self) -> &mut [u8; PATH_MAX] {
        self.bytes.fill(0);
        (self.start, self.end) = (0, 0);
        &mut self.bytes
    }

    fn left(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn is_absolute(&self) -> bool {
        self.left().first() == Some(&b'/')
    }

    fn is_done(&self) -> bool {
        self.left().iter().all(|&byte| byte == b'/')
    }

    /// Takes the first name off.
    fn next_name(&mut self) -> Result<Option<Name>> {
        while self.left().first() == Some(&b'/') {
            self.start += 1;
        }
        let length = self.left().iter().take_while(|&&byte| byte != b'/').count();
        if length == 0 {
            return Ok(None);
        }
        let name = Name::new(self.left().get(..length).unwrap_or_default())?;
        self.start += length;
        Ok(Some(name))
    }

    /// The text of a link, and behind it what was left.
    fn put_link_before(&mut self, link: RawFd) -> Result<()> {
        // What was left goes to the end of the buffer meanwhile.
        let room = PATH_MAX - (self.end - self.start);
        self.bytes.copy_within(self.start..self.end, room);
        let text = self.bytes.get_mut(..room).unwrap_or_default();
        let length = readlink_at(link, c"", text)?;
        if length == 0 || length >= room {
            return Err(Errno::NAMETOOLONG);
        }
        self.bytes.copy_within(room.., length);
        (self.start, self.end) = (0, length + PATH_MAX - room);
        Ok(())
    }

    /// Replaces all of it by the text of a link.
    pub(super) fn replace_by_link(&mut self, dir: RawFd, name: &CStr) -> Result<()> {
        let length = readlink_at(dir, name, &mut self.bytes)?;
        if length == 0 || length >= PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        (self.start, self.end) = (0, length);
        Ok(())
    }

    /// The directory as a C string, and the last name, which is empty behind a slash at the end.
    pub(super) fn split(&mut self) -> Result<(&CStr, Name)> {
        let slash = self.left().iter().rposition(|&byte| byte == b'/');
        let name = Name::new(self.left().get(slash.map_or(0, |at| at + 1)..).unwrap_or_default())?;
        let dir = match slash {
            None => c".",
            Some(at) => {
                // With the slash, so that a root stays one.
                let end = self.start + at + 1;
                if let Some(byte) = self.bytes.get_mut(end) {
                    *byte = 0;
                }
                let dir = self.bytes.get(self.start..=end).unwrap_or_default();
                CStr::from_bytes_until_nul(dir).map_err(|_| Errno::INVAL)?
            }
        };
        Ok((dir, name))
    }
}

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

fn fs_type(file: RawFd) -> Result<u64> {
    Ok(statfs(file)?.0)
}

/// Whether a file has no permission to execute it for anybody, or is on a mount with `noexec`.
pub(crate) fn nobody_may_execute(file: RawFd) -> Result<bool> {
    let has_none = statx(file, libc::STATX_MODE, 0)?.mode & 0o111 == 0;
    Ok(has_none || mount_flags(file)? & libc::MS_NOEXEC != 0)
}

/// Whether a file is the root of a mount of this type of file system. Linux 5.8; before, only the type is known.
pub(crate) fn is_root_of_mount(file: RawFd, magic: u64) -> Result<bool> {
    Ok(is_mount_root(file)? && fs_type(file)? == magic)
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

/// Creates things with exactly the given permissions.
pub(crate) fn without_umask<T>(create: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = umask(0)?;
    let created = create();
    umask(before)?;
    created
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
    use super::{PathBuffer, for_mount};

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

    #[test]
    fn a_path_is_split_at_its_last_slash() {
        for (path, dir, name) in [
            ("/bin/sh", "/bin/", "sh"),
            ("/sh", "/", "sh"),
            ("sh", ".", "sh"),
            ("a/b/", "a/b/", ""),
            ("/", "/", ""),
        ] {
            let mut buffer = PathBuffer::EMPTY;
            buffer.set(path.as_bytes()).unwrap();
            let (got, last) = buffer.split().unwrap();
            assert_eq!(got.to_str().unwrap(), dir);
            assert_eq!(last.as_c_str().to_str().unwrap(), name);
        }
        let mut buffer = PathBuffer::EMPTY;
        assert!(buffer.set(b"").is_err());
        assert!(buffer.set(&[b'a'; 4096]).is_err());
        buffer.set(&[b'a'; 256]).unwrap();
        assert!(buffer.split().is_err());
    }

    #[test]
    fn names_come_one_after_the_other() {
        let mut path = PathBuffer::EMPTY;
        path.set(b"//usr/.//bin/").unwrap();
        let mut names = Vec::new();
        while let Some(name) = path.next_name().unwrap() {
            names.push(name.as_c_str().to_owned());
        }
        assert_eq!(names, [c"usr", c".", c"bin"].map(ToOwned::to_owned));
    }
}
