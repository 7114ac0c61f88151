//! The first instructions of a child, and the leap to another stack.

use core::ffi::c_void;

use super::Result;
#[cfg(any(
    linux_namespaces_portable,
    not(any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64"))
))]
use super::syscall::syscall;

/// What the child's first instructions call, with where what it starts with lies: its pid first.
pub(super) type Trampoline = unsafe extern "C" fn(*mut c_void) -> !;

pub(super) use child::{leap, start};

/// The calls that make a child. It must not return from them: its frames may be its parent's.
#[cfg(all(not(linux_namespaces_portable), target_arch = "x86_64", target_pointer_width = "64"))]
mod child {
    use super::{Result, Trampoline, c_void};
    use crate::sys::syscall::decode;

    pub(in crate::sys) unsafe fn start(
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

    pub(in crate::sys) unsafe fn leap(start: Trampoline, at: *mut c_void) -> ! {
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

    pub(in crate::sys) unsafe fn start(
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

    pub(in crate::sys) unsafe fn leap(start: Trampoline, at: *mut c_void) -> ! {
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

    pub(in crate::sys) unsafe fn start(
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

    pub(in crate::sys) unsafe fn leap(start: Trampoline, at: *mut c_void) -> ! {
        // SAFETY: what it starts with was put there.
        unsafe { start(at) }
    }
}
