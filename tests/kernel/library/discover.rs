//! `discover()` and `NsFd::holders()` on namespaces that the trial makes itself.

pub(crate) mod mounts;
pub(crate) mod reuse;
pub(crate) mod sight;

use std::collections::HashSet;
use std::fs;
use std::io::{BufReader, Read as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use linux_namespaces::{
    Command, Discovery, ErrorKind, Holder, Mount, Namespace, NamespaceInfo, NamespaceSet, NsFd,
    NsId, Stdio, Unshare, discover,
};

use crate::action;
use crate::files::fifo;
use crate::fork::wait_for_all;
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{
    InitialUserNamespace, MountNamespaceList, NewProc, Ordinary, Program, Root, UserNamespaces,
};
use crate::program::{Held, next_line, sleeper, until_ready};
use crate::stage;

cases! {
    a_process_is_found_in_all_its_namespaces [UserNamespaces],
    a_thread_that_is_elsewhere_is_found [UserNamespaces],
    an_open_file_is_found_by_whatever_name [UserNamespaces],
    a_proc_that_is_covered_is_not_waited_for [UserNamespaces, NewProc],
    where_children_will_be_born_is_found [UserNamespaces],
    a_parent_without_a_process_is_found [UserNamespaces, Program("unshare")],
    pid_namespaces_form_a_tree [UserNamespaces, NewProc, Program("unshare")],
    a_mount_namespace_without_a_process_is_listed [Root, MountNamespaceList, InitialUserNamespace],
    what_only_a_socket_holds_is_found_through_it [Root],
    what_may_not_be_seen_is_told [Ordinary],
    nothing_is_invented_while_processes_come_and_go [UserNamespaces, Program("unshare")],
    a_dead_process_s_directory_is_no_later_one_s [Root],
    members_end_and_the_wait_ends [UserNamespaces],
}

fn id(ino: u64) -> NsId {
    NsId { dev: fs::metadata("/proc/self/ns/uts").unwrap().dev(), ino }
}

pub(crate) fn id_of(pid: impl std::fmt::Display, name: &str) -> NsId {
    id(kernel::ns(pid, name))
}

fn me() -> u32 {
    std::process::id()
}

pub(crate) fn find(all: &Discovery, id: NsId) -> &NamespaceInfo {
    all.get(id).unwrap_or_else(|| panic!("{id:?} was not found"))
}

/// What holds it, as it prints: only the crate itself can build a [`Holder`].
fn holders(found: &NamespaceInfo) -> Vec<String> {
    found.holders().iter().map(Holder::to_string).collect()
}

fn process(pid: u32) -> String {
    format!("process {pid}")
}

fn bind_mount(mount_namespace: NsId, path: impl AsRef<Path>) -> String {
    format!("mounted at {:?} in mount namespace {}", path.as_ref(), mount_namespace.ino)
}

fn proc_mount(mount_namespace: NsId, path: &str) -> String {
    format!("shown by proc at {path:?} in mount namespace {}", mount_namespace.ino)
}

fn around(inner: &NamespaceInfo) -> String {
    format!("around namespace {}", inner.id().ino)
}

pub(crate) fn covered_mount(mount_namespace: NsId, path: impl AsRef<Path>) -> String {
    format!("the mount at {:?} in namespace {}", path.as_ref(), mount_namespace.ino)
}

pub(crate) fn is_gap(all: &Discovery, gap: &str) -> bool {
    all.gaps().iter().any(|it| it.to_string() == gap)
}

/// By way of its holders.
fn opens(all: &Discovery, found: &NamespaceInfo) {
    let opened = all.open(found).unwrap();
    assert_eq!((opened.kind(), opened.id().unwrap()), (found.kind(), found.id()));
}

/// Of a namespace that had no process. Another program's may have its number by now.
fn is_gone(all: &Discovery, id: NsId) -> bool {
    all.get(id).is_none_or(|found| found.pids().next().is_some())
}

/// A program that writes numbers on a line when it is ready.
fn numbers(command: &mut Command) -> (Held, Vec<u64>) {
    let mut child = Held::of(command.stdout(Stdio::piped()).kill_on_parent_exit());
    let line = next_line(&mut BufReader::new(child.stdout.take().unwrap()));
    (child, line.split_whitespace().map(|word| word.parse().unwrap()).collect())
}

fn a_process_is_found_in_all_its_namespaces() {
    let child = Held::new(NamespaceSet::all() - NamespaceSet::TIME);
    let all = discover().unwrap();
    let user = find(&all, id_of(child.id(), "user"));
    assert_eq!(user.parent(), Some(id_of("self", "user")));
    assert_eq!(user.owner_uid(), Some(kernel::ids().0));
    for kind in Namespace::ALL.iter().copied().filter(|kind| *kind != Namespace::Time) {
        let found = find(&all, id_of(child.id(), kind.name()));
        assert_eq!(found.kind(), kind);
        assert!(found.pids().eq([child.id()]), "{found:?}");
        let info = found.process(child.id()).unwrap().unwrap();
        assert_eq!((info.pid(), info.parent()), (child.id(), Some(me())));
        assert_eq!(info.command_line(), ["sleep", "600"]);
        assert_eq!(info.uid(), kernel::ids().0);
        assert_eq!(all.open(found).unwrap(), child.namespace(kind).unwrap());
        assert!(holders(found).contains(&process(child.id())), "{found:?}");
        let owner = if kind == Namespace::User { user.parent() } else { Some(user.id()) };
        assert_eq!(found.owner(), owner, "{kind}");
        let handle = child.namespace(kind).unwrap();
        assert_eq!(found.unique_id(), handle.unique_id().unwrap());
        if kind != Namespace::User {
            assert!(all.owned(user).any(|owned| owned.id() == found.id()), "{kind}");
        }
    }
    let parent = find(&all, id_of("self", "user"));
    assert!(all.children(parent).any(|child| child.id() == user.id()));
    // Of a process that is gone nothing is told, and nothing of the one that has its number now.
    let net = find(&all, id_of(child.id(), "net"));
    drop(child);
    assert_eq!(net.process(net.pids().next().unwrap()).unwrap(), None);
    assert_eq!(all.open(net).unwrap_err().kind(), ErrorKind::NotFound);
}

fn a_thread_that_is_elsewhere_is_found() {
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    let (tell, told) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        Unshare::new(NamespaceSet::UTS).apply().unwrap();
        // SAFETY: asks for a number.
        let tid = unsafe { libc::gettid() }.cast_unsigned();
        tell.send((tid, kernel::ns("thread-self", "uts"))).unwrap();
        stopped.recv().ok();
    });
    let (tid, uts) = told.recv().unwrap();
    let all = discover().unwrap();
    let found = find(&all, id(uts));
    assert_eq!(holders(found), [format!("thread {tid} of process {}", me())]);
    opens(&all, found);
    assert_eq!(found.pids().next(), None);
    assert_eq!(found.owner(), Some(id_of("self", "user")));
    drop(stop);
    kernel::join(thread);
    kernel::until(|| is_gone(&discover().unwrap(), id(uts)));
}

