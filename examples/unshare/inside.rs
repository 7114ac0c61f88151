//! A second start of this program, inside of the namespaces: where it must be PID 1 so that signals reach
//! the program, where the root directory has to be opened in the new mount namespace, and where the program
//! has to wait until the namespaces are kept.

#![allow(unsafe_code, reason = "a descriptor comes as a number from who started us")]

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};

use linux_namespaces::{Command, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::failure::Failure;
use crate::options::Options;
use crate::program::{Program, tie_life};
use crate::signals::Signals;

/// The first argument of the second start. The rest are the descriptor to wait at, or -1, and the command
/// line once more.
pub(crate) const NAME: &str = "--inside";

pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> Result<u8, Failure> {
    let gate = args.next().and_then(|number| number.to_str()?.parse().ok());
    if let Some(gate) = gate.filter(|gate| *gate > 2) {
        // SAFETY: inherited for this, and used by nobody else.
        let mut gate = File::from(unsafe { OwnedFd::from_raw_fd(gate) });
        if gate.read_exact(&mut [0]).is_err() {
            // Who started us says why.
            return Ok(1);
        }
    }
    let options = Options::parse(args).map_err(|fault| Failure::of_options(&fault))?;
    let program = Program::of(&options);
    let mut command = program.command(&options);
    program.place(&mut command, &options)?;
    if options.has_init() || options.kill_child.is_some() {
        supervise(&program, &mut command, &options)
    } else {
        Err(program.failure(&command.exec()))
    }
}

/// Starts the program, hands signals on to it, and waits for it and for orphans.
fn supervise(program: &Program, command: &mut Command, options: &Options) -> Result<u8, Failure> {
    let mut forward = vec![Signal::CHLD];
    if options.forward_signals {
        forward.extend([Signal::TERM, Signal::INT]);
    }
    if let Some(signal) = options.kill_child {
        // The signal that we get when our parent ends: what can be handled goes to the program.
        forward.extend([signal].into_iter().filter(|signal| *signal != Signal::KILL));
        tie_life(command, signal);
    }
    let signals = Signals::catch(&forward)?;
    let child = command.spawn().map_err(|error| program.failure(&error))?;
    loop {
        for signal in signals.wait(&child)? {
            if signal != Signal::CHLD {
                child.send_signal(signal)?;
            }
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let (pid, code) = match status {
                WaitStatus::Exited(pid, code) => (pid, code),
                WaitStatus::Signaled(pid, signal, _) => (pid, 128 + signal as i32),
                WaitStatus::StillAlive => break,
                _ => continue,
            };
            if u32::try_from(pid.as_raw()) == Ok(child.id()) {
                // When PID 1 ends, the kernel ends everything else in there.
                return Ok(u8::try_from(code).unwrap_or(1));
            }
        }
    }
}
