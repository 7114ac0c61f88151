//! `nsenter(1)`: a program in the namespaces of a process, with the options and exit statuses of
//! util-linux.
//!
//! ```sh
//! cargo run --example nsenter -- --target 4711 --all                 # a shell in all of them
//! cargo run --example nsenter -- --target 4711 --net ip address
//! cargo run --example nsenter -- --net=/run/netns/blue --plan ip address
//! ```
//!
//! The program takes this one's place; only for a pid or time namespace, which nobody is ever moved
//! into, is it a child. Where the original differs:
//!
//! - All namespaces of the process are entered at once, or none; one that is refused is named.
//! - What we are in already is left out, also where entering it again would take privileges.
//! - `--plan` prints what would be done.
//! - Another uid gives up the groups too, and goes to the directory of `--wdns` with its own rights.
//! - `--follow-context` is refused, since this program knows no SELinux.
//! - A script without a `#!` line is not handed to a shell.

mod cgroup;
mod options;
mod outcome;
mod target;

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use linux_namespaces::{Command, NamespaceSet, NsFd};
use nix::unistd::{Gid, setgroups};

use options::{Id, Options};
use target::Target;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let options = match Options::of_args(std::env::args_os()) {
        Ok(options) => options,
        Err(help) => {
            help.print().ok();
            return ExitCode::from(u8::from(help.use_stderr()));
        }
    };
    run(&options).unwrap_or_else(|error| {
        eprintln!("nsenter: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(options: &Options) -> Result<ExitCode> {
    if options.follow_context {
        return Err("--follow-context: this program knows no SELinux".into());
    }
    let target = options.target.as_deref().map(Target::open).transpose()?;
    let target = || target.as_ref().ok_or("no target PID specified");
    let env = if options.env { Some(target()?.env()?) } else { None };
    let mut command = program(options, env.as_deref());
    // Everything of the target is opened here, before we are anywhere else.
    let chosen = options.namespaces(target)?;
    set_place(&mut command, options, chosen.set, target)?;
    set_ids(&mut command, options, chosen.enters_user, target)?;
    if options.keep_caps && chosen.set.contains(NamespaceSet::USER) {
        command.keep_caps();
    }
    command.enter(if options.preserve_credentials {
        chosen.enter.preserve_credentials()
    } else {
        chosen.enter
    });
    if options.plan {
        print!("{}", command.plan()?);
        return Ok(ExitCode::SUCCESS);
    }
    if options.join_cgroup {
        target()?.join_cgroup()?;
    }
    // Exec moves a program into its new time namespace only since Linux 6.2, into a pid namespace never.
    let by_child = chosen.set.intersects(NamespaceSet::PID | NamespaceSet::TIME);
    if options.no_fork || !by_child {
        return outcome::not_started(options.program.first(), command.exec());
    }
    match command.spawn() {
        Ok(child) => outcome::of_child(child),
        Err(error) => outcome::not_started(options.program.first(), error),
    }
}

/// The program, or else a login shell, with our environment or the target's.
fn program(options: &Options, env: Option<&[(OsString, OsString)]>) -> Command {
    let mut command = match options.program.split_first() {
        Some((name, args)) => {
            let mut command = Command::new(name);
            command.args(args);
            command
        }
        None => {
            let shell = match env {
                None => std::env::var_os("SHELL"),
                Some(all) => all.iter().find(|(key, _)| key == "SHELL").map(|it| it.1.clone()),
            };
            let shell = shell.filter(|it| !it.is_empty()).unwrap_or_else(|| "/bin/sh".into());
            let name = Path::new(&shell).file_name().unwrap_or(&shell);
            let mut command = Command::new(&shell);
            command.arg0(OsStr::from_bytes(&[b"-", name.as_bytes()].concat()));
            command
        }
    };
    if let Some(all) = env {
        command.env_clear().envs(all.iter().map(|(key, value)| (key, value)));
    }
    command
}

/// Root and working directory: those of the target and those with a path are opened here, outside.
fn set_place<'a>(
    command: &mut Command,
    options: &Options,
    entered: NamespaceSet,
    target: impl Fn() -> std::result::Result<&'a Target, &'static str>,
) -> Result<()> {
    let open = |option: &OsString, name: &str| -> Result<File> {
        if option.is_empty() { target()?.dir(name) } else { target::open_dir(Path::new(option)) }
    };
    if let Some(dir) = &options.root {
        command.root_dir_fd(open(dir, "root")?);
    }
    if let Some(dir) = &options.wd {
        command.current_dir_fd(open(dir, "cwd")?);
    } else if let Some(dir) = options.wdns.as_ref().filter(|dir| !dir.is_empty()) {
        command.current_dir(dir);
    } else if entered.contains(NamespaceSet::MOUNT) {
        command.current_dir("/");
    } else if options.root.is_some() {
        // As the original: the new root alone moves nobody.
        command.current_dir_fd(target::open_dir(Path::new("."))?);
    }
    Ok(())
}

/// In a user namespace the library makes the program root of the inside, unless told otherwise here.
fn set_ids<'a>(
    command: &mut Command,
    options: &Options,
    enters_user: bool,
    target: impl Fn() -> std::result::Result<&'a Target, &'static str>,
) -> Result<()> {
    let resolve = |id: Id, of: fn(&std::fs::Metadata) -> u32| -> Result<u32> {
        match id {
            Id::Number(id) => Ok(id),
            Id::Follow => Ok(of(&target()?.about()?)),
        }
    };
    if let Some(id) = options.setuid {
        command.uid(resolve(id, MetadataExt::uid)?);
    }
    if let Some(id) = options.setgid {
        command.gid(resolve(id, MetadataExt::gid)?);
    }
    let becomes_root = enters_user && !options.preserve_credentials;
    if becomes_root || options.setgid.is_some() {
        // Groups may be given up outside, inside (not where setgroups is denied), or neither.
        let given_up = options.plan || setgroups(&[] as &[Gid]).is_ok();
        if !given_up && becomes_root {
            command.groups([]);
        }
    }
    Ok(())
}

/// Whether the user namespace is another one than ours.
fn is_foreign(user: &NsFd) -> Result<bool> {
    Ok(NsFd::current(user.kind())? != *user)
}
