//! The loop of an init: it takes signals and waits for children, until the program has ended, and then
//! handles the remaining processes.
//!
//! It may be all that is left of its process: it allocates nothing, locks nothing, never panics, and
//! uses no memory but its frames.

#![forbid(unsafe_code)]

mod job_control;
mod remaining;
mod stop_signals;

use core::time::Duration;
use std::os::fd::RawFd;

use super::policy::{Placement, Policy, Role};
use super::report::Notice;
use crate::sys::signal::{self, SignalInfo, SignalSet};
use crate::sys::wait::Ended;
use crate::sys::{Errno, Result, children, clock};
use stop_signals::{StopAction, is_stop};

/// What an init wakes up for.
pub(crate) enum Wakeup {
    Changed { pid: i32, how: Ended },
    Signal(SignalInfo),
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
    pub(crate) program: i32,
    /// How it ended, if it was waited for before.
    pub(crate) ended: Option<Ended>,
    /// Whether children may have changed that nobody has looked at.
    due: bool,
    /// Whether the program's group got its last signal.
    group_signalled: bool,
    /// Whether the program's next stop is by a signal that was passed on.
    stop_passed_on: bool,
}

impl MainLoop {
    pub(crate) fn new(policy: Policy, role: Role, watched: SignalSet, proc: RawFd) -> Self {
        Self {
            policy,
            role,
            watched,
            proc,
            program: 0,
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
            None => self.wait_for_program()?,
        };
        self.give_terminal_back();
        if self.role != Role::Parent && children::are_there() {
            self.tell(Notice::Outlived);
            self.handle_remaining()?;
        }
        Ok(ended)
    }

    /// The next thing that happens; `None` if nothing does within the limit.
    pub(crate) fn next(&mut self, limit: Option<Duration>) -> Result<Option<Wakeup>> {
        let end = limit.map(|limit| clock::monotonic().saturating_add(limit));
        loop {
            if self.due {
                self.signal_group_at_end();
                match children::next_change() {
                    Ok(Some((pid, how))) => {
                        if is_end(how) {
                            self.tell(Notice::Reaped { pid, ended: how });
                        }
                        return Ok(Some(Wakeup::Changed { pid, how }));
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
                Some(taken) => return Ok(Some(Wakeup::Signal(taken))),
                None if left == Some(Duration::ZERO) => return Ok(None),
                None => {}
            }
        }
    }

    fn wait_for_program(&mut self) -> Result<Ended> {
        loop {
            match self.next(None)? {
                Some(Wakeup::Changed { pid, how }) if pid == self.program => match how.code {
                    libc::CLD_STOPPED => self.stop_with_program(how.status),
                    _ if is_end(how) => return Ok(how),
                    _ => {}
                },
                Some(Wakeup::Signal(taken)) => self.pass_on(&taken),
                _ => {}
            }
        }
    }

    fn pass_on(&mut self, taken: &SignalInfo) {
        let received = taken.number();
        let sent = self.policy.sent_for(received);
        let (sent, own) = if is_stop(received) {
            let action = StopAction::of(self.policy.placement, self.role, taken.is_kernels());
            action.signals(received, sent)
        } else {
            // What a terminal sends to its foreground has reached the program there.
            let reached = taken.is_kernels()
                && self.policy.placement == Placement::Same
                && is_terminals(received);
            (sent.filter(|_| !reached), None)
        };
        let whom = if self.policy.to_group { -self.program } else { self.program };
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
                    -main_loop.program
                } else {
                    whom
                };
                let _ = signal::kill(whom, libc::SIGCONT);
            });
        }
    }

    fn tell(&self, notice: Notice) {
        notice.tell(self.policy.verbosity);
    }
}

pub(crate) fn is_end(how: Ended) -> bool {
    matches!(how.code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED)
}

fn is_terminals(signal: i32) -> bool {
    let sent =
        [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGCONT, libc::SIGWINCH];
    sent.contains(&signal)
}
