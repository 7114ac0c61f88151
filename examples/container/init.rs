//! PID 1 of the container: starts the program as pid 2, waits for it and for every orphan.
//!
//! A program that is PID 1 itself ignores every signal that it has no handler for, Ctrl-C included, and
//! orphans pile up on it.

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal, stdin};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, getpgrp, setpgid, tcgetpgrp, tcsetpgrp};

/// The first argument that makes this program the container's init.
pub(crate) const NAME: &str = "--init-inside";

pub(crate) fn main(program: Vec<OsString>) -> ExitCode {
    leave_terminal_signals_to_the_program();
    // The process group of outside cannot be named in here, which confuses shells.
    if stdin().is_terminal() && tcgetpgrp(stdin()) == Ok(Pid::from_raw(0)) {
        setpgid(Pid::from_raw(0), Pid::from_raw(0)).ok();
        take_terminal();
    }
    let Some((name, args)) = program.split_first() else {
        return ExitCode::from(super::OUR_FAULT);
    };
    let child = match Command::new(name).args(args).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("container: cannot run {name:?}: {error}");
            let found = error.kind() != ErrorKind::NotFound;
            return ExitCode::from(if found { 126 } else { 127 });
        }
    };
    loop {
        let (pid, code) = match wait() {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(_) | Err(nix::Error::EINTR) => continue,
            Err(_) => return ExitCode::from(super::OUR_FAULT),
        };
        if u32::try_from(pid.as_raw()) == Ok(child.id()) {
            return ExitCode::from(u8::try_from(code).unwrap_or(super::OUR_FAULT));
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
