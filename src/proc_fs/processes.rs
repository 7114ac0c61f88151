//! What `/proc` says of processes, by their pidfds.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::text::{PF_FORKNOEXEC, parse_first_child, parse_pid, parse_pids, parse_uid, task_flags};
use super::{ProcFs, refused};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::sys::{Errno, ids, pidfd, process};

impl ProcFs {
    /// The pid of a pidfd's process, as this proc mount counts: the only number that may be used
    /// below it. `None` if the process has ended or is not visible here.
    pub(crate) fn pid_of(&self, pid_fd: BorrowedFd<'_>) -> Result<Option<u32>> {
        Ok(parse_pid(&self.fdinfo(pid_fd)?))
    }

    /// All its pids, from the pid namespace of this proc mount inwards; none if it has ended or is not
    /// visible here.
    pub(crate) fn pids_of(&self, pid_fd: BorrowedFd<'_>) -> Result<Vec<u32>> {
        Ok(parse_pids(&self.fdinfo(pid_fd)?))
    }

    /// Whether it counts as this process's pid namespace does, so that its numbers are good for calls.
    pub(crate) fn is_of_own_pid_namespace(&self) -> Result<bool> {
        let own = pidfd::open(process::getpid(), 0).map_err(refused)?;
        // Any other one that knows us is further out.
        Ok(self.pids_of(own.as_fd())?.len() == 1)
    }

    /// The `fdinfo` of a pidfd.
    fn fdinfo(&self, pid_fd: BorrowedFd<'_>) -> Result<String> {
        let dir = self.dir("thread-self/fdinfo".to_owned())?;
        let text = self.read(dir.as_fd(), &pid_fd.as_raw_fd().to_string()).map_err(refused)?;
        String::from_utf8(text).map_err(|_| refused(Errno::IO))
    }

    /// The oldest child of a process, by its first thread.
    pub(crate) fn first_child(&self, pid: u32) -> Result<Option<u32>> {
        let dir = self.dir(format!("{pid}/task/{pid}"))?;
        let list = self.read_once(dir.as_fd(), "children").map_err(|errno| match errno {
            Errno::NOENT => Error::new(
                ErrorKind::Unsupported,
                "this kernel does not list children: CONFIG_PROC_CHILDREN",
            )
            .at_step(Step::ReadProc),
            errno => refused(errno),
        })?;
        Ok(parse_first_child(&list))
    }

    /// Whether a process is this user's, was forked, and has come to no exec: `PF_FORKNOEXEC`.
    pub(crate) fn is_fork_of_ours(&self, pid: u32) -> Result<bool> {
        let read = |file| self.read_once(self.as_fd(), &format!("{pid}/{file}")).map_err(refused);
        let is_fork = task_flags(&read("stat")?).is_some_and(|flags| flags & PF_FORKNOEXEC != 0);
        Ok(is_fork && parse_uid(&read("status")?) == Some(ids::geteuid()))
    }

    /// Whether the process of a pidfd has run exec since it was made; `None` where that cannot be read.
    pub(crate) fn has_run_exec(&self, process: BorrowedFd<'_>) -> Option<bool> {
        let pid = self.pid_of(process).ok()??;
        let stat = self.read_once(self.as_fd(), &format!("{pid}/stat")).ok()?;
        task_flags(&stat).map(|flags| flags & PF_FORKNOEXEC == 0)
    }

    /// Whether a debugger or the like has this thread. Where that cannot be read: no.
    pub(crate) fn is_traced(&self) -> bool {
        let status = self.read_once(self.root.as_fd(), "thread-self/status").unwrap_or_default();
        let mut lines = status.split(|&byte| byte == b'\n');
        lines.any(|line| line.strip_prefix(b"TracerPid:\t").is_some_and(|pid| pid != b"0"))
    }
}
