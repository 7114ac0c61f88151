//! A file system whose server does not respond: whoever queries it waits for ever. Below an overlay that is so whatever
//! the rights, since the overlay queries its layers with those of the user who mounted it.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{ChildStdout, ExitCode};

use linux_namespaces::{
    Child, Command, ErrorKind, Holder, Mount, NamespaceSet, NsFd, PidFd, Stdio, Step, discover,
};

use super::image::into;
use crate::action;
use crate::files::{c_string, dir};
use crate::fork::{Fork, in_fork};
use crate::harness::{cases, limit};
use crate::kernel::open_path;
use crate::library::discover::reuse::discover_with;
use crate::library::discover::{covered_mount, id_of, is_gap};
use crate::machine::Need::{Fuse, MountQueries, Overlays, Root, UserNamespaces};
use crate::machine::fuse_device;
use crate::program::{next_line, until_ready};
use crate::sandbox::own_mounts;
use crate::stage;

cases! {
    a_survey_waits_for_no_cover [Root, Fuse, Overlays, UserNamespaces],
    a_survey_waits_for_nothing_with_the_number_of_a_proc [Root, Fuse, Overlays, UserNamespaces],
    a_survey_sees_the_mounts_of_who_has_a_root_that_refuses [Root, Fuse, UserNamespaces],
    a_spawn_waits_for_no_cover_of_a_device [Root, Fuse],
    a_spawn_waits_for_no_source [Root, Fuse],
    a_proc_that_does_not_respond_is_none [Root, Fuse, MountQueries],
    a_file_that_does_not_respond_is_no_socket [Root, Fuse],
}

/// The processes of the attack, which end with this: the server first, so that nobody is left waiting.
struct Stalled {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Stalled {
    fn new(attack: &str) -> Self {
        let (_dir, device) = fuse_device().unwrap();
        let mut command = action::command(&format!("stall={attack}:{}", device.display()));
        command.map_root().unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
        let (child, says) = until_ready(command.stdin(Stdio::piped()));
        Self { child, says }
    }

    fn line(&mut self) -> String {
        next_line(&mut self.says)
    }

