//! What this machine and this user can do, asked of the kernel and not of the crate.

mod need;

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

pub(crate) use need::Need;

use super::fork::Fork;
use super::kernel::request;

/// Whether children share the memory of their parent here: elsewhere they have a copy.
pub(crate) const SHARES_MEMORY: bool = cfg!(all(
    not(linux_namespaces_portable),
    any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")
));

/// As 6 and 18.
pub(crate) fn kernel_version() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Uid 0 with `CAP_SYS_ADMIN`. Without it, as in most containers, root can do no more with namespaces than an ordinary
/// user.
pub(crate) fn is_root() -> bool {
    is_uid_0() && may_administer()
}

pub(crate) fn is_uid_0() -> bool {
    // SAFETY: asks for a number.
    unsafe { libc::geteuid() == 0 }
}

fn may_administer() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() & 1 << 21 != 0
}

/// Takes them in a forked child.
fn other_ids() -> bool {
    in_child(|| {
        // SAFETY: changes this process alone.
        unsafe {
            let groups = libc::setgroups(0, std::ptr::null());
            let gid = libc::setresgid(54_321, 54_322, 65_534);
            let uid = libc::setresuid(54_321, 54_322, 65_534);
            groups == 0 && gid == 0 && uid == 0
        }
    })
}

/// What `work` returns in a forked child, whose namespaces and ids it may change.
fn in_child(work: impl FnOnce() -> bool) -> bool {
    // SAFETY: this process has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let done = work();
        // SAFETY: ends the child.
        unsafe { libc::_exit((!done).into()) }
    }
    let mut status = 0;
    // SAFETY: the child made above.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    status == 0
}

/// Opens a namespace of a child that has become another user.
fn traces_others() -> bool {
    let other = Fork::sleeping(|| {
        // SAFETY: changes the fork alone.
        unsafe {
            libc::setresgid(54_321, 54_321, 54_321);
            libc::setresuid(54_321, 54_321, 54_321);
            libc::prctl(libc::PR_SET_DUMPABLE, 1);
        }
    });
    fs::File::open(format!("/proc/{}/ns/user", other.pid())).is_ok()
}

fn new_proc() -> bool {
    let (proc, target) = (c"proc".as_ptr(), c"/proc".as_ptr());
    let set = libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS;
    // SAFETY: C strings.
    let mounts = || unsafe { libc::mount(proc, target, proc, 0, std::ptr::null()) == 0 };
    // SAFETY: changes the child alone.
    in_child(|| (unsafe { libc::unshare(set) == 0 }) && in_child(mounts))
}

/// Opens one, as root of a new user namespace.
fn namespace_limits() -> bool {
    in_child(|| {
        // SAFETY: changes this process alone.
        let (uid, made) = unsafe { (libc::geteuid(), libc::unshare(libc::CLONE_NEWUSER)) };
        let limit = "/proc/sys/user/max_uts_namespaces";
        made == 0
            && fs::write("/proc/self/uid_map", format!("0 {uid} 1")).is_ok()
            && fs::OpenOptions::new().write(true).open(limit).is_ok()
    })
}

/// With arguments of no size, which the kernel refuses.
fn clone3() -> bool {
    // SAFETY: no memory is read.
    let answer = unsafe { libc::syscall(libc::SYS_clone3, 0, 0) };
    answer == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
}

fn unshare() -> bool {
    // SAFETY: nothing is unshared.
    unsafe { libc::unshare(0) == 0 }
}

fn copies_descriptors() -> bool {
    // SAFETY: descriptors that the kernel makes here, which the child's end closes.
    in_child(|| unsafe {
        let own = libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0);
        libc::syscall(libc::SYS_pidfd_getfd, own, own, 0) >= 0
    })
}

/// It has a fixed inode number.
fn in_initial_user_namespace() -> bool {
    fs::metadata("/proc/self/ns/user").is_ok_and(|it| it.ino() == 0xefff_fffd)
}

