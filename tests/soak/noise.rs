//! What else goes on in the process.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, Scope};
use std::time::Duration;

use linux_namespaces::{Hostname, Namespace, NamespaceSet, NsFd, Unshare, uts};

static SIGNALS: AtomicUsize = AtomicUsize::new(0);
/// Between two things of one kind, so that the spawns have their turn.
const PAUSE: Duration = Duration::from_millis(1);

extern "C" fn count(_: c_int) {
    SIGNALS.fetch_add(1, Relaxed);
}

pub(crate) fn take_signals() {
    let handler: extern "C" fn(c_int) = count;
    // SAFETY: the handler counts, and nothing else.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
}

pub(crate) fn signals() -> usize {
    SIGNALS.load(Relaxed)
}

pub(crate) fn start<'scope>(scope: &'scope Scope<'scope, '_>, over: &'scope AtomicBool) {
    for what in [allocate, fork, signal, change_namespaces] {
        scope.spawn(move || {
            let mut round = 0;
            while !over.load(Relaxed) {
                what(round);
                round += 1;
                thread::sleep(PAUSE);
            }
        });
    }
}

/// With an error number that nobody else may change.
fn allocate(round: usize) {
    let blocks: Vec<Vec<u8>> = (1..20).map(|at| vec![at; (round * 37) % 5000 + 1]).collect();
    assert!(blocks.iter().zip(1..).all(|(block, at)| block.iter().all(|byte| *byte == at)));
    // SAFETY: closes no file, which sets errno.
    unsafe {
        libc::close(-1);
        for _ in 0..50 {
            assert_eq!(*libc::__errno_location(), libc::EBADF, "a child wrote our errno");
            std::hint::spin_loop();
        }
    }
}

fn fork(_: usize) {
    let mut status = 0;
    // SAFETY: the child ends at once.
    let (pid, waited) = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(3);
        }
        (pid, libc::waitpid(pid, &raw mut status, 0))
    };
    assert_eq!((waited, libc::WEXITSTATUS(status)), (pid, 3));
}

fn signal(_: usize) {
    // SAFETY: a signal to this process, for whichever thread.
    unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
}

/// Those of another thread, and through a handle those of a third.
fn change_namespaces(round: usize) {
    let change = || {
        Unshare::new(NamespaceSet::UTS | NamespaceSet::IPC).apply().unwrap();
        let name = Hostname::new(format!("round-{round}")).unwrap();
        uts::set_hostname(&name).unwrap();
        let made = NsFd::current(Namespace::Uts).unwrap();
        let seen = made.run(|| uts::hostname().unwrap()).unwrap();
        assert_eq!(seen, name);
    };
    thread::scope(|scope| scope.spawn(change).join()).unwrap();
}