    /// What `discover` has to tell.
    fn gap(&self, path: &str) -> String {
        covered_mount(id_of(self.child.id(), "mnt"), path)
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// As PID 1, in mounts of its own, until its input ends.
pub(crate) fn act(attack: &str) -> ExitCode {
    let (attack, device) = attack.split_once(':').unwrap();
    stage::tmpfs("/sys");
    for name in ["fuse", "layer", "overlay", "proc"] {
        fs::create_dir(format!("/sys/{name}")).unwrap();
    }
    // With the first of these nobody but those in this user namespace.
    let rights = if attack == "root" { Silent::RIGHTS[0] } else { "user_id=0,group_id=0" };
    let server = Server::new(device.as_ref(), "/sys/fuse", rights);
    let mut held = None;
    match attack {
        "root" => {
            // The server stays behind.
            stage::new(libc::CLONE_NEWNS);
            stage::bind("/proc/self/ns/uts", "/sys/fuse/one/file");
            std::os::unix::fs::chroot("/sys/fuse/one").unwrap();
        }
        "proc" => {
            overlay("/sys/overlay");
            stage::proc("/sys/proc");
            stage::bind("/sys/overlay", "/sys/proc");
        }
        "pin" => {
            overlay("/sys/overlay");
            // Of a namespace that no process is in.
            File::create("/sys/pin").unwrap();
            stage::new(libc::CLONE_NEWUTS);
            stage::bind("/proc/self/ns/uts", "/sys/pin");
            stage::new(libc::CLONE_NEWUTS);
            stage::bind("/sys/overlay/file", "/sys/pin");
            held = Some(open_path("/sys/pin", 0));
        }
        _ => {
            stage::proc("/sys/proc");
            println!("ready");
            std::io::stdin().read_line(&mut String::new()).unwrap();
            println!("{}", take_the_number_of_proc());
        }
    }
    server.stop();
    println!("ready");
    std::io::stdin().read_to_string(&mut String::new()).unwrap();
    drop((server, held));
    ExitCode::SUCCESS
}

/// An overlay in the place of the proc, with its device and inode number, unless somebody else got the former.
fn take_the_number_of_proc() -> bool {
    let device = |path| fs::metadata(path).unwrap().dev();
    let number = device("/sys/proc");
    stage::unmount("/sys/proc");
    // The lowest one that is free is the next.
    for _ in 0..1000 {
        stage::tmpfs("/sys/layer");
        if device("/sys/layer") == number {
            break;
        }
    }
    stage::unmount("/sys/layer");
    overlay("/sys/proc");
    assert_eq!(fs::metadata("/sys/proc").unwrap().ino(), 1);
    device("/sys/proc") == number
}

/// A file system that nobody serves, until it is dropped.
pub(crate) struct Silent(File);

impl Silent {
    pub(crate) fn new() -> Self {
        let (_dir, path) = fuse_device().unwrap();
        Self(File::options().read(true).write(true).open(path).unwrap())
    }

    /// Mounts it on a file or directory. `rights` say who may query it, and waits: others get an error.
    pub(crate) fn mount(&self, target: &str, rights: &str) {
        let kind = if fs::symlink_metadata(target).unwrap().is_dir() { "40000" } else { "100000" };
        let target = c_string(target);
        mount(c"fuse", &target, &format!("fd={},rootmode={kind},{rights}", self.0.as_raw_fd()));
    }

    pub(crate) fn over(target: &str, rights: &str) -> Self {
        let silent = Self::new();
        silent.mount(target, rights);
        silent
    }

    /// Everybody may query it, or nobody but its owner, as with `fusermount(1)` without `allow_other`.
    pub(crate) const RIGHTS: [&str; 2] =
        ["user_id=0,group_id=0,allow_other", "user_id=65534,group_id=65534"];
}

/// Layers of one file system, whose inode numbers are those of the overlay.
fn overlay(target: &str) {
    let target = c_string(target);
    mount(c"overlay", &target, "lowerdir=/sys/fuse/one:/sys/fuse/other");
}

fn mount(kind: &CStr, target: &CStr, options: &str) {
    let options = c_string(options);
    let kind = kind.as_ptr();
    // SAFETY: C strings.
    let answer = unsafe { libc::mount(kind, target.as_ptr(), kind, 0, options.as_ptr().cast()) };
    assert_eq!(answer, 0, "{target:?}: {}", std::io::Error::last_os_error());
}

/// The process that serves a file system, until this is dropped.
pub(crate) struct Server(Fork);

impl Server {
    /// Mounts one with one empty file, `file` in both `one` and `other`.
    pub(crate) fn new(device: &Path, target: &str, rights: &str) -> Self {
        let mut device = File::options().read(true).write(true).open(device).unwrap();
        let options = format!("fd={},rootmode=40000,{rights}", device.as_raw_fd());
        let target = c_string(target);
        mount(c"fuse", &target, &options);
        Self(Fork::start(|| {
            while respond(&mut device).is_ok() {}
            0
        }))
    }

    /// From here on it does not respond.
    pub(crate) fn stop(&self) {
        // SAFETY: the process made above.
        unsafe {
            libc::kill(self.0.pid(), libc::SIGSTOP);
            libc::waitpid(self.0.pid(), std::ptr::null_mut(), libc::WUNTRACED);
        }
    }
}

/// `include/uapi/linux/fuse.h`: to one request.
fn respond(device: &mut File) -> std::io::Result<()> {
    const FILE: u64 = 2;
    const LAYERS: [u64; 2] = [3, 4];
    let mut request = vec![0; 1 << 17];
    if device.read(&mut request)? < 40 {
        return Ok(());
    }
    let long = |at: usize| u64::from_ne_bytes(request[at..at + 8].try_into().unwrap());
    let opcode = u32::from_ne_bytes(request[4..8].try_into().unwrap());
    let (unique, node) = (long(8), long(16));
    let mut body = Body::default();
    let errno = match opcode {
        // LOOKUP
        1 => {
            let node = match &request[40..] {
                [b'f', b'i', b'l', b'e', 0, ..] if LAYERS.contains(&node) => Some(FILE),
                [b'o', b'n', b'e', 0, ..] => Some(LAYERS[0]),
                [b'o', b't', b'h', b'e', b'r', 0, ..] => Some(LAYERS[1]),
                _ => None,
            };
            node.map_or(libc::ENOENT, |node| {
                body.longs(&[node, 0, 0, 0]).words(&[0, 0]).attributes(node);
                0
            })
        }
        // FORGET, INTERRUPT, BATCH_FORGET
        2 | 36 | 42 => return Ok(()),
        // GETATTR
        3 => {
            body.longs(&[0]).words(&[0, 0]).attributes(node);
            0
        }
        // STATFS
        17 => {
            body.longs(&[0; 5]).words(&[4096, 255, 4096, 0]).words(&[0; 6]);
            0
        }
        // INIT
        26 => {
            body.words(&[7, 31, 0, 0, 0, 4096, 1]).words(&[0; 9]);
            0
        }
        _ => libc::ENOSYS,
    };
    let mut answer = Body::default();
    let length = 16 + body.0.len() as u32;
    answer.words(&[length, (-errno).cast_unsigned()]).longs(&[unique]).0.extend(body.0);
    device.write_all(&answer.0).ok();
    Ok(())
}

#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn longs(&mut self, longs: &[u64]) -> &mut Self {
        self.0.extend(longs.iter().flat_map(|long| long.to_ne_bytes()));
        self
    }

    fn words(&mut self, words: &[u32]) -> &mut Self {
        self.0.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        self
    }

