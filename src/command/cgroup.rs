//! The cgroup of the program, and whether a process can run there, as far as that can be known before.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::Command;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::sys::{Errno, file};

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
    /// freezes the cgroup during the spawn; `EBADF` for what is no cgroup of version 2, `EBUSY` for one whose controllers are for its
    /// children alone, `EOPNOTSUPP` for one of a broken threaded subtree, `ENODEV` for one that was removed, and
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

const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// A child born in a frozen cgroup does not run, and its parent sleeps for it, where no signal but `SIGKILL` reaches.
pub(super) fn refuse_frozen(dir: BorrowedFd<'_>) -> Result<()> {
    if !is_frozen(dir) {
        return Ok(());
    }
    let why = "the cgroup, or one around it, is frozen, so that the child would not run and the caller sleep \
               until it is thawed: write 0 to cgroup.freeze first";
    Err(Error::new(ErrorKind::InvalidInput, why).at_step(Step::Clone))
}

/// `cgroup.events` says so when all members are; before, `cgroup.freeze` of the cgroup or one around it does. What
/// cannot be read says nothing.
fn is_frozen(dir: BorrowedFd<'_>) -> bool {
    if has_line(dir, "cgroup.events", "frozen 1") {
        return true;
    }
    let mut at: Option<OwnedFd> = None;
    // As deep as they can be and more.
    for _ in 0..256 {
        let here = at.as_ref().map_or(dir, |at| at.as_fd());
        if file::is_on(here, CGROUP2_SUPER_MAGIC) != Ok(true) {
            return false;
        }
        if has_line(here, "cgroup.freeze", "1") {
            return true;
        }
        // The uppermost has no such file.
        if rustix::fs::accessat(
            here,
            "cgroup.freeze",
            rustix::fs::Access::EXISTS,
            rustix::fs::AtFlags::empty(),
        )
        .is_err()
        {
            return false;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(here, "..", flags, Mode::empty()) {
            Ok(above) => at = Some(above),
            Err(_) => return false,
        }
    }
    false
}

fn has_line(dir: BorrowedFd<'_>, name: &str, line: &str) -> bool {
    let read = || -> core::result::Result<Vec<u8>, Errno> {
        let file = rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = vec![0; 256];
        let length = rustix::io::read(&file, &mut text[..])?;
        text.truncate(length);
        Ok(text)
    };
    read().is_ok_and(|text| text.split(|&byte| byte == b'\n').any(|it| it == line.as_bytes()))
}
