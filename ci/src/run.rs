//! What must hold for every commit: the suite as root and as an ordinary user, strict; format, lints and documentation
//! without a warning; every example, a short run of the benches, and the package.

mod checks;
mod jobs;
mod oldest;
mod suites;
mod versions;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

pub(crate) use jobs::job;

use crate::shell::{On, Result, command, is_root};
use jobs::Jobs;

/// What steps share.
struct Run {
    /// For files of this run, removed by who started it.
    dir: PathBuf,
    /// For programs that the ordinary user runs.
    user_dir: PathBuf,
    jobs: Jobs,
}

type Step = fn(&mut Run) -> Result;

const STEPS: &[(&str, Step)] = &[
    ("a fresh machine", suites::fresh_machine),
    ("install", suites::install),
    ("test", suites::test),
    ("test what is optimized", suites::optimized),
    ("test with musl, and on i686", suites::musl),
    ("test the engine of other architectures", suites::portable_engine),
    ("memory of the pure parts", suites::memory),
    ("test as an ordinary user", suites::ordinary_user),
    ("test with musl as an ordinary user", suites::musl_as_ordinary_user),
    ("test on a bare machine", suites::bare_machine),
    ("other kernels", suites::other_kernels),
    ("soak", suites::soak),
    ("versions in the documentation", versions::check),
    ("format", checks::format),
    ("lints", checks::lints),
    ("other architectures", checks::other_architectures),
    ("documentation", checks::documentation),
    ("examples", checks::examples),
    ("benches", checks::benches),
    ("dependencies", checks::dependencies),
    ("package", checks::package),
    ("oldest versions", oldest::check),
];

/// All steps, or those that are named.
pub(crate) fn main(dir: &Path, names: &[&str]) -> Result {
    if let Some(unknown) = names.iter().find(|name| !STEPS.iter().any(|(step, _)| step == *name)) {
        let steps: Vec<_> = STEPS.iter().map(|(name, _)| format!("    {name:?}")).collect();
        return Err(format!("no step {unknown:?}; the steps are\n{}", steps.join("\n")).into());
    }
    let user_dir = dir.join("user");
    fs::create_dir(&user_dir).on(&user_dir)?;
    for path in [dir, &user_dir] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).on(path)?;
    }
    let jobs = Jobs::new(dir.to_owned());
    let mut run = Run { dir: dir.to_owned(), user_dir, jobs };
    let start = Instant::now();
    for (name, step) in STEPS.iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
        println!("\n== {name}, after {} s", start.elapsed().as_secs());
        step(&mut run)?;
    }
    println!("\n== done, after {} s", start.elapsed().as_secs());
    Ok(())
}

fn cargo<const N: usize>(args: [&str; N]) -> Command {
    command("cargo", args)
}

/// A program, run by an ordinary user without groups, who cannot see into this directory.
fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let ids = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "env", "HOME=/tmp"];
    let mut command = command("setpriv", ids);
    command.arg(program).current_dir("/tmp");
    command
}

/// Where the user finds a program.
fn for_user(dir: &Path, binary: &Path) -> PathBuf {
    dir.join(binary.file_name().unwrap_or_default())
}
