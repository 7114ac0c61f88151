//! Every step of a spawn made to fail, in every way in which a child is made: the error names the
//! step and the number, and the caller is what it was.

/// A call on a command, to be made later.
macro_rules! option {
    ($($call:tt)*) => {
        |command: &mut Command| {
            command.$($call)*;
        }
    };
}

pub(crate) mod blocked;
pub(crate) mod callers;
pub(crate) mod calls;
pub(crate) mod kills;

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use linux_namespaces::{Command, ErrorKind, Mount, NamespaceSet, Stdio, Step, Unshare};

use crate::engine::Engine::{Copying, CopyingInside};
use crate::engine::{ALL, Engine, FRESH, available};
use crate::files::{self, set_mode};
use crate::fork::as_ordinary;
use crate::harness::cases;
use crate::kernel::{self, Limit};
use crate::machine::Need::{Clone3, NamespaceLimits, OtherIds, Program, UserNamespaces};
use crate::machine::is_root;
use crate::program::{Held, refused, sleeper};
use crate::stage;

cases! {
    a_program_that_cannot_be_run [],
    a_program_that_is_not_in_path [],
    arguments_that_are_too_long [],
    a_working_directory_that_cannot_be_entered [OtherIds],
    a_nul_byte_anywhere [],
    a_mount_that_is_refused [UserNamespaces],
    ids_that_are_not_mapped [UserNamespaces, OtherIds],
    ids_that_may_not_be_changed [OtherIds],
    a_process_group_that_is_not_there [],
    new_namespaces_without_the_right_to_them [OtherIds, Clone3],
    a_full_table_of_descriptors [UserNamespaces, OtherIds],
    the_limit_on_processes [UserNamespaces, OtherIds],
    the_limit_on_processes_and_the_id_map_helper [UserNamespaces, OtherIds, Program("newuidmap")],
    the_limits_on_namespaces [UserNamespaces, NamespaceLimits],
}

/// What each engine answers to the command: this step and this number. For a path, only `FRESH` ones
/// and `Inside` see the same.
fn fails(engines: &[Engine], make: impl Fn() -> Command, step: Step, errno: i32) {
    for engine in available(engines) {
        let place = engine.place();
        let mut command = make();
        engine.choose(&mut command, place.as_ref());
        let error = refused(&mut command);
        let got = (error.step(), error.raw_os_error());
        assert_eq!(got, (Some(step), Some(errno)), "{engine:?}: {error:?}");
        assert!(error.explain().is_some(), "unexplained: {engine:?}: {error:?}");
    }
}

fn a_program_that_cannot_be_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8], mode: u32| {
        let path = dir.path().join(name);
        files::write(&path, bytes, mode);
        path
    };
    let script = b"#!/bin/sh\n";
    let busy = file("busy", script, 0o755);
    let _writer = File::options().write(true).open(&busy).unwrap();
    let looping = dir.path().join("looping");
    symlink("looping", &looping).unwrap();
    let cases = [
        ("/no/such/program".into(), libc::ENOENT),
        (String::new().into(), libc::ENOENT),
        ("/".into(), libc::EACCES),
        (file("text", script, 0o644), libc::EACCES),
        (file("text", script, 0o644).join("below"), libc::ENOTDIR),
        (file("garbage", b"\x7fELG\0\0\x01\0 nothing", 0o755), libc::ENOEXEC),
        (file("empty", b"", 0o755), libc::ENOEXEC),
        (file("lost", b"#!/no/such/interpreter\n", 0o755), libc::ENOENT),
        (busy, libc::ETXTBSY),
        (looping, libc::ELOOP),
    ];
    for (path, errno) in &cases {
        // Not explained, being rarer than a table of explanations can be long.
        let rare = [libc::ENOTDIR, libc::ELOOP].contains(errno);
        for engine in available(ALL) {
            let place = engine.place();
            let mut command = Command::new(path);
            engine.choose(&mut command, place.as_ref());
            let error = refused(&mut command);
            let got = (error.step(), error.raw_os_error(), error.path());
            assert_eq!(got, (Some(Step::Exec), Some(*errno), Some(&**path)), "{engine:?}");
            assert!(rare || error.explain().is_some(), "unexplained: {error:?}");
        }
    }
}

fn a_program_that_is_not_in_path() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    fs::write(&text, "").unwrap();
    let in_path = |program: &str, path: &str| {
        let mut command = Command::new(program);
        command.env("PATH", path);
        command
    };
    let plain = || Command::new("no-such-program-anywhere");
    fails(ALL, plain, Step::Exec, libc::ENOENT);
    fails(ALL, || in_path("sh", ""), Step::Exec, libc::ENOENT);
    fails(ALL, || in_path("sh", "/no/such/dir:/proc/self/comm:/sys"), Step::Exec, libc::ENOENT);
    // Found, but not to be run: that is what is said in the end.
    let path = format!("/no/such/dir:{}:/sys", dir.path().display());
    fails(ALL, || in_path("text", &path), Step::Exec, libc::EACCES);
}

