//! New processes: clone3(2), and clone(2) where that is hidden.

use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::SeqCst};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::abi::{self, CloneArgs};
use super::entry::{self, Trampoline};
use super::in_child::InChild;
use super::signal::SignalsBlocked;
use super::stack::Stack;
use super::syscall::syscall;
use super::{Errno, Result, process, valgrind};

/// Whether a child can share our memory. It may not return into the frames of its parent, nor
/// touch `errno`: that takes assembly, per architecture. `--cfg linux_namespaces_portable` does without,
/// so that what other architectures run can be tried on these.
pub(crate) fn can_share_memory() -> bool {
    let has_assembly = cfg!(all(
        not(linux_namespaces_portable),
        any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")
    ));
    has_assembly && !valgrind::is_around()
}

#[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
compile_error!(
    "linux-namespaces takes whoever gets a pid from clone(2) for the parent; on sparc the child gets one, too"
);

/// What a new process runs. It never returns, and sees nothing but the value it is given.
pub(crate) type Entry<T> = fn(&T, InChild) -> !;

/// What memory a new process has, and what this thread does meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CloneMode<'a> {
    /// Ours, while this thread sleeps until it has run exec or ended. Without a stack it goes on below our own frames,
    /// as after vfork(2).
    Vfork(Option<&'a Stack>),
    /// Ours, and this thread goes on.
    Concurrent(&'a Stack),
    /// A copy of ours. Without a stack it goes on below its copy of our frames.
    Copy { stack: Option<&'a Stack>, sleeps: bool },
}

impl<'a> CloneMode<'a> {
    fn flags(self) -> u64 {
        match self {
            Self::Vfork(_) => abi::CLONE_VM | abi::CLONE_VFORK,
            Self::Concurrent(_) => abi::CLONE_VM,
            Self::Copy { sleeps: true, .. } => abi::CLONE_VFORK,
            Self::Copy { sleeps: false, .. } => 0,
        }
    }

    fn stack(self) -> Option<&'a Stack> {
        match self {
            Self::Vfork(stack) | Self::Copy { stack, .. } => stack,
            Self::Concurrent(stack) => Some(stack),
        }
    }

    const fn is_copy(self) -> bool {
        matches!(self, Self::Copy { .. })
    }
}

/// Where the kernel writes the number of a new pidfd, before the child runs.
#[derive(Debug)]
pub(crate) struct PidFdCell(AtomicI32);

impl PidFdCell {
    pub(crate) const fn new() -> Self {
        Self(AtomicI32::new(-1))
    }

    /// A clone that failed late may leave a number here that the kernel took back: [`clone`] clears it, unless its
    /// process is killed before.
    pub(crate) fn number(&self) -> Option<RawFd> {
        Some(self.0.load(SeqCst)).filter(|&number| number >= 0)
    }
}

/// A process to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CloneRequest<'a> {
    pub(crate) mode: CloneMode<'a>,
    /// Besides those of the mode and of the rest here.
    pub(crate) flags: u64,
    pub(crate) exit_signal: u64,
    /// Where a pidfd is wanted. A copy in another pid namespace has to share this or `pid` with us.
    pub(crate) pid_fd: Option<&'a PidFdCell>,
    /// Where the kernel writes the child's number before it runs, and only if it will. clone(2) does it only where no
    /// pidfd is wanted.
    pub(crate) pid: Option<&'a AtomicU32>,
    /// The pids to have, from the innermost pid namespace outwards; those of the kernel's choice in
    /// the others. Only clone3 can do it.
    pub(crate) set_tid: &'a [i32],
    /// The directory of the cgroup to be born in: clone3 alone can do it, so otherwise the child moves
    /// there itself, and makes its cgroup namespace afterwards.
    pub(crate) cgroup: Option<RawFd>,
}

impl<'a> CloneRequest<'a> {
    pub(crate) const fn new(mode: CloneMode<'a>, pid_fd: Option<&'a PidFdCell>) -> Self {
        Self { mode, flags: 0, exit_signal: 0, pid_fd, pid: None, set_tid: &[], cgroup: None }
    }

    fn all_flags(&self) -> u64 {
        let pid_fd = if self.pid_fd.is_some() { abi::CLONE_PIDFD } else { 0 };
        let pid = if self.pid.is_some() { abi::CLONE_PARENT_SETTID } else { 0 };
        self.flags | self.mode.flags() | pid_fd | pid
    }

    fn pid_fd_at(&self) -> usize {
        self.pid_fd.map_or(0, |place| place.0.as_ptr().expose_provenance())
    }
}

/// A process that was made.
#[derive(Debug)]
pub(crate) struct NewProcess<'a> {
    pub(crate) pid: u32,
    pid_fd: Option<&'a PidFdCell>,
}

impl NewProcess<'_> {
    /// Its pidfd, for the parent: one that makes a process for another one leaves it where it is.
    pub(crate) fn into_pid_fd(self) -> Option<OwnedFd> {
        let number = self.pid_fd?.number()?;
        // SAFETY: the kernel made it for this request, which succeeded, and there is one value of this type for each.
        Some(unsafe { OwnedFd::from_raw_fd(number) })
    }
}

