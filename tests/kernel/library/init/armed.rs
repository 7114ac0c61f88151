//! This process as an init: PID 1 of a container, or a subreaper.

use std::io::{BufReader, Read, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt};
use std::time::{Duration, Instant};

use linux_namespaces::{
    Command, ErrorKind, Event, Init, RemainingProcesses, Signal, Stdio, Supervisor, Verbosity,
};

use super::payload;
use crate::action::{ACTION, setsid};
use crate::fork::{self, Fork, in_fork};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::Unshare;
use crate::program::{next_line, ready, rest, sh};

cases! {
    it_supervises_and_leaves_the_thread_as_it_was [],
    it_passes_signals_on [],
    a_signal_s_value_is_passed_on [],
    a_subreaper_gets_orphans_and_others_do_not [],
    a_subreaper_ends_the_others [],
    a_group_gets_its_last_signal [],
    an_event_loop_sees_what_happens [],
    an_inherited_subreaper_adopts_orphans [],
    the_end_of_the_parent_is_passed_on [],
    an_inherited_parent_death_signal_is_passed_on [],
    inherited_masks_and_ignored_signals_reach_the_program [],
    it_finishes_as_the_program_does [],
    it_finishes_once_it_is_alone [Unshare],
    it_finishes_with_little_memory [Unshare],
    it_says_what_happens [],
    a_program_that_was_waited_for_is_told [],
    a_thread_that_gets_no_orphans_is_no_subreaper [],
    what_cannot_be_armed_leaves_no_trace [],
}

fn piped(script: &str) -> Command {
    let mut command = sh(script);
    command.stdout(Stdio::piped());
    command
}

/// Sends this process a signal.
fn to_self(signal: i32) {
    // SAFETY: the trial's own process, which blocks it.
    unsafe { libc::kill(libc::getpid(), signal) };
}

fn it_supervises_and_leaves_the_thread_as_it_was() {
    let before = kernel::census();
    let mut armed = Init::new().arm().unwrap();
    assert_ne!(kernel::census(), before);
    let child = armed.spawn(&mut piped("exit 3")).unwrap();
    assert_eq!(armed.supervise(child).unwrap().code(), Some(3));
    let child = armed.spawn(&mut piped("kill -KILL $$")).unwrap();
    let status = armed.supervise(child).unwrap();
    assert_eq!((status.signal(), armed.exit_code(status)), (Some(9), 137));
    drop(armed);
    assert_eq!(kernel::census(), before);
}

fn it_passes_signals_on() {
    let mut armed = Init::new().new_process_group().signal_process_group().arm().unwrap();
    let mut command = payload::command("signals=2");
    let mut child = armed.spawn(command.stdout(Stdio::piped())).unwrap();
    let lines = ready(&mut child);
    for signal in [libc::SIGHUP, libc::SIGTERM, libc::SIGUSR2, 64] {
        to_self(signal);
    }
    assert!(armed.supervise(child).unwrap().success());
    let mut got: Vec<String> = rest(lines).lines().map(str::to_owned).collect();
    got.sort();
    assert_eq!(got, ["1", "1", "12", "12", "15", "15", "64", "64"]);
}

fn a_signal_s_value_is_passed_on() {
    let mut armed = Init::new().arm().unwrap();
    let mut command = payload::command("value");
    let mut child = armed.spawn(command.stdout(Stdio::piped())).unwrap();
    let lines = ready(&mut child);
    let value = libc::sigval { sival_ptr: std::ptr::without_provenance_mut(4711) };
    // SAFETY: to this process.
    assert_eq!(unsafe { libc::sigqueue(libc::getpid(), 40, value) }, 0);
    assert!(armed.supervise(child).unwrap().success());
    assert_eq!(rest(lines), "40 4711\n");
}

/// Where the orphan of a program went.
fn orphan(armed: &mut Supervisor) -> i32 {
    // What a shell starts in the background has no standard input, unless it is told.
    let script = "exec 3<&0; \
                  sh -c 'read line; read pid comm state parent rest </proc/$$/stat; echo $parent' <&3 & \
                  echo ready; exit 0";
    let mut command = piped(script);
    let mut child = armed.spawn(command.stdin(Stdio::piped())).unwrap();
    let lines = ready(&mut child);
    let mut stdin = child.stdin.take().unwrap();
    assert!(armed.supervise(child).unwrap().success());
    stdin.write_all(b"go\n").unwrap();
    drop(stdin);
    rest(lines).trim().parse().unwrap()
}

