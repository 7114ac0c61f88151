//! What an error means, and what on this machine and of this thread may be the reason for it.
//!
//! What is of the thread is read from a checked `/proc`; where that cannot be believed, nothing is said of it.

mod cause;
mod machine;

use core::fmt;
use std::borrow::Cow;
use std::io;

use crate::error::explain::explain;
use crate::error::{Error, Repr, Step};
use crate::namespace::NamespaceSet;
use crate::sys::Errno;

pub use cause::Cause;
pub(crate) use machine::{has_threads, is_nested, may_be_filtered};

/// What the failure means.
impl Error {
    /// What the kernel's answer usually means at this step, and what to do; a sentence for a person.
    ///
    /// Ends with what on this machine and of this thread may be the reason, as [`causes`](Self::causes)
    /// finds it at the moment of this call: "here: user.max_uts_namespaces=0".
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let error = Command::new("/no/such/program").spawn().unwrap_err();
    /// assert!(error.explain().unwrap().contains("interpreter"));
    /// ```
    #[must_use]
    pub fn explain(&self) -> Option<Cow<'static, str>> {
        self.0.explain()
    }

    /// What on this machine and of this thread may be the reason: a sysctl and its value, a seccomp
    /// filter, a missing capability, ...
    ///
    /// It looks at `/proc` and `/` at the moment of the call, as the calling thread sees them. So ask
    /// soon, and in the thread that got the error. What is found is a fact, but not always the reason;
    /// and what cannot be read from here, such as the limits of user namespaces above, is not found.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{NamespaceSet, Unshare};
    ///
    /// if let Err(error) = Unshare::new(NamespaceSet::UTS).apply() {
    ///     for cause in error.causes() {
    ///         println!("{cause}: {}", cause.remedy());
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn causes(&self) -> Vec<Cause> {
        self.0.causes()
    }
}

impl Repr {
    fn explain(&self) -> Option<Cow<'static, str>> {
        let sentence = explain(self.step?, self.namespace, self.errno?)?;
        Some(match &self.causes()[..] {
            [] => Cow::Borrowed(sentence),
            causes => {
                let causes: Vec<String> = causes.iter().map(Cause::to_string).collect();
                Cow::Owned(format!("{sentence}; here: {}", causes.join(", ")))
            }
        })
    }

    fn causes(&self) -> Vec<Cause> {
        let (Some(step), Some(errno)) = (self.step, self.errno) else {
            return Vec::new();
        };
        let one = self.namespace.map_or(NamespaceSet::empty(), NamespaceSet::from);
        causes_of(step, errno, self.namespaces | one)
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())?;
        if f.alternate() {
            if let Some(source) = &self.source {
                write!(f, ": {source}")?;
            }
            if let Some(explanation) = self.explain() {
                write!(f, "; {explanation}")?;
            }
        }
        Ok(())
    }
}

/// What was attempted, the kernel's answer, and what it means.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = f.debug_struct("Error");
        parts.field("kind", &self.0.kind).field("what", &self.0.sentence());
        if let Some(errno) = self.0.errno {
            parts.field("why", &io::Error::from(errno).to_string());
        }
        if let Some(explanation) = self.explain() {
            parts.field("explanation", &explanation);
        }
        parts.finish()
    }
}

/// The causes of a refusal.
fn causes_of(step: Step, errno: Errno, namespaces: NamespaceSet) -> Vec<Cause> {
    let is_user = namespaces.contains(NamespaceSet::USER);
    let mut found = Vec::new();
    match (step, errno) {
        (Step::Clone | Step::Unshare, Errno::PERM) => {
            if is_user {
                found.extend(machine::unprivileged_userns_clone());
                found.extend(machine::chroot());
                found.extend(machine::unmapped_uid());
            } else if !namespaces.is_empty() {
                found.extend(machine::privileges());
            }
            found.extend(machine::policies());
        }
        (Step::Clone | Step::Unshare, Errno::NOSPC | Errno::USERS) => {
            found.extend(machine::limits(namespaces));
            found.extend(machine::nesting(namespaces));
            found.extend(machine::nested());
        }
        (Step::Unshare | Step::Enter, Errno::INVAL) if is_user => found.extend(machine::threads()),
        (Step::Enter, Errno::USERS) => found.extend(machine::threads()),
        (Step::Enter | Step::Leave, Errno::PERM) => {
            found.extend(machine::privileges());
            found.extend(machine::seccomp_filter());
        }
        (Step::WriteSetgroups | Step::WriteUidMap | Step::WriteGidMap, Errno::ACCESS) => {
            found.extend(machine::undumpable());
        }
        // The thread's own call, not a step inside of new namespaces.
        (Step::SetHostname | Step::SetDomainname, Errno::PERM) if namespaces.is_empty() => {
            found.extend(machine::privileges());
            found.extend(machine::seccomp_filter());
        }
        (Step::CreatePinDir | Step::Pin | Step::Unpin, Errno::PERM) => {
            found.extend(machine::privileges());
            found.extend(machine::policies());
        }
        (Step::SetPropagation | Step::PivotRoot, Errno::INVAL) => found.extend(machine::chroot()),
        (Step::Mount | Step::OpenSource, Errno::NOSPC) => found.extend(machine::mount_max()),
        (step, Errno::PERM) if is_done_inside(step) => found.extend(machine::policies()),
        (Step::CopyFd, Errno::PERM) | (_, Errno::NOSYS) => found.extend(machine::seccomp_filter()),
        _ => {}
    }
    found
}

/// Whether a step is done in new namespaces, whose owner has all capabilities, unless a policy is in the way.
fn is_done_inside(step: Step) -> bool {
    matches!(
        step,
        Step::WriteSetgroups
            | Step::WriteUidMap
            | Step::WriteGidMap
            | Step::SetPropagation
            | Step::Mount
            | Step::OpenSource
            | Step::PivotRoot
            | Step::SetHostname
            | Step::SetDomainname
            | Step::LoopbackUp
            | Step::OpenNamespace
    )
}

/// All that is not as it should be.
pub(crate) fn here() -> Vec<Cause> {
    let closed = |cause: &Cause| matches!(cause, Cause::Limit { value: 0, .. });
    let mut found = Vec::new();
    found.extend(machine::unprivileged_userns_clone().into_iter().chain(machine::apparmor()));
    found.extend(machine::limits(NamespaceSet::all()).filter(closed));
    found.extend(machine::chroot().into_iter().chain(machine::seccomp_filter()));
    found.extend(machine::unmapped_uid().into_iter().chain(machine::undumpable()));
    found.extend(machine::missing_capability().into_iter().chain(machine::nested()));
    found
}
