//! Whether a number was one namespace's all the while.
//!
//! Of several tasks that were seen in a namespace of one number, the first one that is in it to the end shows
//! that all after it were in the same: no other one gets its number while it lives. Those before it have
//! left, perhaps another namespace, so what the kernel told by way of them is asked again.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};

use crate::error::{AtStep, Result, Step};
use crate::sys;

use super::processes::{DIR, match_link};
use super::scan::{Scan, unless_exhausted};
use super::{Holder, NamespaceInfo};

pub(super) fn walk(scan: &mut Scan) -> Result<()> {
    for index in 0..scan.found.len() {
        if may_be_mixed(&scan.found[index]) {
            check(scan, index).at_step(Step::ReadProc)?;
        }
    }
    Ok(())
}

fn may_be_mixed(found: &NamespaceInfo) -> bool {
    let is_direct = |holder: &&Holder| {
        !matches!(holder, Holder::ChildNamespace { .. } | Holder::OwnedNamespace { .. })
    };
    found.holders.iter().filter(is_direct).nth(1).is_some()
}

fn check(scan: &mut Scan, index: usize) -> sys::Result<()> {
    let mut gone = Vec::new();
    for (at, holder) in scan.found[index].holders.iter().enumerate() {
        let Some((dir, name)) = link_of(holder, &scan.found[index]) else {
            continue;
        };
        if let Some(dir) = opened(scan, index, &dir, &name)? {
            if !gone.is_empty() {
                scan.forget(index, &gone);
                scan.ask_link(index, dir.as_fd(), &name)?;
            }
            return Ok(());
        }
        gone.push(at);
    }
    // Nobody is left to ask. Who was there is told as it was, unless it was more than one.
    if gone.len() > 1 {
        scan.forget(index, &gone[..gone.len() - 1]);
    }
    Ok(())
}

/// Of a task: where in `/proc` it shows that it is in the namespace.
fn link_of(holder: &Holder, found: &NamespaceInfo) -> Option<(String, String)> {
    let name = found.kind.name();
    match holder {
        Holder::Process { pid } => Some((format!("{pid}/ns"), name.to_owned())),
        Holder::Thread { pid, tid } => Some((format!("{pid}/task/{tid}/ns"), name.to_owned())),
        Holder::ForChildren { pid, tid } => {
            Some((format!("{pid}/task/{tid}/ns"), format!("{name}_for_children")))
        }
        _ => None,
    }
}

fn opened(scan: &Scan, index: usize, dir: &str, name: &str) -> sys::Result<Option<OwnedFd>> {
    let NamespaceInfo { kind, id, .. } = scan.found[index];
    let there = scan.proc.open_below(scan.proc.as_fd(), dir, DIR).and_then(|dir| {
        let is_it = match_link(&scan.proc, dir.as_fd(), kind, name)? == Some(id.ino);
        Ok(is_it.then_some(dir))
    });
    there.or_else(|errno| unless_exhausted(errno).map(|()| None))
}