fn a_subreaper_gets_orphans_and_others_do_not() {
    in_fork(|| {
        let own = std::process::id().cast_signed();
        // SAFETY: asks and changes a number of this process.
        let outer = unsafe {
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 0);
            libc::getppid()
        };
        let mut armed = Init::new().arm().unwrap();
        assert!(!armed.adopts_orphans());
        assert_eq!(orphan(&mut armed), outer);
        drop(armed);
        let mut armed = Init::new().subreaper().arm().unwrap();
        assert!(armed.adopts_orphans());
        assert_eq!(orphan(&mut armed), own);
        // The orphan was adopted; it is still to be waited for.
        end_of_one(&mut armed);
    });
    // The first one is ours.
    // SAFETY: waits for a child of this process.
    assert!(unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0);
}

/// A program keeps the attribute of the one that it replaced.
fn an_inherited_subreaper_adopts_orphans() {
    in_fork(|| {
        let own = std::process::id().cast_signed();
        // `in_fork` made this process one.
        let init = Init::new().remaining_processes(RemainingProcesses::Kill);
        let mut armed = init.arm().unwrap();
        assert!(armed.adopts_orphans());
        // In another session, and adopted: only a list of children leads there.
        let script = setsid() + "setsid sh -c 'echo ready; exec sleep 50' & read line; exit 4";
        let mut child = armed.spawn(piped(&script).stdin(Stdio::piped())).unwrap();
        let lines = ready(&mut child);
        assert_eq!(armed.supervise(child).unwrap().code(), Some(4));
        assert_eq!(rest(lines), "");
        drop(armed);
        let mut armed = Init::new().arm().unwrap();
        assert_eq!(orphan(&mut armed), own);
        end_of_one(&mut armed);
        drop(armed);
        // SAFETY: asks for a number.
        unsafe {
            let mut is_one = 0;
            libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut is_one);
            assert_eq!(is_one, 1);
        }
    });
    let said = |is_one: libc::c_int| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.env(ACTION, "init:warns");
        // SAFETY: a system call.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_CHILD_SUBREAPER, is_one);
                Ok(())
            });
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stderr.len()
    };
    assert_eq!(said(1), 0);
    assert_ne!(said(0), 0);
}