fn arguments_that_are_too_long() {
    // A single one, all of them together, and in the environment.
    let one = "x".repeat(200_000);
    let make = || {
        let mut command = Command::new("true");
        command.arg(&one);
        command
    };
    fails(ALL, make, Step::Exec, libc::E2BIG);
    let many = || {
        let mut command = Command::new("true");
        command.args((0..100).map(|_| &one[..100_000]));
        command
    };
    fails(ALL, many, Step::Exec, libc::E2BIG);
    let environment = || {
        let mut command = Command::new("true");
        command.env("LONG", &one);
        command
    };
    fails(ALL, environment, Step::Exec, libc::E2BIG);
}

fn a_working_directory_that_cannot_be_entered() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let make = |path: &str| {
        let mut command = Command::new("true");
        command.current_dir(path);
        command
    };
    let missing = "/no/such/directory";
    fails(ALL, || make(missing), Step::ChangeDirectory, libc::ENOENT);
    let text = file.path().to_str().unwrap();
    fails(ALL, || make(text), Step::ChangeDirectory, libc::ENOTDIR);
    as_ordinary(|| {
        let dir = tempfile::tempdir().unwrap();
        set_mode(dir.path(), 0o0);
        let path = dir.path().to_str().unwrap();
        fails(FRESH, || make(path), Step::ChangeDirectory, libc::EACCES);
    });
    let error = refused(&mut make(missing));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.path().unwrap().to_str(), Some(missing));
}

