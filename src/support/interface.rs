//! The interfaces that came one after the other, and how to find out whether they are here.

#![forbid(unsafe_code)]

use core::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::{AtStep, Result, Step};
use crate::ns_fd::NsFd;
use crate::pid_fd::PidFd;
use crate::sys::probe::{self, Probe, ProbeFds, ProbeResult};
use crate::sys::{Errno, abi, features, namespaces, nsfs, pidfd, process};

/// Something that not every kernel since Linux 5.10 offers, or that filters often hide.
///
/// Prints as its name in the kernel's headers or manual pages.
///
/// # Examples
///
/// ```
/// use linux_namespaces::Interface;
///
/// assert_eq!(Interface::Clone3.to_string(), "clone3");
/// assert_eq!(Interface::ListNs.since(), (6, 19));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Interface {
    /// `clone3(2)`. Without it a spawn uses `clone(2)`.
    Clone3,
    /// `CLONE_INTO_CGROUP`: a child is born in another cgroup.
    CloneIntoCgroup,
    /// `setns(2)` with a pidfd: several namespaces of a process at once.
    SetnsPidFd,
    /// `mount_setattr(2)`, and mounts with other ids.
    MountSetattr,
    /// `execve(2)` enters the time namespace that waits for the children. Tried in a time namespace,
    /// so not found where none can be made.
    ExecEntersTime,
    /// `statmount(2)` and `listmount(2)`.
    Statmount,
    /// `PIDFD_GET_*_NAMESPACE`: namespaces of a process without `/proc`.
    PidFdNamespaces,
    /// `NS_GET_PID_IN_PIDNS` and its kin.
    PidTranslation,
    /// `PIDFD_GET_INFO`.
    PidFdInfo,
    /// `PIDFD_INFO_EXIT`: how a process ended, for whoever holds its pidfd.
    PidFdExitInfo,
    /// `open_tree_attr(2)`.
    OpenTreeAttr,
    /// `NS_GET_ID`: numbers of namespaces that are never given twice.
    UniqueIds,
    /// File handles of namespaces, by which `open_by_handle_at(2)` opens them.
    NamespaceFileHandles,
    /// `listns(2)`.
    ListNs,
    /// `OPEN_TREE_NAMESPACE`: a tree of mounts in a mount namespace of its own.
    OpenTreeNamespace,
    /// `CLONE_AUTOREAP`: a child that leaves no zombie.
    CloneAutoreap,
    /// `CLONE_NNP`: a child without new privileges.
    CloneNoNewPrivs,
    /// `CLONE_PIDFD_AUTOKILL`: a child that ends when its pidfd is closed.
    ClonePidFdAutokill,
    /// `CLONE_EMPTY_MNTNS`: a mount namespace with nothing in it.
    CloneEmptyMountNamespace,
}

impl Interface {
    /// All, in the order in which they came.
    pub const ALL: &'static [Self] = &[
        Self::Clone3,
        Self::CloneIntoCgroup,
        Self::SetnsPidFd,
        Self::MountSetattr,
        Self::ExecEntersTime,
        Self::Statmount,
        Self::PidFdNamespaces,
        Self::PidTranslation,
        Self::PidFdInfo,
        Self::PidFdExitInfo,
        Self::OpenTreeAttr,
        Self::UniqueIds,
        Self::NamespaceFileHandles,
        Self::ListNs,
        Self::OpenTreeNamespace,
        Self::CloneAutoreap,
        Self::CloneNoNewPrivs,
        Self::ClonePidFdAutokill,
        Self::CloneEmptyMountNamespace,
    ];

    /// The Linux version that brought it. Distributions carry some of them back to older kernels:
    /// what counts is [`Support::has`](crate::Support::has).
    #[must_use]
    pub const fn since(self) -> (u32, u32) {
        match self {
            Self::Clone3 => (5, 3),
            Self::CloneIntoCgroup => (5, 7),
            Self::SetnsPidFd => (5, 8),
            Self::MountSetattr => (5, 12),
            Self::ExecEntersTime => (6, 2),
            Self::Statmount => (6, 8),
            Self::PidFdNamespaces | Self::PidTranslation => (6, 11),
            Self::PidFdInfo => (6, 13),
            Self::PidFdExitInfo | Self::OpenTreeAttr => (6, 15),
            Self::UniqueIds | Self::NamespaceFileHandles => (6, 18),
            Self::ListNs => (6, 19),
            Self::OpenTreeNamespace => (7, 0),
            Self::CloneAutoreap
            | Self::CloneNoNewPrivs
            | Self::ClonePidFdAutokill
            | Self::CloneEmptyMountNamespace => (7, 1),
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Clone3 => "clone3",
            Self::CloneIntoCgroup => "CLONE_INTO_CGROUP",
            Self::SetnsPidFd => "setns of a pidfd",
            Self::MountSetattr => "mount_setattr",
            Self::ExecEntersTime => "exec enters time namespaces",
            Self::Statmount => "statmount",
            Self::PidFdNamespaces => "PIDFD_GET_*_NAMESPACE",
            Self::PidTranslation => "NS_GET_PID_IN_PIDNS",
            Self::PidFdInfo => "PIDFD_GET_INFO",
            Self::PidFdExitInfo => "PIDFD_INFO_EXIT",
            Self::OpenTreeAttr => "open_tree_attr",
            Self::UniqueIds => "NS_GET_ID",
            Self::NamespaceFileHandles => "namespace file handles",
            Self::ListNs => "listns",
            Self::OpenTreeNamespace => "OPEN_TREE_NAMESPACE",
            Self::CloneAutoreap => "CLONE_AUTOREAP",
            Self::CloneNoNewPrivs => "CLONE_NNP",
            Self::ClonePidFdAutokill => "CLONE_PIDFD_AUTOKILL",
            Self::CloneEmptyMountNamespace => "CLONE_EMPTY_MNTNS",
        })
    }
}

