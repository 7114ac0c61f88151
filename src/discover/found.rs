//! What is told of a namespace that was found, and of what was not.

#![forbid(unsafe_code)]

use core::fmt;
use std::path::PathBuf;

use crate::namespace::Namespace;
use crate::ns_fd::NsId;

use super::Holder;

/// A namespace that [`discover`](super::discover) found.
#[derive(Debug, Clone)]
pub struct Found {
    pub(super) kind: Namespace,
    pub(super) id: NsId,
    pub(super) unique_id: Option<u64>,
    pub(super) owner: Option<NsId>,
    pub(super) parent: Option<NsId>,
    pub(super) owner_uid: Option<u32>,
    pub(super) holders: Vec<Holder>,
    /// Whether the kernel was asked about it, which it is once.
    pub(super) asked: bool,
}

impl Found {
    /// The kind of the namespace.
    #[must_use]
    pub fn kind(&self) -> Namespace {
        self.kind
    }

    /// What tells it from all others while it lives.
    #[must_use]
    pub fn id(&self) -> NsId {
        self.id
    }

    /// The number that no other namespace ever has: [`NsFd::unique_id`](crate::NsFd::unique_id). `None`
    /// before Linux 6.18.
    #[must_use]
    pub fn unique_id(&self) -> Option<u64> {
        self.unique_id
    }

    /// The user namespace that owns it: [`NsFd::owner`](crate::NsFd::owner). `None` if that lies outside of
    /// this thread's own.
    #[must_use]
    pub fn owner(&self) -> Option<NsId> {
        self.owner
    }

    /// The pid or user namespace around it: [`NsFd::parent`](crate::NsFd::parent). `None` if that lies
    /// outside of this thread's own, if there is none, and for other kinds.
    #[must_use]
    pub fn parent(&self) -> Option<NsId> {
        self.parent
    }

    /// The uid of who made a user namespace: [`NsFd::owner_uid`](crate::NsFd::owner_uid). `None` for other
    /// kinds.
    #[must_use]
    pub fn owner_uid(&self) -> Option<u32> {
        self.owner_uid
    }

    /// The process in it with the lowest number, as `lsns(8)` shows it: the oldest, unless the numbers have
    /// come round since.
    #[must_use]
    pub fn oldest(&self) -> Option<u32> {
        self.holders.iter().find_map(|holder| match holder {
            Holder::Process { pid } => Some(*pid),
            _ => None,
        })
    }

    /// How many processes are in it: their first threads are.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.holders.iter().filter(|holder| matches!(holder, Holder::Process { .. })).count()
    }

    /// What was found to keep it alive, which is also how it was found. Empty if only the kernel's own list
    /// has it.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }
}

/// Where [`discover`](super::discover) could not look.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Gap {
    /// This thread's `/proc` is not that of the first pid namespace, so that it shows but some of the
    /// processes.
    OtherPidNamespaces,
    /// `/proc` is mounted with `hidepid` (`proc(5)`), and may hide processes from this thread: it has no
    /// `CAP_SYS_PTRACE` in the initial user namespace. Being root in the user namespace that owns the pid namespace is
    /// not enough: processes from outside may have joined it.
    HiddenProcesses,
    /// A process that may not be looked into.
    Process {
        /// Its number.
        pid: u32,
    },
    /// A process whose descriptors may not be looked at.
    Descriptors {
        /// Its number.
        pid: u32,
    },
    /// Mounts of a namespace: no process that may be looked into sees all of them. Either there is none, or all
    /// have another root directory than that of the namespace (`chroot(2)`), or they have more than 16 different ones.
    Mounts {
        /// The mount namespace.
        mount_namespace: NsId,
    },
    /// A mounted namespace or proc that cannot be reached: another mount covers it, a directory above it or a part of
    /// it, or the file system of a directory above it would have to be queried.
    CoveredMount {
        /// The mount namespace.
        mount_namespace: NsId,
        /// Where it is.
        path: PathBuf,
    },
    /// A namespace that is there, but that could not be opened and asked.
    Namespace {
        /// The namespace.
        id: NsId,
    },
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherPidNamespaces => f.write_str("processes outside of this pid namespace"),
            Self::HiddenProcesses => f.write_str("processes that /proc hides"),
            Self::Process { pid } => write!(f, "process {pid}"),
            Self::Descriptors { pid } => write!(f, "descriptors of process {pid}"),
            Self::Mounts { mount_namespace } => {
                write!(f, "mounts in namespace {}", mount_namespace.ino)
            }
            Self::CoveredMount { mount_namespace, path } => {
                write!(f, "the mount at {path:?} in namespace {}", mount_namespace.ino)
            }
            Self::Namespace { id } => write!(f, "owner and parent of namespace {}", id.ino),
        }
    }
}
