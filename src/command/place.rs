//! Where the program stands: directories that were opened before the child went anywhere.

#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use super::Command;
use crate::plan::op::Op;

#[derive(Debug, Default)]
pub(super) struct Place {
    root: Option<Arc<OwnedFd>>,
    dir: Option<Arc<OwnedFd>>,
}

impl Place {
    pub(super) fn has_root(&self) -> bool {
        self.root.is_some()
    }

    /// Whether a directory was opened that may lie anywhere.
    pub(super) fn is_open(&self) -> bool {
        self.root.is_some() || self.dir.is_some()
    }

    /// Before the standard streams are replaced, so that any number will do; before the ids change, since
    /// the caller had the right to open the directories.
    pub(super) fn enter(&self, ops: &mut Vec<Op>) {
        ops.extend(self.root.clone().map(Op::ChangeRoot));
        ops.extend(self.dir.clone().map(Op::GoTo));
    }
}

/// Open directories.
impl Command {
    /// The program's root directory, and its working directory unless one is set: an open directory,
    /// which may lie in another mount namespace than the program. Its file system is seen from there on,
    /// the program's own path included.
    ///
    /// This is no jail. A program with `CAP_SYS_CHROOT` in its user namespace leaves it, and so does any
    /// program that is handed a directory outside: an inherited descriptor (see
    /// [`close_other_fds`](Self::close_other_fds)), or a working directory set with
    /// [`current_dir_fd`](Self::current_dir_fd). What confines a program is a mount namespace in which
    /// nothing else is mounted.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, ErrorKind};
    /// use std::fs::File;
    ///
    /// match Command::new("/bin/pwd").root_dir_fd(File::open("/")?).output() {
    ///     Ok(output) => assert_eq!(output.stdout, b"/\n"),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The spawn fails with `ENOTDIR` for a descriptor of something else. The plan refuses it together with
    /// [`mount`](Self::mount) and [`rootfs`](Self::rootfs): the directory was opened where these mounts are not.
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_CHROOT` in the program's user namespace.
    ///
    /// # References
    ///
    /// [chroot(2)](https://man7.org/linux/man-pages/man2/chroot.2.html)
    #[doc(alias = "chroot")]
    pub fn root_dir_fd(&mut self, dir: impl Into<OwnedFd>) -> &mut Self {
        self.place.root = Some(Arc::new(dir.into()));
        self
    }

    /// The program's working directory as an open one, which may lie outside of its mount namespace
    /// and of its root. A relative [`current_dir`](Self::current_dir) starts from there.
    ///
    /// A program that stands outside of its root can reach everything there by `..`.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    /// use std::fs::File;
    ///
    /// let output = Command::new("pwd").current_dir_fd(File::open("/proc")?).output()?;
    /// assert_eq!(output.stdout, b"/proc\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The plan refuses it together with mounts, as of [`root_dir_fd`](Self::root_dir_fd).
    /// The spawn fails with `ENOTDIR` for a descriptor of something else, and `EACCES` for a directory that
    /// the child may not search (with the ids and capabilities of before [`uid`](Self::uid), but in its
    /// user namespace).
    ///
    /// # References
    ///
    /// [fchdir(2)](https://man7.org/linux/man-pages/man2/fchdir.2.html)
    #[doc(alias = "fchdir")]
    pub fn current_dir_fd(&mut self, dir: impl Into<OwnedFd>) -> &mut Self {
        self.place.dir = Some(Arc::new(dir.into()));
        self
    }

    /// Where the program starts if the parent's working directory cannot be looked up again after the
    /// [mounts](Self::mount) of this command: it is not there any more, or may not be searched.
    ///
    /// It must be an absolute path. It has no effect where [`current_dir`](Self::current_dir) is an absolute path, or
    /// where nothing is mounted.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount};
    ///
    /// let mut command = Command::new("pwd");
    /// // hides the directory that this program was started in, wherever that is
    /// command.map_root().mount(Mount::tmpfs("/home")?).mount(Mount::tmpfs("/tmp")?);
    /// command.current_dir_fallback("/");
    /// if let Ok(status) = command.status() {
    ///     assert!(status.success());
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn current_dir_fallback(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.current_dir_fallback = Some(dir.as_ref().to_owned());
        self
    }
}