/// Makes one in a forked child, with a map and a UTS namespace: where AppArmor restricts them, the
/// namespace can be made but nothing can be done in it.
fn user_namespaces() -> bool {
    in_child(|| {
        // SAFETY: changes this process alone.
        let (uid, made) = unsafe { (libc::geteuid(), libc::unshare(libc::CLONE_NEWUSER)) };
        made == 0
            && fs::write("/proc/self/uid_map", format!("0 {uid} 1")).is_ok()
            // SAFETY: as above.
            && unsafe { libc::unshare(libc::CLONE_NEWUTS) } == 0
    })
}

/// Puts one over two directories, in a forked child.
fn overlays() -> bool {
    // New ones: below the machine's directories there may be mounts, which are locked in there.
    let tmpfs = c"tmpfs".as_ptr();
    let (kind, layers) = (c"overlay".as_ptr(), c"lowerdir=/etc:/usr".as_ptr());
    // SAFETY: changes this process alone. C strings.
    in_child(|| unsafe {
        if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) != 0 {
            return false;
        }
        for dir in [c"/etc", c"/usr"] {
            libc::mount(tmpfs, dir.as_ptr(), tmpfs, 0, std::ptr::null());
        }
        libc::mount(kind, c"/etc".as_ptr(), kind, 0, layers.cast()) == 0
    })
}

/// One of the machine's directories as a layer of an overlay. What is mounted below it is locked in a user namespace,
/// which makes it no layer: in a container /etc has such mounts.
pub(crate) fn layer() -> &'static str {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let has_mounts = |dir: &str| {
        let below = |line: &str| line.split(' ').nth(4).unwrap().starts_with(&format!("{dir}/"));
        table.lines().any(below)
    };
    let dirs = ["/etc", "/usr", "/var", "/usr/bin", "/usr/sbin"];
    dirs.into_iter().find(|dir| Path::new(dir).is_dir() && !has_mounts(dir)).unwrap()
}

/// A device of FUSE that everybody may open, and what removes it. As root, where there is none for others.
pub(crate) fn fuse_device() -> Option<(tempfile::TempDir, std::path::PathBuf)> {
    let dir = tempfile::tempdir().ok()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).ok()?;
    let node = dir.path().join("fuse");
    let path = CString::new(node.to_str()?).ok()?;
    // SAFETY: C strings.
    unsafe {
        libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(10, 229));
        libc::chmod(path.as_ptr(), 0o666);
    }
    let node = [node, "/dev/fuse".into()]
        .into_iter()
        .find(|node| fs::File::options().read(true).write(true).open(node).is_ok())?;
    Some((dir, node))
}

/// Without a request.
pub(crate) fn queries_mounts() -> bool {
    // SAFETY: no memory is read.
    let answer = unsafe { libc::syscall(457, 0, 0, 0, 0) };
    let errno = std::io::Error::last_os_error().raw_os_error();
    answer >= 0 || !matches!(errno, Some(libc::ENOSYS | libc::EPERM))
}

/// Makes one in a network namespace of its own.
fn network_pairs() -> bool {
    let mut unshare = std::process::Command::new("unshare");
    let made = unshare.args(["-rn", "ip", "link", "add", "type", "veth"]).output();
    made.is_ok_and(|output| output.status.success())
}

/// Does it, with a namespace of a forked child.
fn mapped_owners() -> bool {
    // SAFETY: changes the fork alone.
    let owner = Fork::sleeping(|| _ = unsafe { libc::unshare(libc::CLONE_NEWUSER) });
    let pid = owner.pid();
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{map}"), "0 100000 65536").ok();
    }
    let dir = CString::new(std::env::temp_dir().to_str().unwrap()).unwrap();
    let user = fs::File::open(format!("/proc/{pid}/ns/user"));
    let user = user.map_or(-1, |user| i64::from(std::os::fd::IntoRawFd::into_raw_fd(user)));
    let attr = [0x0010_0000_u64, 0, 0, user.cast_unsigned()];
    // SAFETY: C strings, a mount_attr of the given size, and descriptors that are closed again.
    unsafe {
        let tree = libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, dir.as_ptr(), 1) as i32;
        let (empty, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
        let call = libc::SYS_mount_setattr;
        let done = libc::syscall(call, tree, empty, flags, attr.as_ptr(), 32);
        libc::close(tree);
        libc::close(user as i32);
        done == 0
    }
}

