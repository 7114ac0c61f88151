//! How namespaces end, and what ends with them: the claims of the crate's manual.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use linux_namespaces::{
    Child, Command, Enter, ErrorKind, Namespace, NamespaceSet, NsFd, Stdio, Step, Unshare,
};

use crate::harness::cases;
use crate::kernel;
use crate::library::counts::setsid;
use crate::machine::Need::UserNamespaces;

cases! {
    with_pid_1_die_all_others [UserNamespaces],
    pid_1_adopts_orphans [UserNamespaces],
    a_dead_pid_namespace_takes_no_process [UserNamespaces],
    an_entered_child_holds_pid_1_back [UserNamespaces],
    an_entered_orphan_stays_on_its_parent_s_side [UserNamespaces],
    unshare_never_moves_its_caller_into_a_pid_namespace [UserNamespaces],
    setns_never_moves_its_caller_into_a_pid_namespace [UserNamespaces],
}

/// A shell as PID 1 that says a line when its script has come so far.
fn pid_1(script: &str) -> (Child, String) {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdout(Stdio::piped());
    command.unshare(NamespaceSet::PID).map_root();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{error:#}"));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
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
    let (mut child, orphan) = pid_1("sh -c 'sleep 600 & echo $!'; wait; sleep 600");
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
    child.kill().unwrap();
    child.wait().unwrap();
}

fn a_dead_pid_namespace_takes_no_process() {
    let (mut child, _) = pid_1("echo ready; exec sleep 600");
    let kinds = [Namespace::User, Namespace::Pid];
    let handles = kinds.map(|kind| child.namespace(kind).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    let enter = handles.into_iter().fold(Enter::new(), Enter::namespace);
    let before = kernel::census();
    // The handle keeps the namespace, but nobody can live there any more.
    let error = Command::new("true").enter(enter.clone()).spawn().unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Some(Step::Clone), Some(libc::ENOMEM)));
    assert!(error.explain().unwrap().contains("PID 1 has ended"));
    assert_eq!(kernel::census(), before);
}

/// A program in the namespaces of a process.
fn inside(program: &str, of: &Child) -> Child {
    let set = NamespaceSet::USER | NamespaceSet::PID;
    let mut command = Command::new(program);
    command.arg("600").enter(Enter::new().process(of.pid_fd().try_clone().unwrap(), set));
    command.spawn().unwrap_or_else(|error| panic!("{error:#}"))
}

fn an_entered_child_holds_pid_1_back() {
    let (mut pid_1, _) = pid_1("echo ready; exec sleep 600");
    let mut entered = inside("sleep", &pid_1);
    pid_1.kill().unwrap();
    kernel::until(|| kernel::state_of(entered.id()) == 'Z');
    // It has ended, and waits for who makes the zombie go.
    assert_eq!(pid_1.wait_timeout(Duration::from_millis(200)).unwrap(), None);
    assert_eq!(entered.wait().unwrap().signal(), Some(libc::SIGKILL));
    assert_eq!(pid_1.wait().unwrap().signal(), Some(libc::SIGKILL));
}

fn an_entered_orphan_stays_on_its_parent_s_side() {
    let (mut pid_1, _) = pid_1("echo ready; exec sleep 600");
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: this process has one thread, so the child may do anything.
    let middle = unsafe { libc::fork() };
    if middle == 0 {
        let child = inside("sleep", &pid_1);
        writer.write_all(&child.id().to_ne_bytes()).unwrap();
        // SAFETY: ends the process without what the test binary registered for its end.
        unsafe { libc::_exit(0) }
    }
    drop(writer);
    let mut number = [0; 4];
    reader.read_exact(&mut number).unwrap();
    let orphan = u32::from_ne_bytes(number);
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(middle, std::ptr::null_mut(), 0) }, middle);
    let status = fs::read_to_string(format!("/proc/{orphan}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    assert_eq!(parent.trim(), std::process::id().to_string(), "this process is a subreaper");
    pid_1.kill().unwrap();
    let orphan = orphan.cast_signed();
    // SAFETY: our own child by now.
    assert_eq!(unsafe { libc::waitpid(orphan, std::ptr::null_mut(), 0) }, orphan);
    pid_1.wait().unwrap();
}

fn unshare_never_moves_its_caller_into_a_pid_namespace() {
    let outside = kernel::ns("thread-self", "pid");
    Unshare::new(NamespaceSet::PID).map_root().apply().unwrap();
    assert_eq!(kernel::ns("thread-self", "pid"), outside);
    // A pid is what parents, children and libc know a process by: it never changes.
    let output = Command::new("sh").args(["-c", "echo $$"]).output().unwrap();
    assert_eq!(output.stdout, b"1\n");
}

fn setns_never_moves_its_caller_into_a_pid_namespace() {
    let (mut child, _) = pid_1("echo ready; exec sleep 600");
    let outside = kernel::ns("thread-self", "pid");
    let inside = kernel::ns(child.id(), "pid");
    let set = NamespaceSet::USER | NamespaceSet::PID;
    Enter::new().process(child.pid_fd().try_clone().unwrap(), set).apply().unwrap();
    assert_eq!(kernel::ns("thread-self", "pid"), outside);
    assert_eq!(kernel::ns("thread-self", "pid_for_children"), inside);
    assert_eq!(NsFd::for_children(Namespace::Pid).unwrap().id().unwrap().ino, inside);
    let output = Command::new("sh").args(["-c", "echo $$"]).output().unwrap();
    assert_eq!(output.stdout, b"2\n");
    // A thread would be in two pid namespaces at once.
    let error = NsFd::current(Namespace::Uts).unwrap().run(|| ()).unwrap_err();
    assert_eq!(error.step(), Some(Step::StartThread));
    // EINVAL, of which musl makes EAGAIN.
    let kind = if cfg!(target_env = "musl") { ErrorKind::LimitReached } else { ErrorKind::Os };
    assert_eq!(error.kind(), kind);
    child.kill().unwrap();
    child.wait().unwrap();
}
