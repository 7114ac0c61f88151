//! Calls about this task: its namespaces, ids, session, parent, end and program.

use core::ffi::CStr;
use core::ptr;
use core::time::Duration;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::abi::{self, PidfdInfo, Timespec};
use super::syscall::syscall;
use super::{Errno, Result};

pub(crate) type RawFd = i32;

/// Bits that name no namespace are refused: `CLONE_FILES` here would take the meaning of `OwnedFd`
/// away from every thread.
fn only_namespaces(flags: u32) -> Result<usize> {
    if flags & !abi::NAMESPACE_FLAGS != 0 {
        return Err(Errno::INVAL);
    }
    Ok(flags as usize)
}

/// `unshare(2)`, of namespaces only.
pub(crate) fn unshare(namespaces: u32) -> Result<()> {
    let flags = only_namespaces(namespaces)?;
    // SAFETY: no pointers. Namespaces are no part of what Rust's safety rests on.
    unsafe { syscall(libc::SYS_unshare, [flags]) }.map(drop)
}

/// `unshare(CLONE_FS)`: root, working directory and umask become this thread's own.
pub(crate) fn unshare_fs() -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_unshare, [fits(abi::CLONE_FS)]) }.map(drop)
}

/// `unshare(CLONE_FILES)`, for a helper process of our own with one thread.
pub(crate) fn unshare_files() -> Result<()> {
    // SAFETY: no pointers; descriptors keep their meaning, in a table of this process's own.
    unsafe { syscall(libc::SYS_unshare, [fits(abi::CLONE_FILES)]) }.map(drop)
}

/// Whether a filter has forbidden an [`unshare_fs`] or [`unshare_files`], which then says nothing about who shares.
pub(crate) fn is_filtered(answer: Result<()>) -> bool {
    matches!(answer, Err(Errno::PERM | Errno::NOSYS))
}

/// Whether nobody else uses this process's memory.
///
/// Exec wakes the thread that sleeps for it a moment before it leaves that thread's memory. So where there are no
/// other threads, this waits; for a second or so, since others may share it in other ways.
pub(crate) fn is_alone() -> bool {
    // Where it is as they say these are allowed, and do nothing.
    // SAFETY: no pointers; there is nothing to unshare.
    let unshare = |flag| unsafe { syscall(libc::SYS_unshare, [fits(flag)]) };
    for _ in 0..10_000 {
        match unshare(abi::CLONE_VM) {
            Ok(_) => return true,
            Err(Errno::INVAL) if unshare(abi::CLONE_THREAD).is_ok() => sleep_a_moment(),
            Err(_) => return false,
        }
    }
    false
}

/// For a tenth of a millisecond, or until a signal.
fn sleep_a_moment() {
    let moment = Timespec::new(Duration::from_micros(100));
    let at = ptr::from_ref(&moment).expose_provenance();
    // SAFETY: no descriptors, a timespec, no signal mask.
    let _ = unsafe { syscall(libc::SYS_ppoll, [0, 0, at, 0, 0]) };
}

#[expect(clippy::cast_possible_truncation, reason = "the flag lies in the low 32 bits")]
const fn fits(flag: u64) -> usize {
    flag as usize
}

/// `setns(2)`: `fd` is a namespace file, or a pidfd with one or several namespaces.
pub(crate) fn setns(fd: RawFd, namespaces: u32) -> Result<()> {
    let flags = only_namespaces(namespaces)?;
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_setns, [arg(fd), flags]) }.map(drop)
}

/// The calls that take ids of 32 bits: on the oldest architectures the plain names are of 16.
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
mod ids {
    pub(super) use libc::{
        SYS_getegid as GETEGID, SYS_geteuid as GETEUID, SYS_getgroups as GETGROUPS,
        SYS_getuid as GETUID, SYS_setfsgid as SETFSGID, SYS_setfsuid as SETFSUID,
        SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID,
    };
}

