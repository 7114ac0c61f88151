//! A child that somebody else may signal, and stops before it runs its program.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use linux_namespaces::{Command, NamespaceSet};

use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::{children, state_of, supervised, until};
use crate::machine::Need::{OtherIds, Root, UserNamespaces};
use crate::program::Held;

cases! {
    a_child_with_other_ids [Root, OtherIds],
    a_child_in_an_entered_user_namespace [UserNamespaces],
    the_process_that_makes_the_child [UserNamespaces],
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

/// The program runs then, and the spawn says so.
fn the_process_that_makes_the_child() {
    inside(|command| {
        let before = children();
        let stop = |pid| {
            let is_it = |child: &i32| *child != pid && !before.contains(child);
            for child in children().into_iter().filter(is_it) {
                // SAFETY: a child of ours.
                assert_eq!(unsafe { libc::kill(child, libc::SIGSTOP) }, 0);
            }
            true
        };
        let status = supervised(libc::SYS_execve, stop, || command.status()).unwrap();
        assert!(status.success(), "{status}");
    });
}
