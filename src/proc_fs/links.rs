//! Magic links: what was opened is compared with what the link says.

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};

use super::text::number_in;
use super::{ProcFs, covered, refused};
use crate::error::{Error, Result, Step};
use crate::sys::file::is_on;
use crate::sys::stat::identity;
use crate::sys::{Errno, abi};

/// Room for the text of a link.
pub(crate) type Text = [MaybeUninit<u8>; 4096];

impl ProcFs {
    /// Opens a namespace file of a task, which is a pid, `self` or `thread-self`.
    pub(crate) fn namespace(&self, task: impl Display, file: &str) -> Result<OwnedFd> {
        let dir = self.dir(format!("{task}/ns"))?;
        let refused = |errno| match errno {
            Errno::XDEV => covered(),
            _ => Error::os(Step::OpenNamespace, errno).at(format!("/proc/{task}/ns/{file}")),
        };
        self.namespace_in(dir.as_fd(), file).map_err(refused)
    }

    /// Opens a namespace file in a directory `ns` of this or another proc mount. `EXDEV` for anything else there.
    pub(crate) fn namespace_in(
        &self,
        dir: BorrowedFd<'_>,
        file: &str,
    ) -> core::result::Result<OwnedFd, Errno> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        // Another task may go to the next namespace meanwhile.
        for _ in 0..8 {
            let number = number_in(self.read_link_in(dir, file, &mut buffer)?);
            let opened = open_link(dir, file)?;
            let about = rustix::fs::fstat(&opened)?;
            if number == Some(about.st_ino) && is_on(&opened, abi::NSFS_MAGIC)? {
                return Ok(opened);
            }
        }
        Err(Errno::XDEV)
    }

    /// Opens what a descriptor of this thread was opened on with `O_PATH`.
    pub(crate) fn reopen(&self, file: BorrowedFd<'_>) -> Result<OwnedFd> {
        let dir = self.dir("thread-self/fd".to_owned())?;
        let name = file.as_raw_fd().to_string();
        drop(self.open_below(dir.as_fd(), &name, LINK).map_err(refused)?);
        let opened = open_link(dir.as_fd(), &name).map_err(refused)?;
        let same = identity(opened.as_raw_fd()).map_err(refused)?
            == identity(file.as_raw_fd()).map_err(refused)?;
        if same { Ok(opened) } else { Err(covered()) }
    }

    /// Opens what a magic link leads to with `O_PATH`, whatever that is.
    pub(crate) fn open_target(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
    ) -> core::result::Result<OwnedFd, Errno> {
        drop(self.open_below(dir, name, LINK)?);
        rustix::fs::openat(dir, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    }

    /// The text of a link of this mount.
    pub(crate) fn read_link<'a>(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
        buffer: &'a mut Text,
    ) -> core::result::Result<&'a [u8], Errno> {
        if !self.may_be_covered {
            return rustix::fs::readlinkat_raw(dir, path, buffer).map(|(text, _)| &*text);
        }
        self.read_link_in(dir, path, buffer)
    }

    /// The text of a link of this or another proc mount, reached as by [`open_below`](Self::open_below).
    pub(crate) fn read_link_in<'a>(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
        buffer: &'a mut Text,
    ) -> core::result::Result<&'a [u8], Errno> {
        let link = self.open_below(dir, path, LINK)?;
        rustix::fs::readlinkat_raw(&link, "", buffer).map(|(text, _)| &*text)
    }

    /// The number of the mount that a magic link leads to, without a request to its file system.
    pub(crate) fn mount_of_target(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
    ) -> core::result::Result<u64, Errno> {
        if self.may_be_covered {
            drop(self.open_below(dir, path, LINK)?);
        }
        // Also a file system that refuses all else to this user returns this.
        let about = rustix::fs::statx(dir, path, AtFlags::STATX_DONT_SYNC, StatxFlags::empty())?;
        Ok(about.stx_mnt_id)
    }

    /// The path of a descriptor of this thread, for calls that take no descriptor. Nothing is mounted over a part of
    /// it; who may mount here could do so before the call.
    pub(crate) fn fd_path(&self, file: BorrowedFd<'_>) -> Result<String> {
        let path = format!("thread-self/fd/{}", file.as_raw_fd());
        drop(self.open_below(self.as_fd(), &path, LINK).map_err(refused)?);
        Ok(format!("/proc/{path}"))
    }
}

const LINK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW);

/// Opens where a magic link leads. It was seen to be one, and what has come there since must not block.
fn open_link(dir: BorrowedFd<'_>, name: &str) -> core::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}