fn an_open_file_is_found_by_whatever_name() {
    Unshare::new(NamespaceSet::USER | NamespaceSet::MOUNT).map_root().apply().unwrap();
    let handle = stage::uts_of_nobody();
    let uts = handle.id().unwrap();
    let descriptor = |file: &NsFd| format!("descriptor {} of process {}", file.as_raw_fd(), me());
    let all = discover().unwrap();
    assert_eq!(holders(find(&all, uts)), [descriptor(&handle)]);
    opens(&all, find(&all, uts));
    assert_eq!(handle.holders().unwrap().iter().count(), 0, "besides the handle");
    // By the path of its mount, and by no name at all.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b");
    fs::write(&path, "").unwrap();
    stage::private();
    stage::bind(format!("/proc/self/fd/{}", handle.as_raw_fd()), &path);
    drop(handle);
    let opened = NsFd::open(&path).unwrap();
    let mount = bind_mount(id_of("self", "mnt"), &path);
    let all = discover().unwrap();
    assert_eq!(holders(find(&all, uts)), [mount.clone(), descriptor(&opened)]);
    let quick = Discovery::without_fds().unwrap();
    assert_eq!(holders(find(&quick, uts)), [mount]);
    opens(&quick, find(&quick, uts));
    stage::unmount(&path);
    assert_eq!(holders(find(&discover().unwrap(), uts)), [descriptor(&opened)]);
    drop(opened);
    kernel::until(|| is_gone(&discover().unwrap(), uts));
}

