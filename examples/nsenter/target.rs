//! The process whose namespaces and contexts are taken, held by a pidfd, so that its number cannot come
//! to mean another one under way.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use linux_namespaces::PidFd;
use rustix::fs::{Mode, OFlags};

use crate::{Result, cgroup};

#[derive(Debug)]
pub(crate) struct Target {
    pid: u32,
    pub(crate) process: PidFd,
}

impl Target {
    /// `PID`, or `PID:INODE` with the inode number of its pidfd, which no other process ever has (Linux 6.9).
    pub(crate) fn open(text: &str) -> Result<Self> {
        let (pid, inode) = match text.split_once(':') {
            None => (text, None),
            Some((pid, inode)) => (pid, Some(inode)),
        };
        let invalid = |what: &str, text: &str| format!("invalid {what} argument: '{text}'");
        let pid: u32 = pid.parse().map_err(|_| invalid("PID", pid))?;
        let process = PidFd::open(pid)?;
        if let Some(inode) = inode {
            let wanted: u64 = inode.parse().map_err(|_| invalid("pidfd inode", inode))?;
            let about = File::from(std::os::fd::OwnedFd::from(process.try_clone()?)).metadata()?;
            if about.ino() != wanted {
                return Err(format!(
                    "process {pid} is another one: its pidfd has inode {}",
                    about.ino()
                )
                .into());
            }
        }
        Ok(Self { pid, process })
    }

    pub(crate) fn dir(&self, name: &str) -> Result<File> {
        self.checked(open_dir(&self.path(name)?)?)
    }

    /// Its effective ids are those of its directory in `/proc`, unless it is undumpable.
    pub(crate) fn about(&self) -> Result<Metadata> {
        let path = self.path("")?;
        self.checked(fs::metadata(&path).map_err(|error| format!("cannot open {path:?}: {error}"))?)
    }

    pub(crate) fn env(&self) -> Result<Vec<(OsString, OsString)>> {
        let mut bytes = Vec::new();
        self.file("environ")?.read_to_end(&mut bytes)?;
        let variable = |entry: &[u8]| {
            let at = entry.iter().position(|&byte| byte == b'=')?;
            let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
            Some((text(&entry[..at]), text(&entry[at + 1..])))
        };
        Ok(bytes.split(|&byte| byte == 0).filter_map(variable).collect())
    }

    /// Moves this process, and so the program, into the cgroup of the target.
    pub(crate) fn join_cgroup(&self) -> Result<()> {
        let mut text = String::new();
        self.file("cgroup")?.read_to_string(&mut text)?;
        let file = cgroup::dir_of(&text)?.1.join("cgroup.procs");
        let refused = |error| format!("failed to open or write {file:?}: {error}");
        let mut procs = OpenOptions::new().write(true).open(&file).map_err(refused)?;
        // 0 is the writer.
        Ok(procs.write_all(b"0").map_err(refused)?)
    }

    fn file(&self, name: &str) -> Result<File> {
        let path = self.path(name)?;
        self.checked(File::open(&path).map_err(|error| format!("cannot open {path:?}: {error}"))?)
    }

    /// `/proc` may be of another pid namespace, in which the process has another pid.
    fn path(&self, name: &str) -> Result<PathBuf> {
        let pids = self.process.pids()?;
        let pid = pids.first().ok_or_else(|| format!("process {} is not in /proc", self.pid))?;
        Ok(format!("/proc/{pid}/{name}").into())
    }

    /// What was found under its pid is its own if it lives now.
    fn checked<T>(&self, found: T) -> Result<T> {
        if self.process.has_ended()? {
            return Err(format!("process {} has ended", self.pid).into());
        }
        Ok(found)
    }
}

pub(crate) fn open_dir(path: &Path) -> Result<File> {
    // With musl, std takes O_PATH off the flags of its OpenOptions.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty());
    Ok(dir.map_err(|error| format!("cannot open {path:?}: {error}"))?.into())
}
