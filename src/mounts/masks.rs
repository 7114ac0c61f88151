//! What is there already, hidden or read-only.

#![forbid(unsafe_code)]

use std::path::Path;

use super::{Mount, MountKind};
use crate::error::Result;

/// Masked and read-only paths.
impl Mount {
    /// Puts a file or directory out of sight, as container engines do with parts of `/proc`: a file becomes
    /// empty, and so does a directory, which is read-only as well. One that is not there need not be hidden.
    ///
    /// Below an earlier mount of the same command the path is looked up in that mount, and nowhere else: a link that
    /// leads out of it is refused. The mask covers a name: what can be reached by another one, as a hard link, a second
    /// mount of the same file system or an open descriptor, is not hidden.
    ///
    /// This holds for a program without `CAP_SYS_ADMIN` over its mount namespace. Root inside a new user namespace has
    /// it, and can unmount or remount what was mounted there, unless the command gives it up:
    /// [`Command::lock_mounts`](crate::Command::lock_mounts).
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "test ! -s /proc/kallsyms && test -z $(ls /proc/bus)"]).map_root();
    /// command.mount(Mount::mask("/proc/kallsyms")?);
    /// command.mount(Mount::mask("/proc/bus")?);
    /// match command.status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`bind`](Self::bind).
    pub fn mask(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(path.as_ref(), MountKind::Mask)
    }

    /// Makes a file or directory read-only, with all that is mounted below it, and leaves it as it is
    /// otherwise. One that is not there need not be protected. Before Linux 5.12 what is mounted below stays
    /// writable, and is to be named itself.
    ///
    /// Below an earlier mount of the same command the path is looked up in that mount, and nowhere else: a link that
    /// leads out of it is refused.
    ///
    /// This holds for a program without `CAP_SYS_ADMIN` over its mount namespace. Root inside a new user namespace has
    /// it, and can unmount or remount what was mounted there, unless the command gives it up:
    /// [`Command::lock_mounts`](crate::Command::lock_mounts).
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "! touch /etc/x 2>/dev/null"]).map_root();
    /// command.mount(Mount::read_only_path("/etc")?);
    /// match command.status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`bind`](Self::bind).
    pub fn read_only_path(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(path.as_ref(), MountKind::Protect)
    }
}
