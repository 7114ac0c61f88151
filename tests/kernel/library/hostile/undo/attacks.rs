//! The program inside: each attack tries to read what is masked, or to write what is read-only.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{BY_MOUNTS, VICTIM};
use crate::action::ACTION;
use crate::files::c_string;

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
