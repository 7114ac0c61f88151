//! A new file system, with the options that its kind has.

#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};

use crate::sys::mount::{NODEV, NOEXEC, NOSUID};

/// A new instance of a file system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct NewFs {
    pub(crate) name: &'static CStr,
    /// Attributes of the mount, the same bits in both interfaces.
    pub(crate) flags: u64,
    /// A key, and its value if it has one.
    pub(crate) options: Vec<(&'static CStr, Option<CString>)>,
}

impl NewFs {
    pub(crate) fn new(name: &'static CStr, flags: u64) -> Self {
        Self { name, flags, options: Vec::new() }
    }

    pub(crate) fn tmpfs(mode: u32) -> Self {
        Self::new(c"tmpfs", NOSUID | NODEV).with(c"mode", format!("{mode:o}"))
    }

    pub(crate) fn devpts() -> Self {
        let new = Self::new(c"devpts", NOSUID | NOEXEC);
        new.with(c"ptmxmode", "666".to_owned()).with(c"mode", "620".to_owned())
    }

    /// What `statfs(2)` knows the type by.
    pub(crate) fn magic(&self) -> u64 {
        match self.name.to_bytes() {
            b"tmpfs" => 0x0102_1994,
            b"proc" => 0x9fa0,
            b"sysfs" => 0x6265_6572,
            b"devpts" => 0x1cd1,
            b"mqueue" => 0x1980_0202,
            b"cgroup2" => 0x6367_7270,
            _ => 0,
        }
    }

    /// The last value of a key counts.
    pub(crate) fn with(mut self, key: &'static CStr, value: String) -> Self {
        self.options.retain(|(other, _)| *other != key);
        self.options.push((key, CString::new(value).ok()));
        self
    }

    /// As `mount(2)` takes them.
    pub(crate) fn data(&self) -> CString {
        let word = |(key, value): &(&CStr, Option<CString>)| match value {
            Some(value) => [key.to_bytes(), b"=", value.to_bytes()].concat(),
            None => key.to_bytes().to_vec(),
        };
        let words: Vec<_> = self.options.iter().map(word).collect();
        CString::new(words.join(&b',')).unwrap_or_default()
    }
}
