//! The options of dumb-init.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

use clap::Parser;
use linux_namespaces::{Init, RemainingProcesses, Signal, Verbosity};

use crate::{Job, checked};

/// Run a program in a session of its own and pass signals on to all of it
///
/// Environment: DUMB_INIT_SETSID=0 is -c, DUMB_INIT_DEBUG=1 is -v.
#[derive(Parser)]
#[command(name = "dumb-init", version, disable_version_flag = true)]
struct Options {
    /// Signals go to the program alone, which stays in this session
    #[arg(short = 'c', long = "single-child")]
    single_child: bool,

    /// Pass on signal R in place of S; 0 for none
    #[arg(short = 'r', long = "rewrite", value_name = "S:R", value_parser = rule)]
    rewrite: Vec<(Signal, Option<Signal>)>,

    /// Say what happens
    #[arg(short = 'v', long)]
    verbose: bool,

    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: (),

    /// The program, and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    program: Vec<OsString>,
}

pub(crate) fn parse() -> Result<Job, clap::Error> {
    let options = Options::try_parse()?;
    let is = |name, value: &str| env::var_os(name).is_some_and(|found| found == value);
    let single = options.single_child || is("DUMB_INIT_SETSID", "0");
    let verbose = options.verbose || is("DUMB_INIT_DEBUG", "1");
    let mut init = Init::new();
    if !single {
        init = init
            .new_session()
            .signal_process_group()
            .remaining_processes(RemainingProcesses::Terminate { grace: Duration::ZERO });
        // The program's session has no shell that would continue what one of these stopped.
        for signal in [Signal::TSTP, Signal::TTIN, Signal::TTOU] {
            init = init.rewrite(signal, Signal::STOP);
        }
    }
    for (from, to) in options.rewrite {
        init = init.rewrite(from, to);
    }
    if verbose {
        init = init.verbosity(Verbosity::Debug);
    }
    Ok(Job { init, program: checked::<Options>(options.program)?, failure: |_| 2 })
}

fn rule(text: &str) -> Result<(Signal, Option<Signal>), String> {
    let (from, to) = text.split_once(':').ok_or("a rule is two numbers, as 15:3")?;
    let signal = |text: &str| text.parse::<Signal>().map_err(|error| error.to_string());
    let to = if to == "0" { None } else { Some(signal(to)?) };
    Ok((signal(from)?, to))
}
