//! Whether a process can run in a cgroup, as far as it can be known before it is born there.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Access, AtFlags, Mode, OFlags};

use crate::error::{Error, ErrorKind, Result, Step};
use crate::sys::{Errno, file};

const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// A child born in a frozen cgroup does not run, and its parent sleeps for it, where no signal but `SIGKILL` reaches. One
/// that has been removed is refused with its name, as nothing else in the kernel's error tells what is not there.
pub(crate) fn check_cgroup(dir: BorrowedFd<'_>) -> Result<()> {
    if is_removed(dir) {
        let error = Error::os(Step::Clone, Errno::NOENT);
        return Err(error.on("in a cgroup that has been removed"));
    }
    if !is_frozen(dir) {
        return Ok(());
    }
    let why = "the cgroup, or one around it, is frozen, so that the child would not run and the caller sleep \
               until it is thawed: write 0 to cgroup.freeze first";
    Err(Error::new(ErrorKind::InvalidInput, why).at_step(Step::Clone))
}

/// Nothing is in its directory any more.
fn is_removed(dir: BorrowedFd<'_>) -> bool {
    let members = rustix::fs::accessat(dir, "cgroup.procs", Access::EXISTS, AtFlags::empty());
    members == Err(Errno::NOENT) && file::is_on(dir, CGROUP2_SUPER_MAGIC) == Ok(true)
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
        let setting = rustix::fs::accessat(here, "cgroup.freeze", Access::EXISTS, AtFlags::empty());
        if setting.is_err() {
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
