//! Handles where `/proc` is not what it should be.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command as StdCommand;

use linux_namespaces::{Command, Error, ErrorKind, Namespace, NamespaceSet, NsFd, Step, Unshare};

use super::{ino, kind_of, other};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{PidfdNamespaces, UserNamespaces};
use crate::program::{Held, is_of};
use crate::stage;

cases! {
    without_proc_the_kernel_is_asked [UserNamespaces, PidfdNamespaces],
    without_proc_older_kernels_cannot_tell [UserNamespaces],
    a_proc_that_is_forged_later_is_not_believed [UserNamespaces],
    a_forged_proc_is_not_believed [UserNamespaces],
    a_forged_proc_is_not_believed_on_older_kernels [UserNamespaces],
    a_covered_part_of_proc_is_noticed_on_older_kernels [UserNamespaces],
    older_kernels_answer_the_same_through_proc [UserNamespaces],
}

/// Root of a new user and mount namespace, in which /proc can be played with.
fn own_mounts() {
    Unshare::new(NamespaceSet::USER | NamespaceSet::MOUNT).map_root().apply().unwrap();
}

fn without_proc_the_kernel_is_asked() {
    own_mounts();
    let expected: Vec<u64> =
        Namespace::ALL.iter().map(|kind| kernel::ns("thread-self", kind.name())).collect();
    stage::tmpfs("/proc");
    let found: Vec<u64> =
        Namespace::ALL.iter().map(|&kind| ino(&NsFd::current(kind).unwrap())).collect();
    assert_eq!(found, expected);
    let of_pid = NsFd::of_pid(std::process::id(), Namespace::Uts).unwrap();
    assert_eq!(of_pid, NsFd::current(Namespace::Uts).unwrap());
    // Writing id maps takes /proc, whatever the kernel.
    let error = Command::new("true").map_root().spawn().unwrap_err();
    is_of(&error, Step::ReadProc, ErrorKind::UntrustedProc);
}

fn without_proc_older_kernels_cannot_tell() {
    own_mounts();
    stage::refuse_pidfd_namespaces();
    stage::tmpfs("/proc");
    assert_eq!(kind_of(NsFd::current(Namespace::Uts)), ErrorKind::UntrustedProc);
    assert_eq!(kind_of(NsFd::of_pid(std::process::id(), Namespace::Uts)), ErrorKind::UntrustedProc);
}

/// A tmpfs on /proc that offers another process's UTS namespace as ours, in two ways.
fn forge(child: &Held) -> tempfile::TempDir {
    let real = tempfile::tempdir().unwrap();
    stage::bind("/proc", real.path());
    stage::tmpfs("/proc");
    let theirs = real.path().join(child.id().to_string()).join("ns");
    for (task, by_link) in
        [("thread-self", true), ("self", false), (&std::process::id().to_string(), true)]
    {
        let task = Path::new("/proc").join(task);
        fs::create_dir(&task).unwrap();
        if by_link {
            std::os::unix::fs::symlink(&theirs, task.join("ns")).unwrap();
        } else {
            fs::create_dir(task.join("ns")).unwrap();
            fs::write(task.join("ns/uts"), "").unwrap();
            stage::bind(theirs.join("uts"), task.join("ns/uts"));
        }
    }
    real
}

fn unforge(real: &tempfile::TempDir) {
    stage::unmount("/proc");
    stage::unmount(real.path());
}

/// Either the truth, or a word that there is none to be had.
fn truth_or_nothing(expected: u64, found: Result<NsFd, Error>) {
    match found {
        Ok(found) => assert_eq!(ino(&found), expected, "a forgery was believed"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::UntrustedProc, "{error:#}"),
    }
}

