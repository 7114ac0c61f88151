//! The entry to a new process: clone3(2), clone(2) and the stack that it runs on.

use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use super::abi::{self, CloneArgs};
use super::in_child::InChild;
use super::process::{self, RawFd, arg};
use super::signal::SignalsBlocked;
use super::span::Span;
use super::syscall::syscall;
use super::{Errno, Result, valgrind};

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

/// A process to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) flags: u64,
    pub(crate) exit_signal: u64,
    /// Where the kernel writes the pidfd's number, with [`abi::CLONE_PIDFD`].
    pub(crate) pid_fd: *mut i32,
    /// Where the kernel writes the child's number before it runs, and only if it will: clone3 alone does it.
    pub(crate) pid: Option<&'a AtomicU32>,
    /// The child's stack. Without one it goes on below our own frames: of its copy of the memory, or
    /// of ours while we sleep (`CLONE_VFORK`), as after vfork(2).
    pub(crate) stack: Option<&'a Stack>,
    /// The pids to have, from the innermost pid namespace outwards; those of the kernel's choice in
    /// the others. Only clone3 can do it.
    pub(crate) set_tid: &'a [i32],
    /// The directory of the cgroup to be born in: clone3 alone can do it, so otherwise the child moves
    /// there itself, and makes its cgroup namespace afterwards.
    pub(crate) cgroup: Option<RawFd>,
}

impl<'a> Request<'a> {
    pub(crate) const fn new(flags: u64, pid_fd: *mut i32, stack: Option<&'a Stack>) -> Self {
        Self { flags, exit_signal: 0, pid_fd, pid: None, stack, set_tid: &[], cgroup: None }
    }
}

/// Makes a process that runs `entry(arg)`, and returns its pid.
///
/// Where clone3(2) is refused, clone(2) serves, and `legacy` is set before the process starts: its
/// handlers are not reset ([`abi::CLONE_CLEAR_SIGHAND`]), it is not in a new time namespace, since 0x80
/// belongs to the exit signal there, and not in the cgroup.
///
/// # Safety
///
/// `pid_fd`, with the flag, and `pid` must be valid for a read and a write until the child has ended or has its own
/// memory. `pid_fd` holds -1, and is shared with a child in another pid namespace. If the flags
/// have `CLONE_VM`, then a `stack` is given or the flags have `CLONE_VFORK`, and until the child execs
/// or exits: `arg` lives, nobody else uses `stack`, and `entry` neither allocates, locks, unwinds nor
/// calls libc. Without `CLONE_VM`, `entry` obeys the rules of a forked child.
pub(crate) unsafe fn clone<T: Sync>(
    request: &Request<'_>,
    legacy: &AtomicBool,
    entry: Entry<T>,
    arg: &T,
    _: SignalsBlocked<'_>,
) -> Result<u32> {
    // Valgrind would end this process.
    if request.flags & abi::CLONE_FILES != 0 && valgrind::is_around() {
        return Err(Errno::NOSYS);
    }
    let start = Start { own: AtomicU32::new(0), entry, arg };
    let caller = if request.flags & abi::CLONE_VM == 0 { process::gettid() } else { 0 };
    // A child that we do not wait for outlives this frame, so its start lies on its own stack.
    let at = match request.stack {
        Some(stack) => stack.place(start),
        None => ptr::from_ref(&start).cast_mut().cast(),
    };
    // SAFETY: the caller's contract; a Start<T> lies there. The same in what follows.
    let mut pid = unsafe { clone3(request, at, trampoline::<T>) };
    // SAFETY: as above.
    pid = unsafe { unless_none_was_made(pid, request, caller, trampoline::<T>, at) };
    // An older seccomp filter returns EPERM for a call it does not know.
    let is_hidden = matches!(pid, Err(Errno::NOSYS | Errno::PERM));
    let other_serves = request.set_tid.is_empty() && request.flags & abi::ONLY_CLONE3 == 0;
    if is_hidden && other_serves {
        legacy.store(true, SeqCst);
        if request.flags & abi::CLONE_PIDFD != 0 {
            // A clone3 that failed late may have left a number there.
            // SAFETY: the caller's contract, and there is no child.
            unsafe { request.pid_fd.write(-1) };
        }
        // SAFETY: as above; no child was made.
        pid = unsafe { clone2(request, at, trampoline::<T>) };
        // SAFETY: as above.
        pid = unsafe { unless_none_was_made(pid, request, caller, trampoline::<T>, at) };
    }
    u32::try_from(pid?).map_err(|_| Errno::INVAL)
}

