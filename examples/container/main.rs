//! The crate's main job: a program in new namespaces of all eight kinds.
//!
//! ```sh
//! cargo run --example container                       # shows each namespace and its effect
//! cargo run --example container -- sh                 # a shell in there
//! cargo run --example container -- --plan             # what would be done, step by step
//! cargo run --example container -- --keep net,ipc --hostname web  PROGRAM ARGS...
//!
//! # a shell that sees nothing of the machine but one static program: no privileges needed
//! mkdir -p /tmp/root/bin && cp /bin/busybox /tmp/root/bin/sh
//! cargo run --example container -- --root /tmp/root --tmpfs /tmp sh
//! # this machine's files, of which none can be changed; those that are made in /etc are forgotten
//! cargo run --example container -- --root / --read-only --tmpfs /tmp --overlay /etc: sh
//! ```
//!
//! With `--root` the program sees that directory, and below it a `/proc`, a minimal `/dev` and what the other
//! options mount, in the order `--tmpfs`, `--overlay`, `--bind`. Mount points that are missing are made, in the
//! directory itself if it is not `--read-only`. With that the program also has no capability to undo it: root inside
//! cannot mount or unmount anything.
//!
//! Inside, the program is root. Outside it is the user who started it, with no privileges over what is
//! there: files are still those of that user, so for root they are root's. It has a hostname, process
//! numbers, a `/proc` and a network (with `lo` up) of its own. Its exit
//! status is this program's: 128 + n for signal n, 127 for a program that does not exist, 126 for one
//! that cannot be run, 125 if the container could not be made; then the reason is told.

#![allow(
    unsafe_code,
    reason = "what reports is a copy of this process, since its file is not to be seen inside"
)]

mod files;
mod report;
mod terminal;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use linux_namespaces::{
    Availability, Command, Error, ErrorKind, Hostname, Init, Mount, NamespaceSet, Step, Support,
};

#[derive(Debug, Parser)]
#[command(about = "Runs a program in new namespaces of all eight kinds")]
struct Options {
    /// Namespaces to leave shared with the outside, as in "net,ipc"
    #[arg(long, value_name = "NAMES", default_value = "")]
    keep: NamespaceSet,
    /// The name of the host inside
    #[arg(long, value_name = "NAME", default_value = "container")]
    hostname: Hostname,
    #[command(flatten)]
    files: files::Files,
    /// Print what would be done, and stop
    #[arg(long)]
    plan: bool,
    /// The program and its arguments; without one, a table of the namespaces is shown
    #[arg(trailing_var_arg = true)]
    program: Vec<OsString>,
}

/// The container could not be made, or our options were wrong.
const OUR_FAULT: u8 = 125;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(help) => {
            let status = if help.use_stderr() { OUR_FAULT } else { 0 };
            help.print().ok();
            return ExitCode::from(status);
        }
    };
    match run(&options) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("container: {error:#}");
            ExitCode::from(match (error.step(), error.kind()) {
                (Some(Step::Exec), ErrorKind::NotFound) => 127,
                (Some(Step::Exec), _) => 126,
                _ => OUR_FAULT,
            })
        }
    }
}

fn run(options: &Options) -> Result<u8, Error> {
    let (program, args) = match &options.program[..] {
        [program, args @ ..] => (Some(program), args),
        [] => (None, &[][..]),
    };
    let mut command = Command::new(program.map_or("report".as_ref(), OsString::as_os_str));
    command.args(args);
    let wanted = NamespaceSet::all() - options.keep;
    // A program is contained as it was asked for, or not run.
    let new = if program.is_some() || options.plan { wanted } else { possible(wanted)? };
    let has = |namespaces| new.contains(namespaces);
    command.unshare(new);
    let has_init = program.is_some() && has(NamespaceSet::PID);
    // Shells need a process group that has a number where they are.
    let lends_terminal = has_init && terminal::is_ours();
    if lends_terminal {
        command.init(Init::new().new_process_group());
    } else if has_init {
        command.init(Init::new());
    }
    if has(NamespaceSet::USER) {
        command.map_root();
    }
    if has(NamespaceSet::UTS) {
        command.hostname(options.hostname.clone());
    }
    if has(NamespaceSet::MOUNT) {
        let wants_proc = has(NamespaceSet::PID);
        let shows = program.is_none() && !options.plan;
        options.files.mount(&mut command, wants_proc && (!shows || may_mount_proc(new)))?;
    }
    if has(NamespaceSet::NET) {
        command.loopback_up();
    }
    // Nothing of ours leads out.
    command.close_other_fds();
    // Whoever kills us kills PID 1 and so the container; in a shared pid namespace, the program alone.
    command.kill_on_parent_exit();
    if options.plan {
        print!("{}", command.plan()?);
        return Ok(0);
    }
    leave_signals_to_the_program();
    let status = if program.is_some() {
        command.status()?
    } else {
        let outside = report::outside()?;
        // SAFETY: this process has one thread, and what runs inside starts none.
        unsafe { command.spawn_fn(move || report::main(&outside)) }?.wait()?
    };
    if lends_terminal {
        terminal::take_back();
    }
    Ok(status_code(status))
}

/// What can be shown: root of a container often can make all but user namespaces.
fn possible(wanted: NamespaceSet) -> Result<NamespaceSet, Error> {
    let support = Support::probe()?;
    let possible = wanted & support.available();
    if possible.is_empty() {
        return Ok(wanted);
    }
    for kind in (wanted - possible).kinds() {
        match support.availability(kind) {
            Availability::Denied(error) => {
                eprintln!("container: no new {kind} namespace: {error:#}")
            }
            _ => eprintln!("container: this kernel has no {kind} namespaces"),
        }
    }
    Ok(possible)
}

/// In a container parts of `/proc` may be covered, and the kernel then allows no new one that would show them.
fn may_mount_proc(new: NamespaceSet) -> bool {
    let attempt = || {
        let mut command = Command::new("true");
        command.unshare(new).mount(Mount::proc("/proc")?);
        if new.contains(NamespaceSet::USER) {
            command.map_root();
        }
        // SAFETY: this process has one thread, and what runs inside does nothing.
        unsafe { command.spawn_fn(|| 0) }?.wait()
    };
    match attempt() {
        Err(error) if error.step() == Some(Step::Mount) => {
            eprintln!("container: no new /proc: {error:#}");
            false
        }
        // Of any other error the container itself tells.
        _ => true,
    }
}

/// As shells tell it.
fn status_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(OUR_FAULT)
}

/// Ctrl-C and Ctrl-\ go to all processes at the terminal. What they mean is for the program to say; we
/// live until it ends. A handler, since what is ignored would be ignored in the program, too.
fn leave_signals_to_the_program() {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGQUIT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))).ok();
    }
}
