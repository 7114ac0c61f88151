//! Runs a program on a bare machine: a root with a shell, coreutils, a linker and the Rust toolchain of this machine,
//! and with nothing else, so that no optional program hides a fault. `cargo test` does not run it:
//!
//! ```sh
//! cargo test --test bare -- root cargo test
//! cargo test --test bare -- user /path/of/a/test/binary
//! cargo test --test bare -- contained /path/of/a/test/binary
//! cargo test --test bare -- docker /path/of/a/test/binary
//! cargo test --test bare -- docker-unconfined /path/of/a/test/binary
//! ```
//!
//! `contained` is root of a container that an ordinary user started and that may make no user namespaces. The machine
//! is used, too: there are mounts in /etc, /run and /tmp, there is a cgroup into which nothing can be written, its network
//! has no IPv6, and its loopback is down. What is left out: swap, and the load of other programs.
//!
//! `docker` is root of a container of `docker run`: uid 0 of the machine without `CAP_SYS_ADMIN`, below a pid 1 that
//! reaps no orphans, with parts of /proc covered or read-only, and with a seccomp filter against all that makes or
//! enters namespaces or mounts. `docker-unconfined` is the same with `--security-opt seccomp=unconfined`.

#![allow(unsafe_code, reason = "capabilities and filters are not this crate's")]

mod docker;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, ExitCode};

use linux_namespaces::{Command, Init, Mount, NamespaceSet, Propagation, Rootfs};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const KINDS: [&str; 5] = ["root", "user", "contained", "docker", "docker-unconfined"];
const USER: u32 = 65_534;

/// The linker, and what it runs.
const LINKER: &[&str] = &["cc", "gcc", "ld", "as", "ar"];

/// GNU coreutils of Debian. One that is not here is left out.
const COREUTILS: &str = "[ arch b2sum base32 base64 basename basenc cat chcon chgrp chmod chown chroot cksum comm cp \
    csplit cut date dd df dir dircolors dirname du echo env expand expr factor false fmt fold groups head hostid id \
    install join link ln logname ls md5sum mkdir mkfifo mknod mktemp mv nice nl nohup nproc numfmt od paste pathchk \
    pinky pr printenv printf ptx pwd readlink realpath rm rmdir runcon seq sha1sum sha224sum sha256sum sha384sum \
    sha512sum shred shuf sleep sort split stat stdbuf stty sum sync tac tail tee test timeout touch tr true truncate \
    tsort tty uname unexpand uniq unlink users vdir wc who whoami yes";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &*arguments {
        ["inside", who, program, rest @ ..] => inside(who, program, rest),
        [who, program, rest @ ..] if KINDS.contains(who) => outside(who, program, rest),
        _ => Err(format!("usage: {} PROGRAM [ARGUMENT...], as root", KINDS.join("|")).into()),
    }
}

