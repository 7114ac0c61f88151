//! A running child.

#![forbid(unsafe_code)]

mod output;

use core::time::Duration;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{AtStep, Error, ErrorKind, Result, Step};
use crate::namespace::Namespace;
use crate::ns_fd::NsFd;
use crate::pid_fd::PidFd;
use crate::proc_fs::ProcFs;
use crate::signal::Signal;
use crate::sys::wait::Ended;
use crate::sys::{Errno, abi, file, pidfd, wait};

use output::{Pipe, read_both};

/// A child process, held by a pidfd; as [`std::process::Child`].
///
/// Dropping it neither kills (but see [`Command::kill_on_drop`](crate::Command::kill_on_drop)) nor waits: a child
/// that is never waited for stays a zombie until this process ends, unless the kernel reaps it
/// ([`Command::auto_reap`](crate::Command::auto_reap)), and a zombie keeps its pid and user namespaces alive. Its descriptor becomes
/// readable for `poll(2)` when the child has ended.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Command, Signal};
/// use std::os::unix::process::ExitStatusExt;
///
/// let mut child = Command::new("sleep").arg("60").spawn()?;
/// assert_eq!(child.try_wait()?, None);
/// child.send_signal(Signal::TERM)?;
/// assert_eq!(child.wait()?.signal(), Some(15));
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
#[derive(Debug)]
pub struct Child {
    /// Our end of a pipe to standard input, if it was made one.
    pub stdin: Option<ChildStdin>,
    /// Our end of a pipe from standard output, if it was made one.
    pub stdout: Option<ChildStdout>,
    /// Our end of a pipe from standard error, if it was made one.
    pub stderr: Option<ChildStderr>,
    pid: u32,
    pid_fd: PidFd,
    is_init: bool,
    status: Option<ExitStatus>,
}

impl Child {
    pub(crate) fn new(pid: u32, pid_fd: PidFd, is_init: bool, pipes: [Option<OwnedFd>; 3]) -> Self {
        let [stdin, stdout, stderr] = pipes;
        Self {
            stdin: stdin.map(Into::into),
            stdout: stdout.map(Into::into),
            stderr: stderr.map(Into::into),
            pid,
            pid_fd,
            is_init,
            status: None,
        }
    }

