//! Calls that take turns: a busy moment of the machine then falls on all of them alike, and the ratio
//! of their medians holds where those of two separate runs would not.

#![allow(dead_code, reason = "each bench takes what it needs")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whether a few seconds have to do, so that figures mean nothing: `cargo bench -- --test` or
/// `-- --quick`, and `cargo test --benches`.
pub(crate) fn is_short() -> bool {
    let has = |flag| env::args().any(|argument| argument == flag);
    has("--test") || has("--quick") || !has("--bench")
}

/// Whether nothing is to be run: `cargo bench -- --list`.
pub(crate) fn is_list() -> bool {
    env::args().any(|argument| argument == "--list")
}

/// An example of this crate, built in the profile, for the target and in the directory of this bench.
pub(crate) fn example(name: &str) -> Result<PathBuf, String> {
    build(name).map_err(|why| {
        format!("the example {name} was not built ({why}): cargo build --release --example {name}")
    })
}

fn build(name: &str) -> Result<PathBuf, String> {
    let bench = env::current_exe().map_err(|error| error.to_string())?;
    // Cargo writes it into the target directory, whatever its name is.
    let is_target_dir = |dir: &&Path| dir.join(".rustc_info.json").is_file();
    let target_dir = bench.ancestors().find(is_target_dir).ok_or("this bench was moved")?;
    let within = bench.strip_prefix(target_dir).map_err(|error| error.to_string())?;
    let parts: Vec<_> = within.iter().collect();
    let (triple, profile) = match parts[..] {
        [profile, _deps, _bench] => (None, profile),
        [triple, profile, _deps, _bench] => (Some(triple), profile),
        _ => return Err(format!("{} is an unknown layout", within.display())),
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command.args(["build", "--message-format=json-render-diagnostics", "--example", name]);
    command.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
    command.arg("--profile").arg(if profile == "debug" { "dev".as_ref() } else { profile });
    command.arg("--target-dir").arg(target_dir);
    if let Some(triple) = triple {
        command.arg("--target").arg(triple);
    }
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let artifact = |line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == name && message["target"]["kind"][0] == "example";
        is_it.then_some(())?;
        Some(PathBuf::from(message["executable"].as_str()?))
    };
    messages.lines().find_map(artifact).ok_or_else(|| output.status.to_string())
}

/// The path of an installed program.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// What to print where a program to compare with is missing.
pub(crate) fn not_installed(name: &str, package: &str) -> String {
    format!("left out: {name} is not installed; on Debian: apt-get install {package}")
}

/// How long `batch` calls take, in microseconds for one.
pub(crate) fn micros(batch: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..batch {
        call();
    }
    as_micros(start.elapsed()) / f64::from(batch)
}

fn as_micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The medians, in microseconds for one call, of `rounds` batches of each, which take turns.
pub(crate) fn in_turns(
    rounds: u32,
    batch: u32,
    mut one: impl FnMut(),
    mut other: impl FnMut(),
) -> [f64; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        // Each comes first half of the time: what one leaves to the kernel to do falls on the next.
        if round % 2 == 0 {
            times[0].push(micros(batch, &mut one));
            times[1].push(micros(batch, &mut other));
        } else {
            times[1].push(micros(batch, &mut other));
            times[0].push(micros(batch, &mut one));
        }
    }
    times.map(median)
}

pub(crate) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The last column of a table: `limit` is the most that `ratio` may be.
pub(crate) fn at_most(ratio: f64, limit: f64) -> String {
    verdict(ratio <= limit, &format!("at most {limit:.2}"))
}

/// The last column of a table: the goal, and whether it is met.
pub(crate) fn verdict(is_met: bool, goal: &str) -> String {
    let word = match (is_short(), is_met) {
        (true, _) => "a short run does not tell",
        (false, true) => "met",
        (false, false) => "MISSED",
    };
    format!("  goal {goal}: {word}")
}
