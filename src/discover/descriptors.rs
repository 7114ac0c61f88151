//! The namespaces that processes have files of.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::OFlags;

use crate::error::Result;
use crate::sys::{self, Errno};

use super::scan::{Scan, is_gone, numbers};
use super::{Gap, Holder, text};

/// `bound` are the paths at which namespaces are mounted.
pub(super) fn walk(scan: &mut Scan, pids: &[u32], bound: &HashSet<Vec<u8>>) -> Result<()> {
    for &pid in pids {
        if let Err(errno) = process(scan, pid, bound) {
            if !is_gone(errno)? {
                scan.gaps.push(Gap::Fds { pid });
            }
        }
    }
    Ok(())
}

fn process(scan: &mut Scan, pid: u32, bound: &HashSet<Vec<u8>>) -> sys::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let dir = scan.proc.open_below(scan.proc.as_fd(), &format!("{pid}/fd"), flags)?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    for fd in numbers(&dir)? {
        let name = fd.to_string();
        // Closed in the meantime, if it is not there.
        let Ok((link, _)) = rustix::fs::readlinkat_raw(&dir, &name, &mut buffer) else {
            continue;
        };
        let link = &*link;
        // A file that was opened by the path of its mount has that path for a name, or none once it is
        // mounted no more.
        if text::namespace(link).is_some() || link == b"/" || bound.contains(link) {
            descriptor(scan, dir.as_fd(), pid, fd, &name)?;
        }
    }
    Ok(())
}

/// What it is of is asked of the kernel, and of nobody else: the file is not opened unless it is of a
/// namespace.
fn descriptor(
    scan: &mut Scan,
    dir: BorrowedFd<'_>,
    pid: u32,
    fd: u32,
    name: &str,
) -> sys::Result<()> {
    let place = match scan.proc.open_target(dir, name) {
        Err(Errno::NOENT | Errno::SRCH) => return Ok(()),
        place => place?,
    };
    if let Some((kind, ino, file)) = scan.open_place(&place)? {
        let index = scan.add(kind, ino, Holder::Fd { pid, fd });
        scan.ask(index, &file)?;
    }
    Ok(())
}
