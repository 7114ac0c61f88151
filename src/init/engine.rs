//! The loop of an init: it takes signals and waits for children, until the program has ended, and then
//! sees to the others.
//!
//! It may be all that is left of its process: it allocates nothing, locks nothing, never panics, and
//! uses no memory but its frames.

#![forbid(unsafe_code)]

use core::time::Duration;

use super::policy::{Others, Placement, Policy};
use super::report::Notice;
use crate::sys::process::{self, Ended, RawFd};
use crate::sys::signal::{self, SignalSet, Taken};
use crate::sys::{Errno, Result, children, terminal};

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
pub(crate) struct Engine {
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
}

impl Engine {
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
        let end = limit.map(|limit| process::monotonic().saturating_add(limit));
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
            let left = end.map(|end| end.saturating_sub(process::monotonic()));
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

    fn pass_on(&self, taken: &Taken) {
        let received = taken.number();
        // What a terminal sends to its foreground has reached the program there; and what this process
        // itself did to a terminal is no business of the program's.
        let reached = taken.is_kernels()
            && match received {
                libc::SIGTTIN | libc::SIGTTOU => true,
                _ => self.policy.placement == Placement::Same && is_terminals(received),
            };
        let Some(sent) = self.policy.sent_for(received).filter(|_| !reached) else {
            return self.tell(Notice::NotPassedOn { received });
        };
        let whom = if self.policy.to_group { -self.main } else { self.main };
        // Before it is waited for, its number is its own.
        let _ = taken.pass_on(whom, sent);
        self.tell(Notice::PassedOn { received, sent, whom });
        if self.policy.placement == Placement::Session && is_stop(received) {
            self.stop();
        }
    }

    /// The program was stopped from its terminal: so that whoever started us gets the terminal back, we
    /// stop, too, and go on together with it.
    fn stop_too(&self, by: i32) {
        if self.policy.placement != Placement::Group {
            return;
        }
        let Some(terminal) = terminal_of(self.main) else {
            return;
        };
        if self.role == Role::First {
            // PID 1 cannot stop: nobody would learn of it and continue the program.
            if by == libc::SIGTSTP {
                let _ = children::kill(-self.main, libc::SIGCONT);
            }
        } else {
            let own = process::group();
            let _ = terminal::set_foreground(terminal, own);
            self.stop();
            if terminal::foreground(terminal) == Ok(own) {
                let _ = terminal::set_foreground(terminal, self.main);
            }
            let _ = children::kill(-self.main, libc::SIGCONT);
        }
    }

    /// PID 1 cannot stop itself, nor can anybody in its pid namespace.
    fn stop(&self) {
        if self.role != Role::First {
            let _ = children::signal_self(libc::SIGSTOP);
        }
    }

    fn give_terminal_back(&self) {
        let own = process::group();
        // 0: a group outside of our pid namespace, which has no number here.
        if self.policy.placement == Placement::Group && own != 0 {
            if let Some(terminal) = terminal_of(self.main) {
                let _ = terminal::set_foreground(terminal, own);
            }
        }
    }

    fn see_to_others(&mut self) -> Result<()> {
        match self.policy.others {
            Others::Leave => Ok(()),
            Others::Wait => self.await_others(None).map(drop),
            Others::Terminate { grace } => {
                self.signal_others(libc::SIGTERM);
                // A stopped process takes no signal.
                self.signal_others(libc::SIGCONT);
                if self.await_others(Some(grace))? { Ok(()) } else { self.kill_others() }
            }
            Others::Kill => self.kill_others(),
        }
    }

    /// Whether they all ended within the limit. Signals that come go to all of them.
    fn await_others(&mut self, limit: Option<Duration>) -> Result<bool> {
        let end = limit.map(|limit| process::monotonic().saturating_add(limit));
        while children::are_there() {
            let left = end.map(|end| end.saturating_sub(process::monotonic()));
            match self.next(left)? {
                Some(Happened::Signal(taken)) => {
                    if let Some(sent) = self.policy.sent_for(taken.number()) {
                        self.signal_others(sent);
                    }
                }
                Some(Happened::Changed { .. }) => {}
                None => return Ok(false),
            }
        }
        Ok(true)
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
            let _ = children::kill(whom, signal);
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
        let signal = match self.policy.others {
            Others::Terminate { .. } => libc::SIGTERM,
            Others::Kill => libc::SIGKILL,
            Others::Leave | Others::Wait => return,
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
