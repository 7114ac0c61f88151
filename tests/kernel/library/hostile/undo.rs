//! Root inside against masks and read-only mounts: who has capabilities over a mount namespace can undo them, and
//! with `lock_mounts` nobody inside can. Every attack is this test binary, started again as the program.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use linux_namespaces::{Command, Init, Mount, NamespaceSet};

use super::image::each_way;
use crate::action::{self, ACTION};
use crate::files::{c_string, dir, set_mode};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{InitialUserNamespace, NewProc, OtherIds, Root, UserNamespaces};
use crate::machine::{is_root, kernel_version};
use crate::program::output;
use crate::sandbox::strict;
use crate::stage;

cases! {
    root_inside_can_undo_mounts [UserNamespaces],
    nobody_undoes_locked_mounts [UserNamespaces, NewProc],
    a_new_proc_shows_what_is_masked_without_the_lock [UserNamespaces, NewProc],
    nobody_undoes_them_without_a_user_namespace [Root, OtherIds],
    a_set_user_id_program_does_not [Root, OtherIds],
    processes_of_others_are_a_way_around [Root, OtherIds],
    the_kernel_s_settings_are_a_way_around_for_root [Root, UserNamespaces, InitialUserNamespace],
    the_capabilities_that_are_left [UserNamespaces],
}

/// What needs capabilities over the mount namespace.
const BY_MOUNTS: &[&str] =
    &["umount", "detach", "remount", "setattr", "move", "bind", "rbind", "clone", "pivot", "cover"];
/// What does not reach anything in any user namespace.
const OTHERS: &[&str] =
    &["nothing", "setns", "capset", "handle", "mknod", "init", "nested", "nested-pivot"];

/// A directory with something masked, and something that is read-only.
struct Masked {
    dir: tempfile::TempDir,
    handle: String,
}

impl Masked {
    fn new() -> Self {
        let dir = dir();
        for name in ["secret", "ro", "view"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            set_mode(dir.path().join(name), 0o777);
        }
        fs::write(dir.path().join("secret/key"), "hidden").unwrap();
        fs::write(dir.path().join("masked"), "hidden").unwrap();
        let handle = handle_of(&dir.path().join("secret/key"));
        Self { dir, handle }
    }

    /// An attack, with these options.
    fn command(&self, attack: &str, choose: &dyn Fn(&mut Command)) -> Command {
        let at = self.dir.path();
        // Not by /proc/self/exe, which below a new proc would be looked up anew.
        let mut command = action::command(&format!("undo={attack}"));
        command.env("AT", at).env("HANDLE", &self.handle);
        command.env("VICTIM", std::process::id().to_string()).current_dir("/");
        command.mount(Mount::mask(at.join("secret")).unwrap());
        command.mount(Mount::mask(at.join("masked")).unwrap());
        command.mount(Mount::read_only_path(at.join("ro")).unwrap());
        choose(&mut command);
        command
    }

    fn attack(&self, attack: &str, choose: &dyn Fn(&mut Command)) -> bool {
        let mut command = self.command(attack, choose);
        let text = output(&mut command);
        fs::remove_file(self.dir.path().join("ro/x")).ok();
        assert!(["reached\n", "not reached\n"].contains(&&*text), "{text}");
        text == "reached\n"
    }
}

/// The bytes of a file handle as numbers; empty where the file system has none.
fn handle_of(path: &Path) -> String {
    let mut handle = [0_u32; 34];
    handle[0] = 128;
    let path = c_string(path);
    let mut mount = 0;
    // SAFETY: a C string, room for a handle, and a number to write.
    let done = unsafe {
        let at = handle.as_mut_ptr();
        let mount = &raw mut mount;
        libc::syscall(libc::SYS_name_to_handle_at, libc::AT_FDCWD, path.as_ptr(), at, mount, 0)
    };
    if done < 0 {
        return String::new();
    }
    handle.map(|word| word.to_string()).join(" ")
}

