//! What identifies a namespace while it exists.

#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;

use crate::error::{Error, Result};

/// Device and inode number of a namespace's file, which identify the namespace while it exists. The inode number is
/// what `readlink /proc/PID/ns/uts` shows in brackets.
///
/// It says nothing about a namespace that is gone: the kernel gives the number to another one at once.
/// [`NsFd::unique_id`](crate::NsFd::unique_id) is never given twice.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Namespace, NsFd, NsId};
///
/// let id = NsFd::current(Namespace::Uts)?.id()?;
/// let text = id.to_string();                      // "4:4026531838"
/// assert_eq!(text.parse::<NsId>()?, id);
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "what stat(2) tells of a file's identity")]
pub struct NsId {
    /// The device number of the kernel's namespace file system.
    pub dev: u64,
    /// The inode number.
    pub ino: u64,
}

/// `DEVICE:INODE`, as of `stat --format=%d:%i`.
impl fmt::Display for NsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.dev, self.ino)
    }
}

/// What [`Display`](fmt::Display) prints.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) for anything else.
impl FromStr for NsId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (dev, ino) = text.split_once(':')?;
            Some(Self { dev: decimal(dev)?, ino: decimal(ino)? })
        };
        parse().ok_or_else(|| {
            Error::invalid(format!(
                "the id of a namespace is such as \"4:4026531838\", not {text:?}"
            ))
        })
    }
}

/// Digits without a sign.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