/// What can be found out by a call that a filter may kill for.
const QUESTIONS: [(Interface, Probe); 13] = [
    (Interface::Clone3, |_| features::clone3()),
    (Interface::CloneIntoCgroup, |_| features::clone3_knows(abi::CLONE_INTO_CGROUP, libc::SIGCHLD)),
    // Who knows pidfds notices first that this process is gone.
    (Interface::SetnsPidFd, |about| {
        namespaces::setns(about.ended, abi::CLONE_NEWUTS) == Err(Errno::SRCH)
    }),
    (Interface::MountSetattr, |_| features::mount_setattr()),
    (Interface::Statmount, |_| features::statmount()),
    (Interface::OpenTreeAttr, |_| features::open_tree_attr()),
    (Interface::NamespaceFileHandles, |about| features::has_handle(about.namespace)),
    (Interface::ListNs, |_| features::listns()),
    (Interface::OpenTreeNamespace, |_| features::open_tree_namespace()),
    (Interface::CloneAutoreap, |_| features::clone3_knows(abi::CLONE_AUTOREAP, 0)),
    (Interface::CloneNoNewPrivs, |_| features::clone3_knows(abi::CLONE_NNP, libc::SIGCHLD)),
    // It asks for both of the others.
    (Interface::ClonePidFdAutokill, |_| {
        let flags = abi::CLONE_PIDFD_AUTOKILL | abi::CLONE_AUTOREAP | abi::CLONE_NNP;
        features::clone3_knows(flags, 0)
    }),
    (Interface::CloneEmptyMountNamespace, |_| {
        features::clone3_knows(abi::CLONE_EMPTY_MNTNS, libc::SIGCHLD)
    }),
];

/// Those that are here.
pub(super) fn all(
    own: &PidFd,
    ended: BorrowedFd<'_>,
    pid_namespace: &NsFd,
    found: [&ProbeResult; 2],
    filtered: bool,
) -> Result<Vec<Interface>> {
    let namespace = pid_namespace.as_raw_fd();
    let about = ProbeFds { namespace, ended: ended.as_raw_fd() };
    let questions = QUESTIONS.map(|(_, question)| question);
    let answers = if filtered {
        probe::run_probes(&questions, about).at_step(Step::Clone)?
    } else {
        questions.map(|question| question(about))
    };
    let is_here = |&interface: &Interface| match interface {
        Interface::ExecEntersTime => found.iter().any(|it| it.exec_enters_time == Some(true)),
        Interface::PidFdNamespaces => {
            let answer = nsfs::get_fd(own.as_raw_fd(), abi::PIDFD_GET_USER_NAMESPACE);
            matches!(answer, Ok(_) | Err(Errno::MFILE | Errno::NFILE))
        }
        Interface::PidTranslation => {
            nsfs::translate_pid(namespace, abi::NS_GET_PID_IN_PIDNS, process::getpid()).is_ok()
        }
        Interface::PidFdInfo => pidfd::info(own.as_raw_fd()).is_ok(),
        Interface::PidFdExitInfo => {
            pidfd::info(ended.as_raw_fd()).is_ok_and(|info| info.mask & abi::PIDFD_INFO_EXIT != 0)
        }
        Interface::UniqueIds => nsfs::get_id(namespace).is_ok(),
        _ => {
            let mut asked = QUESTIONS.iter().zip(answers);
            asked.any(|((other, _), yes)| *other == interface && yes)
        }
    };
    Ok(Interface::ALL.iter().copied().filter(is_here).collect())
}

#[cfg(test)]
mod tests {
    use super::Interface;

    #[test]
    fn all_are_in_their_order() {
        assert!(Interface::ALL.is_sorted());
        assert!(Interface::ALL.is_sorted_by_key(|it| it.since()));
        let last = Interface::CloneEmptyMountNamespace;
        assert_eq!(Interface::ALL.len(), last as usize + 1);
    }
}
