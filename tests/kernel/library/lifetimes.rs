//! How namespaces end, and what ends with them: the claims of the crate's manual.

use std::fs;
use std::io::{BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use linux_namespaces::{
    Child, Command, Enter, ErrorKind, Namespace, NamespaceSet, NsFd, Stdio, Step, Unshare,
};

use crate::action::setsid;
use crate::fork::{self, Fork};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::UserNamespaces;
use crate::program::{Held, is_at, next_line, rest, sh, sleeper, spawn, text};

cases! {
    with_pid_1_die_all_others [UserNamespaces],
    pid_1_adopts_orphans [UserNamespaces],
    a_dead_pid_namespace_takes_no_process [UserNamespaces],
    an_entered_child_holds_pid_1_back [UserNamespaces],
    an_entered_orphan_stays_on_its_parent_s_side [UserNamespaces],
    unshare_never_moves_its_caller_into_a_pid_namespace [UserNamespaces],
    setns_never_moves_its_caller_into_a_pid_namespace [UserNamespaces],
}

/// A shell as PID 1 that writes a line when its script has come so far.
fn pid_1(script: &str) -> (Held, String) {
    let mut command = sh(script);
    command.stdout(Stdio::piped()).unshare(NamespaceSet::PID).map_root();
    let mut child = Held::of(&mut command);
    let line = next_line(&mut BufReader::new(child.stdout.take().unwrap()));
    (child, line.trim().to_owned())
}

/// All processes in the pid namespace of `pid`, as our /proc counts.
fn members(pid: u32) -> Vec<u32> {
    let inside = kernel::ns(pid, "pid");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|other| {
            let link = fs::read_link(format!("/proc/{other}/ns/pid"));
            link.is_ok_and(|link| link.to_str() == Some(&format!("pid:[{inside}]")))
        })
        .collect()
}

fn with_pid_1_die_all_others() {
    // One of them ignores what can be ignored, one has a session of its own.
    let script = "sh -c 'trap \"\" TERM HUP INT; sleep 600' & setsid sleep 600 & echo ready; wait";
    let (mut child, _) = pid_1(&(setsid() + script));
    let all = loop {
        // The shells may not have started theirs yet.
        let all = members(child.id());
        if all.len() >= 4 {
            break all;
        }
        std::thread::yield_now();
    };
    child.kill().unwrap();
    child.wait().unwrap();
    // PID 1 can be waited for only when all others are gone.
    for pid in all {
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "{pid} outlived PID 1");
    }
}

fn pid_1_adopts_orphans() {
    let (child, orphan) = pid_1("sh -c 'sleep 600 & echo $!'; wait; sleep 600");
    let parent = || {
        let pids = members(child.id());
        pids.into_iter().find_map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
            let inside = field("NSpid:")?.split_whitespace().next_back()? == orphan;
            inside.then(|| field("PPid:").unwrap().trim().to_owned())
        })
    };
    let pid_1 = child.id().to_string();
    // The shell in between ends when it has said the number.
    while parent().is_some_and(|parent| parent != pid_1) {
        std::thread::yield_now();
    }
    assert_eq!(parent(), Some(pid_1), "not this process, though it is a subreaper");
}

fn a_dead_pid_namespace_takes_no_process() {
    let (child, _) = pid_1("echo ready; exec sleep 600");
    let kinds = [Namespace::User, Namespace::Pid];
    let handles = kinds.map(|kind| child.namespace(kind).unwrap());
    drop(child);
    let enter = handles.into_iter().fold(Enter::new(), Enter::namespace);
    let before = kernel::census();
    // The handle keeps the namespace, but nobody can live there any more.
    let error = Command::new("true").enter(enter.clone()).spawn().unwrap_err();
    is_at(&error, Step::Clone, libc::ENOMEM);
    assert!(error.explain().unwrap().contains("PID 1 has ended"));
    assert_eq!(kernel::census(), before);
}

/// A sleeper in the namespaces of a process.
fn inside(of: &Held) -> Child {
    spawn(sleeper().enter(of.enter(NamespaceSet::USER | NamespaceSet::PID)))
}

fn an_entered_child_holds_pid_1_back() {
    let (mut pid_1, _) = pid_1("echo ready; exec sleep 600");
    let mut entered = inside(&pid_1);
    pid_1.kill().unwrap();
    kernel::until(|| kernel::state_of(entered.id()) == 'Z');
    // It has ended, and waits for who makes the zombie go.
    assert_eq!(pid_1.wait_timeout(Duration::from_millis(200)).unwrap(), None);
    assert_eq!(entered.wait().unwrap().signal(), Some(libc::SIGKILL));
    assert_eq!(pid_1.wait().unwrap().signal(), Some(libc::SIGKILL));
}

fn an_entered_orphan_stays_on_its_parent_s_side() {
    let (mut pid_1, _) = pid_1("echo ready; exec sleep 600");
    let (reader, writer) = std::io::pipe().unwrap();
    let middle = Fork::start(|| {
        write!(&writer, "{}", inside(&pid_1).id()).unwrap();
        drop(writer);
        0
    });
    let orphan = rest(reader).parse().unwrap();
    middle.wait();
    let parent = kernel::status_of(orphan, "PPid");
    assert_eq!(parent, std::process::id().to_string(), "this process is a subreaper");
    pid_1.kill().unwrap();
    fork::wait(orphan);
    pid_1.wait().unwrap();
}

fn unshare_never_moves_its_caller_into_a_pid_namespace() {
    let outside = kernel::ns("thread-self", "pid");
    Unshare::new(NamespaceSet::PID).map_root().apply().unwrap();
    assert_eq!(kernel::ns("thread-self", "pid"), outside);
    // A pid is what parents, children and libc know a process by: it never changes.
    assert_eq!(text(&mut sh("echo $$")), "1");
}

fn setns_never_moves_its_caller_into_a_pid_namespace() {
    let (child, _) = pid_1("echo ready; exec sleep 600");
    let outside = kernel::ns("thread-self", "pid");
    let inside = kernel::ns(child.id(), "pid");
    child.enter(NamespaceSet::USER | NamespaceSet::PID).apply().unwrap();
    assert_eq!(kernel::ns("thread-self", "pid"), outside);
    assert_eq!(kernel::ns("thread-self", "pid_for_children"), inside);
    assert_eq!(NsFd::for_children(Namespace::Pid).unwrap().id().unwrap().ino, inside);
    assert_eq!(text(&mut sh("echo $$")), "2");
    // A thread would be in two pid namespaces at once.
    let error = NsFd::current(Namespace::Uts).unwrap().run(|| ()).unwrap_err();
    assert_eq!(error.step(), Some(Step::StartThread));
    // EINVAL, of which musl makes EAGAIN.
    let kind = if cfg!(target_env = "musl") { ErrorKind::LimitReached } else { ErrorKind::Os };
    assert_eq!(error.kind(), kind);
}