/// Makes a process that runs `entry(arg)`.
///
/// Where clone3(2) is refused, clone(2) serves, and `legacy` is set before the process starts: its
/// handlers are not reset ([`abi::CLONE_CLEAR_SIGHAND`]), it is not in a new time namespace, since 0x80
/// belongs to the exit signal there, and not in the cgroup.
///
/// # Safety
///
/// If it shares our memory, then until it execs or exits `arg`, the stack and what the request refers to live, nobody
/// else uses the stack, and `entry` neither allocates, locks, unwinds nor calls libc. In a copy `entry` obeys the rules
/// of a forked child. With `CLONE_FILES` it closes nothing that is ours.
pub(crate) unsafe fn clone<'a, T: Sync>(
    request: &CloneRequest<'a>,
    legacy: &AtomicBool,
    entry: Entry<T>,
    arg: &T,
    _: SignalsBlocked<'_>,
) -> Result<NewProcess<'a>> {
    // Valgrind would end this process.
    if request.flags & abi::CLONE_FILES != 0 && valgrind::is_around() {
        return Err(Errno::NOSYS);
    }
    let is_copy = request.mode.is_copy();
    let start = ChildStart { own: AtomicU32::new(0), is_copy, entry, arg };
    let caller = if is_copy { process::gettid() } else { 0 };
    // A child that we do not wait for outlives this frame, so its start lies on its own stack.
    let at = match request.mode.stack() {
        Some(stack) => stack.place(start),
        None => ptr::from_ref(&start).cast_mut().cast(),
    };
    // SAFETY: the caller's contract; a ChildStart<T> lies there. The same in what follows.
    let mut pid = unsafe { clone3(request, at, trampoline::<T>) };
    // SAFETY: as above.
    pid = unsafe { check_child_exists(pid, request, caller, trampoline::<T>, at) };
    // An older seccomp filter returns EPERM for a call it does not know.
    let is_hidden = matches!(pid, Err(Errno::NOSYS | Errno::PERM));
    let other_serves = request.set_tid.is_empty() && request.flags & abi::ONLY_CLONE3 == 0;
    let forget_number = || request.pid_fd.iter().for_each(|place| place.0.store(-1, SeqCst));
    if is_hidden && other_serves {
        legacy.store(true, SeqCst);
        forget_number();
        // SAFETY: as above; no child was made.
        pid = unsafe { clone_legacy(request, at, trampoline::<T>) };
        // SAFETY: as above.
        pid = unsafe { check_child_exists(pid, request, caller, trampoline::<T>, at) };
    }
    match pid.map(u32::try_from) {
        Ok(Ok(pid)) => Ok(NewProcess { pid, pid_fd: request.pid_fd }),
        Ok(Err(_)) => Err(Errno::INVAL),
        Err(errno) => {
            forget_number();
            Err(errno)
        }
    }
}

/// A seccomp filter can return 0 without a child, and the parent must not take itself for one. So the kernel writes the
/// child's pid where the child reads it before it does anything else (`CLONE_CHILD_SETTID`).
///
/// It does so in silence: in a copy that gets no memory for it the pid is missing. Such a child is found here, where
/// it goes on: it has another tid, or, in another pid namespace, sees in shared memory what the kernel told the parent.
///
/// # Safety
///
/// As of [`clone3`].
unsafe fn check_child_exists(
    answer: Result<usize>,
    request: &CloneRequest<'_>,
    caller: u32,
    start: Trampoline,
    at: *mut c_void,
) -> Result<usize> {
    if answer != Ok(0) {
        return answer;
    }
    let is_told = || {
        request.pid_fd.is_some_and(|place| place.number().is_some())
            || request.pid.is_some_and(|pid| pid.load(SeqCst) != 0)
    };
    if request.mode.is_copy() && (process::gettid() != caller || is_told()) {
        // SAFETY: this is the child, in its own memory, where a ChildStart lies.
        unsafe { start(at) }
    }
    Err(Errno::PERM)
}

/// # Safety
///
/// As of [`clone`]; the child starts with `start(at)`, and a stack ends at `at`.
unsafe fn clone3(request: &CloneRequest<'_>, at: *mut c_void, start: Trampoline) -> Result<usize> {
    let mut args = CloneArgs {
        flags: request.all_flags() | abi::CLONE_CHILD_SETTID,
        child_tid: at.expose_provenance() as u64,
        pidfd: request.pid_fd_at() as u64,
        exit_signal: request.exit_signal,
        ..CloneArgs::default()
    };
    if let Some(pid) = request.pid {
        args.parent_tid = pid.as_ptr().expose_provenance() as u64;
    }
    if !request.set_tid.is_empty() {
        args.set_tid = request.set_tid.as_ptr().expose_provenance() as u64;
        args.set_tid_size = request.set_tid.len() as u64;
    }
    if let Some(cgroup) = request.cgroup.and_then(|cgroup| u64::try_from(cgroup).ok()) {
        args.flags |= abi::CLONE_INTO_CGROUP;
        args.cgroup = cgroup;
    }
    if let Some(stack) = request.mode.stack() {
        let bottom = stack.bottom();
        args.stack = bottom.expose_provenance() as u64;
        args.stack_size = (at.addr() - bottom.addr()) as u64;
    }
    let words = [ptr::from_ref(&args).expose_provenance(), size_of::<CloneArgs>(), 0, 0, 0];
    // SAFETY: args is a clone_args of the given size, and lives; the rest is the caller's contract.
    unsafe { entry::start(libc::SYS_clone3, words, start, at) }
}