#[cfg(any(target_arch = "x86", target_arch = "arm"))]
mod ids {
    pub(super) use libc::{
        SYS_getegid32 as GETEGID, SYS_geteuid32 as GETEUID, SYS_getgroups32 as GETGROUPS,
        SYS_getuid32 as GETUID, SYS_setfsgid32 as SETFSGID, SYS_setfsuid32 as SETFSUID,
        SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID,
    };
}

pub(crate) fn getpid() -> u32 {
    number(libc::SYS_getpid)
}

pub(crate) fn gettid() -> u32 {
    number(libc::SYS_gettid)
}

pub(crate) fn getppid() -> u32 {
    number(libc::SYS_getppid)
}

pub(crate) fn geteuid() -> u32 {
    number(ids::GETEUID)
}

pub(crate) fn getuid() -> u32 {
    number(ids::GETUID)
}

pub(crate) fn has_no_new_privs() -> bool {
    // SAFETY: asks for a number.
    let answer = unsafe { syscall(libc::SYS_prctl, [arg(libc::PR_GET_NO_NEW_PRIVS), 0, 0, 0, 0]) };
    answer == Ok(1)
}

/// Whether the program has privileges that its caller has not: by set-user-ID, set-group-ID or file
/// capabilities (`AT_SECURE`). What the caller controls, such as the environment, is then not to be believed. For
/// a parent only: it calls libc.
pub(crate) fn is_secure() -> bool {
    // SAFETY: reads the process's auxiliary vector, which never changes.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

pub(crate) fn getegid() -> u32 {
    number(ids::GETEGID)
}

/// A call without arguments that cannot fail.
#[expect(clippy::cast_possible_truncation, reason = "pids and ids have 32 bits")]
fn number(call: libc::c_long) -> u32 {
    // SAFETY: the get calls take nothing and change nothing.
    unsafe { syscall(call, []) }.unwrap_or(0) as u32
}

pub(crate) fn setsid() -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_setsid, []) }.map(drop)
}

/// This process's group; 0 if it is one outside of its pid namespace.
pub(crate) fn group() -> i32 {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_getpgid, [0]) }.map_or(0, fd)
}

pub(crate) fn leads_session() -> bool {
    // SAFETY: no pointers.
    let session = unsafe { syscall(libc::SYS_getsid, [0]) };
    session == Ok(getpid() as usize)
}

/// What `CLOCK_MONOTONIC` shows.
pub(crate) fn monotonic() -> Duration {
    let mut time = Timespec::default();
    let at = ptr::from_mut(&mut time).expose_provenance();
    // SAFETY: the kernel writes one timespec.
    let _ = unsafe { syscall(libc::SYS_clock_gettime, [arg(libc::CLOCK_MONOTONIC), at]) };
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.nanoseconds).unwrap_or(0).min(999_999_999))
}

/// `PR_SET_NAME`: what `ps` calls this thread.
pub(crate) fn set_name(name: &CStr) -> Result<()> {
    let at = name.as_ptr().expose_provenance();
    // SAFETY: a C string; the kernel reads no more than 16 bytes of it.
    unsafe { syscall(libc::SYS_prctl, [arg(libc::PR_SET_NAME), at, 0, 0, 0]) }.map(drop)
}

/// `setpgid(0, group)`.
pub(crate) fn setpgid(group: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_setpgid, [0, arg(group)]) }.map(drop)
}

pub(crate) fn setgroups(groups: &[u32]) -> Result<()> {
    let at = groups.as_ptr().expose_provenance();
    // SAFETY: the kernel reads len ids of 32 bits at the pointer.
    unsafe { syscall(ids::SETGROUPS, [groups.len(), at]) }?;
    // SAFETY: without room the kernel writes none, and says how many there are.
    let count = unsafe { syscall(ids::GETGROUPS, [0, 0]) }?;
    is_so(count == groups.len())
}

/// A filter can answer that a call was done which was not, as those of programs do that play root.
fn is_so(is_so: bool) -> Result<()> {
    if is_so { Ok(()) } else { Err(Errno::PERM) }
}

