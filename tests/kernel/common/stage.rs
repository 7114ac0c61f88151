//! What trials set up with raw calls: mounts, and kernels that are older than this one.

use std::ffi::CString;
use std::path::Path;
use std::ptr;

use linux_namespaces::{IdExtent, IdMap, Namespace, NamespaceSet, NsFd, Unshare};

use super::files::c_string;
use super::kernel::{self, Call, refuse, request};
use super::program::{Held, sleeper};

fn mount(source: &CString, target: impl AsRef<Path>, kind: Option<&CString>, flags: libc::c_ulong) {
    mount_with(source, target, kind, flags, None);
}

fn mount_with(
    source: &CString,
    target: impl AsRef<Path>,
    kind: Option<&CString>,
    flags: libc::c_ulong,
    data: Option<&CString>,
) {
    let target = c_string(target);
    let [kind, data] = [kind, data].map(|it| it.map_or(ptr::null(), |text| text.as_ptr()));
    // SAFETY: C strings, or null for the kind of a bind mount and for no data.
    let answer = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, data.cast()) };
    assert_eq!(answer, 0, "{target:?}: {}", std::io::Error::last_os_error());
}

/// Root of a new user namespace, with other new ones, past the crate.
pub(crate) fn new_user(flags: libc::c_int) {
    let (uid, gid) = kernel::ids();
    new(libc::CLONE_NEWUSER | flags);
    std::fs::write("/proc/self/setgroups", "deny").unwrap();
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();
}

/// New namespaces of this thread, past the crate.
pub(crate) fn new(flags: libc::c_int) {
    // SAFETY: changes this thread alone.
    let done = unsafe { libc::unshare(flags) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// A UTS namespace that only the handle keeps.
pub(crate) fn uts_of_nobody() -> NsFd {
    kernel::join(std::thread::spawn(|| {
        Unshare::new(NamespaceSet::UTS).apply().unwrap();
        NsFd::current(Namespace::Uts).unwrap()
    }))
}

pub(crate) fn id_map(extents: &[(u32, u32, u32)]) -> IdMap {
    let extent = |&(inside, outside, count)| IdExtent { inside, outside, count };
    IdMap::new(extents.iter().map(extent)).unwrap()
}

/// A user namespace whose ids from 0 on are these.
pub(crate) fn shifted() -> NsFd {
    let map = id_map(&[(0, 100_000, 65_536)]);
    let child = Held::of(sleeper().uid_map(map.clone()).gid_map(map));
    child.namespace(Namespace::User).unwrap()
}

/// Keeps what is mounted from here on in this mount namespace.
pub(crate) fn private() {
    mount(&c_string("none"), "/", None, libc::MS_REC | libc::MS_PRIVATE);
}

/// A bind mount, with what is below it.
pub(crate) fn bind(source: impl AsRef<Path>, target: impl AsRef<Path>) {
    mount(&c_string(source), target, None, libc::MS_BIND | libc::MS_REC);
}

pub(crate) fn tmpfs(target: impl AsRef<Path>) {
    tmpfs_with(target, 0);
}

pub(crate) fn tmpfs_with(target: impl AsRef<Path>, flags: libc::c_ulong) {
    let kind = c_string("tmpfs");
    mount(&kind, target, Some(&kind), flags);
}

pub(crate) fn tmpfs_of_size(target: impl AsRef<Path>, size: &str) {
    let (kind, data) = (c_string("tmpfs"), c_string(format!("size={size}")));
    mount_with(&kind, target, Some(&kind), 0, Some(&data));
}

pub(crate) fn unmount(target: impl AsRef<Path>) {
    let target = c_string(target);
    // SAFETY: a C string.
    let answer = unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    assert_eq!(answer, 0, "{target:?}: {}", std::io::Error::last_os_error());
}

/// Linux before 6.11: pidfds cannot be asked for namespaces.
pub(crate) fn refuse_pidfd_namespaces() {
    for number in 0xff01..=0xff0a {
        refuse(Call::with(libc::SYS_ioctl, 1, request(number)), libc::ENOTTY);
    }
}

/// `setns(2)` of one kind is refused.
pub(crate) fn refuse_setns(flag: libc::c_int, errno: i32) {
    refuse(Call::with(libc::SYS_setns, 1, flag.cast_unsigned()), errno);
}

/// Makes a mount shared, in a peer group of its own.
pub(crate) fn share(target: impl AsRef<Path>) {
    mount(&c_string("none"), target, None, libc::MS_SHARED);
}

/// A way back to the root directory of now, for what is to be removed at the end of a trial.
pub(crate) struct Root(std::fs::File);

impl Root {
    pub(crate) fn keep() -> Self {
        Self(std::fs::File::open("/").unwrap())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        use std::os::fd::AsRawFd;
        // SAFETY: this process alone; out of a chroot, as root may.
        unsafe {
            libc::fchdir(self.0.as_raw_fd());
            libc::chroot(c".".as_ptr());
        }
    }
}

/// A new proc, of the pid namespace that this process is in.
pub(crate) fn proc(target: impl AsRef<Path>) {
    private();
    let kind = c_string("proc");
    mount(&kind, target, Some(&kind), 0);
}

/// How many mounts there are at a path, that are in sight.
pub(crate) fn mounts_at(path: &str) -> usize {
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let parent_and_point = |line: &'_ str| {
        let mut words = line.split(' ').skip(1);
        (words.next().unwrap().to_owned(), words.nth(2).unwrap().to_owned())
    };
    let mounts: Vec<_> = table.lines().map(parent_and_point).collect();
    // The machine's own, beneath the /run of this trial.
    let is_covered = |parent: &String| {
        let lies_above =
            |point: &str| path.strip_prefix(point).is_some_and(|it| it.starts_with('/'));
        mounts.iter().any(|(other, point)| other == parent && lies_above(point))
    };
    mounts.iter().filter(|(parent, point)| point == path && !is_covered(parent)).count()
}
