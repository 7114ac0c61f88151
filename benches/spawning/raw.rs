//! The baseline: the fewest system calls that start `/bin/true` in new namespaces, by hand: clone3, what
//! is to be done inside, execve, wait4. All else is made ready once.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use linux_namespaces::NamespaceSet;

use super::inside::Inside;

unsafe extern "C" {
    static environ: *const *const c_char;
}

const STACK: usize = 64 * 1024;

pub(crate) struct Raw {
    flags: u64,
    inside: Inside,
    stack: *mut c_void,
}

/// `struct clone_args`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    rest: [u64; 4],
}

impl Raw {
    /// `None` on architectures for which nobody wrote the lines below.
    pub(crate) fn new(set: NamespaceSet) -> Option<Self> {
        if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            return None;
        }
        let (protection, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping where the kernel likes touches nothing that exists.
        let stack = unsafe { libc::mmap(ptr::null_mut(), STACK, protection, kind, -1, 0) };
        assert_ne!(stack, libc::MAP_FAILED, "mmap of a stack");
        let share = u64::try_from(libc::CLONE_VM | libc::CLONE_VFORK).unwrap();
        Some(Self { flags: u64::from(set.bits()) | share, inside: Inside::new(set), stack })
    }

    /// Starts the program and waits for it.
    pub(crate) fn run(&self) {
        let args = CloneArgs {
            flags: self.flags,
            exit_signal: u64::try_from(libc::SIGCHLD).unwrap(),
            stack: self.stack.expose_provenance() as u64,
            stack_size: STACK as u64,
            ..CloneArgs::default()
        };
        // SAFETY: this thread sleeps (CLONE_VFORK) until the child has left this memory, and one
        // thread runs at a time, so that the stack is the child's alone and self lives.
        let pid = c_int::try_from(unsafe { clone3(&args, self) }).unwrap();
        let mut status = 0;
        // SAFETY: the kernel writes one int.
        let ended = unsafe { libc::wait4(pid, &raw mut status, 0, ptr::null_mut()) };
        assert!(pid > 0 && ended == pid && status == 0, "clone3: {pid}, status {status:#x}");
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by new with this size, and no child is on it.
        unsafe { libc::munmap(self.stack, STACK) };
    }
}

/// In the parent's memory, on a stack of its own: no allocation, and of libc's only what makes a call.
extern "C" fn child(raw: &Raw) -> ! {
    if raw.inside.set_up() {
        let argv = [c"/bin/true".as_ptr(), ptr::null()];
        // SAFETY: the one thread that could change it sleeps.
        let envp = unsafe { environ };
        // SAFETY: null-terminated arrays of C strings.
        unsafe { libc::execve(argv[0], argv.as_ptr(), envp) };
    }
    // SAFETY: ends this process and runs nothing of the parent's.
    unsafe { libc::_exit(127) }
}

/// # Safety
///
/// Until the child has its own memory, nobody uses the stack in `args`, and `raw` lives.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(args: &CloneArgs, raw: &Raw) -> isize {
    let answer;
    // SAFETY: in the parent only rax, rcx and r11 change. The child goes on behind the call with rax 0
    // and an empty stack, which is aligned for a call, and never comes back.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r12",
            "call {child}",
            "2:",
            child = sym child,
            in("r12") raw,
            inlateout("rax") libc::SYS_clone3 => answer,
            in("rdi") args,
            in("rsi") size_of::<CloneArgs>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    answer
}

/// # Safety
///
/// Until the child has its own memory, nobody uses the stack in `args`, and `raw` lives.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(args: &CloneArgs, raw: &Raw) -> isize {
    let answer;
    // SAFETY: in the parent only x0 changes. The child goes on behind the call with x0 0 and an empty
    // stack, and never comes back.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x0, x20",
            "bl {child}",
            "2:",
            child = sym child,
            in("x20") raw,
            in("x8") libc::SYS_clone3,
            inlateout("x0") args => answer,
            in("x1") size_of::<CloneArgs>(),
            out("x30") _,
        );
    }
    answer
}

/// # Safety
///
/// None is asked for: it fails.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3(_: &CloneArgs, _: &Raw) -> isize {
    let _ = child;
    -1
}