/// `setresgid(gid, gid, gid)` of this thread alone: libc's would ask threads that do not exist.
pub(crate) fn setgid(gid: u32) -> Result<()> {
    let id = gid as usize;
    // SAFETY: no pointers.
    unsafe { syscall(ids::SETRESGID, [id, id, id]) }?;
    is_so(getegid() == gid)
}

/// `setresuid(uid, uid, uid)` of this thread alone.
pub(crate) fn setuid(uid: u32) -> Result<()> {
    let id = uid as usize;
    // SAFETY: no pointers.
    unsafe { syscall(ids::SETRESUID, [id, id, id]) }?;
    is_so(geteuid() == uid)
}

/// `setgroups(2)` to none; the groups stay where the caller or its user namespace may not change them.
pub(crate) fn drop_groups() -> Result<()> {
    match setgroups(&[]) {
        Err(Errno::PERM) => Ok(()),
        answer => answer,
    }
}

/// Gid 0 of this user namespace. Where 0 is not mapped the gid stays, if it is mapped itself, as of
/// [`become_root`].
pub(crate) fn become_root_group() -> Result<()> {
    match setgid(0) {
        Err(Errno::INVAL) => setgid(getegid()),
        answer => answer,
    }
}

/// Uid 0 of this user namespace. Where 0 is not mapped the uid stays, if it is mapped itself.
///
/// `EINVAL` where neither is: the program would keep an id of outside, with all its rights over files, and a process with
/// `CAP_SYS_PTRACE` in the user namespace could take the program over. The kernel shows such an id as 65534; where
/// that is mapped it becomes the id.
pub(crate) fn become_root() -> Result<()> {
    match setuid(0) {
        Err(Errno::INVAL) => setuid(geteuid()),
        answer => answer,
    }
}

/// `setfsuid(0)`, `setfsgid(0)`: files are made as root's of this user namespace.
pub(crate) fn make_files_as_root() -> Result<()> {
    for call in [ids::SETFSGID, ids::SETFSUID] {
        let set = |id: usize| {
            // SAFETY: no pointers.
            unsafe { syscall(call, [id]) }
        };
        set(0)?;
        // It answers what it was before; -1 is no id, and changes nothing.
        if set(u32::MAX as usize)? != 0 {
            return Err(Errno::PERM);
        }
    }
    Ok(())
}

/// `PR_SET_PDEATHSIG`: the signal for the end of the thread that made this process; 0 for none.
pub(crate) fn set_parent_death_signal(signal: i32) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal).map(drop)
}

pub(crate) fn parent_death_signal() -> Result<i32> {
    let mut signal = 0;
    ask(libc::PR_GET_PDEATHSIG, &mut signal).map(|()| signal)
}

/// For the two options of `prctl(2)` that write a number.
pub(super) fn ask(option: i32, answer: &mut i32) -> Result<()> {
    let at = ptr::from_mut(answer).expose_provenance();
    // SAFETY: the kernel writes an int, or nothing.
    unsafe { syscall(libc::SYS_prctl, [arg(option), at, 0, 0, 0]) }.map(drop)
}

pub(crate) fn set_dumpable(dumpable: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into()).map(drop)
}

pub(crate) fn set_no_new_privs() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

/// For options whose arguments are numbers.
fn prctl(option: i32, value: i32) -> Result<usize> {
    // SAFETY: the options above take no pointer.
    unsafe { syscall(libc::SYS_prctl, [arg(option), arg(value), 0, 0, 0]) }
}

/// `exit_group(2)`: nothing of libc or Rust runs at this end.
pub(crate) fn exit(status: i32) -> ! {
    loop {
        // SAFETY: no pointers.
        let _ = unsafe { syscall(libc::SYS_exit_group, [arg(status)]) };
    }
}

/// `pidfd_open(2)`.
pub(crate) fn pidfd_open(pid: u32, flags: u32) -> Result<OwnedFd> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_pidfd_open, [pid as usize, flags as usize]) }.map(owned)
}

