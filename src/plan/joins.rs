//! The namespaces to enter, each held by a descriptor.

#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::error::{AtStep, Error, Result, Step};
use crate::namespace::{Namespace, NamespaceSet};
use crate::ns_fd::{self, NsFd};
use crate::pid_fd::PidFd;
use crate::sys::Errno;

/// Namespaces that the caller wants to enter, and what keeps them.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Namespace(Arc<NsFd>),
    Process(Arc<PidFd>, NamespaceSet),
}

/// What is left to enter when the thread's own namespaces are taken out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joins {
    pub(crate) targets: Vec<JoinTarget>,
    /// The descriptors in `targets` are theirs.
    held: Vec<Arc<NsFd>>,
    moved: Vec<Arc<OwnedFd>>,
}

/// A namespace file and its kind, as `setns(2)` takes them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JoinTarget {
    pub(crate) fd: RawFd,
    pub(crate) kind: Namespace,
}

impl Joins {
    /// Takes out what this thread is in already: to enter it again takes privileges that a member
    /// need not have, and for a user namespace the kernel refuses it.
    ///
    /// Everything that a spawn decides by what it enters goes by this one look. A process moves on at any
    /// time, so what it was in is held by descriptors, and not entered by pidfd.
    pub(crate) fn resolve(sources: &[Source]) -> Result<Self> {
        let mut seen = NamespaceSet::empty();
        let mut joins = Self::default();
        for source in sources {
            let namespaces = match source {
                Source::Namespace(namespace) => vec![Arc::clone(namespace)],
                Source::Process(process, set) => namespaces_of(process, set.checked()?)?,
            };
            if namespaces.is_empty() {
                return Err(Error::invalid("the set of namespaces to enter is empty"));
            }
            for namespace in namespaces {
                let kind = namespace.kind();
                if seen.contains(kind.into()) {
                    return Err(Error::invalid(format!(
                        "two namespaces to enter are of one kind: {kind}"
                    )));
                }
                seen |= kind.into();
                if !is_own(&namespace)? {
                    joins.targets.push(JoinTarget { fd: namespace.as_raw_fd(), kind });
                    joins.held.push(namespace);
                }
            }
        }
        Ok(joins)
    }

    /// The same with descriptors of 3 or more.
    pub(crate) fn above_stdio(mut self) -> Result<Self> {
        for (target, held) in self.targets.iter_mut().zip(&self.held) {
            if target.fd <= 2 {
                let fd = rustix::io::fcntl_dupfd_cloexec(held, 3).at_step(Step::Prepare)?;
                target.fd = fd.as_raw_fd();
                self.moved.push(Arc::new(fd));
            }
        }
        Ok(self)
    }

    pub(crate) fn set(&self) -> NamespaceSet {
        self.targets.iter().map(|target| NamespaceSet::from(target.kind)).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

/// The namespaces that a process is in, all while it is in one user namespace: a process that enters a user namespace and
/// others together is not to be taken for one in its old user namespace and the new others. Two equal looks prove it, as
/// nobody returns to a user namespace that was left. Others may come and go in between.
fn namespaces_of(process: &PidFd, set: NamespaceSet) -> Result<Vec<Arc<NsFd>>> {
    let look = || -> Result<Vec<_>> {
        set.kinds().map(|kind| Ok(Arc::new(NsFd::of_process(process, kind)?))).collect()
    };
    let ids = |all: &[Arc<NsFd>]| all.iter().map(|it| it.id()).collect::<Result<Vec<_>>>();
    let mut before = look()?;
    for _ in 0..16 {
        if before.len() < 2 {
            return Ok(before);
        }
        let now = look()?;
        if ids(&now)? == ids(&before)? {
            return Ok(now);
        }
        before = now;
    }
    Err(Error::os(Step::OpenNamespace, Errno::AGAIN)
        .on("of a process that enters other namespaces all the time"))
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