/// The program inside.
pub(crate) fn act(attack: &str) -> ExitCode {
    let at = PathBuf::from(std::env::var_os("AT").unwrap());
    let reached = run(attack, &at);
    println!("{}", if reached { "reached" } else { "not reached" });
    ExitCode::SUCCESS
}

/// Whether what is masked can be read, or what is read-only written, at one of these places.
fn is_open(places: &[PathBuf]) -> bool {
    places.iter().any(|at| {
        ["secret/key", "masked"]
            .iter()
            .any(|name| fs::read(at.join(name)).is_ok_and(|text| text == b"hidden"))
            || File::create(at.join("ro/x")).is_ok()
    })
}

fn run(attack: &str, at: &Path) -> bool {
    let view = at.join("view");
    let mut places = vec![at.to_owned()];
    let masks = ["secret", "masked", "ro"];
    match attack {
        "nothing" => {}
        "umount" => masks.iter().for_each(|name| umount(at.join(name), 0)),
        "detach" => masks.iter().for_each(|name| umount(at.join(name), libc::MNT_DETACH)),
        "remount" => mount(None, at.join("ro"), libc::MS_REMOUNT | libc::MS_BIND),
        "setattr" => set_writable(at.join("ro")),
        "move" => mount(Some(at.join("secret")), &view, libc::MS_MOVE),
        "bind" => {
            mount(Some(at.to_owned()), &view, libc::MS_BIND);
            places.push(view);
        }
        "rbind" => {
            mount(Some(at.to_owned()), &view, libc::MS_BIND | libc::MS_REC);
            masks.iter().for_each(|name| umount(view.join(name), libc::MNT_DETACH));
            places.push(view);
        }
        "clone" => {
            let path = c_string(at);
            // SAFETY: a C string.
            let tree = unsafe {
                libc::syscall(
                    libc::SYS_open_tree,
                    libc::AT_FDCWD,
                    path.as_ptr(),
                    1 | libc::O_CLOEXEC,
                )
            };
            places.push(format!("/proc/self/fd/{tree}").into());
        }
        "pivot" => {
            tmpfs(&view);
            fs::create_dir(view.join("old")).ok();
            let (new, old) = (c_string(&view), c_string(view.join("old")));
            // SAFETY: C strings.
            unsafe { libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()) };
            let old = Path::new("/old").join(at.strip_prefix("/").unwrap());
            masks.iter().for_each(|name| umount(old.join(name), libc::MNT_DETACH));
            places.push(old);
        }
        "cover" => {
            tmpfs(at.join("secret"));
            (0..2).for_each(|_| umount(at.join("secret"), libc::MNT_DETACH));
        }
        "setns" => {
            // SAFETY: asks for a number.
            let parent = unsafe { libc::getppid() };
            for process in ["self".to_owned(), "1".to_owned(), parent.to_string()] {
                for kind in ["user", "mnt"] {
                    if let Ok(file) = File::open(format!("/proc/{process}/ns/{kind}")) {
                        // SAFETY: this process alone.
                        unsafe { libc::setns(file.as_raw_fd(), 0) };
                    }
                }
                places.push(format!("/proc/{process}/root{}", at.display()).into());
            }
            masks.iter().for_each(|name| umount(at.join(name), libc::MNT_DETACH));
        }
        "capset" => {
            let header = [0x2008_0522_u32, 0];
            let data = [u32::MAX; 6];
            // SAFETY: a header and two sets.
            unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
            // SAFETY: to all that is permitted, one capability after the other.
            (0..64).for_each(|bit| unsafe { capset_with(bit) });
            masks.iter().for_each(|name| umount(at.join(name), libc::MNT_DETACH));
        }
        "handle" => return read_by_handle(at),
        "mknod" => {
            let path = c_string(view.join("memory"));
            // SAFETY: a C string.
            let made =
                unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 1)) };
            fs::remove_file(view.join("memory")).ok();
            return made == 0;
        }
        "init" => {
            places.extend(
                ["root", "cwd"].map(|link| format!("/proc/1/{link}{}", at.display()).into()),
            );
            return File::open("/proc/1/mem").is_ok() && std::process::id() != 1
                || is_open(&places);
        }
        "nested" => {
            return nested() && BY_MOUNTS.iter().filter(|it| **it != "pivot").any(|it| run(it, at));
        }
        "nested-works" => return nested(),
        "proc" => return shows_version(&view),
        "nested-proc" => {
            // SAFETY: this process alone; its child mounts, and tells by its exit status.
            return unsafe {
                nested() && libc::unshare(libc::CLONE_NEWPID) == 0 && in_child(&view)
            };
        }
        "nested-pivot" => return nested() && run("pivot", at),
        "uid" => {
            // SAFETY: this process alone: it becomes the victim's user, and keeps its capabilities.
            unsafe {
                libc::prctl(libc::PR_SET_SECUREBITS, 1 << 2);
                libc::setresuid(VICTIM, VICTIM, VICTIM);
            }
            let victim = std::env::var("VICTIM").unwrap();
            places.push(format!("/proc/{victim}/root{}", at.display()).into());
        }
        "settings" => {
            let file = "/proc/sys/kernel/core_pattern";
            return fs::OpenOptions::new().write(true).open(file).is_ok();
        }
        "suid" => {
            let program = at.join("program");
            let mut command = std::process::Command::new(program);
            command.env(ACTION, "undo=detach");
            return command.output().is_ok_and(|output| output.stdout == b"reached\n");
        }
        _ => panic!("{attack}"),
    }
    is_open(&places)
}

