//! A word that two processes wait on. Not private: they may share the page but not the memory.

use core::sync::atomic::AtomicU32;

use super::Result;
use super::args::arg;
use super::syscall::syscall;

/// Sleeps while the word is `value`; may wake for no reason.
pub(crate) fn wait(word: &AtomicU32, value: u32) -> Result<()> {
    let words = [word.as_ptr().expose_provenance(), arg(libc::FUTEX_WAIT), value as usize, 0];
    // SAFETY: the word is mapped; no timeout.
    unsafe { syscall(libc::SYS_futex, words) }.map(drop)
}

/// Wakes those who wait on the word.
pub(crate) fn wake(word: &AtomicU32) {
    let words = [word.as_ptr().expose_provenance(), arg(libc::FUTEX_WAKE), 1];
    // SAFETY: the word is mapped; the kernel only looks its address up.
    let _ = unsafe { syscall(libc::SYS_futex, words) };
}
