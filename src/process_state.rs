//! What this process knows about its own threads: which of them see a root that somebody else laid out, and where their
//! children are born.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{ErrorKind, Result};
use crate::namespace::{Namespace, NamespaceSet};
use crate::ns_fd::{NsFd, NsId};
use crate::proc_fs::{OTHER_ROOTS, ProcFs};

/// Mount namespaces that threads of this process entered, or gave another root. An inode number that is used again
/// makes a thread more careful than it needs to be.
static OTHERS: Mutex<Vec<NsId>> = Mutex::new(Vec::new());
/// Those that threads of this process made at home, by the number that no other one ever has.
static MADE: Mutex<Vec<u64>> = Mutex::new(Vec::new());
/// Whether a namespace could not be identified, so that every thread counts.
static ALL_COUNT: AtomicBool = AtomicBool::new(false);

/// The mount namespace from which a thread left first: the caller's own, to which threads come back.
static HOME: OnceLock<Home> = OnceLock::new();

struct Home {
    id: Option<NsId>,
    /// Unknown before Linux 6.18.
    unique_id: Option<u64>,
    /// Whether `/proc` alone tells where a thread is: before Linux 6.11.
    needs_proc: bool,
}

/// What tells in which mount namespace this thread is, also where it sees another `/proc` or none.
#[derive(Default)]
pub(crate) struct MountNamespaceTracker(Option<ProcFs>);

/// Notes where this thread is before it leaves.
pub(crate) fn note_own_mount_namespace() -> MountNamespaceTracker {
    let home = HOME.get_or_init(|| {
        let here = here();
        let here = here.as_ref();
        Home {
            id: here.ok().and_then(|here| here.id().ok()),
            unique_id: here.ok().and_then(|here| here.unique_id().ok().flatten()),
            needs_proc: !NsFd::current_needs_no_proc(),
        }
    });
    MountNamespaceTracker(home.needs_proc.then(|| ProcFs::open().ok()).flatten())
}

impl MountNamespaceTracker {
    /// Notes that this thread is in a root that is not the caller's, unless it has come back.
    pub(crate) fn note_other_root(&self) {
        let by_proc =
            self.0.as_ref().map(|proc| NsFd::of_this_thread_by(proc, Namespace::Mount, false));
        // Perhaps the thread did not see itself in the `/proc` of before, and does now.
        let here = by_proc.and_then(Result::ok).map_or_else(here, Ok);
        let unique_id = || here.as_ref().map_or(Ok(None), NsFd::unique_id).ok().flatten();
        let home = HOME.get().and_then(|home| home.unique_id);
        if home.is_some() && home == unique_id() {
            return;
        }
        match here.and_then(|here| here.id()) {
            Ok(here) => {
                let mut others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
                if !others.contains(&here) {
                    others.push(here);
                }
            }
            Err(_) => ALL_COUNT.store(true, Relaxed),
        }
        OTHER_ROOTS.store(true, Relaxed);
    }
}

/// As [`MountNamespaceTracker::note_other_root`], where the thread still sees the `/proc` that it saw before.
pub(crate) fn note_other_root() {
    MountNamespaceTracker::default().note_other_root();
}

/// Notes that every thread of this process is in a root that is not the caller's. Makes no system call.
pub(crate) fn note_other_root_of_all() {
    ALL_COUNT.store(true, Relaxed);
    OTHER_ROOTS.store(true, Relaxed);
}

/// Whether names here have to be looked up with care: also where the thread went on from there without this crate.
pub(crate) fn is_in_other_root() -> bool {
    OTHER_ROOTS.load(Relaxed)
        && (ALL_COUNT.load(Relaxed) || !here().is_ok_and(|here| is_own(&here)))
}

/// Whether it is home, or was made by a thread at home and has the same files.
fn is_own(here: &NsFd) -> bool {
    let Ok(id) = here.id() else {
        return false;
    };
    let made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let is_made = !made.is_empty()
        && here.unique_id().ok().flatten().is_some_and(|unique_id| made.contains(&unique_id));
    let is_home = HOME.get().is_some_and(|home| match home.unique_id {
        // The other number is used again when nobody is left there.
        Some(_) => here.unique_id().ok().flatten() == home.unique_id,
        None => home.id == Some(id),
    });
    let others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
    is_made || (is_home && !others.contains(&id))
}

/// Notes that this thread, which was not elsewhere, made the mount namespace that it is in. Before Linux 6.18 that has
/// no id which is its own for ever, and counts as another one once there is any.
pub(crate) fn note_new_mount_namespace() {
    if let Ok(Some(id)) = here().and_then(|here| here.unique_id()) {
        MADE.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }
}

fn here() -> Result<NsFd> {
    NsFd::current(Namespace::Mount)
}

/// Whether a thread of this process had its children's pid namespace changed through this crate, to a
/// new one and to one that others live in, or their time namespace. Only then is a spawn worth the
/// question where they go.
static NEW: AtomicBool = AtomicBool::new(false);
static ENTERED: AtomicBool = AtomicBool::new(false);
static CLOCKS: AtomicBool = AtomicBool::new(false);

/// The namespaces that this thread's children are born in, if they are not the thread's own (`pid_for_children` and
/// `time_for_children`).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PendingNamespaces {
    /// Perhaps from `unshare(2)`, and perhaps still without its PID 1.
    pub(crate) new_pid: bool,
    /// Perhaps from `setns(2)`: others live there.
    pub(crate) entered_pid: bool,
    /// Another time namespace: before Linux 6.2 no child may share memory then.
    pub(crate) time: bool,
}

/// Notes what the thread's children are about to be born in.
pub(crate) fn note_pending_namespaces(namespaces: NamespaceSet, entered: bool) {
    if namespaces.contains(NamespaceSet::PID) {
        if entered { &ENTERED } else { &NEW }.store(true, Relaxed);
    }
    if namespaces.contains(NamespaceSet::TIME) {
        CLOCKS.store(true, Relaxed);
    }
}

pub(crate) fn pending_namespaces() -> Result<PendingNamespaces> {
    let (new, entered) = (NEW.load(Relaxed), ENTERED.load(Relaxed));
    let moved = |kind| match NsFd::for_children(kind) {
        Ok(namespace) => Ok(namespace.id()? != NsFd::current(kind)?.id()?),
        // The thread does not see itself in `/proc`, so this is unknown: a spawn assumes that it is elsewhere.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UntrustedProc) => {
            Ok(true)
        }
        Err(error) => Err(error),
    };
    let pid = (new || entered) && moved(Namespace::Pid)?;
    let clocks = CLOCKS.load(Relaxed) && moved(Namespace::Time)?;
    Ok(PendingNamespaces { new_pid: new && pid, entered_pid: entered && pid, time: clocks })
}