/// `pidfd_getfd(2)`: a copy of a descriptor of that process, close-on-exec. Linux 5.6.
pub(crate) fn pidfd_getfd(pidfd: RawFd, number: RawFd) -> Result<OwnedFd> {
    // SAFETY: no pointers; flags must be 0.
    unsafe { syscall(libc::SYS_pidfd_getfd, [arg(pidfd), arg(number), 0]) }.map(owned)
}

/// `pidfd_send_signal(2)` with the kernel's default information.
pub(crate) fn pidfd_send_signal(pidfd: RawFd, signal: i32) -> Result<()> {
    // SAFETY: no information given: a null pointer is allowed there.
    unsafe { syscall(libc::SYS_pidfd_send_signal, [arg(pidfd), arg(signal), 0, 0]) }.map(drop)
}

/// `PIDFD_GET_INFO`, asking for the exit status too. Linux 6.13; the status 6.15.
pub(crate) fn pidfd_info(pidfd: RawFd) -> Result<PidfdInfo> {
    let mut info = PidfdInfo { mask: abi::PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    let at = ptr::from_mut(&mut info).expose_provenance();
    // SAFETY: the ioctl number carries the size of the structure that it reads and writes.
    unsafe { syscall(libc::SYS_ioctl, [arg(pidfd), abi::PIDFD_GET_INFO as usize, at]) }?;
    Ok(info)
}

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

/// Whether a child has run exec, which gives it `SIGCHLD` for its end when it can no longer fail: one that was made to
/// end without a signal, and has not, is found with `__WALL` alone. `true` also where that cannot be found out.
pub(crate) fn has_run_exec(kind: libc::idtype_t, id: i32) -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    waitid_of(kind, id, options) != Err(Errno::CHILD) || waitid(kind, id, options).is_err()
}

/// As [`has_run_exec`], and `false` where that cannot be found out. One that somebody has waited for had run it: the
/// kernel reaps none by itself that ends without a signal, and no usual wait finds one.
pub(crate) fn is_seen_after_exec(pidfd: RawFd) -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let seen = |answer: Result<_>| match answer {
        Err(Errno::CHILD) => None,
        answer => Some(answer.is_ok()),
    };
    seen(waitid_of(libc::P_PIDFD, pidfd, options))
        .unwrap_or_else(|| waitid(libc::P_PIDFD, pidfd, options) == Err(Errno::CHILD))
}

/// Whether that can be found out: no filter refuses to wait, and nobody else has waited.
pub(crate) fn can_wait(pidfd: RawFd) -> bool {
    waitid(libc::P_PIDFD, pidfd, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).is_ok()
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

/// Ends a child of ours that has run no exec, by its number, and waits for it.
pub(crate) fn end_child(pid: u32) {
    let Ok(id) = i32::try_from(pid) else {
        return;
    };
    // SAFETY: no pointers.
    let _ = unsafe { syscall(libc::SYS_kill, [pid as usize, arg(libc::SIGKILL)]) };
    while waitid(libc::P_PID, id, libc::WEXITED) == Err(Errno::INTR) {}
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
                while super::file::poll_readable(pidfd, true) != Ok(true) {}
                return None;
            }
        }
    }
}

/// A C `int` as the kernel takes it in a register.
pub(super) fn arg(value: i32) -> usize {
    #[expect(clippy::cast_sign_loss, reason = "the kernel takes the low 32 bits")]
    let word = value as isize as usize;
    word
}

/// A descriptor that a call answered.
#[expect(clippy::cast_possible_truncation, reason = "descriptors have 32 bits")]
#[expect(clippy::cast_possible_wrap, reason = "descriptors are positive")]
pub(super) fn fd(answer: usize) -> RawFd {
    answer as RawFd
}

/// A new descriptor that a call answered to the parent. A child keeps raw ones: dropping an
/// `OwnedFd` goes through libc.
pub(super) fn owned(answer: usize) -> OwnedFd {
    // SAFETY: the kernel just made it, and nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd(answer)) }
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
