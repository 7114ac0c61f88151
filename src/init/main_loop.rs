//! The loop of an init: it takes signals and waits for children, until the program has ended, and then
//! sees to the others.
//!
//! It may be all that is left of its process: it allocates nothing, locks nothing, never panics, and
//! uses no memory but its frames.

#![forbid(unsafe_code)]

use core::time::Duration;
use std::os::fd::RawFd;

use super::policy::{Placement, Policy, RemainingProcesses};
use super::report::Notice;
use crate::sys::signal::{self, SignalSet, Taken};
use crate::sys::wait::Ended;
use crate::sys::{Errno, Result, children, clock, process, terminal};

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

/// What an init wakes up for.
pub(crate) enum Happened {
    Changed { pid: i32, how: Ended },
    Signal(Taken),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct MainLoop {
    pub(crate) policy: Policy,
    pub(crate) role: Role,
    /// The signals that this thread blocks, to take them.
    pub(crate) watched: SignalSet,
    /// The root of a checked `/proc`, for a subreaper; or -1.
    pub(crate) proc: RawFd,
    /// The program.
    pub(crate) main: i32,
    /// How it ended, if it was waited for before.
    pub(crate) ended: Option<Ended>,
    /// Whether children may have changed that nobody has looked at.
    due: bool,
    /// Whether the program's group got its last signal.
    group_signalled: bool,
    /// Whether the program's next stop is by a signal that was passed on.
    stop_passed_on: bool,
}

/// What an init does with `SIGTSTP`, `SIGTTIN` or `SIGTTOU`: what it sends to the program, and by what it stops
/// itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AtStop {
    sends: Sends,
    stops: Stops,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sends {
    /// The terminal has sent it to the program, too.
    Nothing,
    /// What the policy says.
    Received,
    /// The same, but `SIGSTOP` for the signal itself: the kernel lets none of the three stop a session whose
    /// leader's parent is outside of it.
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stops {
    Never,
    /// By the received signal, which the kernel ignores where no shell would continue us.
    Received,
    /// By `SIGSTOP`.
    Stop,
}

impl AtStop {
    /// The table of [`Init`](super::Init).
    fn of(placement: Placement, role: Role, from_terminal: bool) -> Self {
        let sends = match (placement, role) {
            (Placement::Same, _) if from_terminal => Sends::Nothing,
            (Placement::Session, Role::Subreaper | Role::Parent) => Sends::Stop,
            _ => Sends::Received,
        };
        let stops = match role {
            // The kernel does not let it, nor would anybody learn of it.
            Role::First => Stops::Never,
            _ if from_terminal => Stops::Received,
            _ => Stops::Stop,
        };
        Self { sends, stops }
    }

    /// The signals for the program and for this process. `sent` is what the policy says.
    fn signals(self, received: i32, sent: Option<i32>) -> (Option<i32>, Option<i32>) {
        let to_program = match self.sends {
            Sends::Nothing => None,
            Sends::Received => sent,
            Sends::Stop if sent == Some(received) => Some(libc::SIGSTOP),
            Sends::Stop => sent,
        };
        // A policy that passes nothing on has the signal do nothing. One that passes on another signal leaves the
        // shell what it asked for, as dumb-init does.
        let concerns_us = self.sends == Sends::Nothing || to_program.is_some();
        let to_self = match self.stops {
            Stops::Never => None,
            Stops::Received => Some(received),
            Stops::Stop => Some(libc::SIGSTOP),
        };
        (to_program, to_self.filter(|_| concerns_us))
    }
}

impl MainLoop {
    pub(crate) fn new(policy: Policy, role: Role, watched: SignalSet, proc: RawFd) -> Self {
        Self {
            policy,
            role,
            watched,
            proc,
            main: 0,
            ended: None,
            due: true,
            group_signalled: false,
            stop_passed_on: false,
        }
    }

    /// Supervises the program to its end, and sees to the others.
    pub(crate) fn run(&mut self) -> Result<Ended> {
        let ended = match self.ended {
            Some(ended) => ended,
            None => self.attend()?,
        };
        self.give_terminal_back();
        if self.role != Role::Parent && children::are_there() {
            self.tell(Notice::Outlived);
            self.see_to_others()?;
        }
        Ok(ended)
    }

    /// The next thing that happens; `None` if nothing does within the limit.
    pub(crate) fn next(&mut self, limit: Option<Duration>) -> Result<Option<Happened>> {
        let end = limit.map(|limit| clock::monotonic().saturating_add(limit));
        loop {
            if self.due {
                self.signal_group_at_end();
                match children::next_change() {
                    Ok(Some((pid, how))) => {
                        if is_end(how) {
                            self.tell(Notice::Reaped { pid, ended: how });
                        }
                        return Ok(Some(Happened::Changed { pid, how }));
                    }
                    Ok(None) | Err(Errno::CHILD) => self.due = false,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
                continue;
            }
            let left = end.map(|end| end.saturating_sub(clock::monotonic()));
            match signal::take(self.watched, left)? {
                Some(taken) if taken.number() == libc::SIGCHLD => self.due = true,
                // The program has not written, and to tell of it would be the next such write.
                Some(taken) if taken.is_of_own_write() => {}
                Some(taken) => return Ok(Some(Happened::Signal(taken))),
                None if left == Some(Duration::ZERO) => return Ok(None),
                None => {}
            }
        }
    }

    fn attend(&mut self) -> Result<Ended> {
        loop {
            match self.next(None)? {
                Some(Happened::Changed { pid, how }) if pid == self.main => match how.code {
                    libc::CLD_STOPPED => self.stop_too(how.status),
                    _ if is_end(how) => return Ok(how),
                    _ => {}
                },
                Some(Happened::Signal(taken)) => self.pass_on(&taken),
                _ => {}
            }
        }
    }

    fn pass_on(&mut self, taken: &Taken) {
        let received = taken.number();
        let sent = self.policy.sent_for(received);
        let (sent, own) = if is_stop(received) {
            let at_stop = AtStop::of(self.policy.placement, self.role, taken.is_kernels());
            at_stop.signals(received, sent)
        } else {
            // What a terminal sends to its foreground has reached the program there.
            let reached = taken.is_kernels()
                && self.policy.placement == Placement::Same
                && is_terminals(received);
            (sent.filter(|_| !reached), None)
        };
        let whom = if self.policy.to_group { -self.main } else { self.main };
        if let Some(sent) = sent {
            // Before it is waited for, its number is its own.
            let _ = taken.pass_on(whom, sent);
            self.tell(Notice::PassedOn { received, sent, whom });
            self.stop_passed_on |= is_stop(sent) || sent == libc::SIGSTOP;
        } else {
            self.tell(Notice::NotPassedOn { received });
        }
        if let Some(own) = own.filter(|_| !signal::is_ignored(received)) {
            self.suspend(own, |main_loop| {
                let whom = if main_loop.policy.placement == Placement::Group {
                    -main_loop.main
                } else {
                    whom
                };
                let _ = signal::kill(whom, libc::SIGCONT);
            });
        }
    }

    /// The program was stopped. If that was from its terminal we stop, too, so that the process that started us gets the
    /// terminal back, and go on together with it.
    fn stop_too(&mut self, by: i32) {
        let was_passed_on = core::mem::take(&mut self.stop_passed_on);
        if self.policy.placement != Placement::Group {
            return;
        }
        let go_on = |main_loop: &Self| {
            let _ = signal::kill(-main_loop.main, libc::SIGCONT);
        };
        let in_foreground = terminal_of(self.main).is_some();
        let wants_terminal = matches!(by, libc::SIGTTIN | libc::SIGTTOU);
        if self.role == Role::First {
            // PID 1 cannot stop: nobody would learn of it and continue the program.
            if by == libc::SIGTSTP && in_foreground && !was_passed_on {
                go_on(self);
            }
        } else if wants_terminal && self.hand_terminal_on() {
            // We have been brought to the foreground since.
            go_on(self);
        } else if in_foreground || (wants_terminal && !was_passed_on && has_terminal()) {
            self.suspend(by, go_on);
        }
    }

    /// Stops this process, by a signal that it sends itself, and continues together with the program.
    fn suspend(&mut self, by: i32, go_on: impl FnOnce(&Self)) {
        self.give_terminal_back();
        let _ = signal::stop_self(by);
        self.hand_terminal_on();
        // The one that woke us, or else the program would get two.
        if self.policy.sent_for(libc::SIGCONT) == Some(libc::SIGCONT) {
            let _ = signal::take(1 << (libc::SIGCONT - 1), Some(Duration::ZERO));
        }
        go_on(self);
        self.stop_passed_on = false;
    }

    /// Whether the terminal's foreground was ours, and is the program's now.
    fn hand_terminal_on(&self) -> bool {
        if self.policy.placement != Placement::Group || self.ended.is_some() {
            return false;
        }
        let terminal = Some(process::getpgrp()).filter(|&own| own != 0).and_then(terminal_of);
        terminal.is_some_and(|terminal| terminal::set_foreground(terminal, self.main).is_ok())
    }

    fn give_terminal_back(&self) {
        let own = process::getpgrp();
        // 0: a group outside of our pid namespace, which has no number here.
        if self.policy.placement == Placement::Group && own != 0 {
            if let Some(terminal) = terminal_of(self.main) {
                let _ = terminal::set_foreground(terminal, own);
            }
        }
    }

    fn see_to_others(&mut self) -> Result<()> {
        match self.policy.remaining {
            RemainingProcesses::Leave => Ok(()),
            RemainingProcesses::Wait => self.await_others(None).map(drop),
            RemainingProcesses::Terminate { grace } => {
                self.signal_others(libc::SIGTERM);
                // A stopped process takes no signal.
                self.signal_others(libc::SIGCONT);
                if self.await_others(Some(grace))? { Ok(()) } else { self.kill_others() }
            }
            RemainingProcesses::Kill => self.kill_others(),
        }
    }

    /// Whether they all ended within the limit. Signals that come go to all of them.
    fn await_others(&mut self, limit: Option<Duration>) -> Result<bool> {
        let end = limit.map(|limit| clock::monotonic().saturating_add(limit));
        while children::are_there() {
            let left = end.map(|end| end.saturating_sub(clock::monotonic()));
            match self.next(left)? {
                Some(Happened::Signal(taken)) => self.pass_on_to_others(&taken),
                Some(Happened::Changed { .. }) => {}
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn pass_on_to_others(&mut self, taken: &Taken) {
        let received = taken.number();
        let sent = self.policy.sent_for(received);
        if !is_stop(received) {
            return sent.into_iter().for_each(|sent| self.signal_others(sent));
        }
        let at_stop = AtStop::of(self.policy.placement, self.role, taken.is_kernels());
        let (sent, own) = at_stop.signals(received, sent);
        sent.into_iter().for_each(|sent| self.signal_others(sent));
        if let Some(own) = own.filter(|_| !signal::is_ignored(received)) {
            self.suspend(own, |main_loop| main_loop.signal_others(libc::SIGCONT));
        }
    }

    fn kill_others(&mut self) -> Result<()> {
        self.signal_others(libc::SIGKILL);
        if self.role == Role::First {
            // The kernel does not let us go before they are gone.
            return Ok(());
        }
        while children::are_there() {
            self.next(None)?;
            // Those that were orphaned by the end of the first ones.
            self.signal_others(libc::SIGKILL);
        }
        Ok(())
    }

    fn signal_others(&self, signal: i32) {
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
            Role::Parent => kill(-self.main),
        }
        self.tell(Notice::Signalled { signal });
    }

    /// Who adopts nobody can reach the others by the program's group alone, and that has its number for
    /// sure as long as the program was not waited for.
    fn signal_group_at_end(&mut self) {
        let has_group = self.policy.placement != Placement::Same;
        let signal = match self.policy.remaining {
            RemainingProcesses::Terminate { .. } => libc::SIGTERM,
            RemainingProcesses::Kill => libc::SIGKILL,
            RemainingProcesses::Leave | RemainingProcesses::Wait => return,
        };
        let concerned = self.role == Role::Parent && has_group && self.main > 0;
        if concerned && !self.group_signalled && children::has_ended(self.main) {
            self.group_signalled = true;
            self.signal_others(signal);
        }
    }

    fn tell(&self, notice: Notice) {
        notice.tell(self.policy.verbosity);
    }
}

/// The standard stream that is a terminal with this process group in the foreground.
fn terminal_of(group: i32) -> Option<RawFd> {
    (0..=2).find(|&stream| terminal::foreground(stream) == Ok(group))
}

/// Whether a standard stream is the terminal of this session.
fn has_terminal() -> bool {
    (0..=2).any(|stream| terminal::foreground(stream).is_ok())
}

pub(crate) fn is_end(how: Ended) -> bool {
    matches!(how.code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED)
}

fn is_stop(signal: i32) -> bool {
    matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)
}

fn is_terminals(signal: i32) -> bool {
    let sent =
        [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGCONT, libc::SIGWINCH];
    sent.contains(&signal)
}

#[cfg(test)]
mod tests {
    use super::{AtStop, Placement, Role, Sends, Stops};

    #[test]
    fn the_table_of_stops() {
        use Placement::{Group, Same, Session};
        let received = (Sends::Received, Stops::Never);
        for (placement, role, from_terminal, (sends, stops)) in [
            (Same, Role::First, true, (Sends::Nothing, Stops::Never)),
            (Same, Role::First, false, received),
            (Group, Role::First, true, received),
            (Group, Role::First, false, received),
            (Session, Role::First, true, received),
            (Session, Role::First, false, received),
            (Same, Role::Parent, true, (Sends::Nothing, Stops::Received)),
            (Same, Role::Parent, false, (Sends::Received, Stops::Stop)),
            (Group, Role::Parent, true, (Sends::Received, Stops::Received)),
            (Group, Role::Parent, false, (Sends::Received, Stops::Stop)),
            (Session, Role::Parent, true, (Sends::Stop, Stops::Received)),
            (Session, Role::Parent, false, (Sends::Stop, Stops::Stop)),
        ] {
            let expected = AtStop { sends, stops };
            assert_eq!(AtStop::of(placement, role, from_terminal), expected, "{expected:?}");
            if role == Role::Parent {
                assert_eq!(AtStop::of(placement, Role::Subreaper, from_terminal), expected);
            }
        }
    }

    #[test]
    fn rewritten_stops() {
        let session = AtStop::of(Placement::Session, Role::Parent, false);
        let (tstp, stop, term) = (libc::SIGTSTP, libc::SIGSTOP, libc::SIGTERM);
        assert_eq!(session.signals(tstp, Some(tstp)), (Some(stop), Some(stop)));
        assert_eq!(session.signals(tstp, Some(libc::SIGTTIN)), (Some(libc::SIGTTIN), Some(stop)));
        assert_eq!(session.signals(tstp, Some(term)), (Some(term), Some(stop)));
        assert_eq!(session.signals(tstp, None), (None, None));
        // It was stopped, whatever the policy.
        let same = AtStop::of(Placement::Same, Role::Parent, true);
        assert_eq!(same.signals(tstp, None), (None, Some(tstp)));
    }
}