    fn attributes(&mut self, node: u64) {
        let is_file = node == 2;
        let mode = if is_file { libc::S_IFREG | 0o644 } else { libc::S_IFDIR | 0o755 };
        // The directories have the number of the root of a proc.
        self.longs(&[if is_file { node } else { 1 }, 0, 0, 0, 0, 0])
            .words(&[0, 0, 0, mode, 1, 0, 0, 0, 0, 0]);
    }
}

/// In a process that ends if it waits. It cannot be ended once the server has read its request.
pub(crate) fn in_time(work: impl FnOnce()) {
    in_fork(|| {
        // SAFETY: a signal to this process.
        unsafe { libc::alarm(limit() / 8) };
        work();
    });
}

fn a_survey_waits_for_no_cover() {
    for (attack, path) in [("proc", "/sys/proc"), ("pin", "/sys/pin")] {
        let stalled = Stalled::new(attack);
        let gap = stalled.gap(path);
        in_time(|| {
            let all = discover().unwrap();
            assert!(is_gap(&all, &gap), "{attack} {:?}", all.gaps());
        });
    }
}

fn a_survey_waits_for_nothing_with_the_number_of_a_proc() {
    for _ in 0..20 {
        let mut stalled = Stalled::new("number");
        let gap = stalled.gap("/sys/proc");
        let (mut told, tell) = std::io::pipe().unwrap();
        in_time(|| {
            let all = discover_with("sys/proc", || {
                stalled.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
                (&tell).write_all(&[(stalled.line() == "true\n").into()]).unwrap();
                assert_eq!(stalled.line(), "ready\n");
            });
            assert!(is_gap(&all, &gap), "{:?}", all.gaps());
        });
        let mut is_same = [0];
        told.read_exact(&mut is_same).unwrap();
        if is_same == [1] {
            return;
        }
    }
    panic!("no number was given twice");
}

/// The namespace is mounted where nobody sees it but who has a FUSE of others for a root.
fn a_survey_sees_the_mounts_of_who_has_a_root_that_refuses() {
    let stalled = Stalled::new("root");
    in_time(|| {
        let all = discover().unwrap();
        let mounts = id_of(stalled.child.id(), "mnt");
        let is_it = |it: &Holder| match it {
            Holder::BindMount { mount_namespace, path, .. } => {
                *mount_namespace == mounts && path == Path::new("/file")
            }
            _ => false,
        };
        assert!(all.namespaces().any(|it| it.holders().iter().any(is_it)), "{:?}", all.gaps());
    });
}

/// In a root that somebody else laid out.
fn a_spawn_waits_for_no_cover_of_a_device() {
    own_mounts();
    let image = dir();
    let null = image.path().join("dev/null");
    fs::create_dir(image.path().join("dev")).unwrap();
    File::create(&null).unwrap();
    for rights in Silent::RIGHTS {
        in_time(|| {
            let _silent = Silent::over(null.to_str().unwrap(), rights);
            into(image.path()).apply().unwrap();
            let error = Command::new("/bin/true").stdin(Stdio::null()).status().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error:?}");
            for mount in [Mount::mask("/usr").unwrap(), Mount::dev("/usr").unwrap()] {
                let error = Command::new("/bin/true").mount(mount).status().unwrap_err();
                assert_eq!(error.step(), Some(Step::OpenSource), "{error:?}");
            }
        });
        stage::unmount(&null);
    }
}

/// Whoever looks into the mount waits, but not who makes it.
fn a_spawn_waits_for_no_source() {
    own_mounts();
    for name in ["silent", "target"] {
        fs::create_dir(format!("/run/{name}")).unwrap();
    }
    in_time(|| {
        let _silent = Silent::over("/run/silent", Silent::RIGHTS[0]);
        for mount in [
            Mount::bind("/run/silent", "/run/target").unwrap(),
            Mount::bind("/run/silent", "/run/target").unwrap().read_only(),
        ] {
            let mut command = Command::new("/bin/true");
            let status = command.unshare(NamespaceSet::MOUNT).mount(mount).status();
            assert!(status.unwrap_or_else(|error| panic!("{error:#}")).success());
        }
    });
}

/// Its root has the inode number of that of a proc.
fn a_proc_that_does_not_respond_is_none() {
    own_mounts();
    let image = dir();
    for rights in Silent::RIGHTS {
        in_time(|| {
            let silent = Silent::new();
            into(image.path()).apply().unwrap();
            silent.mount("/proc", rights);
            let error = PidFd::current().unwrap().pids().unwrap_err();
            stage::unmount("/proc");
            assert_eq!(error.kind(), ErrorKind::UntrustedProc, "{error:?}");
        });
    }
}

fn a_file_that_does_not_respond_is_no_socket() {
    own_mounts();
    File::create("/run/file").unwrap();
    in_time(|| {
        let _silent = Silent::over("/run/file", Silent::RIGHTS[0]);
        let error = NsFd::of_socket(open_path("/run/file", 0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    });
}
