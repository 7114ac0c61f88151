//! What is bound, opened with the caller's rights.

#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};

use super::mount_point::{Create, MountPoint};
use super::{Attr, Tree};
use crate::error::{AtStep, Error, Result, Step};
use crate::mountinfo;
use crate::mounts::c_path;
use crate::ns_fd::NsFd;
use crate::proc_fs::ProcFs;
use crate::process_state;
use crate::sys::Errno;
use crate::sys::in_root::open_inside_here;
use crate::sys::mount::{IDMAP, MountAttr, clone_one, set_attributes};
use crate::sys::stat::identity;

pub(super) fn open(
    index: usize,
    path: &Path,
    attr: Attr,
    idmap: Option<&Arc<NsFd>>,
) -> Result<Tree> {
    let refused = |error: Error| error.at(path);
    let held = if process_state::is_in_other_root() {
        open_inside_here(&c_path(path)?)
    } else {
        rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    };
    let held = held.at_step(Step::OpenSource).map_err(refused)?;
    let identity = identity(held.as_raw_fd()).at_step(Step::OpenSource).map_err(refused)?;
    let is_dir = identity.is_dir();
    let held = match idmap {
        Some(namespace) => {
            id_mapped(&held, namespace).at_step(Step::IdmapMount).map_err(refused)?
        }
        None => held,
    };
    Ok(Tree { index, path: c_path(path)?, is_dir, held, is_ready: idmap.is_some(), attr })
}

/// With the caller's rights, since a child in a user namespace of its own has none over the file system.
fn id_mapped(held: &OwnedFd, namespace: &NsFd) -> crate::sys::Result<OwnedFd> {
    let mount = clone_one(held.as_raw_fd())?;
    let attr = MountAttr {
        set: IDMAP,
        #[allow(clippy::useless_conversion, reason = "it has 32 bits on some architectures")]
        propagation: libc::MS_PRIVATE.into(),
        user_namespace: u64::try_from(namespace.as_raw_fd()).unwrap_or(u64::MAX),
        ..MountAttr::default()
    };
    set_attributes(mount.as_raw_fd(), &attr, false)?;
    Ok(mount)
}

/// The mount points below a directory, seen from there: before Linux 5.12, which changes them with it.
pub(super) fn submounts_of(path: &Path) -> Result<Vec<MountPoint>> {
    const LIST: &str = "/proc/thread-self/mountinfo";
    // What is not known to be there would stay writable.
    let unknown = |error: std::io::Error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Error::os(Step::MakeReadOnly, errno).at(path)
    };
    let proc = ProcFs::open()?;
    let text = proc
        .read(proc.as_fd(), "thread-self/mountinfo")
        .map_err(|errno| Error::os(Step::ReadProc, errno).at(LIST))?;
    let top = fs::canonicalize(path).map_err(unknown)?;
    let mut places = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mount = mountinfo::line(line);
        let mount = mount.ok_or_else(|| Error::os(Step::ReadProc, Errno::IO).at(LIST))?;
        let point = Path::new(OsStr::from_bytes(&mount.point));
        let names: Vec<_> =
            point.strip_prefix(&top).unwrap_or(Path::new("")).components().collect();
        if !names.is_empty() {
            let names =
                names.iter().filter_map(|name| CString::new(name.as_os_str().as_bytes()).ok());
            places.push(MountPoint::of(names.collect(), Create::Nothing));
        }
    }
    Ok(places)
}
