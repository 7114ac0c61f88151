//! Entering namespaces in the order that works: on this thread, or in a child.

#![forbid(unsafe_code)]

use crate::engine::failure::{refusal, unless_threads};
use crate::error::{Result, Step};
use crate::namespace::{Namespace, NamespaceSet};
use crate::plan::joins::JoinTarget;
use crate::process_state;
use crate::sys::{Errno, namespaces};

/// Which target was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    pub(crate) index: usize,
    pub(crate) errno: Errno,
    /// What was entered before.
    pub(crate) entered: NamespaceSet,
}

/// Enters one target.
pub(crate) fn join(target: JoinTarget) -> core::result::Result<(), Errno> {
    let flag = target.kind.flag();
    match namespaces::setns(target.fd, flag) {
        // Threads share root and working directory, which the mount namespace is to change.
        Err(Errno::INVAL) if target.kind == Namespace::Mount => {
            namespaces::unshare_fs()?;
            namespaces::setns(target.fd, flag)
        }
        // A program that this thread has just started may still be on its way out of the memory.
        Err(Errno::USERS) if target.kind == Namespace::Time && namespaces::has_private_memory() => {
            namespaces::setns(target.fd, flag)
        }
        answer => answer,
    }
}

/// Enters all targets, at most one of each kind.
///
/// A namespace that an entered user namespace owns can often be entered only after that one, and one
/// that it does not own only before. So the others come first, those that were denied once more
/// after the user namespace.
pub(crate) fn join_all(targets: &[JoinTarget]) -> core::result::Result<(), Refused> {
    let mut done = 0_u64;
    let mut entered = NamespaceSet::empty();
    let is_user = |target: &JoinTarget| target.kind == Namespace::User;
    let retry = targets.iter().any(is_user);
    for round in if retry { 0..3 } else { 0..1 } {
        for (index, &target) in targets.iter().enumerate() {
            if done & (1 << index) != 0 || (round == 1) != is_user(&target) {
                continue;
            }
            match join(target) {
                Ok(()) => {
                    done |= 1 << index;
                    entered |= target.kind.into();
                }
                Err(Errno::PERM) if round == 0 && retry => {}
                Err(errno) => return Err(Refused { index, errno, entered }),
            }
        }
    }
    Ok(())
}

/// On this thread, which does not come back.
pub(crate) fn enter_for_good(targets: &[JoinTarget]) -> Result<()> {
    targets
        .iter()
        .for_each(|target| process_state::note_pending_namespaces(target.kind.into(), true));
    let leaves = targets.iter().any(|target| target.kind == Namespace::Mount);
    let tracker = leaves.then(process_state::note_own_mount_namespace).unwrap_or_default();
    join_all(targets).map_err(|refused| {
        if refused.entered.contains(NamespaceSet::MOUNT) {
            tracker.note_other_root();
        }
        let error = refusal(Step::Enter, targets, refused.index, refused.errno);
        unless_threads(error, targets[refused.index].kind.into())
    })?;
    if leaves {
        tracker.note_other_root();
    }
    Ok(())
}