/// Creates the root and runs this program in it.
fn outside(who: &str, program: &str, arguments: &[&str]) -> Result<ExitCode> {
    let root = tempfile::tempdir()?;
    let at = |path: &str| root.path().join(path);
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755))?;
    for dir in ["usr/bin", "etc", "root", "run/netns", "run/lock", "tmp/in use", "var/tmp"] {
        fs::create_dir_all(at(dir))?;
    }
    for dir in ["tmp", "var/tmp"] {
        fs::set_permissions(at(dir), fs::Permissions::from_mode(0o1777))?;
    }
    symlink("usr/bin", at("bin"))?;
    for name in COREUTILS.split_whitespace().chain(LINKER.iter().copied()) {
        if let Some(program) = find(name) {
            fs::copy(program, at("usr/bin").join(name))?;
        }
    }
    fs::copy(find("dash").or_else(|| find("sh")).ok_or("there is no sh")?, at("usr/bin/sh"))?;
    fs::copy(std::env::current_exe()?, at("bare"))?;
    for file in ["passwd", "group", "ld.so.cache", "ld.so.conf"] {
        let from = Path::new("/etc").join(file);
        if from.exists() {
            fs::copy(from, at("etc").join(file))?;
        }
    }
    fs::write(at("etc/resolv.conf"), "")?;

    let mut command = Command::new("/bare");
    command.args(["inside", who, program]).args(arguments);
    command.unshare(NamespaceSet::MOUNT | NamespaceSet::NET).rootfs(Rootfs::dir(root.path())?);
    for dir in ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/libexec"] {
        if Path::new(dir).exists() {
            command.mount(Mount::bind(dir, dir)?.read_only());
        }
    }
    let toolchain = toolchain()?;
    let registry = cargo_home()?.join("registry");
    let here = std::env::current_dir()?;
    let mut shared = vec![toolchain.clone(), registry, here.clone()];
    shared.extend(std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from));
    shared.extend(std::env::var_os("LINUX_NAMESPACES_EXAMPLES").map(PathBuf::from));
    shared.extend(Path::new(program).parent().filter(|dir| dir.is_absolute()).map(Path::to_owned));
    shared.sort();
    shared.dedup_by(|dir, before| dir.starts_with(before));
    let others = OthersCgroup::create();
    if who.starts_with("docker") {
        docker::mount(&mut command)?;
    } else {
        for dir in ["/dev", "/proc", "/sys"] {
            command.mount(Mount::bind(dir, dir)?);
        }
        if let Some(group) = &others {
            command.mount(Mount::read_only_path(&group.0)?);
        }
    }
    for dir in &shared {
        command.mount(Mount::bind(dir, dir)?);
    }
    // As `ip netns`, systemd and container tools leave it.
    let peers = Mount::tmpfs("/run/netns")?.propagation(Propagation::Shared);
    command.mount(peers).mount(Mount::tmpfs("/run/lock")?).mount(Mount::tmpfs("/tmp/in use")?);
    command.mount(Mount::bind(at("etc/passwd"), "/etc/resolv.conf")?);

    command.env("PATH", format!("{}:/usr/bin:/bin", toolchain.join("bin").display()));
    command.env("CARGO_HOME", cargo_home()?).env("CARGO_NET_OFFLINE", "true").env("HOME", "/tmp");
    command.current_dir(if matches!(who, "user" | "contained") { "/tmp".into() } else { here });
    Ok(exit_code(command.status()?))
}

/// Beside those that trials make, where there are cgroups of version 2; removed at the end.
struct OthersCgroup(PathBuf);

impl OthersCgroup {
    fn create() -> Option<Self> {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists())?;
        let dir = root.join(format!("linux-namespaces-bare-{}", std::process::id()));
        fs::create_dir(&dir).ok().map(|()| Self(dir))
    }
}

impl Drop for OthersCgroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).ok();
    }
}

/// In the root: runs the program as the user.
fn inside(who: &str, program: &str, arguments: &[&str]) -> Result<ExitCode> {
    let no_ipv6 = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
    if matches!(who, "root" | "user" | "contained") && Path::new(no_ipv6).exists() {
        fs::write(no_ipv6, "1")?;
    }
    let mut command = Command::new(program);
    match who {
        "root" | "pid 1" => {}
        "docker" | "docker-unconfined" => {
            docker::confine(who == "docker")?;
            let mut command = Command::new("/bare");
            return Err(command.args(["inside", "pid 1", program]).args(arguments).exec().into());
        }
        "user" => {
            command.uid(USER).gid(USER);
        }
        "contained" => {
            command = Command::new("/bare");
            command.args(["inside", "container", program]).uid(USER).gid(USER);
        }
        _ => {
            let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"";
            command = Command::new("/bin/sh");
            command.args(["-c", script, "sh", program]).unshare(NamespaceSet::all()).map_root();
            command.mount(Mount::proc("/proc")?).init(Init::new());
        }
    }
    Ok(exit_code(command.args(arguments).status()?))
}

fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

fn find(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(name)).into_iter().find(|it| it.is_file())
}

fn toolchain() -> Result<PathBuf> {
    let output = StdCommand::new("rustc").args(["--print", "sysroot"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

fn cargo_home() -> Result<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    let dir = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home);
    dir.ok_or_else(|| "there is no HOME".into())
}