/// Whether a new proc can be mounted, and has a file that is masked in the other one.
fn shows_version(view: &Path) -> bool {
    let (target, kind) = (c_string(view), c"proc".as_ptr());
    // SAFETY: C strings, and no data.
    unsafe { libc::mount(kind, target.as_ptr(), kind, 0, std::ptr::null()) };
    fs::read_to_string(view.join("version")).is_ok_and(|text| text.starts_with("Linux"))
}

/// # Safety
///
/// This process has one thread.
unsafe fn in_child(view: &Path) -> bool {
    // SAFETY: the contract; and the child ends here.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(i32::from(shows_version(view)));
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        status != 0
    }
}

fn umount(path: PathBuf, flags: libc::c_int) {
    let path = c_string(path);
    // SAFETY: a C string.
    unsafe { libc::umount2(path.as_ptr(), flags) };
}

fn mount(source: Option<PathBuf>, target: impl AsRef<Path>, flags: libc::c_ulong) {
    let source = source.map(c_string);
    let source = source.as_ref().map_or(std::ptr::null(), |path| path.as_ptr());
    let target = c_string(target);
    // SAFETY: C strings, or null.
    unsafe { libc::mount(source, target.as_ptr(), std::ptr::null(), flags, std::ptr::null()) };
}

fn tmpfs(target: impl AsRef<Path>) {
    let (target, kind) = (c_string(target), c"tmpfs".as_ptr());
    // SAFETY: C strings, and no data.
    unsafe { libc::mount(kind, target.as_ptr(), kind, 0, std::ptr::null()) };
}

fn set_writable(path: PathBuf) {
    let path = c_string(path);
    let attributes = [0_u64, 1, 0, 0];
    // SAFETY: a C string and a struct mount_attr.
    unsafe {
        let attributes = attributes.as_ptr();
        libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, path.as_ptr(), 0, attributes, 32);
    }
}

/// # Safety
///
/// Changes this process alone.
unsafe fn capset_with(bit: u32) {
    let header = [0x2008_0522_u32, 0];
    let mut data = [0_u32; 6];
    // SAFETY: a header and two sets.
    unsafe {
        libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr());
        let half = 3 * (bit as usize / 32);
        data[half] |= 1 << (bit % 32);
        data[half + 1] |= 1 << (bit % 32);
        libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr());
    }
}

