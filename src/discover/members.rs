//! The processes in one namespace, and the end of the last of them.

#![forbid(unsafe_code)]

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::error::{AtStep, Error, Result, Step};
use crate::ns_fd::NsFd;
use crate::pid_fd::PidFd;
use crate::proc_fs::ProcFs;
use crate::sys::Errno;

use super::scan::{numbers, unless_exhausted};
use super::text;

impl NsFd {
    /// The processes that are in the namespace: their first threads are. Those that may not be looked into
    /// are left out.
    ///
    /// The handles become readable for `poll(2)` when their processes end, so a program with an event loop
    /// can wait there: when all are, ask again for those that were born meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Namespace, NsFd};
    ///
    /// let members = NsFd::current(Namespace::Uts)?.members()?;
    /// let pids: Vec<_> = members.iter().filter_map(|it| it.pid().ok().flatten()).collect();
    /// assert!(pids.contains(&std::process::id()));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc) if `/proc` cannot be believed;
    /// [`LimitReached`](crate::ErrorKind::LimitReached) if descriptors run out for them.
    ///
    /// # Privileges
    ///
    /// `PTRACE_MODE_READ_FSCREDS` on the processes: `ptrace(2)`.
    pub fn members(&self) -> Result<Vec<PidFd>> {
        let proc = ProcFs::open()?;
        let directory = OFlags::RDONLY | OFlags::DIRECTORY;
        let root = proc.open_below(proc.as_fd(), ".", directory).at_step(Step::ReadProc)?;
        let (kind, ino) = (self.kind(), self.id()?.ino);
        let is_in = |pid: u32| {
            let path = format!("{pid}/ns/{}", kind.name());
            let mut buffer = [MaybeUninit::uninit(); 4096];
            match proc.read_link(proc.as_fd(), &path, &mut buffer) {
                Ok(link) => Ok(text::namespace(link) == Some((kind, ino))),
                Err(Errno::XDEV) => Err(crate::proc_fs::covered()),
                Err(errno) => unless_exhausted(errno).at_step(Step::ReadProc).map(|()| false),
            }
        };
        let mut members = Vec::new();
        for pid in numbers(&root).at_step(Step::ReadProc)? {
            if !is_in(pid)? {
                continue;
            }
            let process = match PidFd::open(pid) {
                Err(error) if is_no_process(&error) => continue,
                process => process?,
            };
            // Its number may have been another's a moment ago, or be another's where /proc counts.
            let is_it = proc.pid_of(process.as_fd())? == Some(pid) && is_in(pid)?;
            if is_it && !process.has_ended()? {
                members.push(process);
            }
        }
        Ok(members)
    }

    /// Waits until no process is in the namespace any more; at most so long, if there is a limit. Answers
    /// whether none is.
    ///
    /// The handle keeps the namespace itself. Of a pid namespace the wait is for all its processes, which
    /// die with its PID 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Namespace, NamespaceSet};
    /// use std::time::Duration;
    ///
    /// let mut command = Command::new("sleep");
    /// match command.arg("60").unshare(NamespaceSet::UTS).map_root().spawn() {
    ///     Ok(mut child) => {
    ///         let uts = child.namespace(Namespace::Uts)?;
    ///         assert!(!uts.wait_until_empty(Some(Duration::ZERO))?);
    ///         child.kill()?;
    ///         assert!(uts.wait_until_empty(None)?);
    ///         child.wait()?;
    ///     }
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`members`](Self::members).
    ///
    /// # Limits
    ///
    /// The kernel tells nobody when a namespace is empty or gone. This waits for the processes that are in it
    /// and looks again, so it misses a process that this one may not look into, a thread that is in it
    /// without its process, and one that comes in behind its back: born, or by `setns(2)`, while `/proc`
    /// is read, from a process that then ends before its turn. Whether a namespace is *gone* is told by
    /// [`NsFileHandle::open`](crate::NsFileHandle::open), asked again.
    pub fn wait_until_empty(&self, limit: Option<Duration>) -> Result<bool> {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let members = self.members()?;
            if members.is_empty() {
                return Ok(true);
            }
            for member in members {
                if !ends_before(&member, end)? {
                    return Ok(false);
                }
            }
        }
    }
}

/// Whether the number is nobody's any more, or has come to be a thread's.
fn is_no_process(error: &Error) -> bool {
    let errno = error.raw_os_error();
    [Errno::SRCH, Errno::INVAL, Errno::NOENT].iter().any(|it| errno == Some(it.raw_os_error()))
}

fn ends_before(process: &PidFd, end: Option<Instant>) -> Result<bool> {
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        // Longer than a timespec holds is for ever.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut ready = [PollFd::new(process, PollFlags::IN)];
        match poll(&mut ready, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::os(Step::Wait, errno)),
        }
    }
}
