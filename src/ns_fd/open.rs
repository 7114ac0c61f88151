//! The ways to a handle: of this thread, of a process, of a file.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::NsFd;
use crate::error::{AtStep, Error, ErrorKind, Result, Step};
use crate::namespace::Namespace;
use crate::pid_fd::PidFd;
use crate::pinned::{open_path, parent};
use crate::proc_fs::{self, ProcFs};
use crate::process_state;
use crate::sys::{Errno, abi, file, mount, nsfs};

/// Opening a namespace.
impl NsFd {
    /// The namespace of a file: a bind mount such as `/run/netns/NAME`, or `/proc/PID/ns/net`.
    ///
    /// Links are followed. In a root that is not the caller's own, such as a container's that this thread entered,
    /// magic links (`/proc/self/fd/7`, `/proc/PID/root`) are not: a link of the container could lead to what this
    /// process has open. Only the path itself may end in a file of `/proc/PID/ns`, not the text of a link. Where a
    /// seccomp filter blocks `openat2(2)`, no link is followed there as the path's last part.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{ErrorKind, Namespace, NsFd};
    ///
    /// assert_eq!(NsFd::open("/proc/self/ns/net")?.kind(), Namespace::Net);
    /// assert_eq!(NsFd::open("/etc/passwd").unwrap_err().kind(), ErrorKind::NotANamespace);
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound); [`NotANamespace`](crate::ErrorKind::NotANamespace) for a file of
    /// any other file system; [`PermissionDenied`](crate::ErrorKind::PermissionDenied); `ELOOP` for a link that is
    /// not followed; [`UntrustedProc`](crate::ErrorKind::UntrustedProc), in another root than the caller's own, if
    /// `/proc` is no proc, or something is mounted over the file in it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fd = if process_state::is_in_other_root() {
            Self::open_inside(path)?
        } else {
            rustix::fs::open(path, AT_ONCE, Mode::empty())
                .map_err(|errno| Error::os(Step::OpenNamespace, errno).at(path))?
        };
        Self::checked(fd).map_err(|error| error.at(path))
    }

    /// The namespace that the calling thread is in.
    ///
    /// Threads of a process may be in different ones. For the namespaces that the thread's children
    /// will be born in, see [`for_children`](Self::for_children).
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Namespace, NsFd};
    ///
    /// for &kind in Namespace::ALL {
    ///     println!("{kind:7} {}", NsFd::current(kind)?.id()?.ino);
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc) if `/proc` is missing, covered or fake and the
    /// kernel (before 6.11) has no other way; [`LimitReached`](crate::ErrorKind::LimitReached) for `EMFILE`.
    pub fn current(kind: Namespace) -> Result<Self> {
        Self::of_this_thread(kind, false)
    }

    /// The namespace of a process.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Namespace, NsFd};
    ///
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// assert_eq!(NsFd::of_pid(child.id(), Namespace::Net)?, NsFd::current(Namespace::Net)?);
    /// child.kill()?;
    /// child.wait()?;
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProcessGone`](crate::ErrorKind::ProcessGone) if there is no such process, or it is a zombie;
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) without the right to trace it.
    ///
    /// # Privileges
    ///
    /// `PTRACE_MODE_READ_FSCREDS` on the process: `ptrace(2)`.
    pub fn of_pid(pid: u32, kind: Namespace) -> Result<Self> {
        Self::of_process(&PidFd::open(pid)?, kind)
    }

    /// The namespace of the process that a pidfd holds: never that of a later process with the same
    /// number.
    ///
    /// A process that was not dumpable (`PR_SET_DUMPABLE`) stays closed to others for a moment after its exec has
    /// woken its parent. So one of this user's that was forked and has come to no exec is given a tenth of a
    /// second before the refusal counts.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Namespace, NsFd, PidFd};
    ///
    /// let me = PidFd::current()?;
    /// assert_eq!(NsFd::of_process(&me, Namespace::User)?.kind(), Namespace::User);
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`of_pid`](Self::of_pid). Before Linux 6.11 also
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc), since `/proc` is the only way there.
    ///
    /// # Privileges
    ///
    /// `PTRACE_MODE_READ_FSCREDS` on the process: `ptrace(2)`.
    pub fn of_process(process: &PidFd, kind: Namespace) -> Result<Self> {
        Self::of_pid_fd(process, kind, false)
    }

    /// The namespace that the next child of the calling thread will be born in.
    ///
    /// It differs from [`current`](Self::current) for a pid namespace after `unshare(2)` or `setns(2)`, which
    /// never move their caller, and for a time namespace after `unshare(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Namespace, NsFd};
    ///
    /// // without unshare or setns, children are born where their parent is
    /// assert_eq!(NsFd::for_children(Namespace::Pid)?, NsFd::current(Namespace::Pid)?);
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of `current`. Before Linux 6.11 a new pid namespace cannot be opened
    /// ([`NotFound`](crate::ErrorKind::NotFound)) until its first process exists.
    #[doc(alias = "pid_for_children")]
    #[doc(alias = "time_for_children")]
    pub fn for_children(kind: Namespace) -> Result<Self> {
        Self::of_this_thread(kind, true)
    }

    /// The namespace that the next child of a process's main thread will be born in.
    ///
    /// # Errors
    ///
    /// As of [`of_process`](Self::of_process).
    ///
    /// # Privileges
    ///
    /// `PTRACE_MODE_READ_FSCREDS` on the process: `ptrace(2)`.
    pub fn for_children_of(process: &PidFd, kind: Namespace) -> Result<Self> {
        Self::of_pid_fd(process, kind, true)
    }

    /// In a root that is not the caller's: there a magic link leads to whatever this process has open.
    fn open_inside(path: &Path) -> Result<OwnedFd> {
        let refused = |errno| Error::os(Step::OpenNamespace, errno).at(path);
        match rustix::fs::openat2(CWD, path, AT_ONCE, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
            // The last link is one, or a filter blocks the call.
            Err(Errno::LOOP | Errno::NOSYS | Errno::PERM) => {}
            answer => return answer.map_err(refused),
        }
        let Some(name) = path.file_name() else {
            return open_path(path).map_err(refused);
        };
        let dir = parent(path).map_err(refused)?;
        match rustix::fs::openat(&dir, name, AT_ONCE | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::LOOP) => {}
            answer => return answer.map_err(refused),
        }
        // Of the magic links in proc, only those in `ns` have such names.
        let name =
            name.to_str().filter(|name| is_name(name)).ok_or_else(|| refused(Errno::LOOP))?;
        if !mount::is_known_on(&dir, abi::PROC_SUPER_MAGIC).map_err(refused)? {
            return Err(refused(Errno::LOOP));
        }
        ProcFs::open()?.namespace_in(dir.as_fd(), name).map_err(|errno| match errno {
            Errno::XDEV => proc_fs::covered(),
            _ => refused(errno),
        })
    }

    /// A file that should be one of a namespace of this kind.
    fn of_kind(fd: OwnedFd, kind: Namespace) -> Result<Self> {
        match nsfs::get_type(fd.as_raw_fd()) {
            Ok(flag) if flag == kind.flag() => Ok(Self { fd, kind }),
            Ok(_) | Err(Errno::NOTTY) => Err(Error::new(
                ErrorKind::UntrustedProc,
                format!("/proc gave something else for the {kind} namespace"),
            )
            .at_step(Step::OpenNamespace)),
            Err(errno) => Err(Error::os(Step::QueryNamespace, errno).of(kind)),
        }
    }

    /// A file from elsewhere. Other file systems may answer the same ioctl number as they please.
    pub(super) fn checked(fd: OwnedFd) -> Result<Self> {
        let not_one = |why: &'static str| Error::new(ErrorKind::NotANamespace, why);
        if !file::is_on(&fd, abi::NSFS_MAGIC).at_step(Step::OpenNamespace)? {
            return Err(not_one("the file is none of a namespace"));
        }
        let flag = nsfs::get_type(fd.as_raw_fd()).map_err(|errno| match errno {
            Errno::BADF => {
                not_one("the descriptor was opened with O_PATH, which cannot be entered")
            }
            _ => Error::os(Step::QueryNamespace, errno),
        })?;
        let kind = Namespace::from_flag(flag)
            .ok_or_else(|| not_one("the file is of a kind of namespace unknown to this crate"))?;
        Ok(Self { fd, kind })
    }

    /// Looks at `/proc`, where that is needed, each time anew: somebody may have mounted another one since.
    fn of_this_thread(kind: Namespace, for_children: bool) -> Result<Self> {
        let through_proc = || Self::of_this_thread_by(&ProcFs::open()?, kind, for_children);
        let refused = |errno| Error::os(Step::OpenNamespace, errno).of(kind);
        match PidFd::current_thread() {
            Ok(thread) => match ask_pid_fd(&thread, kind, for_children) {
                Err(Errno::NOTTY | Errno::NOSYS) => through_proc(),
                answer => answer.map_err(refused),
            },
            Err(errno @ (Errno::MFILE | Errno::NFILE)) => Err(refused(errno)),
            // A kernel that cannot name a thread, or a filter.
            Err(_) => through_proc(),
        }
    }

    pub(crate) fn of_this_thread_by(
        proc: &ProcFs,
        kind: Namespace,
        for_children: bool,
    ) -> Result<Self> {
        Self::of_kind(proc.namespace("thread-self", name(kind, for_children))?, kind)
    }

    /// Whether the kernel tells in which namespaces this thread is without `/proc`.
    pub(crate) fn current_needs_no_proc() -> bool {
        PidFd::current_thread().is_ok_and(|it| ask_pid_fd(&it, Namespace::Mount, false).is_ok())
    }

    fn of_pid_fd(process: &PidFd, kind: Namespace, for_children: bool) -> Result<Self> {
        match Self::look_at(process, kind, for_children) {
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
                process.await_first_exec();
                Self::look_at(process, kind, for_children)
            }
            answer => answer,
        }
    }

    fn look_at(process: &PidFd, kind: Namespace, for_children: bool) -> Result<Self> {
        let refused = |errno| Error::os(Step::OpenNamespace, errno).of(kind);
        match ask_pid_fd(process, kind, for_children) {
            Err(Errno::NOTTY | Errno::NOSYS) => {}
            answer => return answer.map_err(refused),
        }
        let proc = ProcFs::open()?;
        let pid = proc.pid_of(process.as_fd())?.ok_or_else(|| refused(Errno::SRCH))?;
        let file = proc.namespace(pid, name(kind, for_children));
        // Alive now, so it had the number all the time. A zombie has no such files any more.
        if process.has_ended()? {
            return Err(refused(Errno::SRCH));
        }
        Self::of_kind(file?, kind)
    }
}