/// A seccomp filter can return 0 without a child, and the parent must not take itself for one. So the kernel writes the
/// child's pid where the child reads it before it does anything else (`CLONE_CHILD_SETTID`).
///
/// It does so in silence: in a copy that gets no memory for it the pid is missing. Such a child is found here, where
/// it goes on: it has another tid, or, in another pid namespace, sees in shared memory that there is a pidfd.
///
/// # Safety
///
/// As of [`clone3`].
unsafe fn unless_none_was_made(
    answer: Result<usize>,
    request: &Request<'_>,
    caller: u32,
    start: Trampoline,
    at: *mut c_void,
) -> Result<usize> {
    if answer != Ok(0) {
        return answer;
    }
    let has_pid_fd = || {
        // SAFETY: with the flag it is valid; the kernel wrote it before there was a child, if it did.
        request.flags & abi::CLONE_PIDFD != 0 && unsafe { request.pid_fd.read_volatile() } >= 0
    };
    if request.flags & abi::CLONE_VM == 0 && (process::gettid() != caller || has_pid_fd()) {
        // SAFETY: this is the child, in its own memory, where a Start lies.
        unsafe { start(at) }
    }
    Err(Errno::PERM)
}

/// # Safety
///
/// As of [`clone`]; the child starts with `start(at)`, and a stack ends at `at`.
unsafe fn clone3(request: &Request<'_>, at: *mut c_void, start: Trampoline) -> Result<usize> {
    let mut args = CloneArgs {
        flags: request.flags | abi::CLONE_CHILD_SETTID,
        child_tid: at.expose_provenance() as u64,
        pidfd: request.pid_fd.expose_provenance() as u64,
        exit_signal: request.exit_signal,
        ..CloneArgs::default()
    };
    if let Some(pid) = request.pid {
        args.flags |= abi::CLONE_PARENT_SETTID;
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
    if let Some(stack) = request.stack {
        args.stack = stack.bottom.expose_provenance() as u64;
        args.stack_size = (at.addr() - stack.bottom.addr()) as u64;
    }
    let words = [ptr::from_ref(&args).expose_provenance(), size_of::<CloneArgs>(), 0, 0, 0];
    // SAFETY: args is a clone_args of the given size, and lives; the rest is the caller's contract.
    unsafe { child::start(libc::SYS_clone3, words, start, at) }
}

/// `clone(2)`.
///
/// # Safety
///
/// As of [`clone3`].
unsafe fn clone2(request: &Request<'_>, at: *mut c_void, start: Trampoline) -> Result<usize> {
    // 32 bits, with the exit signal in the lowest byte.
    let mut later = u64::from(abi::CLONE_NEWTIME);
    if request.cgroup.is_some() {
        later |= u64::from(abi::CLONE_NEWCGROUP);
    }
    let flags = (request.flags & u64::from(u32::MAX) & !later) | request.exit_signal;
    let flags = word(flags | abi::CLONE_CHILD_SETTID);
    let top = request.stack.map_or(0, |_| at.expose_provenance());
    let pid_fd = request.pid_fd.expose_provenance();
    let words = clone2_words(flags, top, pid_fd, at.expose_provenance());
    // SAFETY: the top is aligned to 16; the rest is the caller's contract.
    unsafe { child::start(libc::SYS_clone, words, start, at) }
}

/// The arguments of clone(2) in the order of this architecture.
const fn clone2_words(flags: usize, stack: usize, pid_fd: usize, tid: usize) -> [usize; 5] {
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
    let words = clone2_words(flags, 0, nowhere, 0);
    // SAFETY: the call fails before there is a child, whatever the kernel.
    let answer = unsafe { syscall(libc::SYS_clone, words) };
    answer == Err(Errno::FAULT)
}

/// What the child's first instructions call, with where its [`Start`] lies.
type Trampoline = unsafe extern "C" fn(*mut c_void) -> !;

/// The pid comes first: the child's first instructions read it.
#[repr(C)]
struct Start<'a, T> {
    /// The child's own; 0 in a process that is not the child.
    own: AtomicU32,
    entry: Entry<T>,
    arg: &'a T,
}

