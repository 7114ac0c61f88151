//! System calls that leave `errno` alone: a child that shares our memory shares the `errno` of the
//! thread that waits for it, too.

use libc::c_long;

use super::{Errno, Result};

/// Makes system call `number` with up to six arguments, the rest being zero.
///
/// # Safety
///
/// The arguments must be what the call's manual page asks for: each pointer valid for what the
/// kernel reads or writes through it.
#[inline]
pub(super) unsafe fn syscall<const N: usize>(number: c_long, args: [usize; N]) -> Result<usize> {
    let mut all = [0_usize; 6];
    for (slot, arg) in all.iter_mut().zip(args) {
        *slot = arg;
    }
    // SAFETY: passed on from the caller.
    decode(unsafe { raw(number, all) })
}

/// The kernel answers -4095 to -1 for an error.
#[inline]
pub(super) fn decode(answer: isize) -> Result<usize> {
    match answer {
        #[expect(clippy::cast_possible_truncation, reason = "it is -4095 to -1")]
        -4095..=-1 => Err(Errno::from_raw_os_error(-(answer as i32))),
        #[expect(clippy::cast_sign_loss, reason = "a number, or an address of any size")]
        _ => Ok(answer as usize),
    }
}

#[cfg(all(not(linux_namespaces_portable), target_arch = "x86_64", target_pointer_width = "64"))]
#[inline]
unsafe fn raw(number: c_long, a: [usize; 6]) -> isize {
    let answer;
    // SAFETY: the syscall instruction changes rax, rcx and r11 and what the call's contract says,
    // which is the caller's part.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

#[cfg(all(not(linux_namespaces_portable), target_arch = "aarch64"))]
#[inline]
unsafe fn raw(number: c_long, a: [usize; 6]) -> isize {
    let answer;
    // SAFETY: svc changes x0 and what the call's contract says, which is the caller's part.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a[0] => answer,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5],
            options(nostack),
        );
    }
    answer
}

/// Elsewhere libc makes the call. It writes `errno`, which is why no child shares memory there:
/// see [`super::clone::can_share_memory`].
#[cfg(not(all(
    not(linux_namespaces_portable),
    any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")
)))]
unsafe fn raw(number: c_long, a: [usize; 6]) -> isize {
    // SAFETY: passed on from the caller.
    let answer = unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if answer == -1 {
        // SAFETY: errno of this thread always exists.
        return -(unsafe { *libc::__errno_location() } as isize);
    }
    answer as isize
}
