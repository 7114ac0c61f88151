//! A name for a UTS namespace.

#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::{Error, Result};

/// A hostname or NIS domain name that the kernel takes: 0 to 64 bytes, none of them NUL.
///
/// The kernel asks for no more. That a name resolves, or that a shell likes it, is not checked.
///
/// # Examples
///
/// ```
/// use linux_namespaces::Hostname;
///
/// let name: Hostname = "build-7".parse()?;
/// assert_eq!(name.to_string(), "build-7");
/// assert!(Hostname::new("x".repeat(65)).is_err());
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [sethostname(2)](https://man7.org/linux/man-pages/man2/sethostname.2.html), `__NEW_UTS_LEN`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hostname(OsString);

impl Hostname {
    /// The most bytes that a name can have: 64.
    pub const MAX_BYTES: usize = 64;

    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it has more than 64 bytes or a NUL: the
    /// kernel would cut it short there without a word.
    pub fn new(name: impl Into<OsString>) -> Result<Self> {
        let name = name.into();
        let bytes = name.as_bytes();
        if bytes.len() > Self::MAX_BYTES {
            let (have, max) = (bytes.len(), Self::MAX_BYTES);
            return Err(Error::invalid(format!(
                "the name has {have} bytes, the kernel takes {max}"
            )));
        }
        if bytes.contains(&0) {
            return Err(Error::invalid(format!("the name {name:?} has a NUL byte")));
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// What the kernel answered: a field of `utsname`, up to its NUL.
    pub(crate) fn from_kernel(field: &[u8]) -> Self {
        let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
        Self(OsString::from_vec(field[..end].to_vec()))
    }
}

/// Bytes that are no UTF-8 print as `U+FFFD`.
impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string_lossy())
    }
}

impl FromStr for Hostname {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl AsRef<OsStr> for Hostname {
    fn as_ref(&self) -> &OsStr {
        &self.0
    }
}