unsafe extern "C" fn trampoline<T>(start: *mut c_void) -> ! {
    // SAFETY: `clone` put a Start<T> there, which nobody changes while this process sees it.
    let start = unsafe { &*start.cast::<Start<'_, T>>() };
    // SAFETY: this process runs the entry, and nothing else.
    let child = unsafe { InChild::assume() };
    (start.entry)(start.arg, child)
}

/// A stack with guard pages around, for a child that shares our memory while we go on.
#[derive(Debug)]
pub(crate) struct Stack {
    mapping: *mut c_void,
    mapped: usize,
    bottom: *mut c_void,
    size: usize,
}

// SAFETY: the mapping belongs to this value alone, whichever thread holds it.
unsafe impl Send for Stack {}
// SAFETY: a shared reference gives nothing but addresses.
unsafe impl Sync for Stack {}

impl Stack {
    /// Room for the child's frames, which are small, also when not optimised.
    pub(crate) const SMALL: usize = 64 * 1024;
    /// Room for paths, which are looked up link by link.
    pub(crate) const FOR_PATHS: usize = 256 * 1024;
    /// As much as most programs' first thread has. What is not touched costs nothing.
    pub(crate) const FOR_OWN_CODE: usize = 8 * 1024 * 1024;
    /// The largest page size of the architectures we know. The one above keeps the kernel from making one
    /// mapping of the stack and what comes next.
    const GUARD: usize = 64 * 1024;

    pub(crate) fn new(size: usize) -> Result<Self> {
        let mapped = Self::GUARD + size + Self::GUARD;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        let mapping = map(mapped, libc::PROT_NONE, flags)?;
        let bottom = mapping.wrapping_byte_add(Self::GUARD);
        let stack = Self { mapping, mapped, bottom, size };
        let protection = arg(libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: the range is inside the mapping that was just made.
        unsafe { syscall(libc::SYS_mprotect, [bottom.expose_provenance(), size, protection]) }?;
        Ok(stack)
    }

    /// The whole of it, with the guard pages.
    pub(crate) fn span(&self) -> Span {
        let start = self.mapping.addr();
        Span { start, end: start + self.mapped }
    }

    /// Writes the value at the upper end; the stack begins below it, aligned as the ABIs ask.
    fn place<T>(&self, value: T) -> *mut c_void {
        const { assert!(align_of::<T>() <= 16 && size_of::<T>() <= 4096) };
        let at = self.bottom.wrapping_byte_add(self.size - size_of::<T>().next_multiple_of(16));
        // SAFETY: inside the mapping, aligned to 16, and used by nobody before the child starts.
        unsafe { at.cast::<T>().write(value) };
        at
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        unmap(self.mapping, self.mapped);
    }
}

/// A value in memory that a child with a copy of ours still shares with us.
#[derive(Debug)]
pub(crate) struct SharedBox<T>(*mut T);

// SAFETY: it owns the value as a Box does.
unsafe impl<T: Send> Send for SharedBox<T> {}
// SAFETY: it gives out shared references only.
unsafe impl<T: Sync> Sync for SharedBox<T> {}

impl<T: Sync + 'static> SharedBox<T> {
    /// `T` must have no drop glue and no alignment above a page's: checked when compiled.
    pub(crate) fn new(value: T) -> Result<Self> {
        const { assert!(!core::mem::needs_drop::<T>() && align_of::<T>() <= 4096) };
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let at = map(size_of::<T>(), libc::PROT_READ | libc::PROT_WRITE, flags)?.cast::<T>();
        // SAFETY: the mapping is large enough, aligned to a page and nobody else's.
        unsafe { at.write(value) };
        Ok(Self(at))
    }
}

impl<T> core::ops::Deref for SharedBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mapping lives as long as self and holds a T since new.
        unsafe { &*self.0 }
    }
}

impl<T> Drop for SharedBox<T> {
    fn drop(&mut self) {
        unmap(self.0.cast(), size_of::<T>());
    }
}

/// Also for a child, where its memory may go: then without libc.
#[cfg(all(
    not(linux_namespaces_portable),
    any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")
))]
fn map(size: usize, protection: i32, flags: i32) -> Result<*mut c_void> {
    let words = [0, size, arg(protection), arg(flags), arg(-1), 0];
    // SAFETY: an anonymous mapping at an address that the kernel chooses touches nothing of ours.
    unsafe { syscall(libc::SYS_mmap, words) }.map(ptr::with_exposed_provenance_mut)
}

#[cfg(not(all(
    not(linux_namespaces_portable),
    any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")
)))]
fn map(size: usize, protection: i32, flags: i32) -> Result<*mut c_void> {
    // SAFETY: an anonymous mapping at an address that the kernel chooses touches nothing of ours.
    let at = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        // Only the parent maps, where errno is its own.
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOMEM));
    }
    Ok(at)
}

fn unmap(at: *mut c_void, size: usize) {
    // SAFETY: the owner of the mapping is being dropped; it was made with this size.
    unsafe { libc::munmap(at, size) };
}

/// Continues with `entry` on another stack, with a copy of `value` there, and never returns. Where that
/// takes assembly which we have not, it stays on this stack.
///
/// # Safety
///
/// Nothing in the frames of this stack has to be dropped, and nobody else uses the other one.
pub(crate) unsafe fn continue_on<T: Copy>(stack: Stack, entry: fn(&T) -> !, value: T) -> ! {
    struct Onward<T> {
        entry: fn(&T) -> !,
        value: T,
    }

    unsafe extern "C" fn begin<T>(at: *mut c_void) -> ! {
        // SAFETY: `continue_on` put an Onward<T> there, which nobody changes.
        let onward = unsafe { &*at.cast::<Onward<T>>() };
        (onward.entry)(&onward.value)
    }

    // It is never unmapped.
    let stack = ManuallyDrop::new(stack);
    let at = stack.place(Onward { entry, value });
    // SAFETY: the caller's contract; an Onward<T> lies there, and the stack ends at it.
    unsafe { child::leap(begin::<T>, at) }
}

