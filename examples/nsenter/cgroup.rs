//! Where cgroups of version 2 are.

use std::fs;
use std::path::PathBuf;

use crate::Result;

/// The directory of a process's cgroup, by the text of its `cgroup` file, below where all of them are mounted.
pub(crate) fn dir_of(text: &str) -> Result<(PathBuf, PathBuf)> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    // One outside of our cgroup namespace has a path with "..", which would lead out of the mount.
    let path = path.filter(|path| !path.split('/').any(|name| name == ".."));
    let top = mount()?;
    let dir =
        top.join(path.ok_or("the process is in no cgroup of version 2 that is visible here")?);
    Ok((top, dir))
}

/// Where cgroup version 2 is mounted whole.
fn mount() -> Result<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let of_line = |line: &str| {
        let (about, kind) = line.split_once(" - ")?;
        let mut fields = about.split(' ').skip(3);
        let is_whole = fields.next() == Some("/");
        let place = fields.next()?;
        (is_whole && kind.starts_with("cgroup2 ")).then(|| place.into())
    };
    table.lines().find_map(of_line).ok_or_else(|| "no cgroup v2 is mounted".into())
}