    /// The child's number in this thread's pid namespace. It may belong to another process once the
    /// child has been waited for.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Closes standard input, waits for the child's end and answers how it ended; the same again
    /// when called again.
    ///
    /// # Errors
    ///
    /// `ECHILD` if the kernel tells no status: another wait in this process took it; or `SIGCHLD` is ignored
    /// here, or the kernel reaps the child by itself ([`auto_reap`](crate::Command::auto_reap)), and it is
    /// older than 6.15 or a filter forbids `PIDFD_GET_INFO`.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        drop(self.stdin.take());
        loop {
            if let Some(status) = self.reap(true)? {
                return Ok(status);
            }
        }
    }

    /// How the child ended, or `None` if it has not.
    ///
    /// # Errors
    ///
    /// As of [`wait`](Self::wait).
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.reap(false)
    }

    /// Waits for the child's end, but not longer than `limit`: then `None`.
    ///
    /// # Errors
    ///
    /// As of [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    /// use std::time::Duration;
    ///
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// if child.wait_timeout(Duration::from_millis(10))?.is_none() {
    ///     child.kill()?;
    ///     child.wait()?;
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn wait_timeout(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let end = Instant::now().checked_add(limit);
        loop {
            if let Some(status) = self.reap(false)? {
                return Ok(Some(status));
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            // Longer than a timespec holds is for ever.
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut ready = [PollFd::new(&self.pid_fd, PollFlags::IN)];
            match poll(&mut ready, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::os(Step::Wait, errno)),
            }
        }
    }

    /// Closes standard input, reads standard output and error to their ends, and waits.
    ///
    /// # Errors
    ///
    /// As of [`wait`](Self::wait), or if reading fails.
    pub fn wait_with_output(mut self) -> Result<Output> {
        self.output()
    }

    /// Kills the child. Kills nobody, successfully, if it has ended.
    ///
    /// With PID 1 of a pid namespace die all processes of the namespace.
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) if it runs as another user now.
    pub fn kill(&mut self) -> Result<()> {
        self.send_signal(Signal::KILL)
    }

    /// Sends a signal to the child. Sends none, successfully, if it has ended.
    ///
    /// # Errors
    ///
    /// As of [`kill`](Self::kill).
    pub fn send_signal(&self, signal: Signal) -> Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        match self.pid_fd.send_signal(signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            answer => answer,
        }
    }

    /// A namespace of the child, which the handle keeps alive beyond the child's end. Those of an
    /// [init](crate::Command::init) can be opened by whoever has `CAP_SYS_PTRACE` in this process's user namespace;
    /// [`program`](Self::program) is in them as well.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Namespace, NamespaceSet};
    ///
    /// let mut command = Command::new("sleep");
    /// match command.arg("60").unshare(NamespaceSet::UTS).map_root().spawn() {
    ///     Ok(mut child) => {
    ///         let uts = child.namespace(Namespace::Uts)?;
    ///         child.kill()?;
    ///         child.wait()?;
    ///         assert_eq!(uts.kind(), Namespace::Uts);      // still there, without a process
    ///     }
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProcessGone`](crate::ErrorKind::ProcessGone) if the child has ended; the rest as of
    /// [`NsFd::of_process`].
    pub fn namespace(&self, kind: Namespace) -> Result<NsFd> {
        NsFd::of_process(&self.pid_fd, kind)
    }

    /// The pidfd of the child.
    #[must_use]
    pub fn pidfd(&self) -> &PidFd {
        &self.pid_fd
    }

    /// The pidfd of the child, without the rest: closes the pipes that were not taken. Only a wait for all
    /// children, or the end of this process, reaps the child then.
    #[must_use]
    pub fn into_pidfd(self) -> PidFd {
        self.pid_fd
    }

    /// The process of the program: the child itself or, if that is an [init](crate::Command::init), what it
    /// looks after, which is the oldest of its children. So when the program has ended and the init waits for
    /// [remaining processes](crate::Init::remaining_processes), it is one of those.
    ///
    /// An init cannot be traced, so that an ordinary user enters a container by its program.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Enter, Init, NamespaceSet};
    ///
    /// let inside = NamespaceSet::USER | NamespaceSet::PID | NamespaceSet::UTS;
    /// let mut container = Command::new("sleep");
    /// container.arg("60").unshare(inside).map_root().init(Init::new());
    /// match container.spawn() {
    ///     Ok(mut container) => {
    ///         assert_eq!(container.program()?.pids()?.last(), Some(&2));
    ///         let mut other = Command::new("true");
    ///         other.enter(Enter::new().process(container.program()?, inside));
    ///         assert!(other.status()?.success());
    ///         container.kill()?;
    ///         container.wait()?;
    ///     }
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProcessGone`](crate::ErrorKind::ProcessGone) if it has ended. For an init,
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc) if `/proc` cannot be believed or is of another pid
    /// namespace, and
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a kernel without `CONFIG_PROC_CHILDREN`.
    ///
    /// # References
    ///
    /// `/proc/PID/task/TID/children` in
    /// [proc(5)](https://man7.org/linux/man-pages/man5/proc_pid_task.5.html)
    pub fn program(&self) -> Result<PidFd> {
        if !self.is_init {
            return self.pid_fd.try_clone();
        }
        let proc = ProcFs::open()?;
        if !proc.is_of_own_pid_namespace()? {
            let why =
                "/proc belongs to another pid namespace, whose numbers mean other processes here";
            return Err(Error::new(ErrorKind::UntrustedProc, why).at_step(Step::ReadProc));
        }
        let gone = || Error::os(Step::OpenProcess, Errno::SRCH).on("the program");
        let init = proc.pid_of(self.pid_fd.as_fd())?.ok_or_else(gone)?;
        loop {
            let first = proc.first_child(init)?.ok_or_else(gone)?;
            let opened = PidFd::open(first);
            // The number is its own if it is a child still, and the init's number is if that has not ended.
            if proc.first_child(init)? == Some(first) && !self.pid_fd.has_ended()? {
                let opened = opened?;
                // Inside, the kernel gives no number below 300 a second time: who has another is an orphan.
                let is_program = proc.pids_of(opened.as_fd())?.last() == Some(&2);
                return if is_program { Ok(opened) } else { Err(gone()) };
            }
        }
    }

    /// How it ended, if somebody has waited for it already: then no change of it is told to any wait.
    pub(crate) fn waited_for(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none()
            && wait::is_waitable(self.pid_fd.as_raw_fd()).at_step(Step::Wait)?
        {
            return Ok(None);
        }
        let status = self.reap(false)?;
        status.map(Some).ok_or_else(|| Error::os(Step::Wait, Errno::CHILD))
    }

    pub(crate) fn output(&mut self) -> Result<Output> {
        drop(self.stdin.take());
        let mut stdout = Pipe::new(self.stdout.take());
        let mut stderr = Pipe::new(self.stderr.take());
        read_both(&mut stdout, &mut stderr).at_step(Step::ReadOutput)?;
        let status = self.wait()?;
        Ok(Output { status, stdout: stdout.bytes, stderr: stderr.bytes })
    }

    fn reap(&mut self, block: bool) -> Result<Option<ExitStatus>> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        self.status = match wait::wait(self.pid_fd.as_raw_fd(), block) {
            Ok(ended) => ended.map(Ended::into_status),
            Err(Errno::INTR) => None,
            // It may be still running, if the kernel is to reap it.
            Err(Errno::CHILD) => match file::poll_readable(self.pid_fd.as_raw_fd(), block) {
                Ok(false) => None,
                Ok(true) => self.kept_status(block)?,
                Err(errno) => return Err(Error::os(Step::Wait, errno)),
            },
            Err(errno) => return Err(Error::os(Step::Wait, errno)),
        };
        Ok(self.status)
    }

    /// The status that the pidfd keeps when nobody could wait for it. Linux 6.15. `None`: not yet, with
    /// `block` false.
    fn kept_status(&self, block: bool) -> Result<Option<ExitStatus>> {
        let pid_fd = self.pid_fd.as_raw_fd();
        let none = |errno| Error::os(Step::Wait, errno);
        let kept = || pidfd::info(pid_fd).map_err(|_| none(Errno::CHILD));
        let mut info = kept()?;
        if info.mask & abi::PIDFD_INFO_EXIT == 0 {
            // The end is told a moment before the kernel lets go of the process, and keeps the status.
            if !file::poll_hang_up(pid_fd, block).map_err(none)? {
                return Ok(None);
            }
            info = kept()?;
        }
        if info.mask & abi::PIDFD_INFO_EXIT == 0 {
            return Err(none(Errno::CHILD));
        }
        Ok(Some(ExitStatus::from_raw(info.exit_code)))
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pid_fd.as_fd()
    }
}

impl AsRawFd for Child {
    fn as_raw_fd(&self) -> RawFd {
        self.pid_fd.as_raw_fd()
    }
}
