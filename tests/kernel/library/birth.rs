//! What a child is born with: a cgroup, pids of the caller's choice, and what newer kernels add.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitCode;

use linux_namespaces::{
    Command, Error, ErrorKind, Interface, NamespaceSet, PidFd, Stdio, Step, Support,
};

use crate::action;
use crate::engine::{ALL, Engine, FRESH, available};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::{self, supervised};
use crate::machine::Need::{Clone3, Ordinary, Root, UnifiedCgroup, UserNamespaces};
use crate::machine::unified_cgroup;
use crate::program::{is_at, is_of, refused, sh, sleeper, text};

cases! {
    in_a_cgroup [Root, UnifiedCgroup],
    in_a_cgroup_where_clone3_is_hidden [Root, UnifiedCgroup],
    in_a_frozen_cgroup [Root, UnifiedCgroup],
    in_a_removed_cgroup [Root, UnifiedCgroup],
    in_no_cgroup [],
    with_pids_of_choice [Root],
    with_pids_that_cannot_be [Root],
    with_pids_without_the_right [Ordinary],
    in_nested_pid_namespaces [UserNamespaces],
    reaped_by_the_kernel [Clone3],
    killed_with_its_handle [Clone3],
    without_mounts [UserNamespaces],
}

/// A group of version 2, removed at the end.
struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let name = format!("linux-namespaces-test-{}", std::process::id());
        let path = unified_cgroup().unwrap().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.file_name().unwrap().to_str().unwrap()
    }

    fn open(&self) -> File {
        File::open(&self.0).unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).unwrap();
    }
}

/// The path in the hierarchy of version 2 that a program sees.
fn path_inside(command: &mut Command) -> String {
    let text = text(command);
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
}

fn is_in_group(group: &Group, all: NamespaceSet) {
    for engine in available(ALL) {
        let place = engine.place();
        let make = |new| {
            let mut command = Command::new("cat");
            command.arg("/proc/self/cgroup").cgroup(group.open()).unshare(new);
            engine.choose(&mut command, place.as_ref());
            command
        };
        let path = path_inside(&mut make(NamespaceSet::empty()));
        assert!(path.ends_with(group.name()), "{engine:?}: {path}");
        assert_eq!(path_inside(&mut make(NamespaceSet::CGROUP)), "/", "{engine:?}");
    }
    for engine in available(FRESH) {
        let mut command = Command::new("cat");
        command.arg("/proc/self/cgroup").cgroup(group.open()).unshare(all);
        command.map_root();
        engine.choose(&mut command, None);
        assert_eq!(path_inside(&mut command), "/", "{engine:?}");
    }
}

fn in_a_cgroup() {
    is_in_group(&Group::new(), NamespaceSet::all());
}

fn in_a_cgroup_where_clone3_is_hidden() {
    let group = Group::new();
    let support = Support::probe().unwrap();
    let mut all = NamespaceSet::all();
    if !support.has(Interface::ExecEntersTime) {
        // It takes a birth then, and so a copy: no choice of an engine.
        all -= NamespaceSet::TIME;
    }
    in_fork(|| {
        kernel::refuse(libc::SYS_clone3, libc::ENOSYS);
        is_in_group(&group, all);
    });
}

fn in_a_frozen_cgroup() {
    let group = Group::new();
    let below = Group(group.0.join("below"));
    fs::create_dir(&below.0).unwrap();
    let freeze = |how: &str| fs::write(group.0.join("cgroup.freeze"), how).unwrap();
    for engine in available(ALL) {
        let place = engine.place();
        for one in [&group, &below] {
            let mut command = Command::new("true");
            command.cgroup(one.open());
            engine.choose(&mut command, place.as_ref());
            freeze("1");
            let error = refused(&mut command);
            let got = (error.kind(), error.step());
            assert_eq!(got, (ErrorKind::InvalidInput, Some(Step::Clone)), "{engine:?}: {error:?}");
            assert!(error.to_string().contains("frozen"), "{error}");
            freeze("0");
            kernel::until(|| {
                let events = fs::read_to_string(one.0.join("cgroup.events")).unwrap();
                events.contains("frozen 0")
            });
            assert!(command.status().unwrap().success(), "{engine:?}");
        }
    }
    // The kernel may still be at a member's end.
    kernel::until(|| {
        let events = fs::read_to_string(group.0.join("cgroup.events")).unwrap();
        events.contains("populated 0")
    });
    drop(below);
}

fn in_a_removed_cgroup() {
    let told = |error: &Error| {
        let got = (error.kind(), error.step());
        assert_eq!(got, (ErrorKind::NotFound, Some(Step::Clone)), "{error:?}");
        assert!(error.explain().unwrap().contains("has been removed"), "{error:#}");
    };
    let before_the_spawn = || {
        for engine in available(ALL) {
            let place = engine.place();
            let mut command = Command::new("true");
            command.cgroup(Group::new().open());
            engine.choose(&mut command, place.as_ref());
            let error = refused(&mut command);
            told(&error);
            assert!(error.to_string().contains("a cgroup that has been removed"), "{error}");
        }
    };
    before_the_spawn();
    in_fork(|| {
        kernel::refuse(libc::SYS_clone3, libc::ENOSYS);
        before_the_spawn();
    });
    // After the spawn has looked at it.
    if Clone3.missing().is_none() {
        let group = Group::new();
        let mut command = Command::new("true");
        command.cgroup(group.open());
        let mut group = Some(group);
        let remove = |_| {
            drop(group.take());
            true
        };
        told(&supervised(libc::SYS_clone3, remove, || command.spawn().unwrap_err()));
    }
}

