//! A handle that keeps a namespace alive.

#![forbid(unsafe_code)]

use core::hash::{Hash, Hasher};
use core::sync::atomic::{AtomicU8, Ordering};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::ioctl::Opcode;

use crate::error::{AtStep, Error, ErrorKind, Result, Step};
use crate::namespace::{Namespace, NamespaceSet};
use crate::pid_fd::PidFd;
use crate::proc_fs::ProcFs;
use crate::sys::{Errno, abi, file, nsfs, process};

/// A namespace, held by an open file.
///
/// As long as the handle is open the namespace exists, also without any process in it. Two handles
/// are equal if they hold the same namespace. The descriptor is close-on-exec.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Namespace, NsFd};
///
/// let uts = NsFd::current(Namespace::Uts)?;
/// assert_eq!(uts.kind(), Namespace::Uts);
/// assert_eq!(uts, NsFd::of_pid(std::process::id(), Namespace::Uts)?);
/// println!("uts:[{}]", uts.id()?.ino);
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html), "Namespace lifetime";
/// [ioctl_nsfs(2)](https://man7.org/linux/man-pages/man2/ioctl_nsfs.2.html)
#[derive(Debug)]
pub struct NsFd {
    fd: OwnedFd,
    kind: Namespace,
}

/// What tells a namespace from all others while it lives: device and inode number of its file, the
/// number that `readlink /proc/PID/ns/uts` shows in brackets.
///
/// Of a namespace that is gone it tells nothing: the kernel gives the number away again at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "what stat(2) tells of a file's identity")]
pub struct NsId {
    /// The device number of the kernel's namespace file system.
    pub dev: u64,
    /// The inode number.
    pub ino: u64,
}

