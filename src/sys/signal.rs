//! The signal mask and handlers, with the kernel's 64 signals: libc hides two of them.

use core::ptr;

use super::Result;
use super::abi::KernelSigaction;
use super::clone::CAN_SHARE_MEMORY;
use super::process::arg;
use super::syscall::syscall;

/// The kernel's signal set: signal `n` is bit `n - 1`.
pub(crate) type SignalSet = u64;

const ALL: SignalSet = u64::MAX;

/// Sets this thread's mask, and answers the old one.
pub(crate) fn set_mask(mask: SignalSet) -> Result<SignalSet> {
    let mut old: SignalSet = 0;
    let words = [
        arg(libc::SIG_SETMASK),
        ptr::from_ref(&mask).expose_provenance(),
        ptr::from_mut(&mut old).expose_provenance(),
        size_of::<SignalSet>(),
    ];
    // SAFETY: the kernel reads and writes sets of the size told.
    unsafe { syscall(libc::SYS_rt_sigprocmask, words) }?;
    Ok(old)
}

/// All signals are blocked in this thread until this is dropped.
#[derive(Debug)]
pub(crate) struct MaskGuard(SignalSet);

impl MaskGuard {
    pub(crate) fn block_all() -> Self {
        // Fails only for arguments that are wrong.
        Self(set_mask(ALL).unwrap_or(0))
    }

    /// The mask of before.
    pub(crate) fn before(&self) -> SignalSet {
        self.0
    }
}

impl Drop for MaskGuard {
    fn drop(&mut self) {
        let _ = set_mask(self.0);
    }
}

/// Sets a signal's action to the default. Only a child that does not share its handlers calls it.
pub(crate) fn set_default(signal: i32) -> Result<()> {
    let action = KernelSigaction::default();
    let at = ptr::from_ref(&action).expose_provenance();
    // SAFETY: the kernel reads one sigaction; SIG_DFL is all zero on every architecture.
    unsafe { syscall(libc::SYS_rt_sigaction, [arg(signal), at, 0, size_of::<SignalSet>()]) }
        .map(drop)
}

/// What `CLONE_CLEAR_SIGHAND` does, where that is missing: handlers become the default, ignored
/// signals stay ignored.
pub(crate) fn clear_handlers() {
    // Without shared memory a handler that still runs sees its own copy of everything.
    if !CAN_SHARE_MEMORY {
        return;
    }
    for signal in 1..=64 {
        let mut action = KernelSigaction::default();
        let at = ptr::from_mut(&mut action).expose_provenance();
        let words = [arg(signal), 0, at, size_of::<SignalSet>()];
        // SAFETY: the kernel writes one sigaction.
        let asked = unsafe { syscall(libc::SYS_rt_sigaction, words) };
        if asked.is_ok() && action.handler > libc::SIG_IGN {
            let _ = set_default(signal);
        }
    }
}
