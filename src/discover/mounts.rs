//! The namespaces that are mounted, in every mount namespace that a process is in.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::Result;
use crate::mountinfo::{self, MountLine};
use crate::namespace::Namespace;
use crate::ns_fd::NsId;
use crate::sys::{self, Errno, abi};

use super::scan::{Scan, is_gone};
use super::{Gap, Holder, NamespaceInfo, text};
use crate::proc_fs::ProcFs;

/// Answers the paths at which namespaces are mounted, anywhere.
pub(super) fn walk(scan: &mut Scan) -> Result<HashSet<Vec<u8>>> {
    let (mut bound, mut procs) = (HashSet::new(), ProcMounts::default());
    let user = user_namespace(scan);
    let is_ours =
        |found: &NamespaceInfo| user.is_some() && found.owner.map(|owner| owner.ino) == user;
    let all = scan.found.iter().filter(|found| found.kind == Namespace::Mount);
    let all: Vec<_> = all.map(|found| (found.id, is_ours(found), members(found))).collect();
    for (id, is_ours, members) in all {
        procs.checks = if is_ours { None } else { Some(MOST) };
        if !namespace(scan, (id, is_ours), members, &mut bound, &mut procs)? {
            scan.gaps.push(Gap::Mounts { mount_namespace: id });
        }
    }
    procs.tell_unknown(scan);
    Ok(bound)
}

/// In mount namespaces that belong to it, nobody with less rights mounts.
fn user_namespace(scan: &Scan) -> Option<u64> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let link = scan.proc.read_link(scan.proc.as_fd(), "thread-self/ns/user", &mut buffer);
    text::namespace(link.ok()?).map(|(_, ino)| ino)
}

/// Directories in `/proc` of the tasks in a mount namespace.
pub(super) fn members(found: &NamespaceInfo) -> Vec<String> {
    let task = |holder: &Holder| match holder {
        Holder::Process { pid } => Some(format!("{pid}/ns")),
        Holder::Thread { pid, tid } => Some(format!("{pid}/task/{tid}/ns")),
        _ => None,
    };
    found.holders.iter().filter_map(task).collect()
}

/// Of one mount namespace: how many root directories of its tasks are looked at, and how many proc mounts are checked.
const MOST: usize = 16;

/// A mount namespace as one of its tasks sees it.
struct MountView {
    id: NsId,
    /// The task's directory `ns`.
    task: OwnedFd,
    mountinfo: Vec<u8>,
}

impl MountView {
    fn has_root(&self) -> bool {
        mountinfo::lines(&self.mountinfo).any(|mount| *mount.point == *b"/")
    }
}

/// Looks at the mounts that the tasks see, and returns whether those are all of the namespace. A task in a `chroot(2)`
/// sees only what is mounted in there, so each root directory is looked at; in a namespace of ours until one has all.
fn namespace(
    scan: &mut Scan,
    (id, is_ours): (NsId, bool),
    members: Vec<String>,
    bound: &mut HashSet<Vec<u8>>,
    procs: &mut ProcMounts,
) -> Result<bool> {
    let (mut members, mut told) = (members.into_iter(), HashSet::new());
    let (mut sees_all, mut left) = (false, MOST);
    while members.len() > 0 && !(is_ours && sees_all) {
        for ((root, _), tasks) in roots(scan, is_ours, &mut members)? {
            if left == 0 {
                return Ok(false);
            }
            left -= 1;
            if let Some(view) = view(scan, id, tasks)? {
                look(scan, &view, &mut told, bound, procs)?;
                sees_all |= root == b"/" && view.has_root();
            }
        }
    }
    Ok(sees_all)
}

/// A root directory: its path, and the mount that it is on, since others may be mounted over it.
type Root = (Vec<u8>, u64);

/// Tasks by their root directories, of which `/` is the first. Of a namespace of ours only up to the first task that
/// has it.
fn roots(
    scan: &Scan,
    is_ours: bool,
    members: &mut impl Iterator<Item = String>,
) -> Result<BTreeMap<Root, Vec<String>>> {
    let mut roots = BTreeMap::<Root, Vec<_>>::new();
    for task in members {
        match root_seen(&scan.proc, &task) {
            Ok(root) => {
                let is_last = is_ours && root.0 == b"/";
                roots.entry(root).or_default().push(task);
                if is_last {
                    break;
                }
            }
            Err(errno) => drop(is_gone(errno)?),
        }
    }
    Ok(roots)
}

