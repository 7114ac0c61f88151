//! How this kernel lets a process into a new time namespace whose clocks were set: by exec, or only by
//! birth.

#![forbid(unsafe_code)]

use std::sync::OnceLock;

use crate::sys::probe::{self, ProbeFds};
use crate::sys::{abi, clone, namespaces};

/// Whether exec moves a process into the time namespace that waits for its children, as from Linux 6.2
/// on. Asked once, of a process made for it; `false` also where that cannot be told, as birth works
/// everywhere.
///
/// This thread's next child must not be the first of a new pid namespace.
pub(crate) fn exec_enters_time_namespace() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    let nothing = ProbeFds { namespace: -1, ended: -1 };
    *ANSWER.get_or_init(|| probe::run_probes(&[look], nothing).is_ok_and(|[answer]| answer))
}

/// Whoever may make a time namespace may do it in a user namespace, or else without one.
fn look(_: ProbeFds) -> bool {
    let made = namespaces::unshare(abi::CLONE_NEWUSER | abi::CLONE_NEWTIME)
        .or_else(|_| namespaces::unshare(abi::CLONE_NEWTIME));
    made.is_ok() && clone::exec_enters_time_namespace()
}
