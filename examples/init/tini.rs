//! The options of tini(1).

use std::env;
use std::ffi::OsString;

use clap::{ArgAction, CommandFactory, Parser};
use linux_namespaces::{ErrorKind, Init, Signal, Verbosity};

use crate::{Job, checked};

/// Run a program under the supervision of an init
///
/// Environment: TINI_SUBREAPER is -s, TINI_KILL_PROCESS_GROUP is -g, TINI_VERBOSITY=N is the level that -v
/// counts up from: 0 nothing, 1 warnings (the default), 2 processes, 3 signals.
#[derive(Parser)]
#[command(
    name = "init",
    version,
    after_help = "Called by the name dumb-init it takes the options of dumb-init."
)]
struct Options {
    /// Register as a process subreaper
    #[arg(short = 's')]
    subreaper: bool,

    /// Send us this signal when our parent ends
    #[arg(short = 'p', value_name = "SIGNAL")]
    parent_death_signal: Option<Signal>,

    /// Say more: processes; twice: signals
    #[arg(short = 'v', action = ArgAction::Count)]
    verbose: u8,

    /// Say so when processes are reaped
    #[arg(short = 'w')]
    warn_on_reap: bool,

    /// Send signals to the program's process group
    #[arg(short = 'g')]
    group: bool,

    /// Exit with 0 in place of this code
    #[arg(short = 'e', value_name = "CODE")]
    zero: Vec<u8>,

    /// Print the licence
    #[arg(short = 'l')]
    licence: bool,

    /// The program, and its arguments
    #[arg(trailing_var_arg = true, required_unless_present = "licence", value_name = "PROGRAM")]
    program: Vec<OsString>,
}

pub(crate) fn parse() -> Result<Job, clap::Error> {
    let options = Options::try_parse()?;
    if options.licence {
        let text = include_str!("../../LICENSE-MIT");
        return Err(clap::Error::raw(clap::error::ErrorKind::DisplayVersion, text));
    }
    let base = match env::var("TINI_VERBOSITY") {
        Ok(level) => level.trim().parse().map_err(|_| {
            let message = format!("TINI_VERBOSITY={level} is no number");
            Options::command().error(clap::error::ErrorKind::ValueValidation, message)
        })?,
        Err(_) => 1_u8,
    };
    let verbosity = match base.saturating_add(options.verbose) {
        0 => Verbosity::Silent,
        1 if !options.warn_on_reap => Verbosity::Warnings,
        1 | 2 => Verbosity::Info,
        _ => Verbosity::Debug,
    };
    let mut init = Init::new().new_process_group().verbosity(verbosity);
    if options.subreaper || env::var_os("TINI_SUBREAPER").is_some() {
        init = init.subreaper();
    }
    if options.group || env::var_os("TINI_KILL_PROCESS_GROUP").is_some() {
        init = init.signal_process_group();
    }
    if let Some(signal) = options.parent_death_signal {
        init = init.parent_death_signal(signal);
    }
    for code in options.zero {
        init = init.exit_zero_for(code);
    }
    let failure = |kind| match kind {
        ErrorKind::NotFound => 127,
        ErrorKind::PermissionDenied => 126,
        _ => 1,
    };
    Ok(Job { init, program: checked::<Options>(options.program)?, failure })
}