fn await_readable(armed: &Supervisor) {
    let mut entry = libc::pollfd { fd: armed.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry.
    assert_eq!(unsafe { libc::poll(&raw mut entry, 1, 20_000) }, 1);
}

fn end_of_one(armed: &mut Supervisor) {
    loop {
        match armed.next_event().unwrap() {
            Some(Event::Ended { .. }) => return,
            Some(_) => {}
            None => await_readable(armed),
        }
    }
}

/// A process that left its session and ignores SIGTERM, with one that does not.
const LEAVES: &str = "setsid sh -c 'trap \"echo term\" TERM; echo ready; \
                      (sleep 50 & exec sleep 50) & while :; do sleep 0.01; done' & \
                      read line; exit 4";

fn a_subreaper_ends_the_others() {
    in_fork(|| {
        // Time enough on a busy machine for the trap.
        let grace = Duration::from_secs(5);
        let init =
            Init::new().subreaper().remaining_processes(RemainingProcesses::Terminate { grace });
        let mut armed = init.arm().unwrap();
        let mut child = armed.spawn(piped(&(setsid() + LEAVES)).stdin(Stdio::piped())).unwrap();
        let lines = ready(&mut child);
        let start = Instant::now();
        assert_eq!(armed.supervise(child).unwrap().code(), Some(4));
        assert!(start.elapsed() >= grace);
        // The sleeper's parent was another one, until that was killed.
        assert_eq!(rest(lines), "term\n");
    });
}

fn a_group_gets_its_last_signal() {
    in_fork(|| {
        // SAFETY: changes a number of this process.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 0) };
        let init = Init::new().new_process_group().remaining_processes(RemainingProcesses::Kill);
        let mut armed = init.arm().unwrap();
        let mut child = armed.spawn(&mut piped("sleep 50 & echo ready; exit 4")).unwrap();
        let lines = ready(&mut child);
        assert_eq!(armed.supervise(child).unwrap().code(), Some(4));
        assert_eq!(rest(lines), "");
    });
    // SAFETY: the harness made this process a subreaper.
    unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
}

fn an_event_loop_sees_what_happens() {
    let mut armed = Init::new().arm().unwrap();
    assert_eq!(armed.next_event().unwrap(), None);
    let child = armed.spawn(Command::new("sleep").arg("600")).unwrap();
    let mut next = || {
        loop {
            if let Some(event) = armed.next_event().unwrap() {
                return event;
            }
            await_readable(&armed)
        }
    };
    let pid = child.id();
    child.send_signal(Signal::STOP).unwrap();
    let event = next();
    assert!(
        matches!(event, Event::Stopped { pid: it, signal: Signal::STOP, .. } if it == pid),
        "{event:?}"
    );
    child.send_signal(Signal::CONT).unwrap();
    let event = next();
    assert!(matches!(event, Event::Continued { pid: it, .. } if it == pid), "{event:?}");
    to_self(libc::SIGUSR1);
    let event = next();
    assert!(matches!(event, Event::Received { signal: Signal::USR1, .. }), "{event:?}");
    child.send_signal(Signal::TERM).unwrap();
    assert!(
        matches!(next(), Event::Ended { pid: it, status, .. } if it == pid && status.signal() == Some(15))
    );
}

fn the_end_of_the_parent_is_passed_on() {
    ends_with_the_parent(|| Init::new().parent_death_signal(Signal::USR1));
}

fn an_inherited_parent_death_signal_is_passed_on() {
    ends_with_the_parent(|| {
        // SAFETY: changes a number of this process.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGUSR1) };
        Init::new()
    });
}

/// What the program got from the process before it, it hands on to the one that it looks after.
fn inherited_masks_and_ignored_signals_reach_the_program() {
    let prepare = |command: &mut std::process::Command| {
        // SAFETY: system calls.
        unsafe {
            command.pre_exec(|| {
                let mut set: libc::sigset_t = std::mem::zeroed();
                for signal in [libc::SIGUSR1, libc::SIGTERM, 40] {
                    libc::sigaddset(&raw mut set, signal);
                }
                libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
                for signal in [libc::SIGHUP, libc::SIGTSTP, libc::SIGTTOU] {
                    libc::signal(signal, libc::SIG_IGN);
                }
                Ok(())
            });
        }
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        kernel::fields(&text, &["SigBlk", "SigIgn"]).join(" ")
    };
    let plain = prepare(std::process::Command::new("cat").arg("/proc/self/status"));
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let inside = prepare(command.env(ACTION, "init:signal-state"));
    // Every Rust program ignores SIGPIPE from its start, and it is the default again in what it starts.
    assert_eq!(inside, plain);
    assert!(plain.starts_with("0000008000004200 "), "{plain}");
}

fn ends_with_the_parent(init: fn() -> Init) {
    let (reader, writer) = std::io::pipe().unwrap();
    let middle = Fork::start(|| {
        let (ready, tell) = std::io::pipe().unwrap();
        let orphan = Fork::start(|| {
            let mut armed = init().arm().unwrap();
            let script = "trap 'echo orphaned >&2; exit 5' USR1; echo ready; \
                          while :; do sleep 0.01; done";
            let mut command = sh(script);
            command.stdout(OwnedFd::from(tell)).stderr(OwnedFd::from(writer));
            let child = armed.spawn(&mut command).unwrap();
            drop(command);
            armed.supervise_and_exit(child)
        });
        let line = next_line(&mut BufReader::new(ready));
        orphan.leave();
        (line != "ready\n").into()
    });
    assert_eq!(rest(reader), "orphaned\n");
    assert_eq!(middle.wait(), 0);
    let mut status = 0;
    // SAFETY: the orphan, by adoption.
    assert!(unsafe { libc::waitpid(-1, &raw mut status, 0) } > 0);
    assert_eq!(status, 5 << 8);
}

fn finish(script: &str, init: Init) -> i32 {
    let fork = Fork::start(|| {
        let mut armed = init.arm().unwrap();
        let child = armed.spawn(&mut sh(script)).unwrap();
        armed.supervise_and_exit(child)
    });
    fork.wait()
}

fn it_finishes_as_the_program_does() {
    assert_eq!(finish("exit 3", Init::new()), 3 << 8);
    assert_eq!(finish("kill -TERM $$", Init::new()), 143 << 8);
    assert_eq!(finish("kill -TERM $$", Init::new().exit_zero_for(143)), 0);
    let others = RemainingProcesses::Terminate { grace: Duration::from_secs(60) };
    let script = setsid() + "setsid sleep 600 & exit 2";
    assert_eq!(finish(&script, Init::new().subreaper().remaining_processes(others)), 2 << 8);
}

fn it_finishes_with_little_memory() {
    finishes_with_little_memory(|| ());
}

/// As exec is for a moment after it woke us.
fn it_finishes_once_it_is_alone() {
    finishes_with_little_memory(|| _ = kernel::guest_in_this_memory());
}

fn finishes_with_little_memory(before: fn()) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    // The program ends with this trial, also where it fails.
    let (input, keeper) = std::io::pipe().unwrap();
    let fork = Fork::start(|| {
        fork::close(&keeper);
        let large = vec![1_u8; 20 << 20];
        let mut armed = Init::new().arm().unwrap();
        let mut command = sh("echo ready; exec cat");
        command.stdin(OwnedFd::from(input)).stdout(OwnedFd::from(writer));
        let child = armed.spawn(&mut command).unwrap();
        std::hint::black_box(&large);
        drop(command);
        before();
        armed.supervise_and_exit(child)
    });
    reader.read_exact(&mut [0; 6]).unwrap();
    let resident = || {
        let anonymous = kernel::status_of(fork.pid(), "RssAnon");
        anonymous.split(' ').next().unwrap().parse::<u32>().unwrap()
    };
    // The portable engine's calls go through libc, which needs its memory.
    kernel::until(|| (resident() < 1024) == crate::machine::SHARES_MEMORY);
    // SAFETY: a child of this process.
    unsafe { libc::kill(fork.pid(), libc::SIGTERM) };
    fork.wait();
    drop(keeper);
}

