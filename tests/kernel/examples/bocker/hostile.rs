//! What other users and what is inside of a container may do to bocker.

use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use linux_namespaces::{Command, Namespace, NamespaceSet, Stdio};

use super::Bocker;
use crate::harness::cases;
use crate::kernel::{Call, refuse, until};
use crate::machine::Need::{Example, NewProc, Overlays, Program, Root, UserNamespaces};
use crate::machine::is_root;

cases! {
    links_lead_a_copy_nowhere [UserNamespaces, Overlays, Example("bocker"), Program("busybox")],
    no_other_process_is_taken_for_its_program
        [UserNamespaces, NewProc, Overlays, Example("bocker"), Program("busybox")],
    no_other_process_is_taken_for_its_program_before_linux_6_18
        [Root, UserNamespaces, NewProc, Overlays, Example("bocker"), Program("busybox")],
    nobody_else_can_hold_its_lock [UserNamespaces, Example("bocker"), Program("busybox")],
}

/// Exchanges directories and links of one directory while `work` runs.
fn while_exchanged(dir: &Path, work: impl FnOnce()) {
    let path = |name: String| CString::new(dir.join(name).to_str().unwrap()).unwrap();
    let pairs: Vec<_> =
        (0..40).map(|at| (path(format!("d{at}")), path(format!("l{at}")))).collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for (one, other) in &pairs {
                    let (cwd, exchange) = (libc::AT_FDCWD, 2);
                    let call = libc::SYS_renameat2;
                    // SAFETY: C strings.
                    unsafe {
                        libc::syscall(call, cwd, one.as_ptr(), cwd, other.as_ptr(), exchange)
                    };
                }
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_over.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn links_lead_a_copy_nowhere() {
    let bocker = Bocker::new();
    let secret = bocker.dir.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "").unwrap();
    let furnish = |dir: &Path| {
        for at in 0..40 {
            fs::create_dir(dir.join(format!("d{at}"))).unwrap();
            symlink(&secret, dir.join(format!("l{at}"))).unwrap();
        }
    };
    let has_key = |image: &str| {
        let dir = bocker.dir.path().join("state/images").join(image).join("rootfs");
        (0..40).any(|at| {
            ["d", "l"].iter().any(|it| {
                let dir = dir.join(format!("{it}{at}"));
                !dir.is_symlink() && dir.join("key").exists()
            })
        })
    };
    // Links are copied as such, also those that lead astray.
    let source = bocker.root();
    furnish(&source);
    let image = bocker.image();
    let link = bocker.dir.path().join("state/images").join(&image).join("rootfs/l7");
    assert_eq!(fs::read_link(link).unwrap(), secret);
    while_exchanged(&source, || {
        for _ in 0..20 {
            let output = bocker.output(&["init", source.to_str().unwrap()]);
            let name = String::from_utf8(output.stdout).unwrap();
            assert!(!output.status.success() || !has_key(name.trim_end()));
        }
    });
    // Nor one of a container that goes on meanwhile.
    bocker.text(&["run", "--network", "none", &image, "true"]);
    let list = bocker.text(&["ps"]);
    let container = &list.lines().nth(1).unwrap()[..12];
    let files = bocker.dir.path().join("state/containers").join(container).join("files");
    furnish(&files);
    while_exchanged(&files, || {
        for _ in 0..5 {
            let output = bocker.output(&["commit", container]);
            let name = String::from_utf8(output.stdout).unwrap();
            assert!(!output.status.success() || !has_key(name.trim_end()), "commit");
        }
    });
}

