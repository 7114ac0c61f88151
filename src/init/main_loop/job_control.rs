//! The terminal that the program shares with the shell, and what stops and continues it: `credentials(7)`, "Job control".

#![forbid(unsafe_code)]

use std::os::fd::RawFd;
use std::time::Duration;

use super::MainLoop;
use crate::init::policy::{Placement, Role};
use crate::sys::{process, signal, terminal};

impl MainLoop {
    /// The program was stopped. If that was from its terminal we stop, too, so that the process that started us gets the
    /// terminal back, and go on together with it.
    pub(super) fn stop_with_program(&mut self, by: i32) {
        let was_passed_on = core::mem::take(&mut self.stop_passed_on);
        if self.policy.placement != Placement::Group {
            return;
        }
        let go_on = |main_loop: &Self| {
            let _ = signal::kill(-main_loop.program, libc::SIGCONT);
        };
        let in_foreground = terminal_of(self.program).is_some();
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

    /// ToSelf this process, by a signal that it sends itself, and continues together with the program.
    pub(super) fn suspend(&mut self, by: i32, go_on: impl FnOnce(&Self)) {
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
        terminal.is_some_and(|terminal| terminal::set_foreground(terminal, self.program).is_ok())
    }

    pub(super) fn give_terminal_back(&self) {
        let own = process::getpgrp();
        // 0: a group outside of our pid namespace, which has no number here.
        if self.policy.placement == Placement::Group && own != 0 {
            if let Some(terminal) = terminal_of(self.program) {
                let _ = terminal::set_foreground(terminal, own);
            }
        }
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