/// The calls that make a child. It must not return from them: its frames may be its parent's.
#[cfg(all(not(linux_namespaces_portable), target_arch = "x86_64", target_pointer_width = "64"))]
mod child {
    use super::{Result, Trampoline, c_void};
    use crate::sys::syscall::decode;

    pub(super) unsafe fn start(
        call: libc::c_long,
        a: [usize; 5],
        start: Trampoline,
        at: *mut c_void,
    ) -> Result<usize> {
        let answer: isize;
        // SAFETY: in the parent only rax, rcx and r11 change. The child starts behind the syscall
        // with rax 0, the other registers as they are, and rsp as it is or at the top of its own stack, which is r12:
        // aligned to 16, and what lies below belongs to nobody, as this block may use the stack. Where the stack is
        // ours, the pid at r12 says that it is the child. The two registers are named, since "any" may be rbp.
        unsafe {
            core::arch::asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "cmp rsp, r12",
                "je 3f",
                "cmp dword ptr [r12], 0",
                "je 2f",
                "3:",
                "xor ebp, ebp",
                "mov rdi, r12",
                "call r13",
                "ud2",
                "2:",
                in("r12") at,
                in("r13") start,
                inlateout("rax") call => answer,
                in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4],
                out("rcx") _, out("r11") _,
            );
        }
        decode(answer)
    }

    pub(super) unsafe fn leap(start: Trampoline, at: *mut c_void) -> ! {
        // SAFETY: `at` is aligned to 16, and the stack below it is unused. `start` never returns.
        unsafe {
            core::arch::asm!(
                "mov rsp, rdi",
                "xor ebp, ebp",
                "call rsi",
                "ud2",
                in("rdi") at,
                in("rsi") start,
                options(noreturn),
            );
        }
    }
}

#[cfg(all(not(linux_namespaces_portable), target_arch = "aarch64"))]
mod child {
    use super::{Result, Trampoline, c_void};
    use crate::sys::syscall::decode;

    pub(super) unsafe fn start(
        call: libc::c_long,
        a: [usize; 5],
        start: Trampoline,
        at: *mut c_void,
    ) -> Result<usize> {
        let answer: isize;
        // SAFETY: in the parent only x0 and x9 change. The child starts behind the svc with x0 0, the other registers
        // as they are, and sp as it is or at the top of its own stack, which is x20: what lies below belongs to
        // nobody. Where the stack is ours, the pid at x20 says that it is the child.
        unsafe {
            core::arch::asm!(
                "svc 0",
                "cbnz x0, 2f",
                "mov x9, sp",
                "cmp x9, x20",
                "b.eq 3f",
                "ldr w9, [x20]",
                "cbz w9, 2f",
                "3:",
                "mov x29, xzr",
                "mov x30, xzr",
                "mov x0, x20",
                "blr x21",
                "brk #1",
                "2:",
                in("x20") at,
                in("x21") start,
                in("x8") call,
                inlateout("x0") a[0] => answer,
                in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4],
                out("x9") _, out("x30") _,
            );
        }
        decode(answer)
    }

    pub(super) unsafe fn leap(start: Trampoline, at: *mut c_void) -> ! {
        // SAFETY: `at` is aligned to 16, and the stack below it is unused. `start` never returns.
        unsafe {
            core::arch::asm!(
                "mov sp, x0",
                "mov x29, xzr",
                "mov x30, xzr",
                "blr x1",
                "brk #1",
                in("x0") at,
                in("x1") start,
                options(noreturn),
            );
        }
    }
}

/// For copies of the memory only: [`can_share_memory`].
#[cfg(not(all(
    not(linux_namespaces_portable),
    any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")
)))]
mod child {
    use super::{Result, Trampoline, c_void, syscall};

    pub(super) unsafe fn start(
        call: libc::c_long,
        a: [usize; 5],
        start: Trampoline,
        at: *mut c_void,
    ) -> Result<usize> {
        // SAFETY: the caller's contract; the child goes on here in its own memory.
        match unsafe { syscall(call, a) } {
            // SAFETY: a Start lies there, which begins with the pid; this is the child, and starts with it.
            Ok(0) if unsafe { at.cast::<u32>().read_volatile() } != 0 => unsafe { start(at) },
            answer => answer,
        }
    }

    pub(super) unsafe fn leap(start: Trampoline, at: *mut c_void) -> ! {
        // SAFETY: what it starts with was put there.
        unsafe { start(at) }
    }
}