impl NsFd {
    /// The namespace that the calling thread is in.
    ///
    /// Threads of a process may be in different ones. For the namespaces that the thread's children
    /// will be born in, see [`for_children`](Self::for_children).
    ///
    /// # Errors
    ///
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc) if `/proc` is missing, covered or fake and the
    /// kernel (before 6.11) has no other way; [`LimitReached`](crate::ErrorKind::LimitReached) for `EMFILE`.
    pub fn current(kind: Namespace) -> Result<Self> {
        Self::of_this_thread(kind, kind.name(), false)
    }

    /// The namespace that the next child of the calling thread will be born in.
    ///
    /// It differs from [`current`](Self::current) for pid and time, after `unshare(2)` or `setns(2)`
    /// of these: they never move their caller.
    ///
    /// # Errors
    ///
    /// As of `current`. Before Linux 7.1 a new pid namespace cannot be opened
    /// ([`NotFound`](crate::ErrorKind::NotFound)) until its first process exists, except that Linux 6.11 and
    /// newer can on the way that `current` takes when `/proc` is not trusted.
    #[doc(alias = "pid_for_children")]
    #[doc(alias = "time_for_children")]
    pub fn for_children(kind: Namespace) -> Result<Self> {
        Self::of_this_thread(kind, for_children_name(kind), true)
    }

    /// The namespace of a process.
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
    /// # Errors
    ///
    /// As of [`of_pid`](Self::of_pid). Before Linux 6.11 also
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc), since `/proc` is the only way there.
    ///
    /// # Privileges
    ///
    /// `PTRACE_MODE_READ_FSCREDS` on the process: `ptrace(2)`.
    pub fn of_process(process: &PidFd, kind: Namespace) -> Result<Self> {
        Self::of_pid_fd(process, kind, kind.name(), false)
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
        Self::of_pid_fd(process, kind, for_children_name(kind), true)
    }

    /// The namespace of a file: a bind mount such as `/run/netns/NAME`, or `/proc/PID/ns/net`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound); [`NotANamespace`](crate::ErrorKind::NotANamespace) for a file of
    /// any other file system; [`PermissionDenied`](crate::ErrorKind::PermissionDenied).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // A path from elsewhere may lead to a FIFO or a terminal.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| Error::os(Step::OpenNamespace, errno).at(path))?;
        Self::checked(fd).map_err(|error| error.at(path))
    }

    /// The kind of the namespace.
    #[must_use]
    pub fn kind(&self) -> Namespace {
        self.kind
    }

    /// Device and inode number, which identify the namespace while this handle is held.
    ///
    /// # Errors
    ///
    /// None in practice: `fstat(2)` of an open file fails only where a seccomp filter says so.
    pub fn id(&self) -> Result<NsId> {
        let about = rustix::fs::fstat(&self.fd).at_step(Step::AskNamespace)?;
        Ok(NsId { dev: about.st_dev, ino: about.st_ino })
    }

    /// The number that the kernel gives to this namespace and never to another one until the machine
    /// restarts. `None` before Linux 6.18.
    ///
    /// # Errors
    ///
    /// Only where a seccomp filter refuses the ioctl.
    #[doc(alias = "NS_GET_ID")]
    pub fn unique_id(&self) -> Result<Option<u64>> {
        match nsfs::get_id(self.as_raw_fd()) {
            Ok(id) => Ok(Some(id)),
            Err(Errno::NOTTY | Errno::NOSYS) => Ok(None),
            Err(errno) => Err(self.refused(errno)),
        }
    }

    /// The user namespace that owns this one: whose capabilities count for what it isolates. For a
    /// user namespace, the one it was made in.
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) if that is not this thread's own user
    /// namespace nor below it.
    #[doc(alias = "NS_GET_USERNS")]
    pub fn owner(&self) -> Result<Self> {
        let fd = nsfs::get_fd(self.as_raw_fd(), abi::NS_GET_USERNS);
        Ok(Self { fd: fd.map_err(|errno| self.refused(errno))?, kind: Namespace::User })
    }

    /// The pid or user namespace around this one.
    ///
    /// # Errors
    ///
    /// `EINVAL` for other kinds, which have no parent;
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) for a parent outside this thread's own
    /// namespace, so also for the initial one, which has none.
    #[doc(alias = "NS_GET_PARENT")]
    pub fn parent(&self) -> Result<Self> {
        let fd = nsfs::get_fd(self.as_raw_fd(), abi::NS_GET_PARENT);
        Ok(Self { fd: fd.map_err(|errno| self.refused(errno))?, kind: self.kind })
    }

    /// The uid, in this thread's user namespace, of the creator of a user namespace; 65534 if that
    /// uid is not mapped here.
    ///
    /// # Errors
    ///
    /// `EINVAL` for other kinds.
    #[doc(alias = "NS_GET_OWNER_UID")]
    pub fn owner_uid(&self) -> Result<u32> {
        nsfs::get_owner_uid(self.as_raw_fd()).map_err(|errno| self.refused(errno))
    }

    /// The number in this pid namespace of a process that has number `pid` in the caller's.
    ///
    /// # Errors
    ///
    /// [`ProcessGone`](crate::ErrorKind::ProcessGone) if there is no such process, or it is not in this
    /// namespace; [`InvalidInput`](crate::ErrorKind::InvalidInput) if this is no pid namespace;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) before Linux 6.11.
    #[doc(alias = "NS_GET_PID_IN_PIDNS")]
    pub fn pid_inside(&self, pid: u32) -> Result<u32> {
        self.translate(abi::NS_GET_PID_IN_PIDNS, pid)
    }

    /// The number in the caller's pid namespace of a process that has number `pid` in this one.
    ///
    /// # Errors
    ///
    /// As of [`pid_inside`](Self::pid_inside).
    #[doc(alias = "NS_GET_PID_FROM_PIDNS")]
    pub fn pid_outside(&self, pid: u32) -> Result<u32> {
        self.translate(abi::NS_GET_PID_FROM_PIDNS, pid)
    }

    /// Another handle of the same namespace.
    ///
    /// # Errors
    ///
    /// [`LimitReached`](crate::ErrorKind::LimitReached) for `EMFILE`.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 0).at_step(Step::OpenNamespace)?;
        Ok(Self { fd, kind: self.kind })
    }

    fn refused(&self, errno: Errno) -> Error {
        Error::os(Step::AskNamespace, errno).of(self.kind)
    }

    fn translate(&self, number: Opcode, pid: u32) -> Result<u32> {
        if self.kind != Namespace::Pid {
            return Err(Error::invalid(format!("a {} namespace has no pids", self.kind)));
        }
        if i32::try_from(pid).is_err() {
            return Err(self.refused(Errno::SRCH));
        }
        let answer = nsfs::translate_pid(self.as_raw_fd(), number, pid);
        answer.map_err(|errno| match errno {
            Errno::NOTTY if can_translate() => self.refused(Errno::SRCH),
            _ => self.refused(errno),
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
            Err(errno) => Err(Error::os(Step::AskNamespace, errno).of(kind)),
        }
    }

    /// A file from elsewhere. Other file systems may answer the same ioctl number as they please.
    fn checked(fd: OwnedFd) -> Result<Self> {
        let not_one = |why: &'static str| Error::new(ErrorKind::NotANamespace, why);
        if !file::is_on(&fd, abi::NSFS_MAGIC).at_step(Step::OpenNamespace)? {
            return Err(not_one("the file is none of a namespace"));
        }
        let flag = nsfs::get_type(fd.as_raw_fd()).map_err(|errno| match errno {
            Errno::BADF => {
                not_one("the descriptor was opened with O_PATH, which cannot be entered")
            }
            _ => Error::os(Step::AskNamespace, errno),
        })?;
        let kind = Namespace::from_flag(flag)
            .ok_or_else(|| not_one("the file is of a kind of namespace unknown to this crate"))?;
        Ok(Self { fd, kind })
    }

    fn of_this_thread(kind: Namespace, name: &str, for_children: bool) -> Result<Self> {
        if PROC.load(Ordering::Relaxed) == TRUSTED {
            let path = format!("/proc/thread-self/ns/{name}");
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(&path, flags, Mode::empty())
                .map_err(|errno| Error::os(Step::OpenNamespace, errno).of(kind).at(path))?;
            return Self::of_kind(fd, kind);
        }
        let proc = ProcFs::open();
        if proc.is_ok() {
            let _ = PROC.compare_exchange(UNKNOWN, TRUSTED, Ordering::Relaxed, Ordering::Relaxed);
        }
        match PidFd::current_thread() {
            Ok(thread) => match ask_pid_fd(&thread, kind, for_children) {
                Err(Errno::NOTTY | Errno::NOSYS) => {}
                answer => {
                    return answer.map_err(|errno| Error::os(Step::OpenNamespace, errno).of(kind));
                }
            },
            Err(errno @ (Errno::MFILE | Errno::NFILE)) => {
                return Err(Error::os(Step::OpenNamespace, errno).of(kind));
            }
            // A kernel that cannot name a thread, or a filter.
            Err(_) => {}
        }
        Self::of_kind(proc?.namespace("thread-self", name)?, kind)
    }

    fn of_pid_fd(process: &PidFd, kind: Namespace, name: &str, for_children: bool) -> Result<Self> {
        let refused = |errno| Error::os(Step::OpenNamespace, errno).of(kind);
        match ask_pid_fd(process, kind, for_children) {
            Err(Errno::NOTTY | Errno::NOSYS) => {}
            answer => return answer.map_err(refused),
        }
        let proc = ProcFs::open()?;
        let pid = proc.pid_of(process.as_fd())?.ok_or_else(|| refused(Errno::SRCH))?;
        let namespace = Self::of_kind(proc.namespace(pid, name)?, kind);
        // Alive now, so it had the number all the time.
        if process.has_ended()? {
            return Err(refused(Errno::SRCH));
        }
        namespace
    }
}

