//! `/bin/true` in a typical sandbox, beside bubblewrap with the same options: a read-only root, a tmpfs, proc, a
//! minimal /dev and five binds, in new namespaces. As whole processes, our side being the example
//! `container`, and as a call of the library.
//!
//! `-- --test` and `-- --quick` take a second.

mod common;

use std::path::Path;
use std::process;

use linux_namespaces::{Command, Mount, NamespaceSet, Result, Rootfs};

use common::{at_most, example, in_turns, installed, is_list, is_short, not_installed};

/// What is bound, and where.
const BINDS: [(&str, &str); 5] = [
    ("/usr/bin", "/tmp/bin"),
    ("/usr/lib", "/tmp/lib"),
    ("/etc", "/tmp/etc"),
    ("/var", "/tmp/var"),
    ("/etc/passwd", "/tmp/passwd"),
];
const NEW: NamespaceSet = NamespaceSet::all().difference(NamespaceSet::TIME);

fn main() {
    if is_list() {
        return;
    }
    if installed("bwrap").is_none() {
        return println!("{}", not_installed("bwrap", "bubblewrap"));
    }
    let example = match example("container") {
        Ok(example) => example,
        Err(why) => return println!("left out: {why}"),
    };
    let mut ours = whole_process(&example);
    let mut bwrap = bwrap();
    if let Some(reason) = why_not(&mut bwrap) {
        return println!("left out, bwrap fails: {reason}");
    }
    let mut call = library_call().unwrap_or_else(|error| panic!("{error:#}"));
    if let Err(error) = call.status() {
        println!("left out, {error:#}");
        return;
    }
    let pairs = if is_short() { 2 } else { 500 };
    println!("a sandbox for /bin/true, medians in microseconds of {pairs} pairs in turns");
    println!("{:24}{:>8}{:>8}{:>8}", "", "ours", "bwrap", "ratio");
    let [whole, theirs] = in_turns(pairs, 1, || run(&mut ours), || run(&mut bwrap));
    let ratio = whole / theirs;
    println!("{:24}{whole:8.0}{theirs:8.0}{ratio:8.3}{}", "whole process", at_most(ratio, 1.));
    let [call, theirs] = in_turns(pairs, 1, || run_call(&mut call), || run(&mut bwrap));
    let ratio = call / theirs;
    println!("{:24}{call:8.0}{theirs:8.0}{ratio:8.3}{}", "library call", at_most(ratio, 0.5));
}

fn run(command: &mut process::Command) {
    assert!(command.status().is_ok_and(|status| status.success()));
}

fn run_call(command: &mut Command) {
    assert!(command.status().unwrap_or_else(|error| panic!("{error:#}")).success());
}

fn why_not(command: &mut process::Command) -> Option<String> {
    match command.output() {
        Err(error) => Some(error.to_string()),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn whole_process(example: &Path) -> process::Command {
    let mut command = process::Command::new(example);
    command.args(["--keep", "time", "--root", "/", "--read-only", "--tmpfs", "/tmp"]);
    for (source, target) in BINDS {
        command.arg("--bind").arg(format!("{source}:{target}"));
    }
    command.arg("/bin/true");
    command
}

fn bwrap() -> process::Command {
    let mut command = process::Command::new("bwrap");
    command.args(["--unshare-all", "--die-with-parent", "--ro-bind", "/", "/"]);
    command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
    for (source, target) in BINDS {
        command.args(["--bind", source, target]);
    }
    command.args(["--", "/bin/true"]);
    command
}

fn library_call() -> Result<Command> {
    let mut command = Command::new("/bin/true");
    command.unshare(NEW).map_root().loopback_up().kill_on_parent_exit();
    command.rootfs(Rootfs::dir("/")?.read_only());
    command.mount(Mount::proc("/proc")?).mount(Mount::dev("/dev")?).mount(Mount::tmpfs("/tmp")?);
    for (source, target) in BINDS {
        command.mount(Mount::bind(source, target)?);
    }
    Ok(command)
}
