//! What this process knows about its own threads: which of them see a root that somebody else laid out.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::Result;
use crate::namespace::Namespace;
use crate::ns_fd::{NsFd, NsId};

/// Mount namespaces that threads of this process entered, or gave another root. An inode number that is used again
/// makes a thread more careful than it needs to be.
static OTHERS: Mutex<Vec<NsId>> = Mutex::new(Vec::new());
/// Whether there is any, so that nobody else pays for the question.
static ARE_THERE: AtomicBool = AtomicBool::new(false);

/// Whether a namespace could not be identified, so that every thread counts.
static ALL_COUNT: AtomicBool = AtomicBool::new(false);

/// The mount namespace from which a thread left first, by its unique id: the caller's own, to which threads come
/// back. Unknown before Linux 6.18.
static HOME: OnceLock<Option<u64>> = OnceLock::new();

/// Notes where this thread is before it leaves.
pub(crate) fn note_home() {
    HOME.get_or_init(unique_id);
}

/// Notes that this thread is in a root that is not the caller's, unless it has come back.
pub(crate) fn note_other_root() {
    let home = HOME.get().copied().flatten();
    if home.is_some() && home == unique_id() {
        return;
    }
    match here() {
        Ok(here) => {
            let mut others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
            if !others.contains(&here) {
                others.push(here);
            }
        }
        Err(_) => ALL_COUNT.store(true, Relaxed),
    }
    ARE_THERE.store(true, Relaxed);
}

/// Notes that every thread of this process is in a root that is not the caller's. Makes no system call.
pub(crate) fn note_other_root_of_all() {
    ALL_COUNT.store(true, Relaxed);
    ARE_THERE.store(true, Relaxed);
}

/// Whether names here have to be looked up with care.
pub(crate) fn is_in_other_root() -> bool {
    let is_known = |here| OTHERS.lock().unwrap_or_else(PoisonError::into_inner).contains(&here);
    ARE_THERE.load(Relaxed) && (ALL_COUNT.load(Relaxed) || here().map_or(true, is_known))
}

fn unique_id() -> Option<u64> {
    NsFd::current(Namespace::Mount).and_then(|here| here.unique_id()).ok().flatten()
}

fn here() -> Result<NsId> {
    NsFd::current(Namespace::Mount)?.id()
}
