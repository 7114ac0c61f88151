//! Spawning from a busy program: threads that allocate and take signals must not notice.

use std::ffi::c_int;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use linux_namespaces::{Command, NamespaceSet, Step};

use crate::harness::{cases, limit};
use crate::kernel;
use crate::machine::Need::UserNamespaces;
use crate::program::{is_at, spawn};

cases! {
    two_thousand_children_of_a_busy_program [UserNamespaces],
    a_reaper_that_takes_every_child [],
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: c_int) {
    SIGNALS.fetch_add(1, Relaxed);
}

/// Allocates and frees, and has an error number that nobody else may change.
fn be_busy(seed: usize, over: &AtomicBool) -> usize {
    let mut rounds = 0;
    let mut woken = Instant::now();
    while !over.load(Relaxed) {
        let blocks: Vec<Vec<u8>> =
            (1..20).map(|at| vec![at; (seed * 37 + rounds) % 5000 + 1]).collect();
        assert!(blocks.iter().zip(1..).all(|(block, at)| block.iter().all(|byte| *byte == at)));
        // SAFETY: closes no file, which sets errno.
        unsafe {
            libc::close(-1);
            for _ in 0..50 {
                assert_eq!(*libc::__errno_location(), libc::EBADF, "a child wrote our errno");
                std::hint::spin_loop();
            }
        }
        rounds += 1;
        // So many of them would leave the children no turn, on a slow machine above all.
        if rounds % 4 == 0 {
            thread::sleep(woken.elapsed() * 10);
            woken = Instant::now();
        }
    }
    rounds
}

fn spawn_one(number: usize) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exit $0"]).arg((number % 200).to_string());
    match number % 5 {
        0 => {}
        1 => drop(command.map_root()),
        2 => drop(command.map_root().unshare(NamespaceSet::UTS | NamespaceSet::IPC)),
        // SAFETY: does nothing.
        3 => drop(unsafe { command.pre_exec(|| Ok(())) }),
        _ => {
            let error = Command::new("/no/such/program").spawn().unwrap_err();
            assert_eq!(error.step(), Some(Step::Exec));
        }
    }
    let status = spawn(&mut command).wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some((number % 200) as i32), None));
}

fn two_thousand_children_of_a_busy_program() {
    let handler: extern "C" fn(c_int) = count;
    // SAFETY: the handler counts, and nothing else.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    // With the first thread, libc takes a signal for itself.
    thread::spawn(|| ()).join().unwrap();
    kernel::until_alone();
    let before = kernel::census();
    let over = AtomicBool::new(false);
    let process = std::process::id() as i32;
    // On an emulated machine there is no time for all of them.
    let end = Instant::now() + Duration::from_secs(60.min(u64::from(limit()) / 4));
    let has_turn = |at| at < 50 || Instant::now() < end;
    thread::scope(|scope| {
        for seed in 0..50 {
            let over = &over;
            scope.spawn(move || be_busy(seed, over));
        }
        scope.spawn(|| {
            while !over.load(Relaxed) {
                // SAFETY: a signal to this process, for whichever thread.
                unsafe { libc::kill(process, libc::SIGUSR1) };
                thread::sleep(Duration::from_micros(200));
            }
        });
        let spawners: Vec<_> = (0..4)
            .map(|spawner| {
                scope.spawn(move || {
                    let turns = (0..500).take_while(|&at| has_turn(at));
                    turns.for_each(|at| spawn_one(4 * at + spawner));
                })
            })
            .collect();
        let done: Vec<_> = spawners.into_iter().map(|spawner| spawner.join()).collect();
        over.store(true, Relaxed);
        done.into_iter().for_each(|outcome| outcome.unwrap());
    });
    assert!(SIGNALS.load(Relaxed) > 100, "there were hardly any signals");
    kernel::until_alone();
    assert_eq!(kernel::census(), before);
}

fn a_reaper_that_takes_every_child() {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                // SAFETY: takes whatever child has ended.
                unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
            }
        });
        for _ in 0..200 {
            let mut child = Command::new("/bin/true").spawn().unwrap();
            match child.wait() {
                Ok(status) => assert!(status.success()),
                // The kernel keeps no status before 6.15.
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ECHILD)),
            }
            let error = Command::new("/no/such/program").spawn().unwrap_err();
            is_at(&error, Step::Exec, libc::ENOENT);
        }
        over.store(true, Relaxed);
    });
}
