//! Entering namespaces in the order that works: on this thread, or in a child.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::error::{AtStep, Error, Result, Step};
use crate::namespace::{Namespace, NamespaceSet};
use crate::ns_fd::{self, NsFd};
use crate::pid_fd::PidFd;
use crate::sys::{Errno, process};

/// Namespaces that the caller wants to enter, and what keeps them.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Namespace(Arc<NsFd>),
    Process(Arc<PidFd>, NamespaceSet),
}

/// What is left to enter when the thread's own namespaces are taken out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joins {
    pub(crate) targets: Vec<Target>,
    /// The descriptors in `targets` are theirs.
    sources: Vec<Source>,
    moved: Vec<Arc<OwnedFd>>,
}

impl Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Namespace(namespace) => namespace.as_fd(),
            Self::Process(process, _) => process.as_fd(),
        }
    }

    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// What `setns(2)` takes: a namespace file with its kind, or a pidfd with a set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) fd: RawFd,
    pub(crate) set: NamespaceSet,
}

impl Joins {
    /// Takes out what this thread is in already: to enter it again takes privileges that a member
    /// need not have, and for a user namespace the kernel refuses the whole set.
    pub(crate) fn resolve(sources: &[Source]) -> Result<Self> {
        let mut seen = NamespaceSet::empty();
        let mut targets = Vec::new();
        for source in sources {
            let (fd, set) = match source {
                Source::Namespace(namespace) => {
                    (namespace.as_raw_fd(), NamespaceSet::from(namespace.kind()))
                }
                Source::Process(process, set) => (process.as_raw_fd(), set.checked()?),
            };
            if set.is_empty() {
                return Err(Error::invalid("the set of namespaces to enter is empty"));
            }
            if seen.intersects(set) {
                let twice = seen & set;
                return Err(Error::invalid(format!(
                    "two namespaces to enter are of one kind: {twice}"
                )));
            }
            seen |= set;
            let mut foreign = NamespaceSet::empty();
            for kind in set.namespaces() {
                let is_own = match source {
                    Source::Namespace(namespace) => is_own(namespace)?,
                    Source::Process(process, _) => is_own(&NsFd::of_process(process, kind)?)?,
                };
                if !is_own {
                    foreign |= kind.into();
                }
            }
            if !foreign.is_empty() {
                targets.push(Target { fd, set: foreign });
            }
        }
        Ok(Self { targets, sources: sources.to_vec(), moved: Vec::new() })
    }

    /// The same with descriptors of 3 or more.
    pub(crate) fn above_stdio(mut self) -> Result<Self> {
        for target in &mut self.targets {
            if target.fd > 2 {
                continue;
            }
            let source = self.sources.iter().find(|source| source.as_raw_fd() == target.fd);
            if let Some(source) = source {
                let fd =
                    rustix::io::fcntl_dupfd_cloexec(source.as_fd(), 3).at_step(Step::Prepare)?;
                target.fd = fd.as_raw_fd();
                self.moved.push(Arc::new(fd));
            }
        }
        Ok(self)
    }

    pub(crate) fn set(&self) -> NamespaceSet {
        self.targets.iter().fold(NamespaceSet::empty(), |set, target| set | target.set)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

fn is_own(namespace: &NsFd) -> Result<bool> {
    let kind = namespace.kind();
    // What setns(2) changes is where the children go for pid, and for time that and where the thread is.
    if kind == Namespace::Time && NsFd::current(kind)?.id()? != namespace.id()? {
        return Ok(false);
    }
    match NsFd::for_children(kind) {
        Ok(own) => Ok(own.id()? == namespace.id()?),
        // A new pid namespace without a process.
        Err(error) if ns_fd::has_no_first_process(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Says which kind was refused, if the target was of one.
pub(crate) fn refusal(step: Step, targets: &[Target], index: usize, errno: Errno) -> Error {
    let error = Error::os(step, errno);
    let Some(target) = targets.get(index) else {
        return error;
    };
    let mut kinds = target.set.namespaces();
    match (kinds.next(), kinds.next()) {
        (Some(kind), None) => error.of(kind),
        _ if errno == Errno::USERS => error.of(Namespace::Time),
        _ => error.on(format!("of the process: {}", target.set)),
    }
}

/// Which kind of a target is the refused one, found by entering one after the other: for a process that
/// is about to end, or to be given up. `None` where it takes all of them.
pub(crate) fn refused_kind(target: Target, errno: Errno) -> Option<Namespace> {
    let is_set = target.set.bits().count_ones() > 1;
    let user_first = |user: bool| {
        Namespace::ALL.into_iter().filter(move |kind| (*kind == Namespace::User) == user)
    };
    let kinds = user_first(true).chain(user_first(false));
    kinds.filter(|kind| is_set && target.set.contains((*kind).into())).find(|kind| {
        let one = Target { fd: target.fd, set: (*kind).into() };
        join(one) == Err(errno)
    })
}

/// The index of a target and the kind that was refused, in the one number of a slot: no flag of a kind
/// is below 64, the number of targets.
pub(crate) fn pack(index: usize, kind: Option<Namespace>) -> usize {
    index | kind.map_or(0, |kind| kind.flag() as usize)
}

/// The error for what [`pack`] put together.
pub(crate) fn packed_refusal(targets: &[Target], packed: usize, errno: Errno) -> Error {
    let error = refusal(Step::Enter, targets, packed & 63, errno);
    let kind = u32::try_from(packed & !63).ok().and_then(Namespace::from_flag);
    match kind {
        Some(kind) => error.of(kind),
        None => error,
    }
}

/// Which target was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    pub(crate) index: usize,
    pub(crate) errno: Errno,
    /// What was entered before.
    pub(crate) entered: NamespaceSet,
}

/// Enters one target, all of it or nothing.
pub(crate) fn join(target: Target) -> core::result::Result<(), Errno> {
    let flags = target.set.bits();
    // With a user namespace in the set, threads are the more likely cause, and would be to no avail.
    let may_need_own_fs =
        target.set.contains(NamespaceSet::MOUNT) && !target.set.contains(NamespaceSet::USER);
    let may_be_refused_guests = target.set.contains(NamespaceSet::TIME);
    match process::setns(target.fd, flags) {
        // Threads share root and working directory, which the mount namespace is to change.
        Err(Errno::INVAL) if may_need_own_fs => {
            process::unshare_fs()?;
            process::setns(target.fd, flags)
        }
        // A program that this thread has just started may still be on its way out of the memory.
        Err(Errno::USERS) if may_be_refused_guests && process::is_alone() => {
            process::setns(target.fd, flags)
        }
        answer => answer,
    }
}

/// Enters all targets, at most 64.
///
/// A namespace that an entered user namespace owns can often be entered only after that one, and one
/// that it does not own only before. So the others come first, those that were denied once more
/// after the user namespace.
pub(crate) fn join_all(targets: &[Target]) -> core::result::Result<(), Refused> {
    let mut done = 0_u64;
    let mut entered = NamespaceSet::empty();
    let has_user = |target: &Target| target.set.contains(NamespaceSet::USER);
    let retry = targets.iter().any(has_user);
    for round in if retry { 0..3 } else { 0..1 } {
        for (index, &target) in targets.iter().enumerate() {
            if done & (1 << index) != 0 || (round == 1) != has_user(&target) {
                continue;
            }
            match join(target) {
                Ok(()) => {
                    done |= 1 << index;
                    entered |= target.set;
                }
                Err(Errno::PERM) if round == 0 && retry => {}
                Err(errno) => return Err(Refused { index, errno, entered }),
            }
        }
    }
    Ok(())
}
