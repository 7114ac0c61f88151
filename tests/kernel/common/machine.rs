//! What this machine and this user can do, asked of the kernel and not of the crate.

use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use super::kernel::request;

/// What a trial cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Uid 0 with `CAP_SYS_ADMIN`: over the machine's namespaces, or over those of a container.
    Root,
    /// Not root.
    Ordinary,
    /// New user namespaces in which an id map can be written and other namespaces made.
    UserNamespaces,
    /// Where we are root, other users' ids that we may take: most containers of ordinary users have none.
    OtherIds,
    /// Rights over the machine itself.
    InitialUserNamespace,
    /// Where we are root, the right to trace processes of other users: in most containers root has it not.
    TraceOthers,
    /// A new proc in new user, pid and mount namespaces: refused where parts of the present one are covered.
    NewProc,
    /// Limits on namespaces that root of a new user namespace can set: not where /proc/sys is read-only.
    NamespaceLimits,
    /// clone3(2): engines hide it.
    Clone3,
    /// unshare(2), which engines refuse with whatever flags.
    Unshare,
    /// pidfd_getfd(2), of this process itself.
    CopyDescriptors,
    /// The repository that this was built from: not every user may look into it.
    Sources,
    /// A program in PATH.
    Program(&'static str),
    /// A file that some package brings.
    File(&'static str),
    /// One of this crate's examples, built: by `cargo test`, or in the directory that
    /// `LINUX_NAMESPACES_EXAMPLES` names.
    Example(&'static str),
    /// A writable memory controller of cgroup version 1 or 2.
    MemoryCgroup,
    /// A cgroup file system of version 2 in which groups can be made.
    UnifiedCgroup,
    /// Linux 5.11: overlays in user namespaces, built in or loaded.
    Overlays,
    /// Overlays, for whomever.
    OverlayModule,
    /// FUSE, which user namespaces may mount, built in or loaded.
    Fuse,
    /// Pairs of network interfaces (veth) with ip(8), built in or loaded.
    NetworkPairs,
    /// Mounts whose owners are changed, of the file system for temporary files. As root.
    MappedOwners,
    /// Linux 5.16: a child that dumps core does not take with it what shares its memory.
    CoreDumpsAlone,
    /// Linux 6.6 for files in memory: where there are temporary files, they have attributes of users.
    UserAttributes,
    /// Linux 6.11: namespaces are asked of pidfds, and pids translated.
    PidfdNamespaces,
    /// Linux 6.12: root can go from one mount namespace to the next.
    MountNamespaceList,
    /// Linux 6.18: namespaces have unique ids.
    UniqueIds,
}

/// Debian's package of each program and file that trials need.
const PACKAGES: &[(&str, &str)] = &[
    ("/usr/share/containers/seccomp.json", "golang-github-containers-common"),
    ("bash", "bash"),
    ("busybox", "busybox-static"),
    ("crun", "crun"),
    ("dumb-init", "dumb-init"),
    ("gdb", "gdb"),
    ("hostname", "hostname"),
    ("ip", "iproute2"),
    ("lsns", "util-linux"),
    ("mount", "mount"),
    ("newuidmap", "uidmap"),
    ("nsenter", "util-linux"),
    ("proot", "proot"),
    ("ps", "procps"),
    ("qemu-aarch64-static", "qemu-user-static"),
    ("qemu-i386-static", "qemu-user-static"),
    ("qemu-x86_64-static", "qemu-user-static"),
    ("setsid", "util-linux"),
    ("strace", "strace"),
    ("tini", "tini"),
    ("unshare", "util-linux"),
    ("valgrind", "valgrind"),
];

impl Need {
    /// Why it is not met, if it is not. The machine is queried once.
    pub(crate) fn missing(self) -> Option<String> {
        static KNOWN: Mutex<Vec<(Need, Option<String>)>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap();
        if let Some((_, reason)) = known.iter().find(|(need, _)| *need == self) {
            return reason.clone();
        }
        let reason = self.query();
        known.push((self, reason.clone()));
        reason
    }

    fn query(self) -> Option<String> {
        match self {
            Self::Root if !is_uid_0() => Some("for root".to_owned()),
            Self::Root => (!is_root()).then(|| "root has no CAP_SYS_ADMIN here".to_owned()),
            Self::Ordinary => is_uid_0().then(|| "for an ordinary user".to_owned()),
            Self::UserNamespaces => {
                (!user_namespaces()).then(|| "no user namespaces here".to_owned())
            }
            Self::OtherIds => (is_uid_0() && !other_ids())
                .then(|| "root cannot take the ids of other users here".to_owned()),
            Self::InitialUserNamespace => (!in_initial_user_namespace())
                .then(|| "this is not the initial user namespace".to_owned()),
            Self::TraceOthers => (is_uid_0() && !traces_others())
                .then(|| "root cannot trace processes of other users here".to_owned()),
            Self::NewProc => {
                let refused = "a new proc is refused here, as where parts of /proc are covered";
                (!new_proc()).then(|| refused.to_owned())
            }
            Self::NamespaceLimits => (!namespace_limits())
                .then(|| "the limits in /proc/sys/user cannot be written here".to_owned()),
            Self::Clone3 => (!clone3()).then(|| "clone3(2) is hidden here".to_owned()),
            Self::Unshare => (!unshare()).then(|| "unshare(2) is refused here".to_owned()),
            Self::CopyDescriptors => {
                (!copies_descriptors()).then(|| "pidfd_getfd(2) is refused here".to_owned())
            }
            Self::Sources => {
                let file = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
                fs::read(file).is_err().then(|| "the repository cannot be read here".to_owned())
            }
            Self::Program(name) => {
                in_path(name).is_none().then(|| format!("no program called {name} here"))
            }
            Self::File(path) => {
                (!Path::new(path).is_file()).then(|| format!("there is no {path} here"))
            }
            Self::Example(name) => {
                example(name).is_none().then(|| format!("the example {name} is not built"))
            }
            Self::MemoryCgroup => {
                memory_cgroup().is_none().then(|| "no memory cgroup here".to_owned())
            }
            Self::UnifiedCgroup => unified_cgroup()
                .is_none()
                .then(|| "no writable cgroup of version 2 here".to_owned()),
            Self::Overlays => (!overlays()).then(|| "no overlays in user namespaces".to_owned()),
            Self::OverlayModule => {
                // A mount loads the module where one may.
                let known = || fs::read_to_string("/proc/filesystems").unwrap_or_default();
                let is_here = overlays() || known().contains("\toverlay\n");
                (!is_here).then(|| "the module for overlays is not here".to_owned())
            }
            Self::Fuse => fuse_device().is_none().then(|| "no FUSE here".to_owned()),
            Self::NetworkPairs => {
                (!network_pairs()).then(|| "no pairs of network interfaces here".to_owned())
            }
            Self::MappedOwners => (is_root() && !mapped_owners())
                .then(|| "no change of owners in mounts of temporary files".to_owned()),
            Self::CoreDumpsAlone => {
                (kernel_version() < (5, 16)).then(|| "before Linux 5.16".to_owned())
            }
            Self::UserAttributes => (!user_attributes())
                .then(|| "temporary files have no attributes of users".to_owned()),
            Self::PidfdNamespaces => {
                (!has_ioctl(0xff09, true)).then(|| "before Linux 6.11".to_owned())
            }
            Self::MountNamespaceList => {
                (!lists_mount_namespaces()).then(|| "before Linux 6.12".to_owned())
            }
            Self::UniqueIds => {
                (!has_ioctl(0x8008_b70d, false)).then(|| "before Linux 6.18".to_owned())
            }
        }
    }

    /// The name and the package of a program or file.
    pub(crate) fn package(self) -> Option<(&'static str, &'static str)> {
        let (Self::Program(name) | Self::File(name)) = self else { return None };
        let entry = PACKAGES.iter().find(|(known, _)| *known == name);
        Some(*entry.unwrap_or_else(|| panic!("{name} has no entry in PACKAGES")))
    }

    /// Whether the suite's other run, as another user, makes up for it.
    pub(crate) fn is_about_the_user(self) -> bool {
        matches!(self, Self::Root | Self::Ordinary | Self::Sources)
    }
}

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
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        in_child(|| {
            // SAFETY: changes this process alone.
            unsafe {
                let groups = libc::setgroups(0, std::ptr::null());
                let gid = libc::setresgid(54_321, 54_322, 65_534);
                let uid = libc::setresuid(54_321, 54_322, 65_534);
                groups == 0 && gid == 0 && uid == 0
            }
        })
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
    let (reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: this process has one thread; the child changes itself alone, until it is killed.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: as above.
        unsafe {
            libc::setresgid(54_321, 54_321, 54_321);
            libc::setresuid(54_321, 54_321, 54_321);
            libc::prctl(libc::PR_SET_DUMPABLE, 1);
            writer.write_all(b"x").ok();
            loop {
                libc::pause();
            }
        }
    }
    drop(writer);
    (&reader).read_exact(&mut [0]).ok();
    let opened = fs::File::open(format!("/proc/{pid}/ns/user")).is_ok();
    // SAFETY: the child made above.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
    opened
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
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        in_child(|| {
            // SAFETY: changes this process alone.
            let (uid, made) = unsafe { (libc::geteuid(), libc::unshare(libc::CLONE_NEWUSER)) };
            made == 0
                && fs::write("/proc/self/uid_map", format!("0 {uid} 1")).is_ok()
                // SAFETY: as above.
                && unsafe { libc::unshare(libc::CLONE_NEWUTS) } == 0
        })
    })
}

/// Puts one over two directories, in a forked child.
fn overlays() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    // New ones: below the machine's directories there may be mounts, which are locked in there.
    let tmpfs = c"tmpfs".as_ptr();
    let (kind, layers) = (c"overlay".as_ptr(), c"lowerdir=/etc:/usr".as_ptr());
    *ANSWER.get_or_init(|| {
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

/// Makes one in a network namespace of its own.
fn network_pairs() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let mut unshare = std::process::Command::new("unshare");
        let made = unshare.args(["-rn", "ip", "link", "add", "type", "veth"]).output();
        made.is_ok_and(|output| output.status.success())
    })
}

/// Does it, with a namespace of a forked child.
fn mapped_owners() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let (mut told, tell) = std::io::pipe().unwrap();
        // SAFETY: this process has one thread; the child changes itself alone, until it is killed.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: as above.
            unsafe { libc::unshare(libc::CLONE_NEWUSER) };
            (&tell).write_all(b"x").ok();
            loop {
                // SAFETY: sleeps.
                unsafe { libc::pause() };
            }
        }
        drop(tell);
        told.read_exact(&mut [0]).ok();
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
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
            done == 0
        }
    })
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