fn root_seen(proc: &ProcFs, task: &str) -> sys::Result<Root> {
    let (link, mut buffer) = (format!("{task}/../root"), [MaybeUninit::uninit(); 4096]);
    let path = proc.read_link(proc.as_fd(), &link, &mut buffer)?.to_vec();
    Ok((path, proc.mount_of_target(proc.as_fd(), &link)?))
}

/// By the first one of the tasks that is still there.
fn view(scan: &Scan, id: NsId, tasks: Vec<String>) -> Result<Option<MountView>> {
    for task in tasks {
        match view_of(scan, id, &task) {
            Ok(None) => {}
            Ok(view) => return Ok(view),
            Err(errno) => drop(is_gone(errno)?),
        }
    }
    Ok(None)
}

fn view_of(scan: &Scan, id: NsId, task: &str) -> sys::Result<Option<MountView>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let task = scan.proc.open_below(scan.proc.as_fd(), task, flags)?;
    let mountinfo = scan.proc.read(task.as_fd(), "../mountinfo")?;
    // It may have gone elsewhere since it was seen there.
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let now = text::namespace(scan.proc.read_link(task.as_fd(), "mnt", &mut buffer)?);
    Ok((now == Some((Namespace::Mount, id.ino))).then_some(MountView { id, task, mountinfo }))
}

fn look(
    scan: &mut Scan,
    view: &MountView,
    told: &mut HashSet<(u64, Vec<u8>, Vec<u8>)>,
    bound: &mut HashSet<Vec<u8>>,
    procs: &mut ProcMounts,
) -> Result<()> {
    let mut root = None;
    for mount in mountinfo::lines(&view.mountinfo) {
        let is_proc = mount.file_system == b"proc" && *mount.root == *b"/";
        let namespace = text::namespace(&mount.root).filter(|_| mount.file_system == b"nsfs");
        if !is_proc && namespace.is_none() {
            continue;
        }
        if namespace.is_some() {
            bound.insert(mount.point.to_vec());
        }
        if !told.insert((mount.id, mount.device.to_vec(), mount.root.to_vec())) {
            continue;
        }
        let root = root.get_or_insert_with(|| root_of(&scan.proc, &view.task).ok());
        let mut place = || match root {
            Some(root) => open(root, &mount.point),
            None => Err(Errno::NOENT),
        };
        if let Some(namespace) = namespace {
            bound_at(scan, view, &mount, namespace, place())?;
        } else {
            procs.mounted(scan, view, &mount, place)?;
        }
    }
    Ok(())
}

/// The root directory of the task with this directory `ns`: what is behind a link.
pub(super) fn root_of(proc: &ProcFs, task: &OwnedFd) -> sys::Result<OwnedFd> {
    let task = proc.open_below(task.as_fd(), "..", OFlags::PATH | OFlags::DIRECTORY)?;
    proc.open_target(task.as_fd(), "root")
}

/// Without a wait: no file system is asked for what the kernel does not know already, as it does of every
/// place where something is mounted.
pub(super) fn open(root: &OwnedFd, point: &[u8]) -> sys::Result<OwnedFd> {
    let path = point.strip_prefix(b"/").filter(|path| !path.is_empty()).unwrap_or(b".");
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), how | ResolveFlags::CACHED) {
        // Before Linux 5.12.
        Err(Errno::INVAL) => rustix::fs::openat2(root, path, flags, Mode::empty(), how),
        answer => answer,
    }
}

fn bound_at(
    scan: &mut Scan,
    view: &MountView,
    mount: &MountLine<'_>,
    (kind, ino): (Namespace, u64),
    place: sys::Result<OwnedFd>,
) -> Result<()> {
    let path = path(&mount.point);
    let index = scan.add(kind, ino, Holder::BindMount { mount_namespace: view.id, path });
    if scan.found[index].asked {
        return Ok(());
    }
    match place.and_then(|place| scan.open_place(&place)) {
        Ok(Some((_, number, file))) if number == ino => {
            if let Err(errno) = scan.ask(index, &file) {
                is_gone(errno)?;
            }
        }
        // Something else covers it, perhaps another namespace.
        Ok(_) => {
            let path = self::path(&mount.point);
            scan.gaps.push(Gap::CoveredMount { mount_namespace: view.id, path });
        }
        Err(errno) => drop(is_gone(errno)?),
    }
    Ok(())
}

