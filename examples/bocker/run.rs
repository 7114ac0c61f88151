//! A container from its making to its end.

use std::fs::{self, File};
use std::io::{Read, Write, copy, stderr, stdout};
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};

use clap::{Args, ValueEnum};
use linux_namespaces::{
    Child, Command, Enter, ErrorKind, Init, Mount, NamespaceSet, Overlay, Rootfs, Stdio,
};
use nix::unistd::{dup2_stderr, geteuid};

use crate::limits::Cgroup;
use crate::sandbox::Sandbox;
use crate::store::{Kind, Lock, Record, Store};
use crate::{OUR_FAULT, Result, containers, exec, images, network, program};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Do not wait for it: print its name, and leave it in the background
    #[arg(short, long, conflicts_with_all = ["tty", "rm"])]
    detach: bool,
    /// The program has this terminal, and what it writes is not kept
    #[arg(short, long)]
    tty: bool,
    /// Remove it when it has ended
    #[arg(long)]
    rm: bool,
    /// The memory it may use, as in "64M"
    #[arg(long, value_name = "BYTES")]
    memory: Option<String>,
    /// How many processors it may use, as in "1.5"
    #[arg(long, value_name = "N")]
    cpus: Option<f64>,
    /// How it is connected; without this to the bridge if that can be, and else to nothing
    #[arg(long, value_enum)]
    network: Option<Network>,
    image: String,
    #[arg(trailing_var_arg = true, required = true)]
    program: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Network {
    Bridge,
    None,
}

/// Where the program's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Terminal,
    /// To our streams, and to the log.
    Both,
    Log,
}

pub(crate) fn run(store: &Store, options: &Options) -> Result<u8> {
    let (container, lock) = create(store, options)?;
    if options.detach {
        drop(lock);
        return in_background(store, &container);
    }
    let output = if options.tty { Output::Terminal } else { Output::Both };
    let answer = program::with_terminal(|| start(store, &container, lock, output, || Ok(())));
    let code = or_remove(store, &container, answer)?;
    if options.rm {
        containers::remove(store, &container.name, false)?;
    }
    Ok(code)
}

/// What [`run`] started to look after a container in the background. Its standard error is a pipe to there,
/// which is told why it failed or closed.
pub(crate) fn monitor(store: &Store, name: &str) -> Result<u8> {
    let container = store.find(Kind::Container, name)?;
    let lock = container.wait_until_unlocked()?;
    let started = || Ok(dup2_stderr(File::options().write(true).open("/dev/null")?)?);
    or_remove(store, &container, start(store, &container, lock, Output::Log, started))
}

fn in_background(store: &Store, container: &Record) -> Result<u8> {
    let mut monitor = Command::new(std::env::current_exe()?);
    monitor.arg("--state").arg(&store.dir).args(["monitor", &container.name]).new_session();
    monitor.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).current_dir("/");
    let mut monitor = monitor.spawn()?;
    // It closes the pipe when the program runs, or ends.
    if let Some(mut reason) = monitor.stderr.take() {
        copy(&mut reason, &mut stderr())?;
    }
    if container.exists() {
        println!("{}", container.name);
        return Ok(0);
    }
    Ok(monitor.wait()?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(OUR_FAULT))
}

/// All that is known of it before it runs.
fn create(store: &Store, options: &Options) -> Result<(Record, Lock)> {
    // Its image is not removed from here on.
    let _lock = store.lock()?;
    let image = store.find(Kind::Image, &options.image)?;
    images::check(&image)?;
    let (container, lock) = store.add(Kind::Container)?;
    container.set("image", &image.name)?;
    container.set("program", &options.program.join("\0"))?;
    let facts = [
        ("memory", options.memory.clone()),
        ("cpus", options.cpus.map(|cpus| cpus.to_string())),
        ("network", options.network.map(|network| format!("{network:?}"))),
    ];
    for (fact, value) in facts {
        value.map(|value| container.set(fact, &value)).transpose()?;
    }
    // As the image has it: what is above covers what is below.
    let files = container.path("files");
    fs::create_dir(&files)?;
    fs::set_permissions(&files, fs::metadata(image.path("rootfs"))?.permissions())?;
    Ok((container, lock))
}

/// Of a container that could not be run, nothing is left.
fn or_remove(store: &Store, container: &Record, answer: Result<u8>) -> Result<u8> {
    if answer.is_err() {
        containers::remove(store, &container.name, false)?;
    }
    answer
}

