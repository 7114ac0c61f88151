//! Steps that run trials.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::jobs::quiet;
use super::{Run, as_user, cargo, for_user};
use crate::shell::{
    On, Result, as_in_matrix, built, command, install as copy, is_root, missing, output, run, seed,
    status, target_dir,
};

/// What examples and trials beside tools of this machine have in their names.
const BESIDE_TOOLS: &str = "it_does_what_util_linux_s_does";

/// Left out on i686: trials that name system calls by the numbers of 64-bit architectures; and valgrind, which does not
/// run 32-bit programs of rustix.
const NOT_ON_I686: &[&str] = &[
    "around::under_valgrind",
    "counts::",
    "calls::",
    "contained::",
    "kills::a_child_at_every_call",
    "it_does_what",
];

/// Fails where a name is that of no trial, so that what is left out is what was meant.
fn skip(suite: &Path, names: &[&'static str]) -> Result<Vec<&'static str>> {
    let all = output(command(suite, ["--list"]).stderr(Stdio::null()))?;
    if let Some(unknown) = names.iter().find(|name| !all.contains(**name)) {
        return Err(format!("to be left out, but no trial: {unknown}").into());
    }
    Ok(names.iter().flat_map(|name| ["--skip", name]).collect())
}

fn kernel_suite(binaries: &[std::path::PathBuf]) -> Result<&Path> {
    let found = binaries.iter().find(|binary| is_kernel_suite(binary));
    Ok(found.ok_or("cargo did not build the kernel suite")?)
}

fn is_kernel_suite(binary: &Path) -> bool {
    binary.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kernel-"))
}

/// The packages that the suite's trials lack.
fn packages_of_trials() -> Result<Vec<String>> {
    let mut suite = cargo(["test", "-q", "--test", "kernel"]);
    let packages = output(suite.env("LINUX_NAMESPACES_ACTION", "packages"))?;
    Ok(packages.split_whitespace().map(str::to_owned).collect())
}

/// The two commands of README.md, before anything is installed. Where no program is missing, the strict run of a later
/// step is the second one.
pub(super) fn fresh_machine(_: &mut Run) -> Result {
    let missing = packages_of_trials()?;
    run(&mut cargo(["run", "--example", "container"]))?;
    if missing.is_empty() { Ok(()) } else { run(&mut cargo(["test"])) }
}

pub(super) fn install(_: &mut Run) -> Result {
    let mut packages = packages_of_trials()?;
    // The suite reported what its trials lack; these programs are for the other steps.
    let others = missing(&[
        ("setpriv", "util-linux"),
        ("bwrap", "bubblewrap"),
        ("catatonit", "catatonit"),
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("cpio", "cpio"),
        ("xz", "xz-utils"),
        ("valgrind", "valgrind"),
        ("python3", "python3-venv"),
        ("qemu-system-s390x", "qemu-system-misc"),
        ("s390x-linux-gnu-gcc", "gcc-s390x-linux-gnu"),
        ("/usr/s390x-linux-gnu/include/stdio.h", "libc6-dev-s390x-cross"),
    ]);
    packages.extend(others.into_iter().map(str::to_owned));
    if !packages.is_empty() {
        if !is_root() {
            return Err(
                format!("not here, and only root can install: {}", packages.join(" ")).into()
            );
        }
        run(&mut command("apt-get", ["update", "-qq"]))?;
        let options = ["install", "-qq", "-y", "--no-install-recommends"];
        run(command("apt-get", options).args(&packages).stdout(Stdio::null()))?;
    }
    // A toolchain of a distribution has them already.
    let mut rustup = command("rustup", ["component", "add", "rustfmt", "clippy"]);
    status(rustup.stdout(Stdio::null()).stderr(Stdio::null())).ok();
    Ok(())
}

/// The optimizer is one of the things that may break code between clone and exec.
pub(super) fn build_optimized() -> Result {
    run(quiet(as_in_matrix("build")).args(["--release", "--examples"]))?;
    let suites = ["--release", "--no-run", "--test", "kernel", "--test", "sweep"];
    run(quiet(as_in_matrix("test")).args(suites))
}

fn portable<const N: usize>(args: [&str; N]) -> Command {
    let mut command = cargo(args);
    command.env("RUSTFLAGS", "--cfg linux_namespaces_portable");
    command.env("CARGO_TARGET_DIR", target_dir().join("portable"));
    command
}

pub(super) fn build_portable() -> Result {
    run(&mut quiet(portable(["build", "--examples"])))?;
    let suites = ["test", "--no-run", "--lib", "--test", "kernel", "--test", "sweep"];
    run(&mut quiet(portable(suites)))
}

/// Not more of the machine than leaves the suites beside it in their limits of time.
pub(super) fn on_s390x() -> Result {
    run(&mut quiet(command("rustup", ["target", "add", "s390x-unknown-linux-gnu"])))?;
    let trials = ["-j", "1", "-s", "-a", "s390x", "-t", "since::", "-t", "handles::", "6.1"];
    let mut matrix = quiet(command(std::env::current_exe()?, ["matrix"]));
    run(matrix.args(trials).env("CARGO_BUILD_JOBS", "1"))
}

pub(super) fn test(this: &mut Run) -> Result {
    run(&mut cargo(["test", "--no-run"]))?;
    this.jobs.begin("optimized")?;
    run(cargo(["test"]).env("STRICT", "1").env("SWEEP_SEED", seed()))
}

pub(super) fn optimized(this: &mut Run) -> Result {
    this.jobs.end("optimized")?;
    this.jobs.begin("portable")?;
    let args = ["--release", "--test", "kernel"];
    let suite = built(as_in_matrix("test").args(args).arg("--no-run"))?;
    // A static program cannot ask glibc for the names of users, as these do.
    let skip = skip(kernel_suite(&suite)?, &[BESIDE_TOOLS])?;
    run(as_in_matrix("test").args(args).arg("--").args(skip).env("STRICT", "1"))
}

/// The C library that containers have, and what 32 bits are to the kernel of 64.
pub(super) fn musl(_: &mut Run) -> Result {
    let targets = ["x86_64-unknown-linux-musl", "i686-unknown-linux-musl"];
    run(command("rustup", ["target", "add"]).args(targets))?;
    if std::env::consts::ARCH != "x86_64" {
        return Ok(());
    }
    for (target, names) in targets.into_iter().zip([&[BESIDE_TOOLS], NOT_ON_I686]) {
        run(&mut cargo(["build", "--target", target, "--examples"]))?;
        let suites = ["test", "--no-run", "--target", target, "--lib", "--test", "kernel"];
        let binaries = built(&mut cargo(suites))?;
        let skip = skip(kernel_suite(&binaries)?, names)?;
        for binary in &binaries {
            run(command(binary, &skip).env("STRICT", "1"))?;
        }
    }
    Ok(())
}

pub(super) fn portable_engine(this: &mut Run) -> Result {
    this.jobs.end("portable")?;
    let suite = built(&mut portable(["test", "--no-run", "--test", "kernel"]))?;
    let skip = skip(kernel_suite(&suite)?, &["stress", "whatever"])?;
    let mut suites = portable(["test", "--lib", "--test", "kernel", "--test", "sweep", "--"]);
    suites.args(skip).env("STRICT", "1").env("SWEEP_PART", "4").env("SWEEP_SEED", seed());
    run(&mut suites)
}

/// By hand, with a nightly toolchain: `PROPTEST_CASES=4 MIRIFLAGS=-Zmiri-disable-isolation cargo miri test --lib
/// --test values`.
pub(super) fn memory(_: &mut Run) -> Result {
    let leaks = "definite,indirect";
    for binary in built(&mut cargo(["test", "--no-run", "--lib", "--test", "values"]))? {
        let mut valgrind = command("valgrind", ["-q", "--leak-check=full", "--error-exitcode=1"]);
        valgrind.arg(format!("--show-leak-kinds={leaks}"));
        valgrind.arg(format!("--errors-for-leak-kinds={leaks}"));
        run(valgrind.arg(binary).arg("--test-threads=1"))?;
    }
    Ok(())
}

pub(super) fn ordinary_user(this: &mut Run) -> Result {
    // The machine whose bytes are in the other order, where a child has a copy of the memory.
    this.jobs.begin("s390x")?;
    // The suite drives some examples.
    for binary in built(&mut cargo(["build", "--examples"]))? {
        copy(&binary, &for_user(&this.user_dir, &binary))?;
    }
    for binary in built(&mut cargo(["test", "--no-run", "--lib", "--tests"]))? {
        let here = for_user(&this.user_dir, &binary);
        copy(&binary, &here)?;
        let mut suite = as_user(&here);
        suite.env("STRICT", "1").env("LINUX_NAMESPACES_EXAMPLES", &this.user_dir);
        // Of the fault sweep, which root has done in full, a quarter.
        run(suite.env("SWEEP_PART", "4").env("SWEEP_SEED", seed()))?;
    }
    Ok(())
}

pub(super) fn musl_as_ordinary_user(this: &mut Run) -> Result {
    if std::env::consts::ARCH != "x86_64" {
        return Ok(());
    }
    let target = "x86_64-unknown-linux-musl";
    let dir = this.user_dir.join("musl");
    fs::create_dir(&dir).on(&dir)?;
    for binary in built(&mut cargo(["build", "--target", target, "--examples"]))? {
        copy(&binary, &for_user(&dir, &binary))?;
    }
    let suite = built(&mut cargo(["test", "--no-run", "--target", target, "--test", "kernel"]))?;
    let suite = kernel_suite(&suite)?;
    copy(suite, &dir.join("kernel"))?;
    let skip = skip(suite, &[BESIDE_TOOLS])?;
    let mut suite = as_user(&dir.join("kernel"));
    run(suite.args(skip).env("STRICT", "1").env("LINUX_NAMESPACES_EXAMPLES", &dir))
}

/// Without any optional program, and beside mounts of other programs.
pub(super) fn bare_machine(this: &mut Run) -> Result {
    if !is_root() {
        println!("left out: only root can make it");
        return Ok(());
    }
    let machine = built(&mut cargo(["test", "--no-run", "--test", "bare"]))?.swap_remove(0);
    let on = |kind: &str| {
        let mut command = command(&machine, [kind]);
        command.env("LINUX_NAMESPACES_EXAMPLES", &this.user_dir).env("SWEEP_SEED", seed());
        command
    };
    let container = this.user_dir.join("container");
    let binaries = built(&mut cargo(["test", "--no-run", "--lib", "--tests"]))?;
    for binary in built(&mut cargo(["build", "--examples"]))?.iter().chain(&binaries) {
        copy(binary, &for_user(&this.user_dir, binary))?;
    }
    for user in ["user", "contained"] {
        run(on(user).arg(&container).stdin(Stdio::null()))?;
        for binary in &binaries {
            run(on(user).arg(for_user(&this.user_dir, binary)).env("SWEEP_PART", "10"))?;
        }
    }
    for kind in ["docker", "docker-unconfined"] {
        // The other suites have nothing new to see there.
        for binary in binaries.iter().filter(|binary| is_kernel_suite(binary)) {
            run(on(kind).arg(for_user(&this.user_dir, binary)))?;
        }
    }
    // With Docker's filter it can only say why nothing can be shown.
    run(on("docker-unconfined").arg(&container).stdin(Stdio::null()))?;
    let from_sources = |kind: &str| {
        let mut command = on(kind);
        command.env_remove("LINUX_NAMESPACES_EXAMPLES").stdin(Stdio::null());
        command
    };
    run(from_sources("docker").args(["cargo", "test", "--doc"]))?;
    let both = "cargo run --example container && cargo test";
    run(from_sources("root").args(["sh", "-c", both]).env("SWEEP_PART", "10"))
}

/// The trials that look at what differs between kernels, and a little of the sweep, on four of those that .ci/matrix
/// has, and some on s390x. Left out: the other trials, five kernels and aarch64.
pub(super) fn other_kernels(this: &mut Run) -> Result {
    this.jobs.end("s390x")?;
    let trials =
        ["-j", "2", "-s", "-t", "since::", "-t", "support::", "-t", "handles::", "-f", "300"];
    let mut matrix = command(std::env::current_exe()?, ["matrix"]);
    run(matrix.args(trials).args(["5.10", "6.1", "6.12", "7.3"]))
}

/// By hand for as long as there is time.
pub(super) fn soak(_: &mut Run) -> Result {
    run(&mut cargo(["test", "--test", "soak", "--", "120"]))
}
