//! Spawns under tools that run or trace the whole program. The test binary runs itself under each with the action
//! `spawns`, which tries every kind of spawn.

use std::process::{Command as StdCommand, ExitCode, Stdio};

use linux_namespaces::{Command, Enter, Error, IdMap, Init, NamespaceSet, Unshare};

use crate::action::ACTION;
use crate::harness::cases;
use crate::machine::Need::{Program, UserNamespaces};
use crate::machine::is_root;

cases! {
    under_valgrind [Program("valgrind"), UserNamespaces],
    under_gdb [Program("gdb"), UserNamespaces],
    under_strace [Program("strace"), UserNamespaces],
    under_proot [Program("proot"), UserNamespaces],
    under_qemu_user [Program(QEMU), UserNamespaces],
}

const QEMU: &str = match cfg!(target_arch = "aarch64") {
    true => "qemu-aarch64-static",
    false if cfg!(target_pointer_width = "32") => "qemu-i386-static",
    false => "qemu-x86_64-static",
};

type Spawn = fn(&mut Command) -> Result<(), Error>;

/// The program is told by its output that it ran.
const KINDS: &[(&str, Spawn)] = &[
    ("plain", |command| run(command)),
    ("user", |command| run(command.map_root())),
    ("pid", |command| run(command.unshare(NamespaceSet::PID | NamespaceSet::MOUNT).map_root())),
    ("helper", |command| {
        let map = || "0 0 10".parse::<IdMap>().unwrap();
        run(command.uid_map(map()).gid_map(map()))
    }),
    ("init", |command| run(command.init(Init::new()).map_root())),
    // SAFETY: does nothing.
    ("copy", |command| run(unsafe { command.pre_exec(|| Ok(())) })),
    ("function", |command| {
        // SAFETY: one call that allocates nothing.
        let child = unsafe {
            command.map_root().spawn_fn(|| {
                libc::write(1, c"ran\n".as_ptr().cast(), 4);
                0
            })
        };
        assert!(child?.wait()?.success());
        Ok(())
    }),
    ("enter uts", |command| enter(command, NamespaceSet::USER | NamespaceSet::UTS)),
    ("enter pid", |command| enter(command, NamespaceSet::USER | NamespaceSet::PID)),
    ("unshare", |command| {
        Unshare::new(NamespaceSet::UTS).map_root().apply()?;
        run(command)
    }),
];

fn run(command: &mut Command) -> Result<(), Error> {
    assert!(command.status()?.success());
    Ok(())
}

fn enter(command: &mut Command, set: NamespaceSet) -> Result<(), Error> {
    let mut holder = Command::new("cat")
        .unshare(set)
        .map_root()
        .stdin(linux_namespaces::Stdio::piped())
        .spawn()?;
    let outcome = run(command.enter(Enter::new().process(holder.pidfd().try_clone()?, set)));
    // Valgrind does not send signals by pidfd.
    drop(holder.stdin.take());
    holder.wait()?;
    outcome
}

/// The kinds for this user: a helper needs ids to map.
fn kinds() -> impl Iterator<Item = &'static (&'static str, Spawn)> {
    KINDS.iter().filter(|(name, _)| is_root() || *name != "helper")
}

/// Tries each kind and prints what came of it.
pub(crate) fn act() -> ExitCode {
    for (name, spawn) in kinds() {
        println!("kind {name}");
        let outcome = spawn(Command::new("/bin/sh").args(["-c", "echo ran"]));
        match outcome {
            Ok(()) => println!("ok"),
            Err(error) => println!("error: {error:#}"),
        }
    }
    ExitCode::SUCCESS
}

/// Runs the tool, with what its errors must name, one of these. Returns the kinds that it could not run.
fn under(tool: &mut StdCommand, reasons: &[&str]) -> Vec<String> {
    tool.env(ACTION, "spawns").stdin(Stdio::null());
    let output = tool.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let shown = || format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let mut failed = Vec::new();
    for (name, _) in kinds() {
        let (_, rest) = text
            .split_once(&format!("kind {name}\n"))
            .unwrap_or_else(|| panic!("{name}: {}", shown()));
        let part = rest.split("kind ").next().unwrap();
        let lines = |start| part.lines().filter(|line| line.starts_with(start)).count();
        match (lines("ran"), lines("ok"), lines("error: ")) {
            (1, 1, 0) => {}
            (0, 0, 1) if reasons.iter().any(|reason| part.contains(reason)) => {
                failed.push((*name).to_owned())
            }
            _ => panic!("{name}: {}", shown()),
        }
    }
    failed
}

fn own() -> std::path::PathBuf {
    std::env::current_exe().unwrap()
}

fn under_valgrind() {
    let failed = under(StdCommand::new("valgrind").arg("-q").arg(own()), &["valgrind"]);
    let expected: &[_] = if is_root() { &["helper"] } else { &[] };
    assert_eq!(failed, [expected, &["enter uts", "enter pid"]].concat());
}

fn under_gdb() {
    let mut gdb = StdCommand::new("gdb");
    // What it says of these comes in the middle of our lines.
    let quiet = ["set print thread-events off", "set print inferior-events off", "run"];
    gdb.args(["-nx", "-batch"]).args(quiet.iter().flat_map(|command| ["-ex", command]));
    gdb.arg("--args").arg(own());
    assert!(under(&mut gdb, &[]).is_empty());
}

fn under_strace() {
    let mut strace = StdCommand::new("strace");
    strace.args(["-f", "-o", "/dev/null"]).arg(own());
    assert!(under(&mut strace, &[]).is_empty());
}

fn under_proot() {
    let failed = under(StdCommand::new("proot").arg(own()), &["proot"]);
    let expected: &[_] = if is_root() { &[] } else { &["init", "enter uts", "enter pid"] };
    assert_eq!(failed, expected);
}

/// It runs programs of its own architecture, too, and has a thread for itself.
fn under_qemu_user() {
    let failed = under(StdCommand::new(QEMU).arg(own()), &["qemu-user", "several threads"]);
    assert_eq!(failed.len(), kinds().count());
}
