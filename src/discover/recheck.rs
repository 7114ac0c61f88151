//! Whether a number was one namespace's all the while.
//!
//! Of several tasks that were seen in a namespace of one number, the first one that is in it to the end shows
//! that all after it were in the same: no other one gets its number while it lives. Those before it have
//! left, perhaps another namespace, so what the kernel told by way of them is asked again.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};

use crate::error::{AtStep, Result, Step};
use crate::sys;

use super::processes::{PLACE, match_link};
use super::survey::{Survey, unless_exhausted};
use super::{Holder, NamespaceInfo};

pub(super) fn walk(survey: &mut Survey) -> Result<()> {
    for index in 0..survey.found.len() {
        if may_be_mixed(&survey.found[index]) {
            check(survey, index).at_step(Step::ReadProc)?;
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

fn check(survey: &mut Survey, index: usize) -> sys::Result<()> {
    let mut gone = Vec::new();
    for (at, holder) in survey.found[index].holders.iter().enumerate() {
        let Some((dir, name)) = link_of(holder, &survey.found[index]) else {
            continue;
        };
        if let Some(dir) = opened(survey, index, &dir, &name)? {
            if !gone.is_empty() {
                survey.forget(index, &gone);
                survey.ask_link(index, dir.as_fd(), &name)?;
            }
            return Ok(());
        }
        gone.push(at);
    }
    // Nobody is left to ask. Who was there is told as it was, unless it was more than one.
    if gone.len() > 1 {
        survey.forget(index, &gone[..gone.len() - 1]);
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

fn opened(survey: &Survey, index: usize, dir: &str, name: &str) -> sys::Result<Option<OwnedFd>> {
    let NamespaceInfo { kind, id, .. } = survey.found[index];
    let there = survey.proc.open_below(survey.proc.as_fd(), dir, PLACE).and_then(|dir| {
        let is_it = match_link(&survey.proc, dir.as_fd(), kind, name)? == Some(id.ino);
        Ok(is_it.then_some(dir))
    });
    there.or_else(|errno| unless_exhausted(errno).map(|()| None))
}
