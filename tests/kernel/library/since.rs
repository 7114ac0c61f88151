//! Every "Linux x.y" of the documentation against the kernel that runs: from that version on a thing is
//! there, and before it is refused as documented. The crate looks at no version number; this file does, to
//! hold it to its word.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command as StdCommand, ExitStatus};

use linux_namespaces::{
    Command, Discovery, Error, ErrorKind, Interface, Mount, Namespace, NamespaceSet, NsFd, Overlay,
    PidFd, Step, Support, Unshare,
};

use crate::fork::{Fork, in_fork, wait_for_all};
use crate::harness::cases;
use crate::kernel::forbid;
use crate::machine::Need::{MappedOwners, OtherIds, OverlayModule, Root, UserNamespaces};
use crate::machine::{kernel_version, lists_mount_namespaces, queries_mounts};
use crate::program::{is_of, sh};
use crate::stage;

cases! {
    every_interface [UserNamespaces],
    every_version_of_the_documentation [UserNamespaces],
    every_version_of_overlays [UserNamespaces, OverlayModule],
    every_version_of_what_is_root_s [Root, UserNamespaces, OtherIds],
    // Linux 5.12 to 5.18 would refuse them.
    every_version_of_layers_with_other_owners [Root, MappedOwners, OverlayModule],
}

/// A version that the documentation names, and how to see that it is true.
struct Row {
    since: (u32, u32),
    what: &'static str,
    /// Whether it is here. Panics if it is refused in another way than documented.
    is_here: fn() -> bool,
}

const fn row(since: (u32, u32), what: &'static str, is_here: fn() -> bool) -> Row {
    Row { since, what, is_here }
}

/// All but those of [`Interface`]. What came with Linux 5.10 or before is on every kernel that counts.
/// None of these was carried back to a series of long-term support that Debian has.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row((5, 11), "pre_exec sees what close_other_fds closes", descriptors_are_closed_by_exec),
    row((5, 16), "a child killed by a filter spares who shares its memory", sharers_are_spared),
    row((6, 8), "mounts are queried without their file systems", queries_mounts),
    row((6, 9), "pidfds of single threads", pidfds_of_threads),
    row((6, 11), "NsFd::pid_inside", pids_are_translated),
    row((6, 11), "NsFd::of_process without /proc", namespaces_without_proc),
    row((6, 11), "NsFd::for_children before the first child", the_next_pid_namespace_is_opened),
    row((6, 12), "discover goes through lists of mount namespaces", lists_mount_namespaces),
    row((6, 13), "PidFd::pid without /proc", pids_without_proc),
    row((6, 15), "Child::wait where SIGCHLD is ignored", statuses_are_kept),
    row((6, 18), "NsFd::unique_id", ids_are_unique),
    row((6, 19), "NsFd::by_unique_id", ids_are_opened),
    row((7, 1), "Command::auto_reap", children_are_reaped),
    row((7, 1), "Command::kill_on_drop", children_are_killed),
    row((7, 1), "Command::empty_mount_namespace", mount_namespaces_are_empty),
];

#[rustfmt::skip]
const OVERLAYS: &[Row] = &[
    row((5, 11), "overlays without privileges", overlays_are_for_all),
    row((6, 6), "an overlay in memory without privileges remembers all", overlays_have_attributes),
];

#[rustfmt::skip]
const OF_ROOT: &[Row] = &[
    row((6, 3), "Mount::idmapped of temporary files", temporary_files_change_owners),
    row((6, 19), "discover finds what the kernel alone knows of", all_kinds_are_listed),
    row((6, 19), "Discovery::from_listns", namespaces_are_listed),
];

#[rustfmt::skip]
const OF_LAYERS: &[Row] = &[
    row((5, 19), "Overlay::idmapped", layers_change_owners),
];

fn every_interface() {
    let support = Support::probe().unwrap_or_else(|error| panic!("{error:#}"));
    let version = kernel_version();
    let wrong = Interface::ALL.iter().filter(|it| support.has(**it) != (version >= it.since()));
    let wrong: Vec<_> = wrong.map(|it| (it.to_string(), it.since(), support.has(*it))).collect();
    assert!(wrong.is_empty(), "on Linux {version:?}: {wrong:?}");
}

