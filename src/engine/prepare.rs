//! What a plan needs before it is carried out.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::ns_fd::{self, NsFd};
use crate::plan::op::Op;
use crate::proc_fs::ProcFs;
use crate::sys;

/// A `/proc` that is needed, or that mounts can make use of where newer calls are hidden.
pub(crate) fn open_proc<'a>(ops: impl Iterator<Item = &'a Op> + Clone) -> Result<Option<ProcFs>> {
    if ops.clone().any(Op::needs_proc) {
        ProcFs::open().map(Some)
    } else if ops.clone().any(|op| matches!(op, Op::Mount(_))) {
        match ProcFs::open() {
            // That would also hit what serves instead, and is a better answer than what is missing then.
            Err(error) if error.errno().is_some_and(sys::is_exhausted) => Err(error),
            proc => Ok(proc.ok()),
        }
    } else {
        Ok(None)
    }
}

/// The helper must not become PID 1 of a namespace that waits for its first process: it would take
/// the namespace with it when it ends.
pub(crate) fn no_pid_namespace_pending() -> Result<()> {
    let pending = match NsFd::for_children(Namespace::Pid) {
        Ok(namespace) => namespace.id()? != NsFd::current(Namespace::Pid)?.id()?,
        Err(error) if ns_fd::has_no_first_process(&error) => true,
        Err(error) => return Err(error),
    };
    if pending {
        return Err(Error::invalid(
            "this thread's children are born in another pid namespace, where the helper for id maps \
             must not be: make the pid namespace together with the user namespace instead",
        ));
    }
    Ok(())
}
