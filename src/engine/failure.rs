//! What a failed step means to the caller.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::diagnosis::has_threads;
use crate::engine::handshake::INTRODUCING;
use crate::engine::map_tool::{self, Log};
use crate::engine::slot::Slot;
use crate::error::{Error, ErrorKind, Step};
use crate::namespace::{Namespace, NamespaceSet};
use crate::plan::Plan;
use crate::plan::joins::JoinTarget;
use crate::plan::op::{FALLBACK, IdMapWrite, Op};
use crate::sys::clone::exec_enters_time_namespace;
use crate::sys::wait::Ended;
use crate::sys::{Errno, features, wait};

/// What a failed step means to the caller.
pub(crate) fn failure_of(
    op: Option<&Op>,
    maps_outside: &[IdMapWrite],
    log: &Log,
    slot: &Slot,
    errno: Errno,
) -> Error {
    let detail = slot.detail();
    if let (Some(Op::WaitForIdMaps), map_tool::REFUSED, Some(write)) =
        (op, errno, maps_outside.get(detail))
    {
        return log.refusal(write);
    }
    let Some(op) = op else {
        return Error::os(Step::Clone, errno);
    };
    let step = match op {
        Op::Enter(joins) => return refusal(Step::Enter, &joins.targets, detail, errno),
        Op::WaitForIdMaps => maps_outside.get(detail).map_or(op.step(), |write| write.file.step()),
        _ => op.step_at(detail),
    };
    let error = Error::os(step, errno);
    let path = match op {
        Op::Mount(op) => return op.refusal(error, step),
        Op::ChangeDirectory(path, _) => path,
        Op::ReturnToDirectory { path, fallback } => {
            let path = if detail == FALLBACK { fallback } else { path };
            let error = error.on("again after the mounts, to");
            return match path {
                Some(path) => error.at(OsStr::from_bytes(path.to_bytes())),
                None => error,
            };
        }
        Op::Exec(candidates, _) => match &candidates[..] {
            [one] => one,
            _ => return error.on("from PATH"),
        },
        _ => return error,
    };
    error.at(OsStr::from_bytes(path.to_bytes()))
}

/// `EINVAL` for a user namespace has several causes; threads are the one that a caller may not know of.
pub(crate) fn unless_threads(error: Error, set: NamespaceSet) -> Error {
    let user = set.contains(NamespaceSet::USER);
    if user && error.raw_os_error() == Some(libc::EINVAL) && has_threads() {
        return error.of(Namespace::User).with_kind(ErrorKind::Multithreaded);
    }
    error
}

/// An unknown flag and wrong arguments have one number: which it is, the kernel tells when asked.
pub(crate) fn clone_refused(plan: &Plan, errno: Errno) -> Error {
    let flags = plan.clone_flags;
    if errno == Errno::INVAL && flags != 0 && !features::clone3_knows(flags, 0) {
        return Error::new(
            ErrorKind::Unsupported,
            "this kernel cannot reap or kill a child by itself, nor make a mount namespace that is \
             empty: Linux 7.1 can",
        )
        .at_step(Step::Clone);
    }
    // The answer of every kernel to this is EFAULT, unless a time namespace is pending before Linux 6.2.
    if errno == Errno::INVAL && !features::clone3() && !exec_enters_time_namespace() {
        return Error::new(
            ErrorKind::Unsupported,
            "qemu-user or another emulator runs this program, and takes no clone(2) without an exit signal: run it \
             on the kernel itself, or on a whole emulated machine",
        )
        .at_step(Step::Clone);
    }
    let error = Error::os(Step::Clone, errno).concerning(plan.namespaces);
    if errno == Errno::PERM && !plan.set_tid.is_empty() {
        return error.on("with chosen pids, which takes CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN");
    }
    error
}

/// Why the child does not run what it was to run.
pub(crate) fn what_became(plan: &Plan, log: &Log, slot: &Slot, pid_fd: Option<OwnedFd>) -> Error {
    let ended = pid_fd.and_then(|pid_fd| wait::await_end(pid_fd.as_raw_fd()));
    let Some(failure) = slot.failure() else {
        return died(plan, slot, ended);
    };
    if plan.op(failure.step).is_none() {
        return if slot.detail() == INTRODUCING {
            child_not_met(failure.errno)
        } else {
            clone_refused(plan, failure.errno)
        };
    }
    failure_of(plan.op(failure.step), &plan.maps_outside, log, slot, failure.errno)
        .concerning(plan.namespaces)
}

pub(crate) fn died(plan: &Plan, slot: &Slot, ended: Option<Ended>) -> Error {
    let step = match plan.op(slot.step()) {
        Some(op) => op.step_at(slot.detail()),
        None if slot.detail() == INTRODUCING => Step::OpenProcess,
        None => Step::Clone,
    };
    let how = match ended {
        Some(Ended { code: libc::CLD_EXITED, status }) => format!("ended with status {status}"),
        Some(Ended { status, .. }) => format!("was killed by signal {status}"),
        None => "ended".to_owned(),
    };
    Error::new(ErrorKind::ChildDied, format!("the child {how} when it was to {step}")).at_step(step)
}

/// Says which kind was refused.
pub(crate) fn refusal(step: Step, targets: &[JoinTarget], index: usize, errno: Errno) -> Error {
    let error = Error::os(step, errno);
    match targets.get(index) {
        Some(target) => error.of(target.kind),
        None => error,
    }
}

/// The pidfd of a child that an intermediate process made did not come.
pub(crate) fn child_not_met(errno: Errno) -> Error {
    Error::os(Step::OpenProcess, errno).on("of the child, for its parent")
}
