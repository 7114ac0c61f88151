//! The suite in a root file system, and the machines that run it.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Instant;

use super::Result;
use super::debian::Debian;
use super::options::Options;
use crate::shell::{On, built, command, install, piped, run, seed};

/// The longest that a machine may take.
const SECONDS: &str = "9000";

/// Puts the suite and the examples that it drives into the root, and packs it.
pub(super) fn add_suite(debian: &Debian<'_>, options: &Options) -> Result {
    let arch = &debian.arch.name;
    let variable =
        |name: &str| format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_{name}", arch.to_uppercase());
    let cargo = |args: &[&str]| {
        let mut cargo = command("cargo", args);
        cargo.args(["--release", "--target", &format!("{arch}-unknown-linux-gnu")]);
        // Where the C library there is not surely ours, the suite brings its own.
        cargo.env(variable("RUSTFLAGS"), "-C target-feature=+crt-static");
        if !debian.arch.is_native() {
            cargo.env(variable("LINKER"), format!("{arch}-linux-gnu-gcc"));
        }
        built(&mut cargo)
    };
    let dir = debian.root.join("suite");
    fs::remove_dir_all(&dir).ok();
    fs::create_dir_all(&dir).on(&dir)?;
    let suites = cargo(&["test", "--no-run", "--test", "kernel", "--test", "sweep"])?;
    for binary in suites.into_iter().chain(cargo(&["build", "--examples"])?) {
        let name = binary.file_name().unwrap_or_default().to_string_lossy();
        let to = dir.join(without_hash(&name));
        install(&binary, &to)?;
        run(&mut command(format!("{arch}-linux-gnu-strip"), [&to]))?;
    }
    install(".ci/matrix-init".as_ref(), &debian.root.join("init"))?;
    // A run of the suite for each line.
    let runs: String = options.runs.iter().map(|run| format!("{run}\n")).collect();
    // Each commit tries others.
    let sweep = format!("{} {}\n", seed(), options.sweep_part);
    for (name, text) in [("arguments", runs), ("sweep_part", sweep)] {
        fs::write(dir.join(name), text).on(&dir)?;
    }
    let archive = debian.work.join(format!("{arch}.cpio.gz"));
    let archive = File::create(&archive).on(&archive)?;
    let mut cpio = command("cpio", ["--quiet", "--null", "-o", "-H", "newc", "-R", "0:0"]);
    piped(
        [
            command("find", [".", "-print0"]).current_dir(&debian.root),
            cpio.current_dir(&debian.root),
            &mut command("gzip", ["-1"]),
        ],
        Some(archive),
    )?;
    Ok(())
}

/// `kernel` of `kernel-0123456789abcdef`.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((before, hash)) if hash.len() == 16 => before,
        _ => name,
    }
}

/// Runs the suite on a kernel. What the machine writes stays in the log, however it ends.
pub(super) fn boot(debian: &Debian<'_>, kernel: &str) -> Result {
    let (arch, log, dir) = (debian.arch, debian.log(kernel), debian.kernel_dir(kernel));
    let with = |suffix: &str| {
        let mut path = log.clone().into_os_string();
        path.push(suffix);
        std::path::PathBuf::from(path)
    };
    let (initrd, said) = (with(".initrd"), with(".qemu"));
    fs::remove_file(&log).ok();
    // One archive behind the other: what is of this kernel alone.
    fs::copy(debian.work.join(format!("{}.cpio.gz", arch.name)), &initrd).on(&initrd)?;
    let end = File::options().append(true).open(&initrd).on(&initrd)?;
    let mut cpio = command("cpio", ["--quiet", "-o", "-H", "newc", "-R", "0:0"]);
    let mut find = command("find", [".", "-name", "*.ko"]);
    piped(
        [find.current_dir(&dir), cpio.current_dir(&dir), &mut command("gzip", ["-1"])],
        Some(end),
    )?;
    let serial = match &*arch.name {
        "s390x" => ["-chardev".to_owned(), format!("file,id=log,path={}", log.display())],
        _ => ["-serial".to_owned(), format!("file:{}", log.display())],
    };
    let words = format!("console={} quiet loglevel=1 panic=-1 {}", arch.console, arch.quirks);
    let mut qemu =
        command("timeout", ["--foreground", SECONDS, arch.qemu, "-accel", "tcg", "-cpu", arch.cpu]);
    qemu.args(arch.machine).args([
        "-m",
        "3072",
        "-smp",
        "2",
        "-nographic",
        "-nodefaults",
        "-no-reboot",
    ]);
    qemu.args(serial);
    if arch.name == "s390x" {
        qemu.args(["-device", "sclpconsole,chardev=log"]);
    }
    qemu.arg("-kernel")
        .arg(dir.join("vmlinuz"))
        .arg("-initrd")
        .arg(&initrd)
        .args(["-append", &words]);
    let file = File::create(&said).on(&said)?;
    qemu.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file);
    let start = Instant::now();
    qemu.status()?;
    println!("Linux {kernel}: {} s", start.elapsed().as_secs());
    fs::remove_file(&initrd).on(&initrd)
}

#[cfg(test)]
mod tests {
    use super::without_hash;

    #[test]
    fn names_of_binaries() {
        assert_eq!(without_hash("kernel-0123456789abcdef"), "kernel");
        assert_eq!(without_hash("keep_alive"), "keep_alive");
    }
}