/// Covers the link to its pid namespace by one to a FIFO, until its input ends.
pub(crate) fn cover_own_proc() -> ExitCode {
    stage::tmpfs("/proc/1/ns");
    // None that is known already.
    let name = "pid:[1]";
    std::os::unix::fs::symlink(name, "/proc/1/ns/pid").unwrap();
    fifo(format!("/proc/1/ns/{name}"));
    println!("ready");
    std::io::stdin().read_to_string(&mut String::new()).unwrap();
    ExitCode::SUCCESS
}

fn a_proc_that_is_covered_is_not_waited_for() {
    let mut command = action::command("cover");
    command.map_root().unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
    let (mut child, _lines) = until_ready(command.stdin(Stdio::piped()));
    let all = discover().unwrap();
    let id = id_of(child.id(), "pid");
    assert!(
        !all.get(id).unwrap().holders().iter().any(|it| matches!(it, Holder::ProcMount { .. }))
    );
    assert!(all.get(NsId { ino: 1, ..id }).is_none());
    let mount_namespace = id_of(child.id(), "mnt");
    assert!(is_gap(&all, &covered_mount(mount_namespace, "/proc")));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

fn where_children_will_be_born_is_found() {
    Unshare::new(NamespaceSet::PID | NamespaceSet::TIME).map_root().apply().unwrap();
    let child = Held::of(&mut sleeper());
    let all = discover().unwrap();
    for name in ["pid", "time"] {
        let found = find(&all, id_of("thread-self", &format!("{name}_for_children")));
        let expected = [format!("children of process {}", me()), process(child.id())];
        let holders: HashSet<_> = holders(found).into_iter().collect();
        assert_eq!(holders, expected.into(), "{name}");
        assert!(found.pids().eq([child.id()]));
        opens(&all, found);
    }
}

fn a_parent_without_a_process_is_found() {
    let mut command = Command::new("unshare");
    let script = "stat -Lc %i /proc/self/ns/user; exec sleep 600";
    let (child, inos) = numbers(command.args(["-r", "unshare", "-r", "sh", "-c", script]));
    let all = discover().unwrap();
    let inner = find(&all, id(inos[0]));
    let outer = find(&all, inner.parent().unwrap());
    assert_eq!((outer.kind(), outer.pids().next()), (Namespace::User, None));
    assert_eq!(holders(outer), [around(inner)]);
    opens(&all, outer);
    assert_eq!(outer.parent(), Some(id_of("self", "user")), "it was asked as well");
    let names: Vec<_> = all.children(outer).map(NamespaceInfo::id).collect();
    assert_eq!(names, [inner.id()]);
    // From a root down to it.
    let above = find(&all, outer.parent().unwrap());
    assert!(all.children(above).any(|child| child.id() == outer.id()));
    assert!(all.roots(Namespace::User).all(|root| root.id() != outer.id()));
    drop(child);
    wait_for_all();
}

fn pid_namespaces_form_a_tree() {
    let mut command = Command::new("unshare");
    let script = "stat -Lc %i /proc/self/ns/pid; exec sleep 600";
    command.args(["-rpf", "--mount-proc", "--kill-child", "unshare", "-pf", "--mount-proc"]);
    let (child, inos) = numbers(command.args(["--kill-child", "sh", "-c", script]));
    let all = discover().unwrap();
    let inner = find(&all, id(inos[0]));
    let outer = find(&all, inner.parent().unwrap());
    assert_eq!(outer.parent(), Some(id_of("self", "pid")));
    assert!(holders(outer).contains(&around(inner)), "{outer:?}");
    assert_eq!(outer.pids().count(), 1);
    // What said the number may not have been waited for yet.
    assert!(inner.pids().next().is_some());
    let here = find(&all, id_of("self", "pid"));
    assert!(all.children(here).any(|child| child.id() == outer.id()));
    drop(child);
    wait_for_all();
}

fn a_mount_namespace_without_a_process_is_listed() {
    let make = || {
        Unshare::new(NamespaceSet::MOUNT).apply().unwrap();
        NsFd::current(Namespace::Mount).unwrap()
    };
    let handle = kernel::join(thread::spawn(make));
    let id = handle.id().unwrap();
    // A quick look does not see the descriptor, so that only the kernel's list has it.
    let all = Discovery::without_fds().unwrap();
    assert!(find(&all, id).holders().is_empty());
    // By the unique id, if there is one.
    let opened = all.open(find(&all, id));
    assert_eq!(opened.is_ok(), handle.unique_id().unwrap().is_some(), "{opened:?}");
    drop((opened, handle));
    // Whoever looks at the machine just now may hold it for a moment.
    kernel::until(|| is_gone(&Discovery::without_fds().unwrap(), id));
}

fn what_only_a_socket_holds_is_found_through_it() {
    let make = || {
        Unshare::new(NamespaceSet::NET).apply().unwrap();
        let id = NsFd::current(Namespace::Net).unwrap().id().unwrap();
        (std::net::UdpSocket::bind("0.0.0.0:0").unwrap(), id)
    };
    let (socket, id) = kernel::join(thread::spawn(make));
    // Nor does Linux 6.19 list what nobody uses.
    kernel::until(|| is_gone(&discover().unwrap(), id));
    let net = NsFd::of_socket(&socket).unwrap();
    assert_eq!(net.id().unwrap(), id);
    assert_eq!(find(&discover().unwrap(), id).kind(), Namespace::Net);
}

fn what_may_not_be_seen_is_told() {
    let all = discover().unwrap();
    assert!(is_gap(&all, &process(1)), "{:?}", all.gaps());
    assert!(all.namespaces().all(|found| found.pids().all(|pid| pid != 1)));
    // It is found for what owns ours, but not as one that may be asked.
    let mine = find(&all, id_of("self", "uts"));
    assert!(mine.pids().any(|pid| pid == me()));
    assert_eq!(
        mine.owner(),
        NsFd::current(Namespace::Uts).unwrap().owner().ok().map(|it| it.id().unwrap())
    );
}

fn nothing_is_invented_while_processes_come_and_go() {
    let stable = Held::new(NamespaceSet::USER | NamespaceSet::UTS | NamespaceSet::IPC);
    let churn = "while :; do unshare -ru true & unshare -ri true; wait; done";
    let spawn = |_| {
        let mut command = Command::new("setsid");
        command.args(["-w", "sh", "-c", churn]).unshare(NamespaceSet::PID).map_root();
        Held::of(command.kill_on_parent_exit())
    };
    let churners: Vec<_> = (0..3).map(spawn).collect();
    for _ in 0..40 {
        let all = discover().unwrap();
        for name in ["uts", "ipc"] {
            let found = find(&all, id_of(stable.id(), name));
            assert_eq!(holders(found), [process(stable.id())]);
            assert_eq!(found.owner(), Some(id_of(stable.id(), "user")));
        }
        let ids: HashSet<_> = all.namespaces().map(NamespaceInfo::id).collect();
        assert_eq!(ids.len(), all.namespaces().len(), "each once");
        for found in all.namespaces() {
            let relatives = [found.owner(), found.parent()];
            assert!(relatives.into_iter().flatten().all(|id| ids.contains(&id)), "{found:?}");
        }
    }
    // With the PID 1 of each ends all that it started.
    drop(churners);
}

/// What the walk rests on.
fn a_dead_process_s_directory_is_no_later_one_s() {
    let first = Held::of(&mut sleeper());
    let pid = first.id();
    let dir = kernel::open_path(&format!("/proc/{pid}/ns"), libc::O_DIRECTORY);
    let link = format!("/proc/self/fd/{}/uts", dir.as_raw_fd());
    assert!(fs::read_link(&link).is_ok());
    drop(first);
    // Unless somebody is faster.
    let second = sleeper().set_tid([pid]).kill_on_parent_exit().spawn();
    assert!(fs::read_link(&link).is_err());
    second.map(Held::from).ok();
}

fn members_end_and_the_wait_ends() {
    let child = Held::new(NamespaceSet::USER | NamespaceSet::UTS);
    let uts = child.namespace(Namespace::Uts).unwrap();
    let members = uts.members().unwrap();
    let pids: Vec<_> = members.iter().map(|it| it.pid().unwrap()).collect();
    assert_eq!(pids, [Some(child.id())]);
    assert!(!uts.wait_until_empty(Some(std::time::Duration::ZERO)).unwrap());
    let killer = thread::spawn(move || drop(child));
    assert!(uts.wait_until_empty(None).unwrap());
    killer.join().unwrap();
    assert!(members[0].has_ended().unwrap());
    assert!(uts.members().unwrap().is_empty());
}
