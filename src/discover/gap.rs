//! What could not be seen.

#![forbid(unsafe_code)]

use core::fmt;
use std::path::PathBuf;

use crate::ns_fd::NsId;

/// Something that [`discover`](super::discover) could not look into.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Gap {
    /// This thread's `/proc` is not that of the initial pid namespace, so that it shows only some of the
    /// processes.
    OtherPidNamespaces,
    /// `/proc` is mounted with `hidepid` (`proc(5)`), and may hide processes from this thread: it has no
    /// `CAP_SYS_PTRACE` in the initial user namespace. Being root in the user namespace that owns the pid namespace is
    /// not enough: processes from outside may have joined it.
    HiddenProcesses,
    /// A process that this one may not look into.
    #[non_exhaustive]
    Process {
        /// Its pid.
        pid: u32,
    },
    /// A process whose file descriptors this one may not look into.
    #[non_exhaustive]
    Fds {
        /// Its pid.
        pid: u32,
    },
    /// Mounts of a namespace: no process that may be looked into sees all of them. Either there is none, or all
    /// have another root directory than that of the namespace (`chroot(2)`), or they have more than 16 different ones.
    #[non_exhaustive]
    Mounts {
        /// The mount namespace.
        mount_namespace: NsId,
    },
    /// A mounted namespace or proc that cannot be reached: another mount covers it, a directory above it or a part of
    /// it, or the file system of a directory above it would have to be queried.
    #[non_exhaustive]
    CoveredMount {
        /// The mount namespace.
        mount_namespace: NsId,
        /// The mount point.
        path: PathBuf,
    },
    /// A namespace that exists, but that could not be opened and queried.
    #[non_exhaustive]
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
            Self::Fds { pid } => write!(f, "descriptors of process {pid}"),
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
