//! What the kernel looks up for the file of a program.

use core::ffi::CStr;
use core::ptr;
use std::os::fd::RawFd;

use super::args::arg;
use super::file::Fd;
use super::in_root::open_inside;
use super::path_buffer::{PATH_MAX, PathBuffer};
use super::syscall::syscall;
use super::{Errno, Result};

/// Whether what the kernel looks up for an ELF file is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Interpreter {
    Missing,
    NotMissing,
}

const HEAD: usize = 1024;

/// A program's file, and the beginning of its contents.
pub(super) struct ProgramFile {
    file: Fd,
    bytes: [u8; HEAD],
    length: usize,
}

impl ProgramFile {
    pub(super) fn new(file: Fd) -> Self {
        Self { file, bytes: [0; HEAD], length: 0 }
    }

    /// In place, since this may run on a small stack.
    pub(super) fn read_head(&mut self) -> Result<()> {
        self.length = read_at(self.file.raw(), &mut self.bytes, 0)?;
        Ok(())
    }

    pub(super) fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn is_elf(&self) -> bool {
        self.text().starts_with(b"\x7fELF")
    }

    /// Whether this kernel itself has no use for it: it is no ELF file, or one of another architecture.
    pub(super) fn is_for_others(&self) -> bool {
        let own = if cfg!(target_arch = "x86_64") {
            [62, 3]
        } else if cfg!(target_arch = "aarch64") {
            [183, 40]
        } else {
            return !self.is_elf();
        };
        let machine = number(self.text(), 18, 2).filter(|_| self.is_elf());
        machine.is_none_or(|machine| !own.contains(&machine))
    }

    /// Looks up what the kernel would as the interpreter of an ELF file.
    ///
    /// The kernel ignores the class and the byte order that the file claims: it reads the file as one of its own, of
    /// 64 bits and then of 32, so that both are looked at.
    pub(super) fn interpreter(&self, path: &mut PathBuffer) -> Result<Interpreter> {
        let mut found = Interpreter::NotMissing;
        if !self.is_elf() {
            return Ok(found);
        }
        for is_wide in [true, false] {
            let path = path.clear();
            if !self.read_interpreter(is_wide, path)? {
                continue;
            }
            // What the kernel makes of it otherwise, it reports. Any other error leaves it unknown where this leads.
            if let Ok(path) = CStr::from_bytes_until_nul(path) {
                match open_inside(libc::AT_FDCWD, path, 0) {
                    Ok(_) | Err(Errno::ACCESS) => {}
                    Err(Errno::NOENT | Errno::NOTDIR) => found = Interpreter::Missing,
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(found)
    }

    /// Whether there is one for a kernel that reads the file so.
    fn read_interpreter(&self, is_wide: bool, path: &mut [u8; PATH_MAX]) -> Result<bool> {
        const PT_INTERP: u64 = 3;
        let of = |bytes: &[u8], wide: (usize, usize), narrow: (usize, usize)| {
            let (at, width) = if is_wide { wide } else { narrow };
            number(bytes, at, width)
        };
        // The kernel refuses a file where these are missing or odd.
        let (Some(table), Some(size), Some(count)) = (
            of(self.text(), (32, 8), (28, 4)),
            of(self.text(), (54, 2), (42, 2)),
            of(self.text(), (56, 2), (44, 2)),
        ) else {
            return Ok(false);
        };
        if size != if is_wide { 56 } else { 32 } || size * count > 65536 {
            return Ok(false);
        }
        for index in 0..count {
            let mut entry = [0; 56];
            let Some(at) = table.checked_add(index * size).filter(|&at| i64::try_from(at).is_ok())
            else {
                return Ok(false);
            };
            if self.read(&mut entry, at)? < 32 {
                return Ok(false);
            }
            if number(&entry, 0, 4) != Some(PT_INTERP) {
                continue;
            }
            let at = of(&entry, (8, 8), (4, 4)).filter(|&at| i64::try_from(at).is_ok());
            let length = of(&entry, (32, 8), (16, 4)).and_then(|it| usize::try_from(it).ok());
            let room = path.get_mut(..length.unwrap_or(0));
            return match (at, room) {
                (Some(at), Some(room)) if !room.is_empty() => self.read(room, at).map(|_| true),
                _ => Ok(false),
            };
        }
        Ok(false)
    }

    fn read(&self, room: &mut [u8], at: u64) -> Result<usize> {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let end = start.saturating_add(room.len());
        match self.text().get(start..end) {
            Some(known) => {
                room.copy_from_slice(known);
                Ok(room.len())
            }
            None => read_at(self.file.raw(), room, at),
        }
    }
}

/// A number in a file of this architecture.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + width)?;
    let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    let is_big = cfg!(target_endian = "big");
    Some(if is_big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
}

/// `preadv(2)`, whose arguments are the same on all architectures.
fn read_at(file: RawFd, room: &mut [u8], at: u64) -> Result<usize> {
    let into = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    let into = ptr::from_ref(&into).expose_provenance();
    #[expect(clippy::cast_possible_truncation, reason = "the low part, and the high one")]
    let (low, high) = (at as usize, (at >> 32) as usize);
    let high = if cfg!(target_pointer_width = "64") { 0 } else { high };
    loop {
        // SAFETY: one iovec with room for what is read.
        match unsafe { syscall(libc::SYS_preadv, [arg(file), into, 1, low, high]) } {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}
