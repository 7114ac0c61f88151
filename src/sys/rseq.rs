//! The restartable sequences that libc registers for each thread: the kernel writes into the thread's
//! memory whenever it was interrupted, and kills it if that memory is gone.

use core::ptr;

use super::syscall::syscall;
use super::{Errno, Result};

/// What marks the landing places: `RSEQ_SIG`.
const SIGNATURE: usize = if cfg!(target_arch = "aarch64") { 0xd428_bc00 } else { 0x5305_3053 };

/// libc lacks it for some targets.
const SYS_RSEQ: libc::c_long = if cfg!(target_arch = "x86_64") { 334 } else { 293 };

const UNREGISTER: usize = 1;

/// How far from the thread pointer to look, and how the area is aligned.
const REACH: usize = 64 * 1024;
const ALIGNMENT: usize = 32;

/// Ends this thread's registration, on the architectures where [memory is shared](super::clone::can_share_memory). Where that lies only libc knows, and the kernel, which compares. `false`
/// if it was not found.
///
/// # Safety
///
/// Nothing in this thread uses restartable sequences any more: libc does, to know its processor.
pub(crate) unsafe fn unregister() -> bool {
    #[repr(align(32))]
    struct Area([u8; 32]);
    let area = Area([0; 32]);
    let at = ptr::from_ref(&area.0).expose_provenance();
    // SAFETY: the area lives, and the kernel writes nothing else than there before the next call.
    match unsafe { rseq(at, 32, 0) } {
        // There was none.
        // SAFETY: the caller's contract.
        Ok(()) => return unsafe { rseq(at, 32, UNREGISTER) }.is_ok(),
        // A filter, which may be younger than a registration, or a kernel without them: it does not tell which.
        Err(Errno::NOSYS | Errno::PERM) => return false,
        Err(_) => {}
    }
    let Some(middle) = thread_pointer() else {
        return false;
    };
    let middle = middle & !(ALIGNMENT - 1);
    // The nearest first, on both sides: libc has it close to what else it keeps of a thread.
    let places = (0..REACH).step_by(ALIGNMENT).flat_map(|distance| {
        [middle.wrapping_add(distance), middle.wrapping_sub(distance + ALIGNMENT)]
    });
    // Newer ones may be longer.
    let mut tries =
        [32, 64].into_iter().flat_map(|length| places.clone().map(move |at| (at, length)));
    // SAFETY: the caller's contract; the kernel touches no memory but the registered one.
    tries.any(|(at, length)| unsafe { rseq(at, length, UNREGISTER) }.is_ok())
}

/// # Safety
///
/// As of [`unregister`]; for a registration, `at` is writable until its end.
unsafe fn rseq(at: usize, length: usize, flags: usize) -> Result<()> {
    // SAFETY: the caller's contract.
    unsafe { syscall(SYS_RSEQ, [at, length, flags, SIGNATURE]) }.map(drop)
}

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
fn thread_pointer() -> Option<usize> {
    let pointer;
    // SAFETY: the ABI of ELF has the thread pointer there.
    unsafe { core::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly)) };
    Some(pointer)
}

#[cfg(target_arch = "aarch64")]
fn thread_pointer() -> Option<usize> {
    let pointer;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, nomem)) };
    Some(pointer)
}

#[cfg(not(any(
    all(target_arch = "x86_64", target_pointer_width = "64"),
    target_arch = "aarch64"
)))]
fn thread_pointer() -> Option<usize> {
    None
}
