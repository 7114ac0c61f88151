//! A PID 1 for containers, in place of tini, and called by the name dumb-init, of dumb-init.
//!
//! ```text
//! cargo run --example init -- sh -c 'kill -TERM $$'; echo $?
//! cargo run --example init -- -s -g -- make -j8
//! ```
//!
//! It starts the program, passes signals on to it, waits for every orphan, and ends as the program does: with
//! its exit status, or 128 + n if signal n ended it. `--help` lists the options of either.
//!
//! What differs from the originals: the messages are this crate's. An init that is not PID 1 stops together
//! with a program that `^Z` stopped, where tini goes on and leaves the terminal to nobody. `tini -l` prints
//! this crate's licence. dumb-init gives its program an empty signal mask and the default action for signals
//! that were ignored; this one leaves both as they were, as tini does.

#![forbid(unsafe_code)]

mod dumb_init;
mod tini;

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use linux_namespaces::{Command, ErrorKind, Init};

/// What to run, and how.
struct Job {
    init: Init,
    program: Vec<OsString>,
    /// The exit status for a program that cannot be run, by why.
    failure: fn(ErrorKind) -> u8,
}

fn main() -> ExitCode {
    let called = env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default();
    let job = if name == "dumb-init" { dumb_init::parse() } else { tini::parse() };
    let job = match job {
        Ok(job) => job,
        Err(error) => {
            // To standard output with 0 for --help and --version, else to standard error with 1.
            drop(error.print());
            return u8::from(error.use_stderr()).into();
        }
    };
    let [program, args @ ..] = &job.program[..] else {
        return ExitCode::FAILURE;
    };
    let mut init = match job.init.arm() {
        Ok(init) => init,
        Err(error) => {
            eprintln!("init: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    match init.spawn(Command::new(program).args(args)) {
        Ok(child) => init.supervise_and_exit(child),
        Err(error) => {
            eprintln!("init: {error:#}");
            (job.failure)(error.kind()).into()
        }
    }
}

/// A word that begins as an option does is no program, unless `--` says so.
fn checked<O: CommandFactory>(program: Vec<OsString>) -> Result<Vec<OsString>, clap::Error> {
    let said = env::args_os().any(|word| word == "--");
    match program.first() {
        Some(first) if first.as_encoded_bytes().starts_with(b"-") && !said => {
            let message = format!("unknown option {first:?}");
            Err(O::command().error(clap::error::ErrorKind::UnknownArgument, message))
        }
        _ => Ok(program),
    }
}
