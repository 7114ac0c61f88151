//! The crate as `unshare(1)` of util-linux: the options of version 2.42, its exit statuses, and messages
//! that say which step failed, on what and why.
//!
//! ```sh
//! cargo run --example unshare -- --map-root-user --pid --fork --mount-proc ps -ef
//! cargo run --example unshare -- -r --time --boottime 86400 uptime
//! ```
//!
//! The exit status is the program's; a signal that ends the program ends this one, too. 127 for a program
//! that does not exist, 126 for one that cannot be run, 1 for everything else.
//!
//! Without `--fork` the program takes the place of this one. A new pid namespace then begins with the
//! program's first child, and ends with it: `--pid` wants `--fork`.
//!
//! With `--pid --fork` the program is PID 1, which no signal reaches that it has no handler for, except
//! `SIGKILL` from outside. `--forward-signals` would forward to the deaf; so there this program starts
//! itself once more as PID 1, and the program as pid 2: `SIGTERM` ends what does not handle it.
//!
//! What differs from util-linux on purpose:
//!
//! - A namespace is kept at a file (`--net=FILE`) that is made for it, and takes the place of an empty one of
//!   ours. It is put neither over a file with contents nor over another namespace. All are kept or none, and
//!   before the program begins.
//! - `--pid=FILE` without `--fork` keeps a namespace that waits for its first process (Linux 6.11).
//! - binfmt_misc cannot be mounted, nor the namespace be given to another user: this is refused.
//! - `--setgroups deny` is written before the gid map, as the kernel wants it: so it works together with
//!   `--map-groups`.
//! - `--map-auto -r` maps all ids that are set aside, and not one less; nor does `--map-user` take the last
//!   id of a block that it is just behind.
//! - `--kill-child` takes numbers, but not the names of real-time signals.
//! - `--setuid` drops the supplementary groups where it may, as `--setgid` does.
//! - `SIGPIPE` is not ignored in the program, whoever ignored it before.
//! - `--mount-proc` together with `--propagation shared` or `unchanged` is refused: the new proc could
//!   appear outside.
//! - With `--root` the mount point of `--mount-proc` is looked up in the new root by its text: a symbolic
//!   link to an absolute path leads out of it.

mod failure;
mod inside;
mod keep;
mod maps;
mod options;
mod program;
mod signals;
mod world;

use std::process::ExitCode;

use failure::Failure;
use options::Options;
use world::World;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next();
    if first.as_ref().is_some_and(|first| first == inside::NAME) {
        return answer(inside::main(args));
    }
    if first.is_some_and(|first| first == keep::NAME) {
        return ExitCode::from(keep::main(args));
    }
    match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => answer(run(&options)),
        Err(fault) if fault.use_stderr() => answer(Err(Failure::of_options(&fault))),
        Err(help) => {
            help.print().ok();
            ExitCode::SUCCESS
        }
    }
}

fn run(options: &Options) -> Result<u8, Failure> {
    options.refuse_what_cannot_be()?;
    let world = World::of(options)?;
    if options.forks() {
        program::run_as_child(options, &world)
    } else {
        Err(program::replace_this_one(options, &world))
    }
}

fn answer(outcome: Result<u8, Failure>) -> ExitCode {
    ExitCode::from(outcome.unwrap_or_else(|failure| {
        eprintln!("unshare: {failure}");
        failure.status()
    }))
}
