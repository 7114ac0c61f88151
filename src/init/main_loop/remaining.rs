//! The processes that remain when the program has ended.

#![forbid(unsafe_code)]

use core::time::Duration;

use super::stop_signals::{StopAction, is_stop};
use super::{MainLoop, Wakeup};

use crate::init::policy::{Placement, RemainingProcesses, Role};
use crate::init::report::Notice;
use crate::sys::signal::SignalInfo;
use crate::sys::{Result, children, clock, signal};

impl MainLoop {
    pub(super) fn handle_remaining(&mut self) -> Result<()> {
        match self.policy.remaining {
            RemainingProcesses::Leave => Ok(()),
            RemainingProcesses::Wait => self.wait_for_remaining(None).map(drop),
            RemainingProcesses::Terminate { grace } => {
                self.signal_remaining(libc::SIGTERM);
                // A stopped process takes no signal.
                self.signal_remaining(libc::SIGCONT);
                if self.wait_for_remaining(Some(grace))? { Ok(()) } else { self.kill_remaining() }
            }
            RemainingProcesses::Kill => self.kill_remaining(),
        }
    }

    /// Whether they all ended within the limit. Signals that come go to all of them.
    fn wait_for_remaining(&mut self, limit: Option<Duration>) -> Result<bool> {
        let end = limit.map(|limit| clock::monotonic().saturating_add(limit));
        while children::are_there() {
            let left = end.map(|end| end.saturating_sub(clock::monotonic()));
            match self.next(left)? {
                Some(Wakeup::Signal(taken)) => self.pass_on_to_remaining(&taken),
                Some(Wakeup::Changed { .. }) => {}
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn pass_on_to_remaining(&mut self, taken: &SignalInfo) {
        let received = taken.number();
        let sent = self.policy.sent_for(received);
        if !is_stop(received) {
            return sent.into_iter().for_each(|sent| self.signal_remaining(sent));
        }
        let action = StopAction::of(self.policy.placement, self.role, taken.is_kernels());
        let (sent, own) = action.signals(received, sent);
        sent.into_iter().for_each(|sent| self.signal_remaining(sent));
        if let Some(own) = own.filter(|_| !signal::is_ignored(received)) {
            self.suspend(own, |main_loop| main_loop.signal_remaining(libc::SIGCONT));
        }
    }

    fn kill_remaining(&mut self) -> Result<()> {
        self.signal_remaining(libc::SIGKILL);
        if self.role == Role::First {
            // The kernel does not let us go before they are gone.
            return Ok(());
        }
        while children::are_there() {
            self.next(None)?;
            // Those that were orphaned by the end of the first ones.
            self.signal_remaining(libc::SIGKILL);
        }
        Ok(())
    }

    fn signal_remaining(&self, signal: i32) {
        // A process that is gone meanwhile needs none.
        let kill = |whom| {
            let _ = signal::kill(whom, signal);
        };
        match self.role {
            Role::First => kill(-1),
            Role::Subreaper => {
                // Not waited for, they keep their numbers.
                let _ = children::for_each(self.proc, kill);
            }
            Role::Parent => kill(-self.program),
        }
        self.tell(Notice::Signalled { signal });
    }

    /// Who adopts nobody can reach the others by the program's group alone, and that has its number for
    /// sure as long as the program was not waited for.
    pub(super) fn signal_group_at_end(&mut self) {
        let has_group = self.policy.placement != Placement::Same;
        let signal = match self.policy.remaining {
            RemainingProcesses::Terminate { .. } => libc::SIGTERM,
            RemainingProcesses::Kill => libc::SIGKILL,
            RemainingProcesses::Leave | RemainingProcesses::Wait => return,
        };
        let concerned = self.role == Role::Parent && has_group && self.program > 0;
        if concerned && !self.group_signalled && children::has_ended(self.program) {
            self.group_signalled = true;
            self.signal_remaining(signal);
        }
    }
}
