//! The cgroup that the program is born in.

#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::Command;

/// The cgroup of the program.
impl Command {
    /// The cgroup that the program is in from its first moment on: a directory of a cgroup file system of
    /// version 2. A new cgroup namespace has it as its root.
    ///
    /// Where `clone3(2)` is hidden by a filter the child moves there itself, before any step of the
    /// plan: for that moment it belongs to the caller's cgroup, to which the memory of its birth is
    /// charged.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use linux_namespaces::{Command, NamespaceSet};
    /// use std::fs::{self, File};
    ///
    /// fs::create_dir("/sys/fs/cgroup/job")?;
    /// fs::write("/sys/fs/cgroup/job/memory.max", "100M")?;
    /// let cgroup = File::open("/sys/fs/cgroup/job")?;
    /// Command::new("make").cgroup(cgroup).unshare(NamespaceSet::CGROUP).status()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// From the spawn: [`InvalidInput`](crate::ErrorKind::InvalidInput) for a cgroup that is frozen or below a frozen
    /// one, since the child would not run and the caller sleep until it is thawed, which also happens if somebody
    /// freezes the cgroup during the spawn; [`NotFound`](crate::ErrorKind::NotFound) for one that has been removed;
    /// `EBADF` for what is no cgroup of version 2 (`ENOENT` where `clone3(2)` is hidden), `EBUSY` for one whose
    /// controllers are for its children alone, `EOPNOTSUPP` for one of a broken threaded subtree, and
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied).
    ///
    /// # Privileges
    ///
    /// Write access to `cgroup.procs` there, and to that of the nearest cgroup above both.
    ///
    /// # References
    ///
    /// `CLONE_INTO_CGROUP` in [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html), Linux 5.7;
    /// [cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html)
    #[doc(alias = "CLONE_INTO_CGROUP")]
    pub fn cgroup(&mut self, dir: impl Into<OwnedFd>) -> &mut Self {
        self.cgroup = Some(Arc::new(dir.into()));
        self
    }
}
