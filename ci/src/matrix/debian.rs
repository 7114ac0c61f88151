//! Kernels and a small system from the mirror of Debian that this machine uses, through an apt that knows of nothing
//! installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::options::Arch;
use super::{Result, give_up};
use crate::shell::{On, command, output, piped, run};

/// Of the system in the machines.
const PACKAGES: &str = "coreutils dash grep hostname sed mawk mount util-linux uidmap strace iproute2 bash \
    busybox-static crun dumb-init tini golang-github-containers-common libc-bin";

pub(super) struct Debian<'a> {
    pub(super) arch: &'a Arch,
    pub(super) work: PathBuf,
    /// Of the system that is packed for the machines.
    pub(super) root: PathBuf,
    state: PathBuf,
    /// What this machine runs.
    release: String,
}

impl<'a> Debian<'a> {
    pub(super) fn new(work: &Path, arch: &'a Arch) -> Result<Self> {
        let about = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let release = about.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let new = Self {
            arch,
            work: work.to_owned(),
            root: work.join(format!("root-{}", arch.name)),
            state: work.join(format!("apt-{}", arch.name)),
            release: release.unwrap_or_default().trim_matches('"').to_owned(),
        };
        new.update()?;
        Ok(new)
    }

    pub(super) fn log(&self, kernel: &str) -> PathBuf {
        self.work.join("log").join(format!("{}-{kernel}", self.arch.name))
    }

    pub(super) fn kernel_dir(&self, kernel: &str) -> PathBuf {
        self.work.join("kernels").join(format!("{}-{kernel}", self.arch.debian))
    }

    fn apt<const N: usize>(&self, program: &str, args: [&str; N]) -> Command {
        let mut apt = command(program, args);
        apt.env("APT_CONFIG", self.state.join("apt.conf"));
        apt
    }

    fn mirror(&self) -> Result<String> {
        let release = format!("Release: {}", self.release);
        let told = output(&mut command(
            "apt-get",
            [
                "indextargets",
                "--format",
                "$(REPO_URI)",
                "Created-By: Packages",
                &release,
                "Component: main",
            ],
        ))?;
        let first = told.lines().filter(|line| !line.is_empty()).min();
        first
            .map(str::to_owned)
            .ok_or_else(|| give_up("apt has no sources of Debian: no mirror to take kernels from"))
    }

