//! What a proc hides.

#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;

use crate::error::{Error, Result};

/// What a new `proc` shows of processes that a program may not trace.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{HidePid, Mount};
///
/// let proc = Mount::proc("/proc")?.hidepid(HidePid::Invisible);
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [proc(5)](https://man7.org/linux/man-pages/man5/proc.5.html), "Mount options"
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HidePid {
    /// Their directories, and nothing in them.
    NoAccess,
    /// Nothing.
    Invisible,
    /// Nothing, of those of the same user either. Linux 5.8.
    Ptraceable,
}

impl HidePid {
    const ALL: [Self; 3] = [Self::NoAccess, Self::Invisible, Self::Ptraceable];

    /// Kernels before Linux 5.8 know no word.
    pub(super) const fn number(self) -> &'static str {
        match self {
            Self::NoAccess => "1",
            Self::Invisible => "2",
            Self::Ptraceable => "4",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::NoAccess => "noaccess",
            Self::Invisible => "invisible",
            Self::Ptraceable => "ptraceable",
        }
    }
}

/// The value of the mount option `hidepid`, as a word.
impl fmt::Display for HidePid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What [`Display`](fmt::Display) prints, or the number that `proc(5)` gives for it.
impl FromStr for HidePid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|it| [it.word(), it.number()].contains(&text)).ok_or_else(|| {
            let words = "noaccess, invisible or ptraceable";
            Error::invalid(format!("hidepid is {words}, not {text:?}"))
        })
    }
}
