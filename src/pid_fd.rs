//! A handle of a process that cannot come to mean another one.

#![forbid(unsafe_code)]

use core::hash::{Hash, Hasher};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{AtStep, Error, Result, Step};
use crate::proc_fs::ProcFs;
use crate::signal::Signal;
use crate::sys::{Errno, abi, file, pidfd, process};

/// A process, held by a pidfd.
///
/// A number may be given to another process once its owner is gone; a pidfd never. It becomes
/// readable for `poll(2)` when the process has ended. Two of them are equal if they hold the same process; before
/// Linux 6.9 the kernel does not say that, and each is equal to itself alone.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Namespace, NsFd, PidFd};
///
/// let me = PidFd::current()?;
/// assert_eq!(me.pid()?, Some(std::process::id()));
/// assert!(!me.has_ended()?);
/// assert_eq!(NsFd::of_process(&me, Namespace::Uts)?, NsFd::current(Namespace::Uts)?);
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html)
#[derive(Debug)]
#[doc(alias = "pidfd_open")]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// The process with this number in the calling thread's pid namespace.
    ///
    /// Whether it is still the process that the number was once told for is the caller's to know:
    /// for a child that is not yet waited for, it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{ErrorKind, PidFd};
    ///
    /// assert!(!PidFd::open(std::process::id())?.has_ended()?);
    /// assert_eq!(PidFd::open(u32::MAX).unwrap_err().raw_os_error(), Some(22));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProcessGone`](crate::ErrorKind::ProcessGone) if there is none (`ESRCH`); the kernel's `EINVAL` for
    /// 0 or the number of a thread; [`LimitReached`](crate::ErrorKind::LimitReached) for `EMFILE`.
    pub fn open(pid: u32) -> Result<Self> {
        let refused = |errno| Error::os(Step::OpenProcess, errno).on(format!("{pid}"));
        if i32::try_from(pid).is_err() {
            return Err(refused(Errno::INVAL));
        }
        pidfd::open(pid, 0).map(Self).map_err(|errno| match errno {
            // The kernel's word for the number of a thread, from Linux 6.9 on and before.
            Errno::NOENT => refused(Errno::INVAL),
            _ => refused(errno),
        })
    }

    /// This process.
    ///
    /// # Errors
    ///
    /// [`LimitReached`](crate::ErrorKind::LimitReached) for `EMFILE`;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where a filter hides the call.
    pub fn current() -> Result<Self> {
        Self::open(process::getpid())
    }

    /// The process's number in this thread's pid namespace; before Linux 6.13 as this thread's `/proc` counts.
    /// `None` once it has been waited for, or if it is not visible there.
    ///
    /// # Errors
    ///
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc) if the kernel does not tell (before Linux 6.13)
    /// and `/proc` cannot be believed.
    pub fn pid(&self) -> Result<Option<u32>> {
        match pidfd::info(self.as_raw_fd()) {
            Ok(info) if info.pid != 0 => Ok(Some(info.pid)),
            Ok(_) | Err(Errno::SRCH | Errno::REMOTE) => Ok(None),
            Err(_) => ProcFs::open()?.pid_of(self.as_fd()),
        }
    }

    /// Whether the process has ended, waited for or not.
    ///
    /// # Errors
    ///
    /// Whatever `ppoll(2)` answers: `ENOMEM`.
    pub fn has_ended(&self) -> Result<bool> {
        file::poll_readable(self.as_raw_fd(), false).at_step(Step::Wait)
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    ///
    /// [`ProcessGone`](crate::ErrorKind::ProcessGone) if it has been waited for;
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) if it is another user's; `EINVAL` if it is
    /// not visible from this pid namespace.
    ///
    /// # References
    ///
    /// [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html)
    pub fn send_signal(&self, signal: Signal) -> Result<()> {
        pidfd::send_signal(self.as_raw_fd(), signal.number()).at_step(Step::SendSignal)
    }

    /// Another handle of the same process.
    ///
    /// # Errors
    ///
    /// [`LimitReached`](crate::ErrorKind::LimitReached) for `EMFILE`.
    pub fn try_clone(&self) -> Result<Self> {
        rustix::io::fcntl_dupfd_cloexec(&self.0, 0).map(Self).at_step(Step::OpenProcess)
    }

    /// The process's numbers in all pid namespaces that it is in and this thread's `/proc` can see: that of
    /// `/proc` first, its own last. Empty once it has been waited for, or if it is not visible.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, NamespaceSet};
    ///
    /// let mut command = Command::new("sleep");
    /// match command.arg("60").unshare(NamespaceSet::PID).map_root().spawn() {
    ///     Ok(mut child) => {
    ///         assert_eq!(child.pidfd().pids()?, [child.id(), 1]);
    ///         child.kill()?;
    ///         child.wait()?;
    ///     }
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc) if `/proc` cannot be believed: it is the only one
    /// that tells.
    #[doc(alias = "NSpid")]
    pub fn pids(&self) -> Result<Vec<u32>> {
        ProcFs::open()?.pids_of(self.as_fd())
    }

    /// A copy of a descriptor that the process has open under this number: the same open file.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::PidFd;
    /// use std::os::fd::AsRawFd;
    ///
    /// let file = std::fs::File::open("/etc/passwd")?;
    /// # let refused = PidFd::current()?.copy_fd(file.as_raw_fd()).err().map(|error| error.kind());
    /// # if refused == Some(linux_namespaces::ErrorKind::PermissionDenied) {
    /// #     return Ok(());
    /// # }
    /// let copy = PidFd::current()?.copy_fd(file.as_raw_fd())?;
    /// assert_ne!(copy.as_raw_fd(), file.as_raw_fd());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `EBADF` if it has none; [`ProcessGone`](crate::ErrorKind::ProcessGone);
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied);
    /// [`LimitReached`](crate::ErrorKind::LimitReached) for `EMFILE` (of this process).
    ///
    /// # Privileges
    ///
    /// `PTRACE_MODE_ATTACH_REALCREDS` on the process: `ptrace(2)`.
    ///
    /// # References
    ///
    /// [pidfd_getfd(2)](https://man7.org/linux/man-pages/man2/pidfd_getfd.2.html), Linux 5.6
    #[doc(alias = "pidfd_getfd")]
    pub fn copy_fd(&self, number: RawFd) -> Result<OwnedFd> {
        pidfd::getfd(self.as_raw_fd(), number)
            .map_err(|errno| Error::os(Step::CopyFd, errno).on(format!("(number {number})")))
    }

    /// One thread of this process, or the process before Linux 6.9.
    pub(crate) fn current_thread() -> core::result::Result<Self, Errno> {
        pidfd::open(process::gettid(), abi::PIDFD_THREAD).map(Self)
    }

    /// Waits for the end of a first exec, a tenth of a second at most: whoever hid its memory before stays hidden
    /// until the program's is there, and exec wakes the parent before that.
    pub(crate) fn await_first_exec(&self) {
        let is_ahead = || -> Result<bool> {
            let proc = ProcFs::open()?;
            let pid = proc.pid_of(self.as_fd())?;
            pid.map_or(Ok(false), |pid| proc.is_fork_of_ours(pid))
        };
        let moment = Timespec { tv_sec: 0, tv_nsec: 50_000 };
        for _ in 0..2000 {
            let mut end = [PollFd::new(self, PollFlags::IN)];
            if !is_ahead().unwrap_or(false) || poll(&mut end, Some(&moment)) == Ok(1) {
                break;
            }
        }
        // To copy a descriptor, even one that nobody has, takes the lock of exec (Linux 5.7).
        pidfd::getfd(self.as_raw_fd(), -1).ok();
    }

    /// Device and inode number, which no other process ever has. `None` before Linux 6.9, where all pidfds have one
    /// inode.
    fn id(&self) -> Option<(u64, u64)> {
        let has_inode = file::is_on(&self.0, abi::PIDFS_MAGIC).unwrap_or(false);
        let about = rustix::fs::fstat(&self.0).ok().filter(|_| has_inode)?;
        Some((about.st_dev, about.st_ino))
    }

    /// For descriptors that the kernel made as pidfds.
    pub(crate) fn from_kernel(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// Takes a pidfd that came from elsewhere. A descriptor that is none is closed.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is no pidfd.
impl TryFrom<OwnedFd> for PidFd {
    type Error = Error;

    fn try_from(fd: OwnedFd) -> Result<Self> {
        let not_one = || Error::invalid("the descriptor is no pidfd");
        // The kernel also takes a directory of /proc for a pidfd here.
        if file::is_on(&fd, abi::PROC_SUPER_MAGIC).at_step(Step::OpenProcess)? {
            return Err(not_one());
        }
        // Signal 0 sends nothing; only a descriptor of the wrong kind is EBADF.
        match pidfd::send_signal(fd.as_raw_fd(), 0) {
            Err(Errno::BADF) => Err(not_one()),
            Err(errno @ Errno::NOSYS) => Err(Error::os(Step::OpenProcess, errno)),
            _ => Ok(Self(fd)),
        }
    }
}

/// The same process, whatever the descriptors.
impl PartialEq for PidFd {
    fn eq(&self, other: &Self) -> bool {
        match (self.id(), other.id()) {
            (Some(one), Some(other)) => one == other,
            _ => self.as_raw_fd() == other.as_raw_fd(),
        }
    }
}

impl Eq for PidFd {}

impl Hash for PidFd {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.id() {
            Some(id) => id.hash(state),
            None => self.as_raw_fd().hash(state),
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(pid_fd: PidFd) -> Self {
        pid_fd.0
    }
}

impl IntoRawFd for PidFd {
    fn into_raw_fd(self) -> RawFd {
        self.0.into_raw_fd()
    }
}
