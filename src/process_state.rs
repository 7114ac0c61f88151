//! What this process knows about its own threads: which of them see a root that somebody else laid out.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::namespace::Namespace;
use crate::ns_fd::{NsFd, NsId};

/// Mount namespaces that threads of this process entered, or gave another root. An inode number that is used again
/// makes a thread more careful than it needs to be.
static OTHERS: Mutex<Vec<NsId>> = Mutex::new(Vec::new());
/// Whether there is any, so that nobody else pays for the question.
static ARE_THERE: AtomicBool = AtomicBool::new(false);

/// Whether a namespace could not be told, so that every thread counts.
static ALL_COUNT: AtomicBool = AtomicBool::new(false);

/// Notes that this thread is in a root that is not the caller's.
pub(crate) fn note_other_root() {
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

fn here() -> Result<NsId> {
    NsFd::current(Namespace::Mount)?.id()
}
