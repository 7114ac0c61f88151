//! A child that somebody else may signal, and stops before it runs its program.

use std::fs;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use linux_namespaces::{Clock, ClockOffset, Command, Init, NamespaceSet, Step};

use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::{children, state_of, supervised, until};
use crate::machine::Need::{NewProc, OtherIds, Root, UserNamespaces};
use crate::program::Held;

cases! {
    a_child_with_other_ids [Root, OtherIds],
    a_child_in_an_entered_user_namespace [UserNamespaces],
    the_process_that_makes_the_child [UserNamespaces],
    the_process_that_makes_a_child_that_nobody_waits_for [UserNamespaces],
    what_a_killed_process_had_open [UserNamespaces, NewProc],
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn handle(_: libc::c_int) {
    HANDLED.fetch_add(1, SeqCst);
}

/// The caller sleeps so that a signal wakes it, and its handler runs.
fn leaves_the_caller_alone(command: &mut Command) {
    // SAFETY: a handler that stores a number.
    unsafe { libc::signal(libc::SIGUSR1, handle as *const () as libc::sighandler_t) };
    // SAFETY: returns a number.
    let caller = unsafe { libc::gettid() };
    let mut calls = 0;
    let stop_once = |pid| {
        calls += 1;
        if calls == 1 {
            let kill = |signal| {
                // SAFETY: a child of ours that sleeps in its call.
                assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
            };
            kill(libc::SIGSTOP);
            until(|| state_of(pid) == 'T' && state_of(caller) == 'S');
            // SAFETY: the thread that spawns.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), caller, libc::SIGUSR1) };
            until(|| HANDLED.load(SeqCst) == 1);
            kill(libc::SIGCONT);
        }
        true
    };
    let status = supervised(libc::SYS_execve, stop_once, || command.status()).unwrap();
    assert!(status.success(), "{status}");
    assert!(calls > 1);
}

fn a_child_with_other_ids() {
    in_fork(|| leaves_the_caller_alone(Command::new("/bin/true").uid(65_534)));
}

/// A command that enters the user namespace of another process.
fn inside(work: impl FnOnce(&mut Command)) {
    in_fork(|| {
        let holder = Held::new(NamespaceSet::USER);
        work(Command::new("/bin/true").enter(holder.enter_all()));
    });
}

fn a_child_in_an_entered_user_namespace() {
    inside(leaves_the_caller_alone);
}

/// Sends a signal to the process that makes the child, when that is about to exec.
fn signal_maker(command: &mut Command, signal: i32) -> linux_namespaces::Result<ExitStatus> {
    let before = children();
    let send = |pid| {
        let is_it = |child: &i32| *child != pid && !before.contains(child);
        for child in children().into_iter().filter(is_it) {
            // SAFETY: a child of ours.
            assert_eq!(unsafe { libc::kill(child, signal) }, 0);
            // What stops it may be put off until the program runs.
            until(|| signal == libc::SIGSTOP || matches!(state_of(child), 'Z' | '-'));
        }
        true
    };
    supervised(libc::SYS_execve, send, || command.status())
}

/// The program runs then, and the spawn says so.
fn the_process_that_makes_the_child() {
    for signal in [libc::SIGSTOP, libc::SIGKILL] {
        inside(|command| {
            let status = signal_maker(command, signal).unwrap();
            assert!(status.success(), "{status}");
        });
    }
}

/// Where nothing is left of a program that has ended, it still counts as run.
fn the_process_that_makes_a_child_that_nobody_waits_for() {
    inside(|command| {
        // SAFETY: the children made from here on are not waited for.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        match signal_maker(command, libc::SIGKILL) {
            Ok(status) => assert!(status.success(), "{status}"),
            // Before Linux 6.15.
            Err(error) => assert_eq!(error.step(), Some(Step::Wait), "{error}"),
        }
        // SAFETY: as it was, for the holder.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    });
}

/// It opened files of its own namespaces, and not in the caller's table.
fn what_a_killed_process_had_open() {
    inside(|command| {
        let offset = ClockOffset::new(1, 0).unwrap();
        command.time_offset(Clock::Monotonic, offset).init(Init::new());
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let caller = std::process::id().cast_signed();
        let kill = |pid| {
            if pid != caller {
                // SAFETY: a child of ours that sleeps in its call.
                assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
            }
            pid == caller
        };
        // Panics are told while somebody lets the caller write.
        supervised(libc::SYS_write, kill, || {
            let before = open();
            let error = command.spawn().unwrap_err();
            assert_eq!(error.step(), Some(Step::WriteTimeOffsets), "{error}");
            assert_eq!(open(), before, "{error}");
        });
    });
}