fn no_other_process_is_taken_for_its_program() {
    let bocker = Bocker::new();
    let image = bocker.image();
    let container = bocker.name(&["run", "-d", "--network", "none", &image, "sleep", "1000"]);
    let facts = bocker.dir.path().join("state/containers").join(&container);
    assert!(bocker.output(&["exec", &container, "true"]).status.success());
    // One with the same pid, and in a pid namespace with the same inode number.
    let pid = fs::read_to_string(facts.join("pid")).unwrap();
    let start = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap();
        stat.rsplit(')').next().unwrap().split(' ').nth(20).unwrap().to_owned()
    };
    let mut other = loop {
        let mut other = Command::new("sleep");
        let mut other = other.arg("1000").unshare(NamespaceSet::PID).map_root().spawn().unwrap();
        // Times are in hundredths of a second.
        if start(&other.id().to_string()) != start(&pid) {
            break other;
        }
        other.kill().unwrap();
        other.wait().unwrap();
    };
    fs::write(facts.join("pid"), other.id().to_string()).unwrap();
    let inode = other.namespace(Namespace::Pid).unwrap().id().unwrap().ino;
    fs::write(facts.join("pid_namespace"), inode.to_string()).unwrap();
    let (status, words) = bocker.refusal(&["exec", &container, "true"]);
    assert!(status == 125 && words.contains("does not run"), "{words}");
    assert_eq!(bocker.refusal(&["rm", "--force", &container]).0, 125);
    assert!(!other.pidfd().has_ended().unwrap());
    other.kill().unwrap();
    other.wait().unwrap();
    fs::write(facts.join("pid"), pid).unwrap();
    bocker.text(&["rm", "--force", &container]);
    // While nobody reads its output, a program that has ended has no pid.
    let script = "busybox sleep 1; busybox yes | busybox head -c 100000";
    let mut run = bocker.command(&["run", "--network", "none", &image, "sh", "-c", script]);
    let mut run = run.stdout(Stdio::piped()).spawn().unwrap();
    until(|| bocker.text(&["ps"]).contains("running"));
    let list = bocker.text(&["ps"]);
    let name = list.lines().nth(1).unwrap().split(' ').next().unwrap();
    let pid = facts.with_file_name(name).join("pid");
    until(|| pid.exists());
    until(|| !pid.exists());
    assert_eq!(bocker.status(name), "running");
    assert_eq!(bocker.refusal(&["exec", name, "true"]).0, 125);
    std::io::copy(&mut run.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    assert!(run.wait().unwrap().success());
    assert_eq!(bocker.status(name), "exited 0");
}

fn no_other_process_is_taken_for_its_program_before_linux_6_18() {
    refuse(Call::with(libc::SYS_ioctl, 1, 0x8008_b70d), libc::ENOTTY);
    no_other_process_is_taken_for_its_program();
}

fn nobody_else_can_hold_its_lock() {
    let bocker = Bocker::new();
    // As of an older version, in a directory that everybody may enter.
    let state = bocker.dir.path().join("state");
    let lock = state.join("lock");
    fs::create_dir(&state).unwrap();
    fs::write(&lock, "").unwrap();
    for (path, mode) in [(&state, 0o755), (&lock, 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let image = bocker.image();
    bocker.text(&["rm", &image]);
    assert_eq!(fs::metadata(&lock).unwrap().permissions().mode() & 0o777, 0o600);
    // Who waits says what for.
    let image = bocker.image();
    let held = fs::File::open(&lock).unwrap();
    // SAFETY: an open file.
    assert_eq!(unsafe { libc::flock(held.as_raw_fd(), libc::LOCK_EX) }, 0);
    let mut waiting = bocker.command(&["rm", &image]);
    let mut waiting = waiting.stderr(Stdio::piped()).spawn().unwrap();
    let mut words = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    words.read_line(&mut line).unwrap();
    drop(held);
    assert!(waiting.wait().unwrap().success());
    assert!(line.contains("waiting") && line.contains(lock.to_str().unwrap()), "{line:?}");
    // A link in its place is not followed.
    let image = bocker.image();
    let target = bocker.dir.path().join("target");
    fs::remove_file(&lock).unwrap();
    symlink(&target, &lock).unwrap();
    let (status, words) = bocker.refusal(&["rm", &image]);
    assert!(status == 125 && words.contains("lock"), "{words}");
    assert!(!target.exists());
    // Nor is a directory of somebody else used.
    if is_root() && std::os::unix::fs::chown(&state, Some(65534), None).is_ok() {
        let (status, words) = bocker.refusal(&["images"]);
        assert!(status == 125 && words.contains("uid 65534"), "{words}");
    }
}
