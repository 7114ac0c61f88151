//! What an init does, as a value without references: it outlives the memory that it came from.

#![forbid(unsafe_code)]

use core::time::Duration;

use crate::error::{Error, Result};
use crate::signal::Signal;
use crate::sys::c_library::PRIVATE_SIGNALS;
use crate::sys::signal::SignalSet;
use crate::sys::wait::Ended;

/// The status of an init that cannot go on: `EX_SOFTWARE` of `sysexits.h`.
pub(crate) const BROKEN: i32 = 70;

/// What an init does with the remaining processes when the program has ended.
///
/// Which processes these are depends on the init. For PID 1 of a pid namespace: all in the namespace. For a
/// subreaper: its children, adopted ones too, and what is orphaned by their end. Otherwise: the program's process group
/// or session, if [`Init`](crate::Init) created one; then the init cannot see them end, so that they get
/// the first signal and nothing else.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Init, RemainingProcesses};
/// use std::time::Duration;
///
/// Init::new().remaining_processes(RemainingProcesses::Terminate { grace: Duration::from_secs(10) });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RemainingProcesses {
    /// Nothing. If the init is PID 1, the kernel kills them all when it ends.
    #[default]
    Leave,
    /// Waits for them, however long they take.
    Wait,
    /// Sends `SIGTERM`, and `SIGKILL` after the grace time.
    Terminate {
        /// The time between the two signals.
        grace: Duration,
    },
    /// Sends `SIGKILL`.
    Kill,
}

/// What an init says on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Verbosity {
    /// Nothing.
    #[default]
    Silent,
    /// What may be a mistake: it adopts no orphans, the program left others behind.
    Warnings,
    /// Which processes it started and waited for.
    Info,
    /// Which signals it passed on.
    Debug,
}

/// Where the program is, of process groups and sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// In the process group of the init.
    Same,
    /// In its own process group, in the foreground if the init is.
    Group,
    /// In its own session, with the terminal if the init leads one that it can give up.
    Session,
}

/// Whose orphans it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// PID 1: those of its pid namespace.
    First,
    /// Those of its descendants.
    Subreaper,
    /// Nobody's.
    Parent,
}

/// Signals are numbered from 1.
const SIGNALS: usize = 65;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// What is passed on for each signal; 0 for nothing.
    table: [u8; SIGNALS],
    pub(crate) placement: Placement,
    pub(crate) to_group: bool,
    pub(crate) remaining: RemainingProcesses,
    pub(crate) verbosity: Verbosity,
    /// The exit codes that become 0, as bits.
    zero: [u64; 4],
}

impl Policy {
    pub(crate) fn new() -> Self {
        let mut table = [0; SIGNALS];
        for (number, entry) in (0_u8..).zip(&mut table) {
            *entry = number;
        }
        Self {
            table,
            placement: Placement::Same,
            to_group: false,
            remaining: RemainingProcesses::default(),
            verbosity: Verbosity::default(),
            zero: [0; 4],
        }
    }

    pub(crate) fn rewrite(&mut self, from: Signal, to: Option<Signal>) {
        let to = to.and_then(|to| u8::try_from(to.number()).ok()).unwrap_or(0);
        if let Some(entry) =
            usize::try_from(from.number()).ok().and_then(|at| self.table.get_mut(at))
        {
            *entry = to;
        }
    }

    pub(crate) fn checked(&self) -> Result<()> {
        for signal in [Signal::KILL, Signal::STOP, Signal::CHLD] {
            if self.sent_for(signal.number()) != Some(signal.number()) {
                return Err(Error::invalid(format!(
                    "{signal} cannot be rewritten: an init never gets it to pass it on"
                )));
            }
        }
        if self.to_group && self.placement == Placement::Same {
            return Err(Error::invalid(
                "signal_process_group needs a process group of the program: call new_process_group or \
                 new_session",
            ));
        }
        Ok(())
    }

    /// What is passed on for a signal.
    pub(crate) fn sent_for(&self, received: i32) -> Option<i32> {
        let entry = usize::try_from(received).ok().and_then(|at| self.table.get(at))?;
        Some(i32::from(*entry)).filter(|&sent| sent != 0)
    }

    pub(crate) fn map_to_zero(&mut self, code: u8) {
        if let Some(word) = self.zero.get_mut(usize::from(code / 64)) {
            *word |= 1 << (code % 64);
        }
    }

    /// The exit code for an end of the program: its own, or 128 and the signal.
    pub(crate) fn exit_code(&self, ended: Ended) -> u8 {
        let code = match ended.code {
            libc::CLD_EXITED => ended.status,
            _ => 128 + ended.status,
        };
        let code = u8::try_from(code & 0xff).unwrap_or(u8::MAX);
        let word = self.zero.get(usize::from(code / 64)).copied().unwrap_or(0);
        if word & (1 << (code % 64)) != 0 { 0 } else { code }
    }
}

/// What an init blocks and takes.
pub(crate) const WATCHED: SignalSet = !PRIVATE_SIGNALS;

#[cfg(test)]
mod tests {
    use super::{Ended, Placement, Policy};
    use crate::signal::Signal;

    #[test]
    fn signals_are_rewritten() {
        let mut policy = Policy::new();
        assert_eq!(policy.sent_for(15), Some(15));
        policy.rewrite(Signal::TERM, Some(Signal::QUIT));
        policy.rewrite(Signal::HUP, None);
        assert_eq!((policy.sent_for(15), policy.sent_for(1)), (Some(3), None));
        assert_eq!(
            (policy.sent_for(0), policy.sent_for(65), policy.sent_for(-1)),
            (None, None, None)
        );
        policy.checked().unwrap();
        policy.rewrite(Signal::KILL, None);
        policy.checked().unwrap_err();
    }

    #[test]
    fn a_group_of_its_own_is_needed_to_signal_it() {
        let mut policy = Policy { to_group: true, ..Policy::new() };
        policy.checked().unwrap_err();
        policy.placement = Placement::Group;
        policy.checked().unwrap();
    }

    #[test]
    fn codes_become_zero() {
        let exited = |status| Ended { code: libc::CLD_EXITED, status };
        let killed = |status| Ended { code: libc::CLD_KILLED, status };
        let mut policy = Policy::new();
        assert_eq!(policy.exit_code(exited(7)), 7);
        assert_eq!(policy.exit_code(killed(15)), 143);
        policy.map_to_zero(143);
        policy.map_to_zero(255);
        assert_eq!(policy.exit_code(killed(15)), 0);
        assert_eq!(policy.exit_code(exited(255)), 0);
        assert_eq!(policy.exit_code(exited(254)), 254);
    }
}
