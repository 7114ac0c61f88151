//! Whether mounts pass between namespaces.

#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;

use crate::error::{Error, Result};

/// Whether mounts and unmounts pass between a new mount namespace and the one it was copied from.
///
/// The kernel copies each mount with its peer group (as a slave of it, with a new user namespace), so without a
/// change what is mounted inside may show up outside, wherever mounts are shared, as systemd makes all.
///
/// # Examples
///
/// ```
/// use linux_namespaces::Propagation;
///
/// assert_eq!(Propagation::default(), Propagation::Private);
/// ```
///
/// # References
///
/// [mount_namespaces(7)](https://man7.org/linux/man-pages/man7/mount_namespaces.7.html), "Shared
/// subtrees"
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Propagation {
    /// Nothing passes, either way: the default, as of `unshare(1)`.
    #[default]
    #[doc(alias = "MS_PRIVATE")]
    Private,
    /// Mounts made outside appear inside; those made inside stay there.
    #[doc(alias = "MS_SLAVE")]
    Slave,
    /// What is private becomes a peer group of its own; what was shared stays so, both ways, or with a new user
    /// namespace gets what is mounted outside and passes nothing out.
    #[doc(alias = "MS_SHARED")]
    Shared,
    /// As the kernel copied it.
    Unchanged,
}

impl Propagation {
    /// The flag of `mount(2)` and `mount_setattr(2)`; `None` to make no call.
    pub(crate) const fn flag(self) -> Option<libc::c_ulong> {
        match self {
            Self::Private => Some(libc::MS_PRIVATE),
            Self::Slave => Some(libc::MS_SLAVE),
            Self::Shared => Some(libc::MS_SHARED),
            Self::Unchanged => None,
        }
    }
}

impl Propagation {
    const ALL: [Self; 4] = [Self::Private, Self::Slave, Self::Shared, Self::Unchanged];

    const fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Slave => "slave",
            Self::Shared => "shared",
            Self::Unchanged => "unchanged",
        }
    }
}

/// The word that `unshare(1)` takes for `--propagation`.
impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What [`Display`](fmt::Display) prints.
impl FromStr for Propagation {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|it| it.word() == word).ok_or_else(|| {
            let words = "private, slave, shared or unchanged";
            Error::invalid(format!("the propagation of mounts is {words}, not {word:?}"))
        })
    }
}
