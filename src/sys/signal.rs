//! The signal mask and handlers, with the kernel's 64 signals: libc hides two of them.

use core::marker::PhantomData;
use core::ptr;
use core::time::Duration;
use std::os::fd::OwnedFd;

use super::abi::{KernelSigaction, Timespec};
use super::args::{arg, owned};
use super::in_child::InChild;
use super::syscall::syscall;
use super::{Errno, Result, process};

/// The kernel's signal set: signal `n` is bit `n - 1`.
pub(crate) type SignalSet = u64;

#[cfg(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
))]
compile_error!("linux-namespaces does not know the signals of mips, of which there are 128");

/// A set as the kernel has it, and back: longs, of which the first is that of the lowest signals.
const fn in_longs(set: SignalSet) -> SignalSet {
    let is_swapped = cfg!(all(target_endian = "big", target_pointer_width = "32"));
    if is_swapped { set.rotate_left(32) } else { set }
}

pub(crate) const ALL: SignalSet = u64::MAX;

/// Sets this thread's mask, and returns the old one.
pub(crate) fn set_mask(mask: SignalSet) -> Result<SignalSet> {
    let (mask, mut old) = (in_longs(mask), ALL);
    let words = [
        arg(libc::SIG_SETMASK),
        ptr::from_ref(&mask).expose_provenance(),
        ptr::from_mut::<SignalSet>(&mut old).expose_provenance(),
        size_of::<SignalSet>(),
    ];
    // SAFETY: the kernel reads and writes sets of the given size.
    unsafe { syscall(libc::SYS_rt_sigprocmask, words) }?;
    // No mask has these: a filter has let the call do nothing.
    if in_longs(old) & UNBLOCKABLE != 0 { Err(Errno::PERM) } else { Ok(in_longs(old)) }
}

/// All signals are blocked in this thread until this is dropped. Meanwhile nothing is allocated, locked or given to
/// libc: who stops all threads by a signal (libc does, for `set*id(2)`) waits for this one, and may hold the
/// allocator.
#[derive(Debug)]
pub(crate) struct MaskGuard(SignalSet);

impl MaskGuard {
    /// Fails only where a filter refuses the call; without it a handler of the parent's could run in a child that
    /// shares its memory.
    pub(crate) fn block_all() -> Result<Self> {
        set_mask(ALL).map(Self)
    }

    /// These are blocked, beside what is.
    pub(crate) fn block(signals: SignalSet) -> Result<Self> {
        let before = current_mask()?;
        set_mask(before | signals).map(Self)
    }

    /// The mask of before.
    pub(crate) fn before(&self) -> SignalSet {
        self.0
    }

    pub(crate) fn proof(&self) -> SignalsBlocked<'_> {
        SignalsBlocked(PhantomData)
    }
}

impl Drop for MaskGuard {
    fn drop(&mut self) {
        let _ = set_mask(self.0);
    }
}

/// Proves that all signals are blocked in this thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignalsBlocked<'a>(PhantomData<&'a MaskGuard>);

impl InChild {
    /// A child is made with all signals blocked, and makes no process after the step that resets them.
    pub(crate) fn signals_blocked(self) -> SignalsBlocked<'static> {
        SignalsBlocked(PhantomData)
    }
}

/// `SIGKILL` and `SIGSTOP`.
const UNBLOCKABLE: SignalSet = 1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1);

/// This thread's mask.
pub(crate) fn current_mask() -> Result<SignalSet> {
    let mut mask = 0;
    let at = ptr::from_mut::<SignalSet>(&mut mask).expose_provenance();
    let words = [arg(libc::SIG_BLOCK), 0, at, size_of::<SignalSet>()];
    // SAFETY: no set to read; the kernel writes one of the given size.
    unsafe { syscall(libc::SYS_rt_sigprocmask, words) }?;
    Ok(in_longs(mask))
}

/// Sets a signal's action to the default.
pub(crate) fn set_default(signal: i32, _: InChild) -> Result<()> {
    set_action(signal, &DEFAULT)
}

/// Ignores `SIGCHLD`, so that the kernel waits for children, or no longer does: in the whole process, which must not
/// have a handler for it.
pub(crate) fn ignore_sigchld(ignore: bool) -> Result<()> {
    let handler = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
    set_action(libc::SIGCHLD, &KernelSigaction { handler, ..DEFAULT })
}

/// `SIG_DFL` is zero on every architecture.
const DEFAULT: KernelSigaction = KernelSigaction::DEFAULT;

fn set_action(signal: i32, action: &KernelSigaction) -> Result<()> {
    // SAFETY: the callers give none that has a handler.
    unsafe { restore_action(signal, action) }
}

/// # Safety
///
/// A handler, if there is one, is the process's own for this signal.
unsafe fn restore_action(signal: i32, action: &KernelSigaction) -> Result<()> {
    let at = ptr::from_ref(action).expose_provenance();
    // SAFETY: the kernel reads one sigaction; the handler is the caller's contract.
    unsafe { syscall(libc::SYS_rt_sigaction, [arg(signal), at, 0, size_of::<SignalSet>()]) }
        .map(drop)
}