/// Where a directory of an overlay can be made again that was removed.
pub(crate) fn user_attributes() -> bool {
    let file = tempfile::tempfile().unwrap();
    // SAFETY: a C string, one byte, and an open file.
    let set = unsafe {
        libc::fsetxattr(
            file.as_raw_fd(),
            c"user.linux-namespaces".as_ptr(),
            b"x".as_ptr().cast(),
            1,
            0,
        )
    };
    set == 0
}

fn has_ioctl(number: u32, on_pidfd: bool) -> bool {
    let path = CString::new("/proc/self/ns/user").unwrap();
    let mut answer = 0_u64;
    // SAFETY: opens, asks and closes; the larger of both answers has room.
    unsafe {
        let pid = libc::getpid();
        let fd = if on_pidfd {
            i32::try_from(libc::syscall(libc::SYS_pidfd_open, pid, 0)).unwrap_or(-1)
        } else {
            libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC)
        };
        let argument = if on_pidfd { std::ptr::null_mut() } else { &raw mut answer };
        let got = libc::ioctl(fd, request(number) as libc::Ioctl, argument);
        libc::close(fd);
        if on_pidfd && got > 2 {
            libc::close(got);
        }
        got >= 0
    }
}

/// `listns(2)`, which lists all to root.
pub(crate) fn lists_namespaces() -> bool {
    // SAFETY: without a request.
    let answer = unsafe { libc::syscall(470, 0, 0, 0, 0) };
    let errno = std::io::Error::last_os_error().raw_os_error();
    is_root() && (answer >= 0 || errno != Some(libc::ENOSYS))
}

/// `NS_MNT_GET_NEXT`: there may be none, or none that we may see.
pub(crate) fn lists_mount_namespaces() -> bool {
    let own = fs::File::open("/proc/self/ns/mnt").unwrap();
    // SAFETY: asks for a descriptor and no more.
    let got = unsafe { libc::ioctl(own.as_raw_fd(), request(0x8010_b70b) as _, 0) };
    let errno = std::io::Error::last_os_error().raw_os_error();
    if got >= 0 {
        // SAFETY: the kernel has just made it.
        unsafe { libc::close(got) };
    }
    got >= 0 || !matches!(errno, Some(libc::ENOTTY | libc::EINVAL))
}

pub(crate) fn in_path(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Where groups of version 2 can be made.
pub(crate) fn unified_cgroup() -> Option<&'static Path> {
    ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new).into_iter().find(|root| {
        let probe = root.join(format!("linux-namespaces-probe-{}", std::process::id()));
        let made = root.join("cgroup.procs").exists() && fs::create_dir(&probe).is_ok();
        if made {
            fs::remove_dir(&probe).ok();
        }
        made && root.join("cgroup.controllers").exists()
    })
}

/// Where an example is: `target/PROFILE/examples`, beside `deps` with the tests.
pub(crate) fn example(name: &str) -> Option<std::path::PathBuf> {
    let dir = match std::env::var_os("LINUX_NAMESPACES_EXAMPLES") {
        Some(dir) => dir.into(),
        None => std::env::current_exe().ok()?.parent()?.parent()?.join("examples"),
    };
    Some(dir.join(name)).filter(|file| file.is_file())
}

/// A directory of the memory controller in which we may make groups, and the name of its limit.
pub(crate) fn memory_cgroup() -> Option<(&'static Path, &'static str)> {
    let roots =
        [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
    let found = roots.into_iter().find(|(root, limit)| {
        let probe = Path::new(root).join(format!("linux-namespaces-probe-{}", std::process::id()));
        let made = fs::create_dir(&probe).is_ok();
        let has_limit = made && probe.join(limit).exists();
        if made {
            fs::remove_dir(&probe).ok();
        }
        has_limit
    })?;
    Some((Path::new(found.0), found.1))
}
