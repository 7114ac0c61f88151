//! The namespaces that the kernel lists by itself, to root.

#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};

use crate::error::Result;
use crate::namespace::Namespace;
use crate::ns_fd::NsFd;
use crate::sys::{self, Errno, abi, nsfs};

use super::scan::{Scan, is_gone};

pub(super) fn walk(scan: &mut Scan) -> Result<()> {
    let listed = match all(scan) {
        // Before Linux 6.19, or a filter.
        Err(Errno::NOSYS | Errno::PERM) => mount_namespaces(scan),
        answer => answer,
    };
    match listed {
        Ok(()) => Ok(()),
        Err(errno) => is_gone(errno).map(drop),
    }
}

/// `listns(2)`.
pub(super) fn all(scan: &mut Scan) -> sys::Result<()> {
    let known: std::collections::HashSet<_> =
        scan.found.iter().filter_map(|found| found.unique_id).collect();
    let mut ids = [0; 512];
    let mut last = 0;
    loop {
        let count = match nsfs::list(last, &mut ids) {
            // None comes after the last one.
            Err(Errno::NOENT) => 0,
            answer => answer?,
        };
        let Some(end) = ids[..count].last() else {
            return Ok(());
        };
        last = *end;
        for id in ids[..count].iter().filter(|id| !known.contains(id)) {
            match nsfs::open_by_id(*id) {
                Ok(file) => add(scan, &file)?,
                Err(errno) => super::scan::unless_exhausted(errno)?,
            }
        }
    }
}

/// `NS_MNT_GET_NEXT` and `NS_MNT_GET_PREV`, Linux 6.12: from ours in both directions.
fn mount_namespaces(scan: &mut Scan) -> sys::Result<()> {
    for direction in [abi::NS_MNT_GET_NEXT, abi::NS_MNT_GET_PREV] {
        let Ok(own) = NsFd::current(Namespace::Mount) else {
            return Ok(());
        };
        let mut here = OwnedFd::from(own);
        loop {
            here = match nsfs::get_fd(here.as_raw_fd(), direction) {
                Ok(next) => next,
                Err(errno) => {
                    super::scan::unless_exhausted(errno)?;
                    break;
                }
            };
            add(scan, &here)?;
        }
    }
    Ok(())
}

fn add(scan: &mut Scan, file: &OwnedFd) -> sys::Result<()> {
    let kind = nsfs::get_type(file.as_raw_fd()).map(Namespace::from_flag)?;
    if let (Some(kind), Some(ino)) = (kind, scan.number_of(file)) {
        let index = scan.entry(kind, ino);
        scan.ask(index, file)?;
    }
    Ok(())
}
