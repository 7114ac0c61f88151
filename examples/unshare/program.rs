//! The program: in place of this one, or as a child that is waited for.

#![allow(
    unsafe_code,
    reason = "code between clone and exec, for a signal that the library has no word for"
)]

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use linux_namespaces::{Command, Error, NamespaceSet, Signal, Step};
use rustix::fs::{Mode, OFlags, open};
use signal_hook::low_level::{emulate_default_handler, raise};

use crate::failure::Failure;
use crate::inside;
use crate::keep::{Gate, Outside};
use crate::options::Options;
use crate::signals::Signals;
use crate::world::World;

/// A program, its name for itself, and its arguments.
pub(crate) struct Program {
    name: OsString,
    arg0: OsString,
    args: Vec<OsString>,
}

impl Program {
    /// The one on the command line, or a login shell.
    pub(crate) fn of(options: &Options) -> Self {
        if let Some((name, args)) = options.program.split_first() {
            return Self { name: name.clone(), arg0: name.clone(), args: args.to_vec() };
        }
        let shell = env::var_os("SHELL").filter(|_| options.keeps_variable("SHELL"));
        let shell = shell.unwrap_or_else(|| "/bin/sh".into());
        let mut arg0 = OsString::from("-");
        arg0.push(Path::new(&shell).file_name().unwrap_or(&shell));
        Self { name: shell, arg0, args: Vec::new() }
    }

    /// What starts it, in the environment that was asked for.
    pub(crate) fn command(&self, options: &Options) -> Command {
        let mut command = Command::new(&self.name);
        command.arg0(&self.arg0).args(&self.args);
        if options.replaces_env() {
            command.env_clear();
            let kept = options.whitelist_env.iter();
            command.envs(kept.filter_map(|key| Some((key, env::var_os(key)?))));
        }
        command
    }

    /// Where it stands and who it is. Opens the root directory in the mount namespace of this process.
    pub(crate) fn place(&self, command: &mut Command, options: &Options) -> Result<(), Failure> {
        if let Some(root) = &options.root {
            // Does not wait for the other end of a FIFO.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = open(root, flags, Mode::empty()).map_err(|errno| {
                let (root, reason) = (root.display(), Failure::from(io::Error::from(errno)));
                Failure::new(format!("cannot change root directory to '{root}': {reason}"))
            })?;
            command.root_dir_fd(dir);
        }
        if let Some(dir) = &options.wd {
            command.current_dir(dir);
        }
        take_ids(command, options);
        if options.keep_caps && options.namespaces().contains(NamespaceSet::USER) {
            command.keep_caps();
        }
        Ok(())
    }

    pub(crate) fn failure(&self, error: &Error) -> Failure {
        Failure::of_program(&self.name, error)
    }
}

fn take_ids(command: &mut Command, options: &Options) {
    if let Some(gid) = options.setgid {
        command.groups([]).gid(gid);
    }
    if let Some(uid) = options.setuid {
        command.uid(uid);
    }
}

/// Sends the child a signal when this process ends.
pub(crate) fn tie_life(command: &mut Command, signal: Signal) {
    // This one also looks whether we have ended already.
    command.kill_on_parent_exit();
    if signal != Signal::KILL {
        let number = nix::sys::signal::Signal::try_from(signal.number());
        let set = move || Ok(nix::sys::prctl::set_pdeathsig(number?)?);
        // SAFETY: the closure makes one system call.
        unsafe { command.pre_exec(set) };
    }
}

/// Makes the namespaces and becomes the program. Returns only if that failed.
pub(crate) fn replace_this_one(options: &Options, world: &World) -> Failure {
    // A program that we become starts with the default, as one that is a child does.
    let caught = Signals::catch(&[Signal::CHLD]);
    let program = Program::of(options);
    let mut command = program.command(options);
    let kept = if options.files().is_empty() { Ok(None) } else { Outside::start().map(Some) };
    let outside = match kept {
        Ok(outside) => outside,
        Err(failure) => return failure,
    };
    if let Err(error) = world.make_here() {
        outside.into_iter().for_each(Outside::call_off);
        return program.failure(&error);
    }
    if let Some(Err(failure)) = outside.map(Outside::keep) {
        return failure;
    }
    if let Err(failure) = program.place(&mut command, options) {
        return failure;
    }
    let failure = program.failure(&command.exec());
    drop(caught);
    failure
}

/// Makes the namespaces with the program in them, and waits for its end.
pub(crate) fn run_as_child(options: &Options, world: &World) -> Result<u8, Failure> {
    let program = Program::of(options);
    let files = options.files();
    let gate = if files.is_empty() { None } else { Some(Gate::new()?) };
    let mut command = if options.starts_twice() {
        let mut command = Command::new(env::current_exe()?);
        let number = gate.as_ref().map_or(-1, Gate::number);
        command.args([inside::NAME, &number.to_string()]).args(env::args_os().skip(1));
        if options.setuid == Some(0) {
            // Who is not root inside has no rights there after this first exec.
            take_ids(&mut command, options);
        }
        if options.keep_caps {
            command.keep_caps();
        }
        command
    } else {
        let mut command = program.command(options);
        program.place(&mut command, options)?;
        command
    };
    world.make_for(&mut command);
    if let Some(signal) = options.kill_child {
        tie_life(&mut command, signal);
        if signal != Signal::KILL && options.is_pid_1() {
            eprintln!(
                "unshare: the program will be PID 1, on which {signal} has no effect unless it is handled; \
                 --forward-signals gives it an init"
            );
        }
    }
    let signals = Signals::catch(&[Signal::TERM, Signal::INT, Signal::CHLD])?;
    let mut child = command.spawn().map_err(|error| match error.step() {
        // Of this program for the second time.
        Some(Step::Exec) if options.starts_twice() => error.into(),
        _ => program.failure(&error),
    })?;
    if let Some(Err(failure)) = gate.map(|gate| gate.keep(&child, &files)) {
        child.wait()?;
        return Err(failure);
    }
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(end_as(status));
        }
        for signal in signals.wait(&child)? {
            // Without the option these two are for the program alone to act on.
            if options.forward_signals && signal != Signal::CHLD {
                child.send_signal(signal)?;
            }
        }
    }
}

/// The program's exit status; or by the signal that ended it.
fn end_as(status: ExitStatus) -> u8 {
    if let Some(signal) = status.signal() {
        emulate_default_handler(signal).ok();
        raise(signal).ok();
        return u8::try_from(128 + signal).unwrap_or(1);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