/// Which pid namespaces are shown by proc file systems, of which one may be mounted many times.
#[derive(Default)]
struct ProcMounts {
    /// By the device number of the file system.
    shown: HashMap<Vec<u8>, u64>,
    /// The others, and whether something keeps them out of reach.
    unknown: Vec<(Vec<u8>, NsId, PathBuf, bool)>,
    /// How many more of the mount namespace that is looked at are checked, if they need it.
    checks: Option<usize>,
}

impl ProcMounts {
    fn mounted(
        &mut self,
        scan: &mut Scan,
        view: &MountView,
        mount: &MountLine<'_>,
        place: impl FnOnce() -> sys::Result<OwnedFd>,
    ) -> Result<()> {
        let path = path(&mount.point);
        let mut shown = self.shown.get(mount.device).copied();
        let mut is_out_of_reach = false;
        if shown.is_none() {
            match self.ask(scan, view, mount, place) {
                Ok(ino) => {
                    shown = ino;
                    self.shown.extend(ino.map(|ino| (mount.device.to_vec(), ino)));
                }
                Err(errno) => {
                    is_gone(errno)?;
                    is_out_of_reach = true;
                }
            }
        }
        match shown {
            Some(ino) => {
                let holder = Holder::ProcMount { mount_namespace: view.id, path };
                scan.add(Namespace::Pid, ino, holder);
            }
            None => self.unknown.push((mount.device.to_vec(), view.id, path, is_out_of_reach)),
        }
        Ok(())
    }

    /// What its PID 1 tells, unless that has ended or may not be looked into. Only the link itself is opened there, with
    /// `O_PATH`, and its text read: its owner may mount at any time.
    fn ask(
        &mut self,
        scan: &Scan,
        view: &MountView,
        mount: &MountLine<'_>,
        place: impl FnOnce() -> sys::Result<OwnedFd>,
    ) -> sys::Result<Option<u64>> {
        let place = place()?;
        if !self.is_root_of(&place, scan, view, mount.device)? {
            return Err(Errno::XDEV);
        }
        let mut buffer = [MaybeUninit::uninit(); 4096];
        match scan.proc.read_link_in(place.as_fd(), "1/ns/pid", &mut buffer) {
            Ok(link) => match text::namespace(link) {
                Some((Namespace::Pid, ino)) => Ok(Some(ino)),
                _ => Err(Errno::XDEV),
            },
            Err(Errno::NOENT | Errno::SRCH | Errno::ACCESS | Errno::PERM) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether it is the root of the proc that had this device number.
    fn is_root_of(
        &mut self,
        place: &OwnedFd,
        scan: &Scan,
        view: &MountView,
        device: &[u8],
    ) -> sys::Result<bool> {
        let is_root = sys::file::cached_statx(place).is_ok_and(|it| {
            let its = format!("{}:{}", it.stx_dev_major, it.stx_dev_minor);
            it.stx_ino == abi::PROC_ROOT_INO && its.as_bytes() == device
        });
        let Some(checks) = self.checks.as_mut().filter(|_| is_root) else {
            return Ok(is_root);
        };
        // The number may be another file system's since, which may never respond. While `place` is open, it is nobody
        // else's. A look at each takes as long as there are mounts.
        if *checks == 0 {
            return Ok(false);
        }
        *checks -= 1;
        let now = scan.proc.read(view.task.as_fd(), "../mountinfo")?;
        let mut mounts = mountinfo::lines(&now).filter(|mount| mount.device == device);
        Ok(mounts.any(|mount| mount.file_system == b"proc"))
    }

    /// The same file system may be in sight elsewhere.
    fn tell_unknown(self, scan: &mut Scan) {
        for (device, mount_namespace, path, is_out_of_reach) in self.unknown {
            if let Some(ino) = self.shown.get(&device) {
                scan.add(Namespace::Pid, *ino, Holder::ProcMount { mount_namespace, path });
            } else if is_out_of_reach {
                scan.gaps.push(Gap::CoveredMount { mount_namespace, path });
            }
        }
    }
}

fn path(point: &[u8]) -> PathBuf {
    OsStr::from_bytes(point).into()
}