/// After a first look at the real one, and by mounts that the crate does not know of.
fn a_proc_that_is_forged_later_is_not_believed() {
    let mine = kernel::ns("thread-self", "uts");
    assert_eq!(NsFd::current(Namespace::Uts).unwrap().id().unwrap().ino, mine);
    let proc = tempfile::tempdir().unwrap();
    stage::new_user(libc::CLONE_NEWNS);
    let mut child = StdCommand::new("sleep");
    // SAFETY: one call in the child.
    unsafe {
        child.arg("600").pre_exec(|| match libc::unshare(libc::CLONE_NEWUTS) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut child = child.spawn().unwrap();
    stage::private();
    let user = NsFd::current(Namespace::User).unwrap();
    stage::tmpfs(proc.path());
    let names = ["uts", "pid_for_children"];
    let dir = proc.path().join("thread-self/ns");
    fs::create_dir_all(&dir).unwrap();
    for name in names {
        fs::write(dir.join(name), "").unwrap();
        stage::bind(format!("/proc/{}/ns/uts", child.id()), dir.join(name));
    }
    stage::bind(proc.path(), "/proc");
    assert_ne!(fs::metadata("/proc/thread-self/ns/uts").unwrap().ino(), mine, "the forgery works");
    truth_or_nothing(mine, NsFd::current(Namespace::Uts));
    truth_or_nothing(mine, NsFd::for_children(Namespace::Uts));
    stage::unmount("/proc");
    assert_eq!(user, NsFd::current(Namespace::User).unwrap());
    stage::unmount(proc.path());
    child.kill().unwrap();
    child.wait().unwrap();
}

fn a_forged_proc_is_not_believed() {
    own_mounts();
    let child = other(NamespaceSet::UTS);
    let mine = kernel::ns("thread-self", "uts");
    let real = forge(&child);
    assert_ne!(fs::metadata("/proc/thread-self/ns/uts").unwrap().ino(), mine, "the forgery works");
    truth_or_nothing(mine, NsFd::current(Namespace::Uts));
    truth_or_nothing(mine, NsFd::for_children(Namespace::Uts));
    truth_or_nothing(mine, NsFd::of_pid(std::process::id(), Namespace::Uts));
    unforge(&real);
}

fn a_forged_proc_is_not_believed_on_older_kernels() {
    own_mounts();
    let child = other(NamespaceSet::UTS);
    stage::refuse_pidfd_namespaces();
    let real = forge(&child);
    assert_eq!(kind_of(NsFd::current(Namespace::Uts)), ErrorKind::UntrustedProc);
    assert_eq!(kind_of(NsFd::of_pid(std::process::id(), Namespace::Uts)), ErrorKind::UntrustedProc);
    unforge(&real);
    // Another part of the real one in its place is no better.
    stage::bind("/proc/sys", "/proc");
    assert_eq!(kind_of(NsFd::current(Namespace::Uts)), ErrorKind::UntrustedProc);
    stage::unmount("/proc");
}

/// A way to a handle.
type Find<'a> = &'a dyn Fn() -> Result<NsFd, Error>;

fn a_covered_part_of_proc_is_noticed_on_older_kernels() {
    own_mounts();
    stage::refuse_pidfd_namespaces();
    let me = std::process::id();
    let of_pid = || NsFd::of_pid(me, Namespace::Uts);
    let current = || NsFd::current(Namespace::Uts);
    let covers: [(&str, String, Find<'_>); 4] = [
        ("/proc/1", format!("/proc/{me}"), &of_pid),
        ("/proc/1", format!("/proc/{me}"), &current),
        ("/proc/sys", format!("/proc/{me}/ns"), &of_pid),
        ("/proc/sys", format!("/proc/{me}/task/{me}/ns"), &current),
    ];
    for (covering, covered, find) in covers {
        stage::bind(covering, &covered);
        assert_eq!(kind_of(find()), ErrorKind::UntrustedProc, "{covered}");
        stage::unmount(covered);
    }
}

fn older_kernels_answer_the_same_through_proc() {
    let child = other(NamespaceSet::all());
    stage::refuse_pidfd_namespaces();
    for &kind in Namespace::ALL {
        let expected = kernel::ns(child.id(), kind.name());
        assert_eq!(ino(&NsFd::of_process(child.pidfd(), kind).unwrap()), expected);
        assert_eq!(ino(&NsFd::of_pid(child.id(), kind).unwrap()), expected);
        let own = kernel::ns("thread-self", kind.name());
        assert_eq!(ino(&NsFd::current(kind).unwrap()), own);
        assert_eq!(ino(&NsFd::for_children(kind).unwrap()), own);
    }
    let pid_fd = child.pidfd().try_clone().unwrap();
    drop(child);
    assert_eq!(kind_of(NsFd::of_process(&pid_fd, Namespace::Uts)), ErrorKind::ProcessGone);
}