fn read_by_handle(at: &Path) -> bool {
    let words = std::env::var("HANDLE").unwrap();
    let words: Vec<u32> = words.split(' ').filter_map(|word| word.parse().ok()).collect();
    if words.is_empty() {
        return false;
    }
    let dir = File::open(at).unwrap();
    // SAFETY: a handle as the kernel made it.
    let file = unsafe {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        libc::syscall(libc::SYS_open_by_handle_at, dir.as_raw_fd(), words.as_ptr(), flags)
    };
    file >= 0 && fs::read(format!("/proc/self/fd/{file}")).is_ok_and(|text| text == b"hidden")
}

/// A further user namespace, with a copy of the mount namespace, in which this process has all capabilities.
fn nested() -> bool {
    // SAFETY: this process alone, which has one thread.
    let (uid, made) =
        unsafe { (libc::geteuid(), libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)) };
    let mapped = || fs::write("/proc/self/uid_map", format!("0 {uid} 1"));
    if made != 0 {
        return false;
    }
    mapped().unwrap();
    // SAFETY: all of the mount namespace.
    let private = unsafe {
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null())
    };
    assert_eq!(private, 0, "{}", io::Error::last_os_error());
    true
}

fn root_inside_can_undo_mounts() {
    each_way(|choose| {
        // Linux 5.12 has `mount_setattr(2)`.
        let is_there = |attack: &str| attack != "setattr" || kernel_version() >= (5, 12);
        for attack in BY_MOUNTS.iter().filter(|attack| is_there(attack)) {
            let place = Masked::new();
            assert!(place.attack(attack, choose), "{attack} does nothing");
        }
        let place = Masked::new();
        assert!(!place.attack("nothing", choose));
    });
    // What is in another user namespace cannot be undone from a further one.
    let place = Masked::new();
    for attack in OTHERS.iter().filter(|attack| !["setns", "capset"].contains(attack)) {
        assert!(
            !place.attack(attack, &|command| {
                command.map_root();
            }),
            "{attack}"
        );
    }
}

fn none_works(choose: &dyn Fn(&mut Command)) {
    let place = Masked::new();
    for attack in BY_MOUNTS.iter().chain(OTHERS) {
        let locked = |command: &mut Command| {
            choose(command);
            command.lock_mounts();
        };
        assert!(!place.attack(attack, &locked), "{attack}");
    }
}

fn nobody_undoes_locked_mounts() {
    none_works(&|command| {
        command.map_root();
    });
    none_works(&|command| {
        command.map_root().keep_caps();
    });
    none_works(&|command| {
        command.map_root().unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
    });
    none_works(&|command| {
        command.map_root().init(Init::new());
    });
    none_works(&|command| {
        command.map_root().init(Init::new()).keep_caps().mount(Mount::proc("/proc").unwrap());
    });
    none_works(&|command| {
        command
            .map_root()
            .unshare(NamespaceSet::NET | NamespaceSet::IPC | NamespaceSet::CGROUP)
            .loopback_up();
    });
}

/// Nor by a new proc: the kernel allows none that would show more than the one that is there.
fn a_new_proc_shows_what_is_masked_without_the_lock() {
    let place = Masked::new();
    let masked = |command: &mut Command| {
        command.map_root().unshare(NamespaceSet::PID);
        command.mount(Mount::proc("/proc").unwrap()).mount(Mount::mask("/proc/version").unwrap());
    };
    let locked = |command: &mut Command| {
        masked(command);
        command.lock_mounts();
    };
    assert!(place.attack("proc", &masked));
    for attack in ["proc", "nested-proc"] {
        assert!(!place.attack(attack, &locked), "{attack}");
        assert!(attack == "proc" || !place.attack(attack, &masked), "{attack}");
    }
    assert!(place.attack("nested-works", &locked));
}

