//! PID 1 of the container: starts the program as pid 2, waits for it and for every orphan.
//!
//! A program that is PID 1 itself ignores every signal that it has no handler for, Ctrl-C included, and
//! orphans pile up on it.

use std::ffi::OsString;
use std::io::stdin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use linux_namespaces::{Command, ErrorKind, Step};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{getpgrp, getpid, tcsetpgrp};

/// In a copy of the process outside. Answers its exit status.
pub(crate) fn main(program: &[OsString]) -> u8 {
    leave_terminal_signals_to_the_program();
    // With a process group of our own we were given the terminal.
    let has_terminal = getpgrp() == getpid();
    if has_terminal {
        take_terminal();
    }
    let Some((name, args)) = program.split_first() else {
        return super::OUR_FAULT;
    };
    // In a pid namespace that is shared, our end alone would not be the program's.
    let child = match Command::new(name).args(args).kill_on_parent_exit().spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("container: {name:?}: {error:#}");
            return match (error.step(), error.kind()) {
                (Some(Step::Exec), ErrorKind::NotFound) => 127,
                (Some(Step::Exec), _) => 126,
                _ => super::OUR_FAULT,
            };
        }
    };
    loop {
        let (pid, code) = match waitpid(None, Some(WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            // Ctrl-Z: the shell outside cannot see that we were stopped, so nobody would continue us.
            Ok(WaitStatus::Stopped(_, Signal::SIGTSTP)) if has_terminal => {
                killpg(getpgrp(), Signal::SIGCONT).ok();
                continue;
            }
            Ok(_) | Err(nix::Error::EINTR) => continue,
            Err(_) => return super::OUR_FAULT,
        };
        if u32::try_from(pid.as_raw()) == Ok(child.id()) {
            return u8::try_from(code).unwrap_or(super::OUR_FAULT);
        }
    }
}

/// Makes our process group the terminal's foreground group, from the background if need be.
pub(crate) fn take_terminal() {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTTOU);
    if blocked.thread_block().is_ok() {
        tcsetpgrp(stdin(), getpgrp()).ok();
        blocked.thread_unblock().ok();
    }
}

/// Ctrl-C and Ctrl-\ go to all processes at the terminal. What they mean is for the program to say; we
/// live until it ends. A handler, since what is ignored would be ignored in the program, too.
pub(crate) fn leave_terminal_signals_to_the_program() {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGQUIT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))).ok();
    }
}
