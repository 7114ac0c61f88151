//! The `unshare` example with `--KIND=FILE`, beside util-linux's: the namespace of the program is found at the
//! file when the program has ended.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use linux_namespaces::{Namespace, NamespaceSet, Pinned, Unshare};

use super::{ours, prepare};
use crate::harness::cases;
use crate::machine::Need::{
    Example, NewProc, Ordinary, PidfdNamespaces, Program, Root, UserNamespaces,
};
use crate::machine::{in_path, kernel_version};
use crate::sandbox::own_mounts;
use crate::stage::{self, mounts_at};

cases! {
    every_kind_is_kept [UserNamespaces, Example("unshare"), Program("unshare")],
    a_new_user_s_namespaces_are_kept
        [UserNamespaces, NewProc, Example("unshare"), Program("unshare")],
    all_are_kept_before_the_program_begins [UserNamespaces, Example("unshare")],
    a_pid_namespace_waits_for_its_first_process
        [UserNamespaces, PidfdNamespaces, Example("unshare")],
    all_or_none_are_kept [UserNamespaces, Example("unshare")],
    what_is_at_the_file_stays [UserNamespaces, Example("unshare")],
    no_file_is_removed_by_a_link [Root, Example("unshare")],
    mounts_take_privileges [Ordinary, UserNamespaces, Example("unshare")],
    the_file_can_be_entered [Root, Example("unshare"), Program("nsenter"), Program("hostname")],
}

/// The option for a kind.
fn option(kind: Namespace) -> &'static str {
    if kind == Namespace::Mount { "mount" } else { kind.name() }
}

fn run(program: &Path, args: &str) -> Output {
    prepare(program, args).output().unwrap()
}

fn fails_with(args: &str, word: &str) {
    let output = run(&ours(), args);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains(word), "{args}: {output:?}");
    assert!(output.stdout.is_empty() && told.matches("unshare: ").count() == 1, "{output:?}");
}

/// Whether the namespace that the program told is at the file. Unpins it.
fn is_kept(output: &Output, kind: Namespace, file: &str) -> bool {
    let told = String::from_utf8_lossy(&output.stdout);
    let inode = fs::metadata(file).map_or(0, |about| about.ino());
    let same = told == format!("{}:[{inode}]\n", kind.name());
    if mounts_at(file) == 1 {
        Pinned::open(file).unwrap().unpin().unwrap();
    }
    fs::remove_file(file).ok();
    output.status.success() && same
}

/// Waits for a process that came to us, if there is one.
fn orphan() -> i32 {
    // SAFETY: this process has no other children at this time.
    unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) }
}

/// With and without a child, by us and by them, where they can.
fn compare(kind: Namespace, options: &str, they_can: impl Fn(bool) -> bool) {
    for forked in [false, true] {
        // The first process in a pid namespace is its PID 1: without a fork a program never is in it.
        if kind == Namespace::Pid && !forked {
            continue;
        }
        // Nor did exec enter a time namespace.
        if kind == Namespace::Time && !forked && kernel_version() < (6, 2) {
            continue;
        }
        let (option, name) = (option(kind), kind.name());
        let fork = if forked { "-f" } else { "" };
        let args = format!("{options} --{option}=/run/x {fork} -- readlink /proc/self/ns/{name}");
        // New, and an empty one that is there.
        for there in [false, true] {
            if there {
                fs::write("/run/x", "").unwrap();
            }
            let output = run(&ours(), &args);
            assert!(is_kept(&output, kind, "/run/x"), "{args}: {output:?}");
            assert_eq!(orphan(), -1, "{args}");
        }
        fs::write("/run/x", "").unwrap();
        let output = run(&in_path("unshare").unwrap(), &args);
        let kept = is_kept(&output, kind, "/run/x");
        assert!(kept || !they_can(forked), "theirs: {args}: {output:?}");
        // Theirs does not always wait for its helper.
        while orphan() > 0 {}
    }
    assert_eq!(fs::read_dir("/run").unwrap().count(), 0);
}

fn every_kind_is_kept() {
    own_mounts();
    for &kind in Namespace::ALL {
        // A user namespace from inside, before 2.39; a time namespace as that of the children.
        compare(kind, "", |_| kind != Namespace::User && kind != Namespace::Time);
    }
}

fn a_new_user_s_namespaces_are_kept() {
    own_mounts();
    for &kind in Namespace::ALL {
        // What is inside of a new user namespace cannot mount outside, before 2.39.
        compare(kind, "-r", |_| false);
    }
    compare(Namespace::Net, "-rmp --mount-proc -f --root=/", |_| false);
    compare(Namespace::Net, "-rp --forward-signals", |_| false);
}