fn it_says_what_happens() {
    let said = |init: Init| {
        let (reader, writer) = std::io::pipe().unwrap();
        let fork = Fork::start(|| {
            // SAFETY: standard error becomes the pipe.
            unsafe { libc::dup2(writer.as_raw_fd(), 2) };
            let mut armed = init.arm().unwrap();
            let child = armed.spawn(&mut sh("trap : USR1; kill -USR1 $PPID; sleep 0.1")).unwrap();
            armed.supervise_and_exit(child)
        });
        drop(writer);
        let text = rest(reader);
        fork.wait();
        text.lines().count()
    };
    assert_eq!(said(Init::new()), 0);
    assert_eq!(said(Init::new().verbosity(Verbosity::Warnings)), 1);
    assert_eq!(said(Init::new().subreaper().verbosity(Verbosity::Warnings)), 0);
    assert_eq!(said(Init::new().subreaper().verbosity(Verbosity::Info)), 2);
    assert_eq!(said(Init::new().subreaper().verbosity(Verbosity::Debug)), 3);
}

fn a_program_that_was_waited_for_is_told() {
    let mut armed = Init::new().arm().unwrap();
    let mut child = armed.spawn(&mut piped("exit 3")).unwrap();
    child.wait().unwrap();
    assert_eq!(armed.supervise(child).unwrap().code(), Some(3));
    // By the loop, which keeps no status for the child.
    let child = armed.spawn(&mut piped("exit 4")).unwrap();
    loop {
        match armed.next_event().unwrap() {
            Some(Event::Ended { pid, .. }) if pid == child.id() => break,
            _ => std::thread::yield_now(),
        }
    }
    match armed.supervise(child) {
        // Linux 6.15.
        Ok(status) => assert_eq!(status.code(), Some(4)),
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "{error:#}"),
    }
    drop(armed);
    let fork = Fork::start(|| {
        let mut armed = Init::new().arm().unwrap();
        let mut child = armed.spawn(&mut piped("exit 5")).unwrap();
        child.wait().unwrap();
        armed.supervise_and_exit(child)
    });
    assert_eq!(fork.wait(), 5 << 8);
}

fn a_thread_that_gets_no_orphans_is_no_subreaper() {
    let kind = || Init::new().subreaper().arm().map(drop).unwrap_err().kind();
    assert_eq!(std::thread::spawn(kind).join().unwrap(), ErrorKind::InvalidInput);
    assert!(std::thread::spawn(|| Init::new().arm().is_ok()).join().unwrap());
}

fn what_cannot_be_armed_leaves_no_trace() {
    // SAFETY: this process has one thread, and asks for numbers.
    let flags = || unsafe {
        let (mut subreaper, mut signal) = (0, 0);
        libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper);
        libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal);
        (subreaper, signal)
    };
    // SAFETY: ignores a signal.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let before = (kernel::census(), flags());
    let limit = kernel::Limit::set(libc::RLIMIT_NOFILE, 3);
    let error =
        Init::new().subreaper().parent_death_signal(Signal::TERM).arm().map(drop).unwrap_err();
    drop(limit);
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error:#}");
    assert_eq!((kernel::census(), flags()), before);
}
