//! The namespaces that processes and threads are in.
//!
//! All that is asked of a process is asked through its open directory `/proc/PID/ns`, below which nothing
//! is there any more once it is gone, also when its number is given to another.

#![forbid(unsafe_code)]

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;

use crate::error::{AtStep, Result, Step};
use crate::namespace::Namespace;
use crate::sys::{self, Errno};

use super::scan::{Scan, is_gone, numbers};
use super::{Gap, Holder, text};
use crate::proc_fs::ProcFs;

/// The numbers of a task's namespaces, in the order of the kinds.
type Links = [Option<u64>; 8];

const FOR_CHILDREN: [(Namespace, &str); 2] =
    [(Namespace::Pid, "pid_for_children"), (Namespace::Time, "time_for_children")];

/// Answers the processes that could be looked into.
pub(super) fn walk(scan: &mut Scan) -> Result<Vec<u32>> {
    let root = scan.proc.open_below(scan.proc.as_fd(), ".", DIRECTORY);
    let pids = numbers(root.at_step(Step::ReadProc)?).at_step(Step::ReadProc)?;
    let mut kept = Vec::with_capacity(pids.len());
    for pid in pids {
        match process(scan, pid) {
            Ok(()) => kept.push(pid),
            Err(errno) => {
                if !is_gone(errno)? {
                    scan.gaps.push(Gap::Process { pid });
                }
            }
        }
    }
    Ok(kept)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
pub(super) const DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

fn process(scan: &mut Scan, pid: u32) -> sys::Result<()> {
    let dir = scan.proc.open_below(scan.proc.as_fd(), &format!("{pid}/ns"), DIR)?;
    let own = links(&scan.proc, dir.as_fd())?;
    for (kind, ino) in present(&own) {
        let index = scan.add(kind, ino, Holder::Process { pid });
        scan.ask_link(index, dir.as_fd(), kind.name())?;
    }
    children(scan, dir.as_fd(), &own, pid, pid)?;
    if threads(&scan.proc, dir.as_fd()) > 1 {
        threads_in_other_namespaces(scan, &dir, &own, pid)?;
    }
    Ok(())
}

fn present(links: &Links) -> impl Iterator<Item = (Namespace, u64)> {
    Namespace::EACH.into_iter().zip(links).filter_map(|(kind, ino)| Some((kind, (*ino)?)))
}

/// A zombie has but a user and a pid namespace, an old kernel no time namespace.
fn links(proc: &ProcFs, dir: BorrowedFd<'_>) -> sys::Result<Links> {
    let mut links = Links::default();
    for (kind, link) in Namespace::EACH.into_iter().zip(&mut links) {
        *link = match_link(proc, dir, kind, kind.name())?;
    }
    Ok(links)
}

/// What a link is to, if to a namespace of this kind.
pub(super) fn match_link(
    proc: &ProcFs,
    dir: BorrowedFd<'_>,
    kind: Namespace,
    name: &str,
) -> sys::Result<Option<u64>> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    match proc.read_link(dir, name, &mut buffer) {
        Ok(text) => Ok(text::namespace(text).filter(|found| found.0 == kind).map(|found| found.1)),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Where the children of a task are born, if it is not where the task is.
fn children(
    scan: &mut Scan,
    dir: BorrowedFd<'_>,
    own: &Links,
    pid: u32,
    tid: u32,
) -> sys::Result<()> {
    for (kind, name) in FOR_CHILDREN {
        // A zombie has no children any more.
        let here = own[kind as usize];
        if let (Some(here), Some(ino)) = (here, match_link(&scan.proc, dir, kind, name)?) {
            if ino != here {
                let index = scan.add(kind, ino, Holder::ForChildren { pid, tid });
                scan.ask_link(index, dir, name)?;
            }
        }
    }
    Ok(())
}

/// How many threads the process has: each is a directory in `task`.
fn threads(proc: &ProcFs, dir: BorrowedFd<'_>) -> u32 {
    proc.count_dirs(dir, "../task")
}

fn threads_in_other_namespaces(
    scan: &mut Scan,
    dir: &OwnedFd,
    first: &Links,
    pid: u32,
) -> sys::Result<()> {
    let tasks = scan.proc.open_below(dir.as_fd(), "../task", DIRECTORY)?;
    for tid in numbers(&tasks)?.into_iter().filter(|tid| *tid != pid) {
        let dir = match scan.proc.open_below(tasks.as_fd(), &format!("{tid}/ns"), DIR) {
            Err(Errno::NOENT | Errno::SRCH) => continue,
            dir => dir?,
        };
        let own = links(&scan.proc, dir.as_fd())?;
        for (kind, ino) in present(&own).filter(|(kind, ino)| first[*kind as usize] != Some(*ino)) {
            let index = scan.add(kind, ino, Holder::Thread { pid, tid });
            scan.ask_link(index, dir.as_fd(), kind.name())?;
        }
        children(scan, dir.as_fd(), &own, pid, tid)?;
    }
    Ok(())
}
