//! Directories over each other.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::c_path;
use crate::error::{Error, Result};
use crate::ns_fd::NsFd;

/// Directories over each other: all are seen as one, and what is written lands in the uppermost.
///
/// The lower ones are never written. Without [`upper`](Self::upper) what is written is kept in memory and
/// gone with the mount namespace; the root directory has the mode of the first lower one then, and belongs to who
/// mounts it.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Command, Mount, Overlay};
///
/// // as if /etc could be written
/// let mut command = Command::new("sh");
/// command.args(["-c", "echo mine >/etc/motd && cat /etc/motd"]).map_root();
/// command.mount(Mount::overlay("/etc", Overlay::new(["/etc"])?)?);
/// match command.status() {
///     Ok(status) => assert!(status.success()),
///     Err(error) => eprintln!("{error:#}"),     // before Linux 5.11 that is for root
/// }
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # Privileges
///
/// None in a user namespace from Linux 5.11 on. There the kernel keeps its notes in attributes that the owner
/// of the upper directory could write as well (`userxattr`); in memory it can do so from Linux 6.6 on, and
/// before that some changes of directories from below are refused.
///
/// # References
///
/// [Overlay Filesystem](https://docs.kernel.org/filesystems/overlayfs.html)
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Overlay {
    /// The uppermost first.
    pub(crate) lowers: Vec<PathBuf>,
    pub(crate) upper: Option<PathBuf>,
    pub(crate) idmap: Option<Arc<NsFd>>,
}

impl Overlay {
    /// These directories, the first above the others.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for none, for more than 500, or for a NUL byte.
    pub fn new<P: AsRef<Path>>(lowers: impl IntoIterator<Item = P>) -> Result<Self> {
        let lowers: Vec<PathBuf> =
            lowers.into_iter().map(|lower| lower.as_ref().to_owned()).collect();
        if lowers.is_empty() || lowers.len() > 500 {
            return Err(Error::invalid("an overlay has between 1 and 500 lower directories"));
        }
        lowers.iter().try_for_each(|lower| c_path(lower).map(drop))?;
        Ok(Self { lowers, upper: None, idmap: None })
    }

    /// Where what is written is kept. Beside it, the kernel works in a directory of the same name with `.work`
    /// behind it, which is made; both have to be on one mount. No other overlay may use them at the same
    /// time.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a path that does not end in a name, or in one with a
    /// comma, colon or backslash, which the kernel would take for its own.
    pub fn upper(mut self, dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        c_path(dir)?;
        let name = dir.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
        if name.is_empty() || name.iter().any(|byte| b",:\\".contains(byte)) {
            return Err(Error::invalid(format!(
                "the upper directory {dir:?} has no name that an overlay can be told"
            )));
        }
        self.upper = Some(dir.to_owned());
        Ok(self)
    }

    /// The lower directories with other owners of files: as of [`Mount::idmapped`](crate::Mount::idmapped).
    ///
    /// # Kernel
    ///
    /// Linux 5.19.
    #[must_use]
    pub fn idmapped(mut self, namespace: NsFd) -> Self {
        self.idmap = Some(Arc::new(namespace));
        self
    }
}