/// Whether the error of [`NsFd::for_children`] is that of a pid namespace which waits for its first process, and
/// not of a `/proc` that lacks something.
pub(crate) fn has_no_first_process(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound && error.step() == Some(Step::OpenNamespace)
}

/// The name of a namespace's file in `/proc/PID/ns`.
fn name(kind: Namespace, for_children: bool) -> &'static str {
    match (kind, for_children) {
        (Namespace::Pid, true) => "pid_for_children",
        (Namespace::Time, true) => "time_for_children",
        _ => kind.name(),
    }
}

fn is_name(file: &str) -> bool {
    Namespace::EACH.iter().any(|&kind| [false, true].iter().any(|&it| name(kind, it) == file))
}

/// A path from elsewhere may lead to a FIFO or a terminal.
const AT_ONCE: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// `PIDFD_GET_*_NAMESPACE`: needs no `/proc`. Linux 6.11; `ENOTTY` before.
fn ask_pid_fd(
    process: &PidFd,
    kind: Namespace,
    for_children: bool,
) -> core::result::Result<NsFd, Errno> {
    let number = match (kind, for_children) {
        (Namespace::Cgroup, _) => abi::PIDFD_GET_CGROUP_NAMESPACE,
        (Namespace::Ipc, _) => abi::PIDFD_GET_IPC_NAMESPACE,
        (Namespace::Mount, _) => abi::PIDFD_GET_MNT_NAMESPACE,
        (Namespace::Net, _) => abi::PIDFD_GET_NET_NAMESPACE,
        (Namespace::Pid, false) => abi::PIDFD_GET_PID_NAMESPACE,
        (Namespace::Pid, true) => abi::PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE,
        (Namespace::Time, false) => abi::PIDFD_GET_TIME_NAMESPACE,
        (Namespace::Time, true) => abi::PIDFD_GET_TIME_FOR_CHILDREN_NAMESPACE,
        (Namespace::User, _) => abi::PIDFD_GET_USER_NAMESPACE,
        (Namespace::Uts, _) => abi::PIDFD_GET_UTS_NAMESPACE,
    };
    let fd = nsfs::get_fd(process.as_raw_fd(), number)?;
    Ok(NsFd { fd, kind })
}

/// Takes a namespace file that came from elsewhere, over a socket for one. A descriptor that is none
/// is closed.
///
/// # Errors
///
/// [`NotANamespace`](crate::ErrorKind::NotANamespace), also for a namespace file opened with `O_PATH`.
impl TryFrom<OwnedFd> for NsFd {
    type Error = Error;

    fn try_from(fd: OwnedFd) -> Result<Self> {
        Self::checked(fd)
    }
}