fn a_nul_byte_anywhere() {
    let command = || Command::new("true");
    let refused = |command: &mut Command| {
        let error = refused(command);
        let got = (error.kind(), error.step(), error.raw_os_error());
        assert_eq!(got, (ErrorKind::InvalidInput, None, None), "{error:?}");
    };
    refused(&mut Command::new("tr\0ue"));
    refused(&mut Command::new("/bin/tr\0ue"));
    refused(command().arg("a\0b"));
    refused(command().args(["fine", "\0"]));
    refused(command().arg0("tr\0ue"));
    refused(command().env("NA\0ME", "value"));
    refused(command().env("NAME", "val\0ue"));
    refused(command().env("PATH", "/bin:/us\0r/bin"));
    refused(command().current_dir("/\0"));
    assert_eq!(Mount::proc("/pr\0oc").unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn a_mount_that_is_refused() {
    let make = |target: &str, set| {
        let mut command = Command::new("true");
        command.unshare(set).map_root().mount(Mount::proc(target).unwrap());
        command
    };
    let missing = "/no/such/directory";
    fails(FRESH, || make(missing, NamespaceSet::PID), Step::Mount, libc::ENOENT);
    // A proc shows a pid namespace, so that has to be the user namespace's own.
    fails(FRESH, || make("/proc", NamespaceSet::empty()), Step::Mount, libc::EPERM);
    let error = refused(&mut make(missing, NamespaceSet::PID));
    assert_eq!(error.path().unwrap().to_str(), Some(missing));
}

fn ids_that_are_not_mapped() {
    let make = |change: fn(&mut Command)| {
        move || {
            let mut command = Command::new("true");
            command.map_root();
            change(&mut command);
            command
        }
    };
    // A change of ids copies in any case.
    let uid: fn(&mut Command) = option!(uid(1));
    let gid: fn(&mut Command) = option!(gid(1));
    let groups: fn(&mut Command) = option!(groups([0]));
    fails(&[Copying], make(uid), Step::SetUid, libc::EINVAL);
    fails(&[Copying], make(gid), Step::SetGid, libc::EINVAL);
    fails(FRESH, make(groups), Step::SetGroups, libc::EPERM);
    if is_root() {
        let mapped: fn(&mut Command) = |command| {
            let map = stage::id_map(&[(0, 0, 5)]);
            command.uid_map(map.clone()).gid_map(map).groups([5]);
        };
        fails(FRESH, make(mapped), Step::SetGroups, libc::EINVAL);
    }
}

fn ids_that_may_not_be_changed() {
    as_ordinary(|| {
        let make = |change: fn(&mut Command)| {
            move || {
                let mut command = Command::new("true");
                change(&mut command);
                command
            }
        };
        let uid: fn(&mut Command) = option!(uid(0));
        let gid: fn(&mut Command) = option!(gid(0));
        let groups: fn(&mut Command) = option!(groups([0]));
        fails(&[Copying], make(uid), Step::SetUid, libc::EPERM);
        fails(&[Copying], make(gid), Step::SetGid, libc::EPERM);
        fails(FRESH, make(groups), Step::SetGroups, libc::EPERM);
    });
}

fn a_process_group_that_is_not_there() {
    let make = |group| {
        move || {
            let mut command = Command::new("true");
            command.process_group(group);
            command
        }
    };
    fails(ALL, make(i32::MAX), Step::SetProcessGroup, libc::EPERM);
}

fn new_namespaces_without_the_right_to_them() {
    as_ordinary(|| {
        for &kind in linux_namespaces::Namespace::ALL {
            if kind == linux_namespaces::Namespace::User {
                continue;
            }
            let make = || {
                let mut command = Command::new("true");
                command.unshare(kind.into());
                command
            };
            fails(FRESH, make, Step::Clone, libc::EPERM);
        }
    });
}

/// All that takes descriptors.
fn hungry_commands(place: Option<&Held>) -> Vec<(&'static str, Command)> {
    let mut all = Vec::new();
    let mut with = |name, change: &dyn Fn(&mut Command)| {
        let mut command = Command::new("true");
        // What is said of a missing descriptor is not for the report of the trials.
        command.stdin(Stdio::piped()).stderr(Stdio::null());
        change(&mut command);
        all.push((name, command));
    };
    with("streams", &|_| {});
    with("death", &option!(kill_on_parent_exit()));
    with("copy", &|command| Copying.choose(command, None));
    if let Some(place) = place {
        with("map", &option!(map_root().kill_on_parent_exit()));
        with("lo", &option!(map_root().loopback_up()));
        with("enter", &option!(enter(place.enter(NamespaceSet::USER))));
    }
    if is_root() {
        let map = || stage::id_map(&[(0, 7, 9)]);
        with("maps", &option!(uid_map(map()).gid_map(map())));
    }
    all
}

fn a_full_table_of_descriptors() {
    let place = CopyingInside.is_available().then(|| Held::new(NamespaceSet::USER));
    for (name, mut command) in hungry_commands(place.as_ref()) {
        let refusals = (0..=12).take_while(|&free| !runs_with(name, &mut command, free)).count();
        assert!((1..=12).contains(&refusals), "{name} was refused {refusals} times");
    }
}

/// Whether so many numbers for new descriptors are enough for the command.
fn runs_with(name: &str, command: &mut Command, free: usize) -> bool {
    let before = kernel::census();
    let limit = Limit::free_descriptors(free);
    let outcome = command.spawn();
    drop(limit);
    let runs = outcome.is_ok();
    match outcome {
        // It may not have had enough descriptors itself.
        Ok(mut child) => drop(child.wait().unwrap()),
        Err(error) => {
            let got = (error.kind(), error.raw_os_error());
            assert_eq!(got, (ErrorKind::LimitReached, Some(libc::EMFILE)), "{name}: {error:?}");
            assert!(error.explain().is_some(), "unexplained: {name}: {error:?}");
        }
    }
    assert_eq!(kernel::census(), before, "{name}");
    runs
}

/// The step at which the limit on processes is reached.
fn limited(command: &mut Command) -> Step {
    let before = kernel::census();
    let limit = Limit::set(libc::RLIMIT_NPROC, 0);
    let error = command.spawn().unwrap_err();
    drop(limit);
    assert_eq!(kernel::census(), before);
    assert_eq!(error.kind(), ErrorKind::LimitReached, "{error:?}");
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "{error:?}");
    assert!(error.explain().is_some(), "unexplained: {error:?}");
    error.step().unwrap()
}

fn the_limit_on_processes() {
    if is_root() {
        // Root has no limit, whom it becomes has: the kernel says so when the program is run.
        let _first = Held::of(sleeper().uid(54_322));
        assert_eq!(limited(Command::new("true").uid(54_322)), Step::Exec);
    }
    as_ordinary(|| {
        for engine in available(ALL) {
            let place = engine.place();
            let mut command = Command::new("true");
            engine.choose(&mut command, place.as_ref());
            assert_eq!(limited(&mut command), Step::Clone);
        }
        assert_eq!(limited(Command::new("true").map_root()), Step::Clone);
    });
}

fn the_limit_on_processes_and_the_id_map_helper() {
    as_ordinary(|| {
        let map = stage::id_map(&[(0, 7, 9)]);
        assert_eq!(limited(Command::new("true").uid_map(map)), Step::StartIdMapHelper);
    });
}

fn the_limits_on_namespaces() {
    // In a user namespace of our own the limits are ours.
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    for &kind in linux_namespaces::Namespace::ALL {
        let file = format!("/proc/sys/user/max_{}_namespaces", kind.name());
        let limit = fs::read_to_string(&file).unwrap();
        fs::write(&file, "0").unwrap();
        let make = || {
            let mut command = Command::new("true");
            command.unshare(kind.into());
            command
        };
        fails(FRESH, make, Step::Clone, libc::ENOSPC);
        assert_eq!(refused(&mut make()).kind(), ErrorKind::LimitReached);
        fs::write(&file, limit).unwrap();
        assert!(make().status().unwrap().success());
    }
}
