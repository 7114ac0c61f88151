//! What happens to the mounts of a new mount namespace.

#![forbid(unsafe_code)]

use core::fmt;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Result};

/// Whether mounts and unmounts pass between a new mount namespace and the one it was copied from.
///
/// The kernel copies each mount with its peer group, so without a change a mount made inside shows
/// up outside wherever the administrator made the mounts shared, as systemd does for all.
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
    /// What is private becomes a peer group of its own; what was shared stays so, both ways.
    #[doc(alias = "MS_SHARED")]
    Shared,
    /// As the kernel copied it.
    Unchanged,
}

impl Propagation {
    /// The flags of `mount(2)`; `None` to make no call.
    pub(crate) const fn flags(self) -> Option<libc::c_ulong> {
        match self {
            Self::Private => Some(libc::MS_REC | libc::MS_PRIVATE),
            Self::Slave => Some(libc::MS_REC | libc::MS_SLAVE),
            Self::Shared => Some(libc::MS_REC | libc::MS_SHARED),
            Self::Unchanged => None,
        }
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Private => "private",
            Self::Slave => "slave",
            Self::Shared => "shared",
            Self::Unchanged => "unchanged",
        })
    }
}

/// A file system to mount in a new mount namespace.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Command, Mount, NamespaceSet};
///
/// // a /proc that shows the new pid namespace instead of the one around it
/// let mut command = Command::new("ps");
/// command.unshare(NamespaceSet::USER | NamespaceSet::PID).map_root().mount(Mount::proc("/proc")?);
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mount {
    pub(crate) target: CString,
}

impl Mount {
    /// A new `proc`, which shows the pid namespace of the process that mounts it, without setuid
    /// programs, devices or executables.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the path has a NUL byte.
    pub fn proc(target: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { target: c_path(target.as_ref())? })
    }
}

/// A path for the kernel.
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::invalid(format!("the path {path:?} has a NUL byte")))
}