/// Runs it to its end, and keeps its exit code.
fn start(
    store: &Store,
    container: &Record,
    running: Lock,
    output: Output,
    started: impl FnOnce() -> Result<()>,
) -> Result<u8> {
    let image = store.find(Kind::Image, &container.require("image")?)?;
    let sandbox = Sandbox::new(|pid, net| match container.get("network")?.as_deref() {
        Some("None") => Ok(()),
        Some(_) => network::plug(store, container, pid, net),
        None if !geteuid().is_root() => Ok(()),
        None => network::plug(store, container, pid, net).or_else(|error| {
            network::unplug(container);
            eprintln!("bocker: the network is lo alone: {error}");
            Ok(())
        }),
    })?;
    let cgroup = Cgroup::new(container)?;
    let log = File::options().create(true).append(true).open(container.path("log"))?;
    let mut command = command(container, &image, sandbox)?;
    if let Some(cgroup) = &cgroup {
        command.cgroup(cgroup.open()?);
    }
    match output {
        Output::Terminal => {}
        Output::Both => _ = command.stdout(Stdio::piped()).stderr(Stdio::piped()),
        Output::Log => {
            let stream = || log.try_clone().map(OwnedFd::from);
            command.stdin(Stdio::null()).stdout(stream()?).stderr(stream()?);
        }
    }
    let mut supervisor = program::arm()?;
    let mut child = supervisor.spawn(&mut command)?;
    drop(command);
    if let Err(error) = note(container, &child).and_then(|()| started()) {
        child.kill()?;
        child.wait()?;
        return Err(error);
    }
    let copies = tee(&mut child, &log)?;
    let status = supervisor.supervise(child)?;
    // Whoever reads the output may keep us here, and the pid is free by now.
    container.forget("pid")?;
    for thread in copies {
        thread.join().map_err(|_| "the output could not be copied")?;
    }
    let code = supervisor.exit_code(status);
    container.set("exit", &code.to_string())?;
    drop(running);
    Ok(code)
}

fn command(container: &Record, image: &Record, sandbox: Sandbox) -> Result<Command> {
    let text = container.require("program")?;
    let words: Vec<String> = text.split('\0').map(str::to_owned).collect();
    let mut command = program::new(&words)?;
    command
        .enter(Enter::new().namespace(sandbox.user).namespace(sandbox.net))
        .unshare(NamespaceSet::CGROUP | NamespaceSet::IPC)
        .init(Init::new().new_process_group())
        .hostname(container.name.parse()?);
    let files = Overlay::new([image.path("rootfs")])?.upper(container.path("files"))?;
    command
        .rootfs(Rootfs::overlay(files))
        .mount(Mount::proc("/proc")?)
        .mount(Mount::sysfs("/sys")?.read_only())
        .mount(Mount::cgroup2("/sys/fs/cgroup")?)
        .mount(Mount::dev("/dev")?)
        .mount(Mount::mqueue("/dev/mqueue")?);
    // Root's own files there, for a root that is root inside as well.
    for path in ["acpi", "asound", "kcore", "keys", "sched_debug", "scsi", "timer_list"] {
        command.mount(Mount::mask(format!("/proc/{path}"))?);
    }
    for path in ["bus", "fs", "irq", "sys", "sysrq-trigger"] {
        command.mount(Mount::read_only_path(format!("/proc/{path}"))?);
    }
    // Or root inside could undo these.
    command.lock_mounts();
    Ok(command)
}

/// Keeps what others find the program by, unless it has ended already.
fn note(container: &Record, child: &Child) -> Result<()> {
    let program = match child.program() {
        Err(error) if error.kind() == ErrorKind::ProcessGone => return Ok(()),
        program => program?,
    };
    if let (Some(identity), Some(pid)) = (exec::identity(&program)?, program.pid()?) {
        container.set("process", &identity)?;
        container.set("pid", &pid.to_string())?;
    }
    Ok(())
}

/// Copies what the program writes to our streams and to the log, until nobody in the container can write any more.
fn tee(child: &mut Child, log: &File) -> Result<Vec<JoinHandle<()>>> {
    let mut copies = Vec::new();
    if let Some(from) = child.stdout.take() {
        let log = log.try_clone()?;
        copies.push(thread::spawn(|| copy_to_both(from, stdout(), log)));
    }
    if let Some(from) = child.stderr.take() {
        let log = log.try_clone()?;
        copies.push(thread::spawn(|| copy_to_both(from, stderr(), log)));
    }
    Ok(copies)
}

/// A stream that takes no more is no reason to stop the program, or the other stream.
fn copy_to_both(mut from: impl Read, mut stream: impl Write, mut log: File) {
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        stream.write_all(&buffer[..count]).and_then(|()| stream.flush()).ok();
        log.write_all(&buffer[..count]).ok();
    }
}