fn every_row(rows: &[Row]) {
    let version = kernel_version();
    for Row { since, what, is_here } in rows {
        in_fork(|| assert_eq!(is_here(), version >= *since, "{what}: {since:?}, {version:?}"));
    }
}

fn every_version_of_the_documentation() {
    every_row(ROWS);
}

fn every_version_of_overlays() {
    every_row(OVERLAYS);
}

fn every_version_of_what_is_root_s() {
    every_row(OF_ROOT);
}

fn every_version_of_layers_with_other_owners() {
    every_row(OF_LAYERS);
}

/// It is here, or this is what the documentation says of older kernels.
fn or_else<T>(answer: Result<T, Error>, kind: ErrorKind, step: Step) -> bool {
    answer
        .map_err(|error| {
            is_of(&error, step, kind);
            let says_since = format!("{error:#}").contains("Linux ");
            assert!(says_since || kind != ErrorKind::Unsupported, "{error:#}");
        })
        .is_ok()
}

fn descriptors_are_closed_by_exec() -> bool {
    let (reader, _writer) = std::io::pipe().unwrap();
    // SAFETY: a new descriptor, which the child inherits.
    let inherited = unsafe { libc::dup(reader.as_raw_fd()) };
    let mut command = Command::new("true");
    // SAFETY: one system call.
    let look = move || match unsafe { libc::fcntl(inherited, libc::F_GETFD) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    };
    // SAFETY: as above.
    unsafe { command.close_other_fds().pre_exec(look) };
    let outcome = command.status();
    // SAFETY: made above.
    unsafe { libc::close(inherited) };
    outcome
        .map_err(|error| assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{error:?}"))
        .is_ok()
}

/// A child of std's, which shares its parent's memory, is killed when it is to exec.
fn sharers_are_spared() -> bool {
    let fork = Fork::start(|| {
        forbid(libc::SYS_execve);
        StdCommand::new("true").status().ok();
        0
    });
    let status = fork.wait();
    wait_for_all();
    assert!(status == 0 || libc::WTERMSIG(status) == libc::SIGSYS, "{status:#x}");
    status == 0
}

fn pidfds_of_threads() -> bool {
    let open = || {
        // SAFETY: a number and a flag; a new descriptor is closed.
        unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, libc::gettid(), libc::O_EXCL);
            fd >= 0 && libc::close(fd as i32) == 0
        }
    };
    std::thread::scope(|scope| scope.spawn(open).join().unwrap())
}

fn pids_are_translated() -> bool {
    let here = NsFd::current(Namespace::Pid).unwrap();
    let pid = here.pid_inside(std::process::id());
    or_else(pid, ErrorKind::Unsupported, Step::QueryNamespace)
}

fn without_proc<T>(ask: impl FnOnce(&PidFd) -> Result<T, Error>) -> bool {
    let me = PidFd::current().unwrap();
    Unshare::new(NamespaceSet::USER | NamespaceSet::MOUNT).map_root().apply().unwrap();
    stage::tmpfs("/proc");
    let answer = ask(&me);
    stage::unmount("/proc");
    or_else(answer, ErrorKind::UntrustedProc, Step::ReadProc)
}

fn namespaces_without_proc() -> bool {
    without_proc(|me| NsFd::of_process(me, Namespace::Uts))
}

fn pids_without_proc() -> bool {
    without_proc(PidFd::pid)
}

/// Leaves SIGCHLD ignored.
pub(crate) fn statuses_are_kept() -> bool {
    // SAFETY: this process alone.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let mut child = Command::new("true").spawn().unwrap();
    let status = child.wait();
    if let Err(error) = &status {
        assert!(error.explain().unwrap().contains("before Linux 6.15"), "{error:#}");
    }
    or_else(status, ErrorKind::Os, Step::Wait)
}

fn ids_are_unique() -> bool {
    NsFd::current(Namespace::Uts).unwrap().unique_id().unwrap().is_some()
}

fn ids_are_opened() -> bool {
    let uts = NsFd::current(Namespace::Uts).unwrap();
    let id = uts.unique_id().unwrap().unwrap_or(1);
    or_else(NsFd::by_unique_id(id), ErrorKind::Unsupported, Step::OpenNamespace)
}