fn all_are_kept_before_the_program_begins() {
    own_mounts();
    let files =
        "--uts=/run/uts --net=/run/net --ipc=/run/ipc --cgroup=/run/cgroup --user=/run/user";
    let script = "for name in uts net ipc cgroup user; do \
                  test /proc/self/ns/$name -ef /run/$name || echo $name; done; ls /proc/self/fd | wc -l";
    for fork in ["", "-f"] {
        let output = run(&ours(), &format!("-r {files} {fork} -- {script}"));
        assert!(output.status.success(), "{output:?}");
        // As many descriptors as without.
        let without = run(&ours(), &format!("-r {fork} -- ls /proc/self/fd | wc -l"));
        assert_eq!(output.stdout, without.stdout, "{fork}");
        for entry in fs::read_dir("/run").unwrap().flatten() {
            Pinned::open(entry.path()).unwrap().unpin().unwrap();
        }
    }
}

fn a_pid_namespace_waits_for_its_first_process() {
    own_mounts();
    // The shell's first child ends, and with it all life in there.
    let args = "-r --pid=/run/x -- stat -Lc %i /run/x; readlink /proc/self/ns/pid_for_children";
    let output = run(&ours(), args);
    let told = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = told.lines().collect();
    let inode = fs::metadata("/run/x").unwrap().ino();
    assert_eq!(lines[0], inode.to_string(), "{told}");
    Pinned::open("/run/x").unwrap().unpin().unwrap();
}

fn all_or_none_are_kept() {
    own_mounts();
    fs::write("/run/text", "text").unwrap();
    for fork in ["", "-f"] {
        let files = "--uts=/run/uts --net=/run/text --ipc=/run/ipc";
        fails_with(&format!("-r {files} {fork} -- echo ran"), "\"/run/text\"");
        assert_eq!(fs::read_dir("/run").unwrap().count(), 1);
        fails_with(&format!("-r --net=/run/no/such {fork} -- echo ran"), "no such directory");
        // What cannot be made is not kept.
        let clock = "-T --boottime=-1000000000";
        fails_with(&format!("-r --net=/run/x {clock} {fork} -- echo ran"), "4611686018");
        assert_eq!(fs::read_dir("/run").unwrap().count(), 1);
    }
}

fn what_is_at_the_file_stays() {
    own_mounts();
    fs::create_dir("/run/dir").unwrap();
    std::os::unix::fs::symlink("/run/dir", "/run/link").unwrap();
    fs::write("/run/pinned", "").unwrap();
    stage::bind("/proc/self/ns/uts", "/run/pinned");
    for fork in ["", "-f"] {
        for file in ["dir", "link", "pinned"] {
            fails_with(&format!("-r --net=/run/{file} {fork} -- echo ran"), "nothing is covered");
        }
        assert_eq!(mounts_at("/run/pinned"), 1);
    }
}

fn no_file_is_removed_by_a_link() {
    Unshare::new(NamespaceSet::MOUNT).apply().unwrap();
    stage::tmpfs("/run");
    // The owner of a directory exchanges it for a link to another one.
    for dir in ["/run/dir", "/run/other"] {
        fs::create_dir(dir).unwrap();
    }
    fs::write("/run/other/x", "text").unwrap();
    std::os::unix::fs::symlink("other", "/run/link").unwrap();
    let is_over = AtomicBool::new(false);
    let is_left = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let (dir, link) = (c"/run/dir".as_ptr(), c"/run/link".as_ptr());
                let (call, cwd, exchange) = (libc::SYS_renameat2, libc::AT_FDCWD, 2);
                // SAFETY: C strings.
                unsafe { libc::syscall(call, cwd, dir, cwd, link, exchange) };
            }
        });
        let is_left = (0..200).all(|_| {
            // One of them is the directory.
            for dir in ["/run/dir", "/run/link"] {
                fs::OpenOptions::new().create(true).append(true).open(format!("{dir}/x")).ok();
            }
            let mut command = linux_namespaces::Command::new(ours());
            command.args(["--uts=/run/dir/x", "-f", "true"]).unshare(NamespaceSet::MOUNT);
            command.stderr(linux_namespaces::Stdio::null()).status().unwrap();
            fs::read("/run/other/x").is_ok_and(|text| text == b"text")
        });
        is_over.store(true, Ordering::Relaxed);
        is_left
    });
    assert!(is_left);
}

fn mounts_take_privileges() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x");
    for fork in ["", "-f"] {
        let args = format!("-r --net={} {fork} -- echo ran", file.display());
        fails_with(&args, "CAP_SYS_ADMIN");
        assert!(!file.exists());
    }
}

fn the_file_can_be_entered() {
    own_mounts();
    let output = run(&ours(), "--uts=/run/x -- hostname kept");
    assert!(output.status.success(), "{output:?}");
    let mut command = std::process::Command::new("nsenter");
    let output = command.args(["--uts=/run/x", "uname", "-n"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "kept\n", "{output:?}");
    Pinned::open("/run/x").unwrap().unpin().unwrap();
}
