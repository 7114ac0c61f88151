//! A path that is looked up name by name, on the stack.

use core::ffi::CStr;
use std::os::fd::RawFd;

use super::file::readlink_at;
use super::{Errno, Result};

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

    pub(super) fn is_done(&self) -> bool {
        self.left().iter().all(|&byte| byte == b'/')
    }

    /// Takes the first name off.
    pub(super) fn next_name(&mut self) -> Result<Option<Name>> {
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
    pub(super) fn put_link_before(&mut self, link: RawFd) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::PathBuffer;

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
