//! A container tool in the spirit of bocker, which is one in a hundred lines of shell.
//!
//! ```sh
//! mkdir -p /tmp/root/bin && cp /bin/busybox /tmp/root/bin/sh     # a root file system
//! bocker="cargo run --example bocker --"
//! image=$($bocker init /tmp/root)
//! $bocker run $image sh -c 'echo $$; id -u; echo kept >/file'    # prints 2 and 0
//! $bocker run -d $image sh -c 'sleep 1000'                       # with --memory 64M where cgroups can be made
//! $bocker ps
//! $bocker exec CONTAINER sh                                      # a few letters of its name will do
//! $bocker commit CONTAINER                                       # what it has written, as an image
//! $bocker logs CONTAINER
//! $bocker rm --force CONTAINER
//! ```
//!
//! It takes no privileges. A container has namespaces of its own of all kinds but time, the image as its root
//! with what it writes in a directory of its own above (an overlay), and an init that reaps. Everything the
//! tool knows is below one directory, a file for each fact.
//!
//! - Ids: root inside is the user outside; other ids are there as far as `/etc/subuid` sets some aside. A root
//!   without any is root inside as well, with the same numbers, but without power over anything outside.
//! - Network: started by root, and with `ip(8)`, a container has an address on the bridge `bocker0` and reaches
//!   the machine and the other containers; the way further, forwarding and NAT, is the administrator's to open.
//!   The bridge stays: `ip link delete bocker0`. In any other case it has `lo` alone.
//! - Limits are those of a cgroup of version 2, where this user may make one.
//! - `bocker pull` is left out: this tool knows no registry. Any directory will do as an image.
//!
//! Exit statuses are the program's, or 128 + n for signal n; 127 for a program that does not exist, 126 for
//! one that cannot be run, 125 for what failed here.

#![forbid(unsafe_code)]

#[path = "../nsenter/cgroup.rs"]
mod cgroup;
mod containers;
mod exec;
mod images;
mod limits;
mod network;
mod program;
mod run;
mod sandbox;
mod store;
#[path = "../container/terminal.rs"]
mod terminal;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use linux_namespaces::{ErrorKind, Step};

use store::Store;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Debug, Parser)]
#[command(about = "Containers without a daemon and without privileges")]
struct Options {
    /// Where images and containers are kept
    #[arg(long, value_name = "DIR", env = "BOCKER_STATE")]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an image of a directory, without what is mounted below it, and print its name
    Init { dir: PathBuf },
    /// List the images
    Images,
    /// Run a program in a new container
    Run(run::Options),
    /// List the containers
    Ps,
    /// Run a program in a container that runs
    Exec {
        container: String,
        #[arg(trailing_var_arg = true, required = true)]
        program: Vec<String>,
    },
    /// Print what a container has written to its standard streams
    Logs { container: String },
    /// Make an image of the files of a container, and print its name
    Commit { container: String },
    /// Remove images and containers
    Rm {
        /// End containers that run
        #[arg(short, long)]
        force: bool,
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Is left out
    Pull {
        #[arg(trailing_var_arg = true)]
        image: Vec<String>,
    },
    /// Looks after a container in the background
    #[command(hide = true)]
    Monitor { container: String },
    /// Copies files to an image
    #[command(hide = true)]
    Copy { dir: PathBuf, image: String },
}

/// It could not be done, or our options were wrong.
const OUR_FAULT: u8 = 125;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(help) => {
            let status = if help.use_stderr() { OUR_FAULT } else { 0 };
            help.print().ok();
            return status.into();
        }
    };
    match perform(options) {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("bocker: {error:#}");
            failure(&*error).into()
        }
    }
}

fn perform(options: Options) -> Result<u8> {
    let store = Store::open(options.state)?;
    match options.command {
        Command::Init { dir } => images::init(&store, &dir)?,
        Command::Images => images::list(&store)?,
        Command::Run(options) => return run::run(&store, &options),
        Command::Monitor { container } => return run::monitor(&store, &container),
        Command::Copy { dir, image } => return images::copy(&store, &dir, &image),
        Command::Ps => containers::list(&store)?,
        Command::Exec { container, program } => return exec::exec(&store, &container, &program),
        Command::Logs { container } => containers::logs(&store, &container)?,
        Command::Commit { container } => images::commit(&store, &container)?,
        Command::Rm { force, names } => {
            names.iter().try_for_each(|name| containers::remove(&store, name, force))?;
        }
        Command::Pull { .. } => {
            return Err("pull is left out, as this tool knows no registry: unpack the image with \
                        another tool, and give its directory to \"bocker init\""
                .into());
        }
    }
    Ok(0)
}

/// As shells tell a program that is not there from one that cannot be run.
fn failure(error: &(dyn Error + 'static)) -> u8 {
    match error.downcast_ref().map(|error: &linux_namespaces::Error| (error.step(), error.kind())) {
        Some((Some(Step::Exec), ErrorKind::NotFound)) => 127,
        Some((Some(Step::Exec), _)) => 126,
        _ => OUR_FAULT,
    }
}
