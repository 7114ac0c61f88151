//! System calls are counted: what is one call stays one. The test binary runs itself under strace(1)
//! with [`ACTION`] set; marks that nothing else makes enclose what is counted.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command as StdCommand, ExitCode};

use linux_namespaces::{Command, Namespace, NamespaceSet, NsFd, discover};

use crate::action::ACTION;
use crate::harness::cases;
use crate::machine::Need::{Clone3, NewProc, PidfdNamespaces, Program, Root, UserNamespaces};
use crate::machine::SHARES_MEMORY;
use crate::program::{Held, sleeper};

cases! {
    entering_is_one_call [Program("strace"), Root],
    the_current_namespace_is_a_call_and_a_pidfd [Program("strace"), PidfdNamespaces],
    a_stay_is_the_raw_calls_and_no_more [Program("strace"), Root, PidfdNamespaces],
    a_plain_spawn [Clone3, Program("strace")],
    a_spawn_with_a_user_namespace [Program("strace"), UserNamespaces],
    a_process_among_others_is_found_in_few
        [Program("strace"), Program("unshare"), UserNamespaces, NewProc],
}

/// Does what is to be counted, between two marks.
pub(crate) fn act(name: &str) -> ExitCode {
    let uts = NsFd::current(Namespace::Uts).unwrap();
    let mut plain = Command::new("/bin/true");
    let mut mapped = Command::new("/bin/true");
    mapped.unshare(NamespaceSet::UTS).map_root();
    match name {
        "enter" => counted(|| uts.enter().unwrap()),
        "current" => drop(counted(|| NsFd::current(Namespace::Uts).unwrap())),
        "scoped" => counted(|| uts.scoped().unwrap().leave().unwrap()),
        "plain" => drop(counted(|| plain.spawn().unwrap()).wait()),
        "mapped" => drop(counted(|| mapped.spawn().unwrap()).wait()),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// So many processes in the namespaces that this one is in.
pub(crate) fn discover_among(others: usize) -> ExitCode {
    let start = |_| Held::of(sleeper().close_other_fds());
    let _others: Vec<_> = (0..others).map(start).collect();
    drop(counted(|| discover().unwrap()));
    ExitCode::SUCCESS
}

fn counted<T>(action: impl FnOnce() -> T) -> T {
    mark();
    let value = action();
    mark();
    value
}

/// A call that fails, and that nobody makes for any other reason.
fn mark() {
    // SAFETY: no such kind of priority.
    unsafe { libc::getpriority(77, 0) };
}

/// The calls between the marks: those of this process, and those of its child up to its exec.
fn count(action: &str) -> [BTreeMap<String, usize>; 2] {
    count_by(StdCommand::new("strace"), action)
}

fn count_by(mut strace: StdCommand, action: &str) -> [BTreeMap<String, usize>; 2] {
    let file = tempfile::NamedTempFile::new().unwrap();
    let status = strace
        .args(["-f", "-qq", "-o"])
        .arg(file.path())
        .arg(std::env::current_exe().unwrap())
        .env(ACTION, action)
        .status()
        .unwrap();
    assert!(status.success(), "strace: {status}");
    let trace = fs::read_to_string(file.path()).unwrap();
    let mut marks = 0;
    let mut exec = false;
    let mut calls = [BTreeMap::new(), BTreeMap::new()];
    let parent = trace.split_whitespace().next().unwrap().to_owned();
    for line in trace.lines() {
        let (pid, call) = line.split_once(char::is_whitespace).unwrap();
        let Some((name, _)) = call.trim_start().split_once('(') else {
            continue;
        };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            // The second half of a call that was interrupted in the trace, or a signal.
            continue;
        }
        // Which of the two it is depends on the architecture.
        let name = if name == "open" { "openat" } else { name };
        if name == "getpriority" {
            marks += 1;
        } else if pid == parent && marks == 1 {
            *calls[0].entry(name.to_owned()).or_insert(0) += 1;
        } else if pid != parent && !exec {
            exec = name == "execve";
            *calls[1].entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    assert_eq!(marks, 2, "{trace}");
    // Debug builds ask whether a descriptor is open before they close it.
    calls[0].remove("fcntl");
    // The allocator may want memory at any time.
    calls[0].remove("brk");
    // glibc makes this one for fstatfs(3) on s390x.
    if let Some(count) = calls[0].remove("fstatfs64") {
        calls[0].insert("fstatfs".to_owned(), count);
    }
    if cfg!(target_env = "musl") {
        calls[0].remove("mmap");
        calls[0].remove("munmap");
    }
    calls
}

fn expect(calls: &BTreeMap<String, usize>, expected: &[(&str, usize)]) {
    let mut calls = calls.clone();
    if !SHARES_MEMORY && calls.contains_key("clone3") {
        // A page that a copy of the memory shares with its parent.
        assert_eq!((calls.remove("mmap"), calls.remove("munmap")), (Some(1), Some(1)));
        // By which a copy knows itself that got no memory for its tid.
        assert_eq!(calls.remove("gettid"), Some(1));
        // Whether there is a tracer, in a /proc that is opened for this if it is not open.
        let has_proc = expected.iter().any(|(name, _)| *name == "statx");
        let opening: &[_] = if has_proc { &[] } else { &["openat", "statx", "fstatfs", "close"] };
        for name in ["openat2", "read", "close"].iter().chain(opening) {
            let count = calls.get_mut(*name).unwrap_or_else(|| panic!("no {name}"));
            *count -= 1;
        }
        calls.retain(|_, count| *count > 0);
    }
    let seen: Vec<_> = calls.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(seen, expected);
}

fn entering_is_one_call() {
    expect(&count("enter")[0], &[("setns", 1)]);
}

/// Of this thread, by number.
fn the_current_namespace_is_a_call_and_a_pidfd() {
    let expected = [("close", 1), ("gettid", 1), ("ioctl", 1), ("pidfd_open", 1)];
    expect(&count("current")[0], &expected);
}

fn a_stay_is_the_raw_calls_and_no_more() {
    let expected = [("close", 2), ("gettid", 1), ("ioctl", 1), ("pidfd_open", 1), ("setns", 2)];
    expect(&count("scoped")[0], &expected);
}

fn a_plain_spawn() {
    let [parent, child] = count("plain");
    // No signal between clone and exec.
    // The wait tells a child that has run exec from one that was killed at it.
    expect(&parent, &[("clone3", 1), ("rt_sigprocmask", 2), ("waitid", 1)]);
    expect(&child, &[("execve", 1), ("rt_sigaction", 1), ("rt_sigprocmask", 1)]);
}

fn a_spawn_with_a_user_namespace() {
    let [parent, child] = count("mapped");
    // As above; who we are; and a look at /proc.
    let expected = [
        ("clone3", 1),
        ("close", 1),
        ("fstatfs", 1),
        ("getegid", 1),
        ("geteuid", 1),
        ("openat", 1),
        ("rt_sigprocmask", 2),
        ("statx", 1),
        ("waitid", 1),
    ];
    expect(&parent, &expected);
    let expected = [
        ("close", 3),
        ("execve", 1),
        ("openat2", 3),
        ("rt_sigaction", 1),
        ("rt_sigprocmask", 1),
        ("write", 3),
    ];
    expect(&child, &expected);
}

fn a_process_among_others_is_found_in_few() {
    // Where there are no other processes.
    let count = |others: usize| -> usize {
        let mut unshare = StdCommand::new("unshare");
        unshare.args(["-rpf", "--mount-proc", "strace"]);
        let [mut calls, _] = count_by(unshare, &format!("discover={others}"));
        calls.retain(|name, _| !matches!(name.as_str(), "mmap" | "munmap" | "mremap"));
        calls.values().sum()
    };
    let each = (count(25) - count(5)) / 20;
    // Ten links; a directory to open and to close; how many threads; the list of descriptors, and three
    // of these. lsns(8) makes some 61 and looks at no descriptors.
    assert!((18..=22).contains(&each), "{each}");
}