fn in_no_cgroup() {
    let is_told = |errno| {
        for engine in available(ALL) {
            let place = engine.place();
            let mut command = Command::new("true");
            command.cgroup(File::open("/").unwrap());
            engine.choose(&mut command, place.as_ref());
            let error = refused(&mut command);
            let got = (error.step(), error.raw_os_error());
            assert_eq!(got, (Some(Step::Clone), Some(errno)), "{engine:?}: {error:?}");
            assert!(error.explain().unwrap().contains("none of a cgroup"));
        }
    };
    if Clone3.missing().is_none() {
        is_told(libc::EBADF);
    }
    in_fork(|| {
        kernel::refuse(libc::SYS_clone3, libc::ENOSYS);
        is_told(libc::ENOENT);
    });
}

/// A number that nobody has. Others may take it before it is used, though hardly 100 of them.
fn free_pids() -> impl Iterator<Item = u32> {
    let max: u32 = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap().trim().parse().unwrap();
    (300..max).rev().filter(|&pid| PidFd::open(pid).is_err()).take(100)
}

fn with_pids_of_choice() {
    // Inside an entered user namespace there is no right to numbers outside.
    for engine in available(&[Engine::Sharing, Engine::Copying, Engine::SharingInside]) {
        let place = engine.place();
        let mut made = None;
        for pid in free_pids() {
            let mut command = sleeper();
            command.unshare(NamespaceSet::PID).set_tid([1, pid]);
            engine.choose(&mut command, place.as_ref());
            match command.spawn() {
                Ok(child) => {
                    made = Some((pid, child));
                    break;
                }
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EEXIST), "{error:#}"),
            }
        }
        let (pid, mut child) = made.expect("no number of a hundred was free");
        assert_eq!(child.id(), pid, "{engine:?}");
        assert_eq!(child.pidfd().pids().unwrap(), [pid, 1], "{engine:?}");
        assert_eq!(kernel::status_of(pid, "NSpid"), format!("{pid}\t1"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(child.pidfd().pids().unwrap().is_empty());
    }
}

fn with_pids_that_cannot_be() {
    let fails = |pids: &[u32], set, errno| {
        let mut command = Command::new("true");
        let error = refused(command.set_tid(pids).unshare(set));
        let got = (error.step(), error.raw_os_error());
        assert_eq!(got, (Some(Step::Clone), Some(errno)), "{pids:?}: {error:?}");
        assert!(error.explain().is_some());
    };
    fails(&[std::process::id()], NamespaceSet::empty(), libc::EEXIST);
    fails(&[2], NamespaceSet::PID, libc::EINVAL);
    fails(&[1; 33], NamespaceSet::empty(), libc::EINVAL);
    for nonsense in [0, u32::MAX] {
        let error = refused(Command::new("true").set_tid([nonsense]));
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    in_fork(|| {
        kernel::refuse(libc::SYS_clone3, libc::ENOSYS);
        let error = refused(Command::new("true").unshare(NamespaceSet::PID).set_tid([1]));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    });
}

fn with_pids_without_the_right() {
    let error = refused(Command::new("true").set_tid([4000]));
    is_at(&error, Step::Clone, libc::EPERM);
}

const OUTERMOST: u32 = 3;

/// Starts itself in so many more pid namespaces, and prints its pids in the innermost one.
pub(crate) fn nest(levels: u32) -> ExitCode {
    let Some(left) = levels.checked_sub(1) else {
        println!("{}", kernel::status("NSpid"));
        return ExitCode::SUCCESS;
    };
    let mut command = action::command(&format!("nest={left}"));
    command.unshare(NamespaceSet::PID);
    // Numbers of our choice at each level that is ours.
    match levels {
        OUTERMOST => command.set_tid([1]).map_root(),
        2 => command.set_tid([1, 77]),
        _ => command.set_tid([1, 88, 99]),
    };
    match command.status() {
        Ok(status) => ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap()),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn in_nested_pid_namespaces() {
    let mut command = action::command(&format!("nest={OUTERMOST}"));
    let text = text(command.stderr(Stdio::inherit()));
    let pids: Vec<u32> = text.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 4, "{text}");
    assert_eq!(pids[1..], [99, 88, 1]);
}

fn reaped_by_the_kernel() {
    match sh("exit 3").auto_reap().spawn() {
        Ok(mut child) => {
            assert_eq!(child.wait().unwrap().code(), Some(3));
            assert!(child.pidfd().has_ended().unwrap());
        }
        Err(error) => is_unsupported(&error),
    }
}

fn killed_with_its_handle() {
    match sleeper().no_new_privs().kill_on_drop().spawn() {
        Ok(child) => {
            let handle = PidFd::open(child.id()).unwrap();
            drop(child);
            while !handle.has_ended().unwrap() {
                std::thread::yield_now();
            }
        }
        Err(error) => is_unsupported(&error),
    }
}

fn without_mounts() {
    let error = refused(Command::new("true").map_root().empty_mount_namespace());
    if error.step() == Some(Step::Clone) {
        is_unsupported(&error);
    } else {
        is_at(&error, Step::Exec, libc::ENOENT);
    }
}

fn is_unsupported(error: &Error) {
    is_of(error, Step::Clone, ErrorKind::Unsupported);
    assert!(error.to_string().contains("Linux 7.1"), "{error}");
}