/// Whether `/proc` was seen to be what it should be. Once this process may have a thread in someone
/// else's mount namespace, it is not believed without a look any more.
static PROC: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const TRUSTED: u8 = 1;
const DISTRUSTED: u8 = 2;

pub(crate) fn distrust_proc() {
    PROC.store(DISTRUSTED, Ordering::Relaxed);
}

fn for_children_name(kind: Namespace) -> &'static str {
    match kind {
        Namespace::Pid => "pid_for_children",
        Namespace::Time => "time_for_children",
        _ => kind.name(),
    }
}

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

/// Kernels 6.13 to 6.19 answer `ENOTTY` also for a pid that is not there.
fn can_translate() -> bool {
    NsFd::current(Namespace::Pid).is_ok_and(|own| {
        nsfs::translate_pid(own.as_raw_fd(), abi::NS_GET_PID_IN_PIDNS, process::getpid()).is_ok()
    })
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

/// The same namespace, whatever the descriptors.
impl PartialEq for NsFd {
    fn eq(&self, other: &Self) -> bool {
        match (self.id(), other.id()) {
            (Ok(one), Ok(other)) => one == other,
            _ => self.as_raw_fd() == other.as_raw_fd(),
        }
    }
}

impl Eq for NsFd {}

impl Hash for NsFd {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().ok().hash(state);
    }
}

/// Valid for `poll(2)` of nothing; do not close it.
impl AsFd for NsFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for NsFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<NsFd> for OwnedFd {
    fn from(namespace: NsFd) -> Self {
        namespace.fd
    }
}

impl From<&NsFd> for NamespaceSet {
    fn from(namespace: &NsFd) -> Self {
        namespace.kind.into()
    }
}
