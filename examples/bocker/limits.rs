//! A cgroup of version 2 for each container, with its limits. Its processes are in another one below: that is the
//! root of their cgroup namespace, and root inside may write to all files that it sees there.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, unlinkat};

use crate::store::Record;
use crate::{Result, cgroup};

/// Where the processes are.
const INSIDE: &str = "container";

#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    controller: &'static str,
    file: &'static str,
    value: String,
}

/// A directory of the cgroup file system. It is removed with this, when no process is in it any more.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// When the last process is gone; those of a container whose init was killed may take a moment.
pub(crate) fn remove(cgroup: &Path) {
    while let Ok(mut events) = File::open(cgroup.join("cgroup.events")) {
        // Read, it tells of changes from here on.
        events.read_to_string(&mut String::new()).ok();
        let emptied = File::open(cgroup).is_ok_and(|dir| remove_below(&dir).is_ok());
        if emptied && fs::remove_dir(cgroup).is_ok() {
            return;
        }
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        let mut change = [PollFd::new(&events, PollFlags::PRI)];
        if !matches!(poll(&mut change, Some(&second)), Ok(1..)) {
            return;
        }
    }
}

/// Those that a container made inside of its own go first.
fn remove_below(dir: impl AsFd) -> rustix::io::Result<()> {
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            remove_below(openat(&dir, name, flags, Mode::empty())?)?;
            unlinkat(&dir, name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(())
}

impl Cgroup {
    /// With the limits that the container was made with; none where it has no limits and no right to a cgroup.
    pub(crate) fn new(container: &Record) -> Result<Option<Self>> {
        let limits = limits(container)?;
        match make(container, &limits) {
            Ok(cgroup) => {
                container.set("cgroup", &cgroup.0.to_string_lossy())?;
                Ok(Some(cgroup))
            }
            Err(_) if limits.is_empty() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn open(&self) -> Result<OwnedFd> {
        Ok(File::open(self.0.join(INSIDE))?.into())
    }
}

/// The cgroup of a container that runs.
pub(crate) fn of(container: &Record) -> Result<Option<OwnedFd>> {
    let inside = container.get("cgroup")?.map(|cgroup| File::open(Path::new(&cgroup).join(INSIDE)));
    Ok(inside.transpose()?.map(Into::into))
}

fn limits(container: &Record) -> Result<Vec<Limit>> {
    let memory = container.get("memory")?.map(|value| Limit {
        controller: "memory",
        file: "memory.max",
        value,
    });
    let cpus = container.get("cpus")?;
    // Microseconds of every tenth of a second.
    let quota = cpus.map(|cpus| cpus.parse().map(|cpus: f64| format!("{:.0} 100000", cpus * 1e5)));
    let cpu = quota.transpose()?.map(|value| Limit { controller: "cpu", file: "cpu.max", value });
    Ok(memory.into_iter().chain(cpu).collect())
}

/// Beside the cgroup that we are in, or further up: one with processes cannot have others below that are limited,
/// except the first of all.
fn make(container: &Record, limits: &[Limit]) -> Result<Cgroup> {
    let (top, own) = cgroup::dir_of(&fs::read_to_string("/proc/self/cgroup")?)?;
    let parents = own.ancestors().skip(usize::from(own != top));
    let mut refused = format!("no cgroup can be made in {top:?}");
    for parent in parents.take_while(|dir| dir.starts_with(&top)) {
        let dir = parent.join(format!("bocker-{}", container.name));
        match make_in(parent, &dir, limits) {
            Ok(cgroup) => return Ok(cgroup),
            Err(error) => refused = format!("{dir:?}: {error}"),
        }
    }
    Err(format!("the limits cannot be set: {refused}").into())
}

fn make_in(parent: &Path, dir: &Path, limits: &[Limit]) -> Result<Cgroup> {
    fs::create_dir(dir)?;
    let cgroup = Cgroup(dir.to_owned());
    for Limit { controller, file, value } in limits {
        if !dir.join(file).exists() {
            let control = parent.join("cgroup.subtree_control");
            let enabled = fs::write(control, format!("+{controller}"));
            enabled.map_err(|error| format!("no controller for {controller}: {error}"))?;
        }
        let set = fs::write(dir.join(file), value);
        set.map_err(|error| format!("{file} cannot be {value:?}: {error}"))?;
    }
    fs::create_dir(dir.join(INSIDE))?;
    // Or they could be nested deeper than we can remove them.
    fs::write(dir.join("cgroup.max.depth"), "32")?;
    Ok(cgroup)
}