/// `clone(2)`.
///
/// # Safety
///
/// As of [`clone3`].
unsafe fn clone_legacy(
    request: &CloneRequest<'_>,
    at: *mut c_void,
    start: Trampoline,
) -> Result<usize> {
    // 32 bits, with the exit signal in the lowest byte.
    let mut later = u64::from(abi::CLONE_NEWTIME);
    if request.cgroup.is_some() {
        later |= u64::from(abi::CLONE_NEWCGROUP);
    }
    let flags = (request.all_flags() & u64::from(u32::MAX) & !later) | request.exit_signal;
    // One argument is for either.
    let not_told = if request.pid_fd.is_some() { abi::CLONE_PARENT_SETTID } else { 0 };
    let flags = word((flags & !not_told) | abi::CLONE_CHILD_SETTID);
    let top = request.mode.stack().map_or(0, |_| at.expose_provenance());
    let told = request.pid.filter(|_| request.pid_fd.is_none());
    let told = told.map_or(request.pid_fd_at(), |pid| pid.as_ptr().expose_provenance());
    let words = clone_legacy_args(flags, top, told, at.expose_provenance());
    // SAFETY: the top is aligned to 16; the rest is the caller's contract.
    unsafe { entry::start(libc::SYS_clone, words, start, at) }
}

/// The arguments of clone(2) in the order of this architecture.
const fn clone_legacy_args(flags: usize, stack: usize, pid_fd: usize, tid: usize) -> [usize; 5] {
    // The kernel reads the child's tid from the fourth or from the fifth, and the other one not at all.
    if cfg!(target_arch = "s390x") {
        [stack, flags, pid_fd, tid, tid]
    } else {
        [flags, stack, pid_fd, tid, tid]
    }
}

#[expect(clippy::cast_possible_truncation, reason = "flags of the low 32 bits")]
fn word(flags: u64) -> usize {
    flags as usize
}

/// Whether exec moves this process into the time namespace that waits for its children: from Linux
/// 6.2 on. Kernels that do not do it refuse, first of all, children that share memory. Any other refusal, as by
/// a filter or a limit, tells nothing, and counts as no: to be born there works on every kernel.
pub(crate) fn exec_enters_time_namespace() -> bool {
    let flags = word(abi::CLONE_VM | abi::CLONE_VFORK | abi::CLONE_PIDFD);
    // An address of the kernel's, where no pidfd can be written, so that no child is made.
    let nowhere = usize::MAX - 7;
    let words = clone_legacy_args(flags, 0, nowhere, 0);
    // SAFETY: the call fails before there is a child, whatever the kernel.
    let answer = unsafe { syscall(libc::SYS_clone, words) };
    answer == Err(Errno::FAULT)
}

/// The pid comes first: the child's first instructions read it.
#[repr(C)]
struct ChildStart<'a, T> {
    /// The child's own; 0 in a process that is not the child.
    own: AtomicU32,
    is_copy: bool,
    entry: Entry<T>,
    arg: &'a T,
}

unsafe extern "C" fn trampoline<T>(start: *mut c_void) -> ! {
    // SAFETY: `clone` put a ChildStart<T> there, which nobody changes while this process sees it.
    let start = unsafe { &*start.cast::<ChildStart<'_, T>>() };
    // SAFETY: this process runs the entry, and nothing else.
    let child = unsafe { InChild::assume(start.is_copy) };
    (start.entry)(start.arg, child)
}

/// Continues with `entry` on another stack, with a copy of `value` there, and never returns. Where that
/// takes assembly which we have not, it stays on this stack.
///
/// # Safety
///
/// Nothing in the frames of this stack has to be dropped, and nobody else uses the other one.
pub(crate) unsafe fn continue_on<T: Copy>(stack: Stack, entry: fn(&T) -> !, value: T) -> ! {
    struct Continuation<T> {
        entry: fn(&T) -> !,
        value: T,
    }

    unsafe extern "C" fn begin<T>(at: *mut c_void) -> ! {
        // SAFETY: `continue_on` put a Continuation<T> there, which nobody changes.
        let onward = unsafe { &*at.cast::<Continuation<T>>() };
        (onward.entry)(&onward.value)
    }

    // It is never unmapped.
    let stack = ManuallyDrop::new(stack);
    let at = stack.place(Continuation { entry, value });
    // SAFETY: the caller's contract; a Continuation<T> lies there, and the stack ends at it.
    unsafe { entry::leap(begin::<T>, at) }
}
