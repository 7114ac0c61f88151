//! What the program sees of files: the options, and the mounts that they mean.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use linux_namespaces::{Command, Mount, Overlay, Result, Rootfs};

#[derive(Debug, Args)]
pub(crate) struct Files {
    /// A directory as the root, with a /proc and a minimal /dev; without it the machine's files are seen
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Nothing can be written to the root, and root inside cannot change that
    #[arg(long, requires = "root")]
    read_only: bool,
    /// Show a file or directory at another place; with ":ro" it cannot be written
    #[arg(long, value_name = "SRC:DST[:ro]")]
    bind: Vec<Bind>,
    /// An empty file system in memory
    #[arg(long, value_name = "DST")]
    tmpfs: Vec<PathBuf>,
    /// LOWER where it is, with what is written kept in UPPER; without an UPPER it is forgotten. Together with
    /// --root LOWER is a directory of the machine, and seen at the same place inside
    #[arg(long, value_name = "LOWER:UPPER")]
    overlay: Vec<OverLower>,
}

#[derive(Debug, Clone)]
struct Bind {
    source: PathBuf,
    target: PathBuf,
    read_only: bool,
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> core::result::Result<Self, String> {
        let (paths, read_only) = match text.strip_suffix(":ro") {
            Some(paths) => (paths, true),
            None => (text, false),
        };
        match paths.split_once(':') {
            Some((source, target)) if !source.is_empty() && !target.is_empty() => {
                Ok(Self { source: source.into(), target: target.into(), read_only })
            }
            _ => Err("it is SRC:DST or SRC:DST:ro".to_owned()),
        }
    }
}

#[derive(Debug, Clone)]
struct OverLower {
    lower: PathBuf,
    upper: Option<PathBuf>,
}

impl FromStr for OverLower {
    type Err = String;

    fn from_str(text: &str) -> core::result::Result<Self, String> {
        match text.split_once(':') {
            Some((lower, upper)) if !lower.is_empty() => {
                let upper = (!upper.is_empty()).then(|| upper.into());
                Ok(Self { lower: lower.into(), upper })
            }
            _ => Err("it is LOWER:UPPER, or LOWER: to forget what is written".to_owned()),
        }
    }
}

impl Files {
    /// A new `/proc` only where there is something new for it to show, as the kernel allows no other.
    pub(crate) fn mount(&self, command: &mut Command, has_pids: bool) -> Result<()> {
        if let Some(root) = &self.root {
            let rootfs = Rootfs::dir(root)?;
            command.rootfs(if self.read_only { rootfs.read_only() } else { rootfs });
            if self.read_only {
                command.lock_mounts();
            }
        }
        if has_pids {
            command.mount(Mount::proc("/proc")?);
        } else if self.root.is_some() {
            command.mount(Mount::bind("/proc", "/proc")?);
        }
        if self.root.is_some() {
            command.mount(Mount::dev("/dev")?);
        }
        for target in &self.tmpfs {
            command.mount(Mount::tmpfs(target)?);
        }
        for OverLower { lower, upper } in &self.overlay {
            let overlay = Overlay::new([lower])?;
            let overlay = match upper {
                Some(upper) => overlay.upper(upper)?,
                None => overlay,
            };
            command.mount(Mount::overlay(lower, overlay)?);
        }
        for Bind { source, target, read_only } in &self.bind {
            let bind = Mount::bind(source, target)?;
            command.mount(if *read_only { bind.read_only() } else { bind });
        }
        Ok(())
    }
}