    fn update(&self) -> Result {
        for dir in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(self.state.join(dir)).on(&self.state)?;
        }
        let mirror = self.mirror()?;
        let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let source = |suite: &&str| format!("deb [signed-by={key}] {mirror} {suite} main\n");
        let sources: String = self.arch.suites.iter().map(source).collect();
        let (state, debian) = (self.state.display(), self.arch.debian);
        let conf = format!(
            r#"APT::Architecture "{debian}";
APT::Architectures {{ "{debian}"; }};
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Dir::State "{state}";
Dir::State::status "{state}/status";
Dir::Cache "{state}";
Dir::Etc::sourcelist "{state}/sources.list";
Dir::Etc::sourceparts "-";
"#
        );
        for (name, text) in [("status", ""), ("sources.list", &sources), ("apt.conf", &conf)] {
            fs::write(self.state.join(name), text).on(&self.state)?;
        }
        let stamp = self.state.join("updated");
        let age = fs::metadata(&stamp).and_then(|about| about.modified()).ok();
        let age = age.and_then(|time| time.elapsed().ok());
        if age.is_none_or(|age| age > Duration::from_secs(600 * 60)) {
            run(&mut self.apt("apt-get", ["update", "-qq"]))
                .map_err(|_| give_up("apt cannot reach the mirror of this machine's sources"))?;
        }
        fs::write(&stamp, "").on(&stamp)
    }

    /// The newest package of a kernel. From 6.19 on the kernel is apart from its modules.
    fn kernel_package(&self, kernel: &str) -> Result<Option<String>> {
        for kind in ["binary", "image"] {
            let prefix = format!("linux-{kind}-{kernel}.");
            let names = output(&mut self.apt("apt-cache", ["pkgnames", &prefix]))?;
            let names: Vec<_> =
                names.lines().filter(|name| is_kernel(name, &prefix, self.arch.flavour)).collect();
            if names.is_empty() {
                continue;
            }
            let mut all = command("printf", ["%s\\n"]);
            let sorted = piped([all.args(names), &mut command("sort", ["-V"])], None)?;
            return Ok(String::from_utf8_lossy(&sorted).lines().last().map(str::to_owned));
        }
        Ok(None)
    }

    pub(super) fn fetch_kernel(&self, kernel: &str) -> Result {
        let dir = self.kernel_dir(kernel);
        let debian = self.arch.debian;
        let name = self.kernel_package(kernel)?;
        let name = name.ok_or_else(|| {
            give_up(format!("the mirror has no package of Linux {kernel} for {debian}"))
        })?;
        if fs::read_to_string(dir.join("package")).is_ok_and(|known| known.trim() == name) {
            return Ok(());
        }
        fs::remove_dir_all(&dir).ok();
        fs::create_dir(&dir).on(&dir)?;
        let download = |name: &str| {
            let mut apt = self.apt("apt-get", ["download", "-qq", name]);
            apt.current_dir(&dir);
            apt
        };
        run(&mut download(&name)).map_err(|_| give_up(format!("cannot download {name}")))?;
        let modules = name.replacen("-binary-", "-modules-", 1);
        if modules != name {
            // The mirror does not keep the modules of every kernel that it keeps.
            run(download(&modules).stderr(Stdio::null())).ok();
        }
        // From 7.2 on it is among the modules, without a version in its name.
        let image = taken_from(&dir, &name, "*/vmlinu[xz]*");
        if image.is_empty() {
            return Err(give_up(format!("there is no kernel in {name}")));
        }
        fs::write(dir.join("vmlinuz"), image).on(&dir)?;
        for module in ["fs/overlayfs/overlay", "drivers/net/veth"] {
            let packed = taken_from(&dir, &modules, &format!("*/{module}.ko*"));
            if packed.is_empty() {
                continue;
            }
            let path = dir.join("packed");
            fs::write(&path, packed).on(&path)?;
            let file = dir.join(module.rsplit('/').next().unwrap_or_default()).with_extension("ko");
            let file = File::create(&file).on(&file)?;
            // As it is where it is not packed.
            run(command("xz", ["-dcf"]).arg(&path).stdout(file))?;
            fs::remove_file(&path).on(&path)?;
        }
        for deb in debs(&dir, "")? {
            fs::remove_file(&deb).on(&deb)?;
        }
        fs::write(dir.join("package"), name).on(&dir)
    }

    /// A small Debian of this machine's release, unpacked and not installed.
    pub(super) fn make_root(&self) -> Result {
        let complete = self.root.join("complete");
        if fs::read_to_string(&complete).is_ok_and(|known| known.trim() == PACKAGES) {
            return Ok(());
        }
        fs::remove_dir_all(&self.root).ok();
        for dir in [
            "usr/bin",
            "usr/sbin",
            "usr/lib",
            "usr/lib64",
            "proc",
            "sys",
            "dev",
            "run",
            "tmp",
            "var/tmp",
        ] {
            fs::create_dir_all(self.root.join(dir)).on(&self.root)?;
        }
        for dir in ["root", "new", "etc"] {
            fs::create_dir(self.root.join(dir)).on(&self.root)?;
        }
        let link = |text: &str, name: &str| {
            let name = self.root.join(name);
            fs::remove_file(&name).ok();
            std::os::unix::fs::symlink(text, &name).on(&name)
        };
        for name in ["bin", "sbin", "lib", "lib64"] {
            link(&format!("usr/{name}"), name)?;
        }
        let options = ["install", "-qq", "-y", "-t", &self.release, "--download-only"];
        let mut install = self.apt("apt-get", options);
        run(install.args(PACKAGES.split_whitespace()).stdout(Stdio::null()))
            .map_err(|_| give_up("cannot download a system for the virtual machine"))?;
        let archives = self.state.join("archives");
        for deb in debs(&archives, "")? {
            let mut unpack =
                command("tar", ["-x", "--keep-directory-symlink", "--exclude=./usr/share/[!c]*"]);
            unpack.args(["--exclude=./usr/lib/systemd", "--exclude=./etc", "-C"]).arg(&self.root);
            piped([command("dpkg-deb", ["--fsys-tarfile"]).arg(&deb), &mut unpack], None)?;
            fs::remove_file(&deb).on(&deb)?;
        }
        link("dash", "bin/sh")?;
        link("mawk", "bin/awk")?;
        for (name, text) in [
            ("passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"),
            ("group", "root:x:0:\nnogroup:x:65534:\n"),
            ("subuid", ""),
            ("subgid", ""),
            ("login.defs", ""),
        ] {
            fs::write(self.root.join("etc").join(name), text).on(&self.root)?;
        }
        fs::write(&complete, PACKAGES).on(&complete)
    }
}

/// `linux-image-6.1.0-37-cloud-amd64`, but no `-dbg` and no other flavour.
fn is_kernel(name: &str, prefix: &str, flavour: &str) -> bool {
    let version =
        name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(flavour)?.strip_suffix('-'));
    let Some(version) = version else { return false };
    let (_, abi) = version.split_once('-').unwrap_or((version, "0"));
    !abi.is_empty() && abi.bytes().all(|byte| byte.is_ascii_digit())
}

fn debs(dir: &Path, package: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).on(dir)?.collect::<std::io::Result<Vec<_>>>()?;
    let is_it = |name: &str| {
        name.ends_with(".deb") && (package.is_empty() || name.starts_with(&format!("{package}_")))
    };
    let mut all: Vec<_> =
        entries.into_iter().filter(|entry| is_it(&entry.file_name().to_string_lossy())).collect();
    all.sort_by_key(fs::DirEntry::file_name);
    Ok(all.into_iter().map(|entry| entry.path()).collect())
}

/// A file of a package in this directory; nothing where there is none.
fn taken_from(dir: &Path, package: &str, pattern: &str) -> Vec<u8> {
    let Some(deb) = debs(dir, package).ok().and_then(|mut all| all.pop()) else {
        return Vec::new();
    };
    let mut tar = command("tar", ["-x", "--wildcards", "-O", pattern]);
    let mut package = command("dpkg-deb", ["--fsys-tarfile"]);
    piped([package.arg(deb), tar.stderr(Stdio::null())], None).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::is_kernel;

    #[test]
    fn packages_of_kernels() {
        let is_it = |name| is_kernel(name, "linux-image-6.1.", "cloud-amd64");
        assert!(is_it("linux-image-6.1.0-37-cloud-amd64"));
        assert!(is_it("linux-image-6.1.170+deb13-cloud-amd64"));
        assert!(!is_it("linux-image-6.1.0-37-cloud-amd64-dbg"));
        assert!(!is_it("linux-image-6.1.0-37-rt-cloud-amd64"));
        assert!(!is_it("linux-image-6.1.0-37-amd64"));
        assert!(!is_it("linux-image-6.12.0-37-cloud-amd64"));
    }
}
