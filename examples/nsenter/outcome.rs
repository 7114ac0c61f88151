//! What becomes of the program is what becomes of us.

use std::error::Error as _;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;

use linux_namespaces::{Child, Error, Step};
use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::Result;

/// Waits for the program: ends with its status or by its signal, and stops whenever it does.
pub(crate) fn of_child(mut child: Child) -> Result<ExitCode> {
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    loop {
        match waitpid(pid, Some(WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Stopped(..)) => {
                signal::raise(Signal::SIGSTOP)?;
                signal::kill(pid, Signal::SIGCONT).ok();
            }
            Ok(WaitStatus::Exited(_, code)) => return Ok(ExitCode::from(u8::try_from(code)?)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return die_by(signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            // SIGCHLD is ignored, or it was a signal without a name: the handle may know more.
            Err(_) => {
                let status = child.wait()?;
                return match status.signal() {
                    Some(signal) => die_by(signal),
                    None => Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1))?)),
                };
            }
        }
    }
}

fn die_by(signal: i32) -> Result<ExitCode> {
    if signal_hook::low_level::emulate_default_handler(signal).is_err() {
        signal_hook::low_level::raise(signal)?;
    }
    // The signal was one that does not kill us.
    Ok(ExitCode::FAILURE)
}

/// 127 for a program that is not there, 126 for one that cannot be run.
pub(crate) fn not_started(program: Option<&OsString>, error: Error) -> Result<ExitCode> {
    if error.step() != Some(Step::Exec) {
        return Err(error.into());
    }
    let name = program.map_or("the shell".into(), |name| name.to_string_lossy());
    let why = error.source().map(ToString::to_string).unwrap_or_default();
    eprintln!("nsenter: failed to execute {name}: {why}");
    let is_missing = error.raw_os_error() == Some(libc::ENOENT);
    Ok(ExitCode::from(if is_missing { 127 } else { 126 }))
}