fn action(signal: i32) -> Result<KernelSigaction> {
    let mut action = KernelSigaction::default();
    let at = ptr::from_mut(&mut action).expose_provenance();
    // SAFETY: the kernel writes one sigaction.
    unsafe { syscall(libc::SYS_rt_sigaction, [arg(signal), 0, at, size_of::<SignalSet>()]) }?;
    Ok(action)
}

pub(crate) fn is_ignored(signal: i32) -> bool {
    action(signal).is_ok_and(|action| action.handler == libc::SIG_IGN)
}

/// A signal that was pending.
#[derive(Clone, Copy)]
pub(crate) struct SignalInfo(libc::siginfo_t);

impl SignalInfo {
    pub(crate) fn number(&self) -> i32 {
        self.0.si_signo
    }

    /// Whether the kernel made it, as a terminal does, and no process.
    pub(crate) fn is_kernels(&self) -> bool {
        self.0.si_code > 0
    }

    /// Whether it is for a write of this process's own, to a pipe that nobody reads or beyond a limit.
    pub(crate) fn is_of_own_write(&self) -> bool {
        let is_of_write = [libc::SIGPIPE, libc::SIGXFSZ].contains(&self.0.si_signo);
        // SAFETY: of a signal with this code the kernel says who sent it.
        is_of_write
            && self.0.si_code == libc::SI_USER
            && i32::try_from(process::getpid()) == Ok(unsafe { self.0.si_pid() })
    }

    /// Sends `signal` to a process, with the value that this one came with, if it did.
    pub(crate) fn pass_on(&self, process: i32, signal: i32) -> Result<()> {
        if self.0.si_code != libc::SI_QUEUE || process <= 0 {
            return kill(process, signal);
        }
        let words = [arg(process), arg(signal), ptr::from_ref(&self.0).expose_provenance()];
        // SAFETY: the kernel reads one siginfo.
        unsafe { syscall(libc::SYS_rt_sigqueueinfo, words) }.map(drop)
    }
}

/// `kill(2)`: a process, a negative number for a group, -1 for all.
pub(crate) fn kill(whom: i32, signal: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_kill, [arg(whom), arg(signal)]) }.map(drop)
}

/// Sends this process a signal.
pub(crate) fn signal_self(signal: i32) -> Result<()> {
    let own = process::getpid() as usize;
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_kill, [own, arg(signal)]) }.map(drop)
}

/// `signalfd(2)`: readable while a signal of the set is pending in the thread that polls it.
pub(crate) fn pending_fd(set: SignalSet) -> Result<OwnedFd> {
    let set = in_longs(set);
    let at = ptr::from_ref(&set).expose_provenance();
    let flags = arg(libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
    // SAFETY: the kernel reads a set of the given size.
    unsafe { syscall(libc::SYS_signalfd4, [arg(-1), at, size_of::<SignalSet>(), flags]) }.map(owned)
}

/// Takes a pending signal of a set that this thread blocks. Waits for one, but not longer than the limit:
/// then `None`, or if another signal came between.
pub(crate) fn take(set: SignalSet, limit: Option<Duration>) -> Result<Option<SignalInfo>> {
    // SAFETY: all zero bytes are a siginfo_t.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let limit = limit.map(Timespec::new);
    let limit = limit.as_ref().map_or(0, |limit| ptr::from_ref(limit).expose_provenance());
    let set = in_longs(set);
    let words = [
        ptr::from_ref(&set).expose_provenance(),
        ptr::from_mut(&mut info).expose_provenance(),
        limit,
        size_of::<SignalSet>(),
    ];
    // SAFETY: the kernel reads a set of the given size and a timespec or none, and writes one siginfo.
    match unsafe { syscall(libc::SYS_rt_sigtimedwait, words) } {
        Ok(_) => Ok(Some(SignalInfo(info))),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Does to this process what `signal` does by default, which is to stop it: but for `SIGSTOP` not if its process
/// group is orphaned, since then no shell would continue it. Returns when it was continued.
///
/// The action of the whole process is the default meanwhile.
pub(crate) fn stop_self(signal: i32) -> Result<()> {
    let kill = || signal_self(signal);
    if signal == libc::SIGSTOP {
        return kill();
    }
    let before = action(signal)?;
    set_action(signal, &DEFAULT)?;
    let answer = kill().and_then(|()| {
        // It arrives when it is unblocked.
        let mask = set_mask(ALL)?;
        set_mask(mask & !(1 << (signal - 1)))?;
        set_mask(mask).map(drop)
    });
    // SAFETY: it was the action before.
    unsafe { restore_action(signal, &before) }?;
    answer
}

/// What `CLONE_CLEAR_SIGHAND` does, where that is missing: handlers become the default, ignored
/// signals stay ignored.
pub(crate) fn clear_handlers(child: InChild) -> Result<()> {
    for signal in (1..=64).filter(|&signal| signal != libc::SIGKILL && signal != libc::SIGSTOP) {
        if action(signal)?.handler > libc::SIG_IGN {
            set_default(signal, child)?;
        }
    }
    Ok(())
}
