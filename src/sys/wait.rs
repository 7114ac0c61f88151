//! `waitid(2)`: how children end.

use core::ptr;
use std::os::fd::RawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::args::arg;
use super::syscall::syscall;
use super::{Errno, Result, file};

/// How a child ended: `si_code` and `si_status` of `waitid(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) status: i32,
}

impl Ended {
    pub(crate) fn from_status(status: ExitStatus) -> Self {
        match status.signal() {
            Some(signal) if status.core_dumped() => Self { code: libc::CLD_DUMPED, status: signal },
            Some(signal) => Self { code: libc::CLD_KILLED, status: signal },
            None => Self { code: libc::CLD_EXITED, status: status.code().unwrap_or(0) },
        }
    }

    /// The status in the form of `wait(2)`.
    pub(crate) fn into_status(self) -> ExitStatus {
        const CORE_DUMPED: i32 = 0x80;
        ExitStatus::from_raw(match self.code {
            libc::CLD_EXITED => (self.status & 0xff) << 8,
            libc::CLD_DUMPED => self.status | CORE_DUMPED,
            _ => self.status,
        })
    }
}

/// `waitid(P_PIDFD, .., WEXITED | __WALL)`. `None`: not yet, with `block` false.
pub(crate) fn wait(pidfd: RawFd, block: bool) -> Result<Option<Ended>> {
    let options = libc::WEXITED | if block { 0 } else { libc::WNOHANG };
    let changed = waitid(libc::P_PIDFD, pidfd, options)?;
    Ok(changed.map(|(_, ended)| ended))
}

/// How a child of ours ended, when it has; `None` if another wait in this process was faster. Does not
/// return before, whatever `waitid` says: memory that the child uses is freed afterwards.
pub(crate) fn await_end(pidfd: RawFd) -> Option<Ended> {
    loop {
        match wait(pidfd, true) {
            Ok(Some(ended)) => return Some(ended),
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return None,
            // A filter answers for the kernel.
            Ok(None) | Err(_) => {
                while file::poll_readable(pidfd, true) != Ok(true) {}
                return None;
            }
        }
    }
}

/// Ends a child of ours that has run no exec, by its number, and waits for it.
pub(crate) fn end_child(pid: u32) {
    let Ok(id) = i32::try_from(pid) else {
        return;
    };
    // SAFETY: no pointers.
    let _ = unsafe { syscall(libc::SYS_kill, [pid as usize, arg(libc::SIGKILL)]) };
    while waitid(libc::P_PID, id, libc::WEXITED) == Err(Errno::INTR) {}
}

/// Whether it is a child of ours that nobody has waited for, ended or not.
pub(crate) fn is_waitable(pidfd: RawFd) -> Result<bool> {
    loop {
        match waitid(libc::P_PIDFD, pidfd, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) {
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(false),
            answer => return answer.map(|_| true),
        }
    }
}

/// Whether that can be found out: no filter refuses to wait, and nobody else has waited.
pub(crate) fn can_wait(pidfd: RawFd) -> bool {
    waitid(libc::P_PIDFD, pidfd, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).is_ok()
}

/// Whether a child has run exec, which gives it `SIGCHLD` for its end when it can no longer fail: one that was made to
/// end without a signal, and has not, is found with `__WALL` alone. `true` also where that cannot be found out.
pub(crate) fn may_have_run_exec(kind: libc::idtype_t, id: i32) -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    waitid_of(kind, id, options) != Err(Errno::CHILD) || waitid(kind, id, options).is_err()
}

/// As [`may_have_run_exec`], and `false` where that cannot be found out. One that somebody has waited for had run it: the
/// kernel reaps none by itself that ends without a signal, and no usual wait finds one.
pub(crate) fn has_surely_run_exec(pidfd: RawFd) -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let seen = |answer: Result<_>| match answer {
        Err(Errno::CHILD) => None,
        answer => Some(answer.is_ok()),
    };
    seen(waitid_of(libc::P_PIDFD, pidfd, options))
        .unwrap_or_else(|| waitid(libc::P_PIDFD, pidfd, options) == Err(Errno::CHILD))
}

/// `waitid(2)` with `__WALL`: which child changed, and how; `None` if none did.
pub(super) fn waitid(kind: libc::idtype_t, id: i32, options: i32) -> Result<Option<(i32, Ended)>> {
    waitid_of(kind, id, options | libc::__WALL)
}

fn waitid_of(kind: libc::idtype_t, id: i32, options: i32) -> Result<Option<(i32, Ended)>> {
    // SAFETY: all zero bytes are a siginfo_t.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let at = ptr::from_mut(&mut info).expose_provenance();
    let words = [kind as usize, arg(id), at, arg(options), 0];
    // SAFETY: the kernel writes one siginfo_t at the pointer; no rusage.
    unsafe { syscall(libc::SYS_waitid, words) }?;
    // SAFETY: waitid filled in the child's fields, or left them zero.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    Ok((pid != 0).then_some((pid, Ended { code: info.si_code, status })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives() {
        for status in [0, 3 << 8, libc::SIGKILL, libc::SIGSEGV | 0x80].map(ExitStatus::from_raw) {
            assert_eq!(Ended::from_status(status).into_status(), status);
        }
    }
}
