//! Other namespaces for a while: the guard that leads back.

#![forbid(unsafe_code)]

use core::marker::PhantomData;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};

use crate::engine::failure::{refusal, unless_threads};
use crate::engine::join::{join, join_all};
use crate::error::{AtStep, Error, ErrorKind, Result, Step};
use crate::namespace::{Namespace, NamespaceSet};
use crate::ns_fd::NsFd;
use crate::plan::joins::JoinTarget;
use crate::process_state;
use crate::sys::{Errno, file};

/// Keeps the calling thread in other namespaces until it is left or dropped.
///
/// Created by [`Enter::scoped`](crate::Enter::scoped) and [`NsFd::scoped`]. It belongs to its thread: it
/// is not `Send`. Leave several in the reverse order of entering.
///
/// # Panics
///
/// Dropping it panics if the thread cannot be brought back, and so aborts the process if the thread
/// is panicking already: a thread that goes on in the wrong namespaces unawares is worse.
/// [`leave`](Self::leave) answers an error instead.
#[derive(Debug)]
#[must_use = "the thread goes back at once when this is dropped"]
pub struct EnterGuard {
    /// Where to go back to, at most one of each kind; empty when that is done.
    saved: [Option<NsFd>; Namespace::EACH.len()],
    /// Root and working directory, which a mount namespace changes.
    directories: Option<Directories>,
    of_this_thread: PhantomData<*const ()>,
}

#[derive(Debug)]
struct Directories {
    root: OwnedFd,
    working: OwnedFd,
}

impl EnterGuard {
    /// Goes back to the namespaces of before.
    ///
    /// # Errors
    ///
    /// [`NotRestored`](crate::ErrorKind::NotRestored) if that is refused. The thread is still in some of the
    /// other namespaces: best let it end.
    pub fn leave(mut self) -> Result<()> {
        self.go_back()
    }

    pub(crate) fn enter(targets: &[JoinTarget], set: NamespaceSet) -> Result<Self> {
        if set.contains(NamespaceSet::USER) {
            return Err(Error::invalid(
                "there is no way back from a user namespace: use apply, or Command::enter",
            ));
        }
        Self::enter_and_save(targets, set)
    }

    /// Enters, with a way back to what is in `set`. An error leaves the thread where it was, or says
    /// that it could not.
    pub(crate) fn enter_and_save(targets: &[JoinTarget], set: NamespaceSet) -> Result<Self> {
        let mut back = Self::save(set)?;
        process_state::note_pending_namespaces(set, true);
        let leaves = set.contains(NamespaceSet::MOUNT);
        let tracker = leaves.then(process_state::note_own_mount_namespace).unwrap_or_default();
        let Err(refused) = join_all(targets) else {
            if leaves {
                tracker.note_other_root();
            }
            return Ok(back);
        };
        let error = refusal(Step::Enter, targets, refused.index, refused.errno);
        let error = unless_threads(error, targets[refused.index].kind.into());
        // What was not entered has no way back to be refused.
        let entered = |namespace: &NsFd| refused.entered.contains(namespace.kind().into());
        for saved in &mut back.saved {
            *saved = saved.take().filter(entered);
        }
        if refused.entered.contains(NamespaceSet::USER) {
            back.forget();
            if refused.entered.contains(NamespaceSet::MOUNT) {
                tracker.note_other_root();
            }
            return Err(error.with_kind(ErrorKind::NotRestored));
        }
        Err(back.undo(error))
    }

    /// Goes back because of an error.
    pub(crate) fn undo(self, error: Error) -> Error {
        match self.leave() {
            Ok(()) => error,
            Err(_) => {
                process_state::note_other_root();
                error.with_kind(ErrorKind::NotRestored)
            }
        }
    }

    /// Notes where this thread is.
    pub(crate) fn save(set: NamespaceSet) -> Result<Self> {
        let mut saved = [const { None }; Namespace::EACH.len()];
        for (saved, kind) in saved.iter_mut().zip(set.kinds()) {
            let way = NsFd::for_children(kind)?;
            // setns(2) would move the thread to where its children go.
            if kind == Namespace::Time && NsFd::current(kind)?.id()? != way.id()? {
                return Err(Error::invalid(
                    "no way leads back to a time namespace whose thread has its children born in another one",
                ));
            }
            *saved = Some(way);
        }
        let directories = if set.contains(NamespaceSet::MOUNT) {
            let open = |path| {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::openat(CWD, path, flags, Mode::empty()).at_step(Step::OpenNamespace)
            };
            Some(Directories { root: open("/")?, working: open(".")? })
        } else {
            None
        };
        Ok(Self { saved, directories, of_this_thread: PhantomData })
    }

    /// Stays for good.
    pub(crate) fn forget(mut self) {
        self.saved = Default::default();
    }

    fn go_back(&mut self) -> Result<()> {
        let mut answer = Ok(());
        for namespace in self.saved.iter_mut().rev().filter_map(Option::take) {
            let kind = namespace.kind();
            let mut back = join(JoinTarget { fd: namespace.as_raw_fd(), kind });
            if back.is_ok() && kind == Namespace::Mount {
                back = self.directories.take().map_or(Ok(()), |directories| directories.restore());
            }
            if let Err(errno) = back {
                answer = answer.and(Err(Error::os(Step::Leave, errno)
                    .of(kind)
                    .with_kind(ErrorKind::NotRestored)));
            }
        }
        answer
    }
}

impl Directories {
    fn restore(&self) -> core::result::Result<(), Errno> {
        file::fchdir(self.root.as_raw_fd())?;
        file::chroot_here()?;
        file::fchdir(self.working.as_raw_fd())
    }
}

impl Drop for EnterGuard {
    fn drop(&mut self) {
        if let Err(error) = self.go_back() {
            panic!("{error:#}");
        }
    }
}