/// They belong to uid 0 of the initial user namespace, and the kernel looks at no capability.
fn the_kernel_s_settings_are_a_way_around_for_root() {
    let place = Masked::new();
    let locked = |command: &mut Command| {
        command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap()).lock_mounts();
    };
    assert!(place.attack("settings", &locked));
    assert!(place.attack("settings", &|command| {
        locked(command.map_root());
    }));
    let map = || stage::id_map(&[(0, 100_000, 65_536)]);
    assert!(!place.attack("settings", &|command| {
        locked(command.uid_map(map()).gid_map(map()).uid(0).gid(0).groups([]));
    }));
}

fn nobody_undoes_them_without_a_user_namespace() {
    none_works(&|command| {
        command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
    });
    none_works(&|command| {
        command.init(Init::new()).mount(Mount::proc("/proc").unwrap());
    });
    none_works(&|command| {
        command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
        command.uid(54_321).gid(54_321).keep_caps();
    });
    // With all capabilities also what reaches around the mounts does.
    let place = Masked::new();
    let choose = |command: &mut Command| {
        command.unshare(NamespaceSet::PID);
    };
    assert!(place.handle.is_empty() || place.attack("handle", &choose));
    assert!(place.attack("mknod", &choose));
}

fn a_set_user_id_program_does_not() {
    let place = Masked::new();
    let program = place.dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    chown(&program, Some(0), Some(0)).unwrap();
    set_mode(&program, 0o4755);
    let as_other = |command: &mut Command| {
        command.uid(54_321).gid(54_321);
    };
    assert!(place.attack("suid", &as_other), "such a program is nothing special here");
    assert!(!place.attack("suid", &|command| {
        as_other(command);
        command.lock_mounts();
    }));
}

/// The user of a process outside that has no capabilities.
const VICTIM: u32 = 43_210;

/// Where the program can become the user of a process outside, and sees that, it sees what that sees.
fn processes_of_others_are_a_way_around() {
    let place = Masked::new();
    let mut stay = std::process::Command::new("/bin/cat");
    let mut victim = std::os::unix::process::CommandExt::uid(&mut stay, VICTIM)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let attack = |choose: &dyn Fn(&mut Command)| {
        place.attack("uid", &|command| {
            command.env("VICTIM", victim.id().to_string()).lock_mounts();
            choose(command);
        })
    };
    assert!(attack(&|_| {}), "the documentation says that it works");
    assert!(!attack(&|command| {
        command.map_root();
    }));
    assert!(!attack(&|command| {
        command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
    }));
    drop(victim.stdin.take());
    victim.wait().unwrap();
}

fn the_capabilities_that_are_left() {
    in_fork(|| {
        // CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, CAP_MKNOD, CAP_SYS_RAWIO, CAP_SYS_MODULE, CAP_SYS_PTRACE,
        // CAP_SYS_BOOT, CAP_BPF, CAP_CHECKPOINT_RESTORE.
        let gone =
            [21, 2, 27, 17, 16, 19, 22, 39, 40].iter().fold(0_u64, |all, bit| all | 1 << bit);
        each_way(|choose| {
            for keep in [false, true] {
                let sets = |locks: bool| {
                    let mut command = strict("cat /proc/self/status");
                    choose(command.mount(Mount::tmpfs("/sys").unwrap()));
                    if keep {
                        command.keep_caps();
                    }
                    if locks {
                        command.lock_mounts();
                    }
                    let text = output(&mut command);
                    let names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
                    let sets = kernel::fields(&text, &names).into_iter();
                    sets.map(|set| u64::from_str_radix(set, 16).unwrap()).collect::<Vec<_>>()
                };
                let (before, now) = (sets(false), sets(true));
                assert_eq!(now, before.iter().map(|set| set & !gone).collect::<Vec<_>>());
                assert!(now[1] != 0 && (keep || is_root() || now[0] == 0), "{now:x?}");
            }
        });
    });
}
