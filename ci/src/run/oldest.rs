//! The package with the oldest Rust and the lowest versions that it allows: the library alone, and then its examples and
//! unit tests, since what these depend on may want more.

use std::fs;
use std::path::Path;

use super::{Run, cargo};
use crate::shell::{Failure, On, Result, command, output, run, target_dir};

pub(super) fn check(this: &mut Run) -> Result {
    let manifest = fs::read_to_string("Cargo.toml").on("Cargo.toml".as_ref())?;
    let rust = value_of(&manifest, "rust-version").ok_or("Cargo.toml names no Rust")?.to_owned();
    let mut with = vec!["rustup", "run", &rust, "cargo"];
    let version = run(command(with[0], &with[1..]).arg("--version"));
    let install =
        || run(&mut command("rustup", ["toolchain", "install", "--profile", "minimal", &rust]));
    if version.or_else(|_| install()).is_err() {
        println!(
            "Rust {rust} is not here and cannot be installed: its part of this step is left out"
        );
        if std::env::var_os("CI").is_some_and(|value| value == "true") {
            return Err(Failure::from("continuous integration leaves nothing out"));
        }
        with = vec!["cargo"];
    }
    let target = fs::canonicalize(target_dir())?;
    let id = output(&mut cargo(["pkgid"]))?;
    let version = id.trim().rsplit(['#', '@']).next().unwrap_or_default();
    let package = target.join(format!("package/linux-namespaces-{version}"));
    let (whole, library) = (this.dir.join("whole"), this.dir.join("library"));
    run(command("cp", ["-r"]).args([&package, &whole]))?;
    run(command("cp", ["-r"]).args([&package, &library]))?;
    rewrite(&library.join("Cargo.toml"), without_examples_and_tests)?;
    rewrite(&whole.join("Cargo.toml"), |text| with_version_of(text, "libc", "0.2.186"))?;
    for part in [&library, &whole] {
        fs::remove_file(part.join("Cargo.lock")).on(part)?;
        let mut lock = cargo(["-Z", "direct-minimal-versions", "generate-lockfile"]);
        run(lock.current_dir(part).env("RUSTC_BOOTSTRAP", "1"))?;
    }
    let oldest = |part: &Path, args: &[&str]| {
        let mut command = command(with[0], &with[1..]);
        // Old macros give warnings.
        command.args(args).current_dir(part).env("RUSTFLAGS", "-Awarnings");
        command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_TARGET_DIR", target.join("oldest"));
        run(&mut command)
    };
    oldest(&library, &["check"])?;
    oldest(&whole, &["test", "--lib"])?;
    oldest(&whole, &["build", "--examples"])
}

fn rewrite(path: &Path, change: impl Fn(&str) -> String) -> Result {
    let text = fs::read_to_string(path).on(path)?;
    fs::write(path, change(&text)).on(path)
}

fn value_of<'a>(manifest: &'a str, key: &str) -> Option<&'a str> {
    let line = manifest.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
    line.strip_suffix('"')
}

fn without_examples_and_tests(manifest: &str) -> String {
    let mut is_left_out = false;
    let keeps = |line: &&str| {
        if line.starts_with('[') {
            is_left_out = line.starts_with("[dev-dependencies") || line.starts_with("[[example");
        }
        !is_left_out
    };
    manifest.lines().filter(keeps).map(|line| format!("{line}\n")).collect()
}

/// nix 0.32.0 wants that much of libc.
fn with_version_of(manifest: &str, dependency: &str, version: &str) -> String {
    let head = format!("[dependencies.{dependency}]");
    let mut is_next = false;
    let line = |line: &str| {
        let new = if is_next { format!("version = \"{version}\"\n") } else { format!("{line}\n") };
        is_next = line == head;
        new
    };
    manifest.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nrust-version = \"1.85\"\n\n[[example]]\nname = \"x\"\n\n[lib]\n\n\
        [dependencies.libc]\nversion = \"0.2.171\"\n\n[dev-dependencies.nix]\nversion = \"0.32\"\n";

    #[test]
    fn manifests_are_changed() {
        assert_eq!(value_of(MANIFEST, "rust-version"), Some("1.85"));
        let library = without_examples_and_tests(MANIFEST);
        assert!(
            !library.contains("nix") && !library.contains("example") && library.contains("[lib]")
        );
        let whole = with_version_of(MANIFEST, "libc", "0.2.186");
        assert_eq!(whole, MANIFEST.replace("0.2.171", "0.2.186"));
    }
}