fn children_are_reaped() -> bool {
    let child = Command::new("true").auto_reap().status();
    or_else(child, ErrorKind::Unsupported, Step::Clone)
}

fn children_are_killed() -> bool {
    let child = Command::new("true").no_new_privs().kill_on_drop().status();
    or_else(child, ErrorKind::Unsupported, Step::Clone)
}

fn mount_namespaces_are_empty() -> bool {
    let error = Command::new("true").map_root().empty_mount_namespace().status().unwrap_err();
    // There is no program to be run in it.
    let nothing = error.step() == Some(Step::Exec) && error.raw_os_error() == Some(libc::ENOENT);
    nothing || or_else(Err::<(), _>(error), ErrorKind::Unsupported, Step::Clone)
}

fn the_next_pid_namespace_is_opened() -> bool {
    // Whatever was asked before.
    NsFd::current(Namespace::Pid).unwrap();
    Unshare::new(NamespaceSet::USER | NamespaceSet::PID).map_root().apply().unwrap();
    or_else(NsFd::for_children(Namespace::Pid), ErrorKind::NotFound, Step::OpenNamespace)
}

fn on_directory(mount: impl FnOnce(&Path) -> Mount, script: &str) -> Result<ExitStatus, Error> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    let mut command = sh(script);
    command.current_dir(dir.path()).unshare(NamespaceSet::MOUNT);
    command.mount(mount(dir.path())).status()
}

fn overlay(dir: &Path) -> Overlay {
    Overlay::new([dir]).unwrap()
}

fn overlays_are_for_all() -> bool {
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    let mount = |dir: &Path| Mount::overlay(dir, overlay(dir)).unwrap();
    or_else(on_directory(mount, "true"), ErrorKind::PermissionDenied, Step::Mount)
}

/// A directory made where one was says so in an attribute.
fn overlays_have_attributes() -> bool {
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    let mount = |dir: &Path| Mount::overlay(dir, overlay(dir)).unwrap();
    match on_directory(mount, "cd $PWD && rmdir sub && mkdir sub 2>/dev/null") {
        Ok(status) => status.success(),
        // Before Linux 5.11.
        Err(error) => or_else(Err::<(), _>(error), ErrorKind::PermissionDenied, Step::Mount),
    }
}

fn with_other_owners(outcome: Result<ExitStatus, Error>) -> bool {
    match outcome {
        Ok(status) => status.success(),
        Err(error) => {
            let why = error.explain().unwrap();
            assert!(error.step() == Some(Step::IdmapMount) && why.contains("Linux "), "{error:#}");
            false
        }
    }
}

fn temporary_files_change_owners() -> bool {
    Unshare::new(NamespaceSet::MOUNT).apply().unwrap();
    stage::tmpfs(std::env::temp_dir());
    let mount = |dir: &Path| Mount::bind(dir, dir).unwrap().idmapped(stage::shifted());
    with_other_owners(on_directory(mount, "cd $PWD && test $(stat -c %u sub) = 100000"))
}

fn layers_change_owners() -> bool {
    let mount = |dir: &Path| Mount::overlay(dir, overlay(dir).idmapped(stage::shifted())).unwrap();
    with_other_owners(on_directory(mount, "cd $PWD && test $(stat -c %u sub) = 100000"))
}

fn all_kinds_are_listed() -> bool {
    let held = stage::uts_of_nobody();
    Discovery::without_fds().unwrap().get(held.id().unwrap()).is_some()
}

/// The same as the walk through processes, and more.
fn namespaces_are_listed() -> bool {
    let held = stage::uts_of_nobody();
    let all = match Discovery::from_listns() {
        Ok(all) => all,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
            return false;
        }
    };
    let found = all.get(held.id().unwrap()).expect("it is there");
    assert_eq!(found.unique_id(), held.unique_id().unwrap());
    assert_eq!(found.owner(), Some(held.owner().unwrap().id().unwrap()));
    assert_eq!(all.open(found).unwrap(), held);
    for &kind in Namespace::ALL {
        let own = NsFd::current(kind).unwrap().id().unwrap();
        assert_eq!(
            all.get(own).map(|found| (found.kind(), found.pids().next())),
            Some((kind, None))
        );
    }
    true
}
