//! What keeps a namespace alive.

#![forbid(unsafe_code)]

use core::fmt;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use crate::error::Result;
use crate::ns_fd::{NsFd, NsId};

use super::{Gap, discover};

/// Something that keeps a namespace alive.
///
/// Pids are those that this thread's `/proc` shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Holder {
    /// A process is in it: its first thread is. For a pid or user namespace also one that has ended and was
    /// not waited for.
    #[non_exhaustive]
    Process {
        /// Its pid.
        pid: u32,
    },
    /// A thread is in it, and the first thread of its process is not.
    #[non_exhaustive]
    Thread {
        /// The pid of the process.
        pid: u32,
        /// The thread id.
        tid: u32,
    },
    /// The children of a thread will be in it, the thread itself is not: `/proc/PID/ns/pid_for_children` and
    /// `time_for_children`.
    #[non_exhaustive]
    ForChildren {
        /// The pid of the process.
        pid: u32,
        /// The thread id.
        tid: u32,
    },
    /// A process has a file of it open.
    #[non_exhaustive]
    Fd {
        /// The pid of the process.
        pid: u32,
        /// The file descriptor.
        fd: u32,
    },
    /// Its file is mounted: `ip netns`, [`unshare(1)`](https://man7.org/linux/man-pages/man1/unshare.1.html)
    /// with `--net=FILE`.
    #[non_exhaustive]
    BindMount {
        /// The mount namespace of the mount.
        mount_namespace: NsId,
        /// The mount point, as a process in that namespace sees it.
        path: PathBuf,
    },
    /// A mounted proc shows it. Pid namespaces.
    #[non_exhaustive]
    ProcMount {
        /// The mount namespace of the mount.
        mount_namespace: NsId,
        /// The mount point, as a process in that namespace sees it.
        path: PathBuf,
    },
    /// A namespace lies inside of it. Pid and user namespaces.
    #[non_exhaustive]
    ChildNamespace {
        /// The namespace inside.
        id: NsId,
    },
    /// It owns a namespace of another kind. User namespaces.
    #[non_exhaustive]
    OwnedNamespace {
        /// The namespace that it owns.
        id: NsId,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid } => write!(f, "process {pid}"),
            Self::Thread { pid, tid } => write!(f, "thread {tid} of process {pid}"),
            Self::ForChildren { pid, tid } if pid == tid => write!(f, "children of process {pid}"),
            Self::ForChildren { pid, tid } => {
                write!(f, "children of thread {tid} of process {pid}")
            }
            Self::Fd { pid, fd } => write!(f, "descriptor {fd} of process {pid}"),
            Self::BindMount { mount_namespace, path } => {
                write!(f, "mounted at {path:?} in mount namespace {}", mount_namespace.ino)
            }
            Self::ProcMount { mount_namespace, path } => {
                write!(f, "shown by proc at {path:?} in mount namespace {}", mount_namespace.ino)
            }
            Self::ChildNamespace { id } => write!(f, "around namespace {}", id.ino),
            Self::OwnedNamespace { id } => write!(f, "owner of namespace {}", id.ino),
        }
    }
}

/// What keeps a namespace alive, from [`NsFd::holders`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders {
    all: Vec<Holder>,
    gaps: Vec<Gap>,
}

impl Holders {
    /// Those that were found. If empty, nothing that this process may see holds it: a socket or another user's
    /// process may, or nothing but the handle that was asked.
    pub fn iter(&self) -> core::slice::Iter<'_, Holder> {
        self.all.iter()
    }

    /// Where none could be looked for.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }
}

impl<'a> IntoIterator for &'a Holders {
    type Item = &'a Holder;
    type IntoIter = core::slice::Iter<'a, Holder>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl NsFd {
    /// What keeps the namespace alive besides this handle.
    ///
    /// It takes a walk through `/proc`, as [`discover`] does; to ask for several namespaces, ask
    /// [`NamespaceInfo::holders`](super::NamespaceInfo::holders) of one discovery. Not everything that holds a namespace can
    /// be found: see "When is a namespace destroyed?" in the [crate's documentation](crate).
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Holder, Namespace, NsFd};
    ///
    /// let uts = NsFd::current(Namespace::Uts)?;
    /// let me = std::process::id();
    /// assert!(uts.holders()?.iter().any(|it| matches!(it, Holder::Process { pid, .. } if *pid == me)));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`discover`].
    ///
    /// # Privileges
    ///
    /// As of [`discover`]: what this process may not look into is told by [`Holders::gaps`].
    pub fn holders(&self) -> Result<Holders> {
        let discovery = discover()?;
        let found = discovery.get(self.id()?).map(|found| found.holders().to_vec());
        let mut all = found.unwrap_or_default();
        if let Ok(fd) = u32::try_from(self.as_raw_fd()) {
            let this = Holder::Fd { pid: discovery.me, fd };
            all.retain(|holder| *holder != this);
        }
        Ok(Holders { all, gaps: discovery.gaps })
    }
}
