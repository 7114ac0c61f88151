//! The time in which a parent blocks all signals: what it may not do then, and what it does where it cannot block
//! them; and children that a filter kills at exec.

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use linux_namespaces::{
    Command, ErrorKind, Init, Mount, NamespaceSet, Rootfs, Step, Support, Unshare,
};

use crate::engine::{ALL, Engine, FRESH, available};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::{self, refuse};
use crate::machine::Need::{CoreDumpsAlone, UserNamespaces};
use crate::program::is_of;
use crate::stage;

cases! {
    nothing_is_allocated_meanwhile [UserNamespaces],
    nothing_is_allocated_for_a_refusal [UserNamespaces],
    a_thread_that_stops_all_others_is_not_waited_for [UserNamespaces],
    signals_that_cannot_be_blocked [],
    a_filter_that_lets_the_call_do_nothing [],
    a_child_that_is_killed_at_exec [CoreDumpsAlone],
    a_child_in_namespaces_that_is_killed_at_exec [UserNamespaces, CoreDumpsAlone],
    a_program_of_an_init_that_is_killed_at_exec [UserNamespaces],
    a_program_inside_a_root_that_is_killed_at_exec [UserNamespaces, CoreDumpsAlone],
}

/// The allocator of the suite: counts what is done while all signals are blocked.
pub(crate) struct Watching;

static IS_WATCHED: AtomicBool = AtomicBool::new(false);
static WHILE_BLOCKED: AtomicUsize = AtomicUsize::new(0);

fn look() {
    if IS_WATCHED.load(SeqCst) {
        let mut mask = 0_u64;
        // SAFETY: the kernel writes a set of 8 bytes.
        unsafe {
            libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, 0, &raw mut mask, 8);
        }
        // All but SIGKILL and SIGSTOP, which never are.
        if mask | 1 << 8 | 1 << 18 == u64::MAX {
            WHILE_BLOCKED.fetch_add(1, SeqCst);
        }
    }
}

/// Whether the allocator has one lock, as musl's.
static HAS_LOCK: AtomicBool = AtomicBool::new(false);
static LOCK: AtomicBool = AtomicBool::new(false);

fn locked<T>(work: impl FnOnce() -> T) -> T {
    if !HAS_LOCK.load(SeqCst) {
        return work();
    }
    while LOCK.swap(true, SeqCst) {
        std::hint::spin_loop();
    }
    let answer = work();
    LOCK.store(false, SeqCst);
    answer
}

// SAFETY: the system's allocator, with a look at this thread's mask before.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        look();
        // SAFETY: passed on.
        locked(|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        look();
        // SAFETY: passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        look();
        // SAFETY: passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Nothing is allocated, nor freed, while all signals are blocked.
fn watched<T>(work: impl FnOnce() -> T) -> T {
    let before = WHILE_BLOCKED.load(SeqCst);
    IS_WATCHED.store(true, SeqCst);
    let answer = work();
    IS_WATCHED.store(false, SeqCst);
    assert_eq!(
        WHILE_BLOCKED.load(SeqCst),
        before,
        "the allocator was used while signals were blocked"
    );
    answer
}

type Choose = fn(&mut Command);

/// Options that take each part of the engine.
const OPTIONS: &[(&str, Choose)] = &[
    ("plain", |_| {}),
    ("map_root", |command| {
        command.map_root();
    }),
    ("by the helper", |command| {
        let map = stage::id_map(&[(0, 0, 1 << 16)]);
        command.uid_map(map.clone()).gid_map(map);
    }),
    ("mounts", |command| {
        command.map_root().mount(Mount::tmpfs("/tmp").unwrap()).current_dir("/");
    }),
    ("a root", |command| {
        command.map_root().rootfs(Rootfs::dir("/").unwrap().read_only());
    }),
    ("an init", |command| {
        command.map_root().init(Init::new());
    }),
    ("a parent", |command| {
        command.kill_on_parent_exit();
    }),
];

fn each_spawn(engines: &[Engine], expected: impl Fn(bool, &str)) {
    for engine in available(engines) {
        let place = engine.place();
        for (name, choose) in OPTIONS {
            if !FRESH.contains(&engine) && *name != "plain" && *name != "a parent" {
                continue;
            }
            let mut command = Command::new("true");
            choose(&mut command);
            if let Some(place) = &place {
                command.enter(place.enter_all());
            }
            if engine == Engine::Copying {
                // SAFETY: does nothing.
                unsafe { command.pre_exec(|| Ok(())) };
            }
            let status = watched(|| command.status());
            expected(status.is_ok_and(|status| status.success()), name);
        }
    }
}

fn nothing_is_allocated_meanwhile() {
    each_spawn(ALL, |is_well, name| {
        // An ordinary user may not map so many ids.
        assert!(is_well || name == "by the helper", "{name}");
    });
    watched(|| drop(Support::probe().unwrap()));
}

fn nothing_is_allocated_for_a_refusal() {
    let refused = [
        (libc::SYS_openat2, libc::EACCES),
        (libc::SYS_execve, libc::EACCES),
        (libc::SYS_write, libc::EIO),
        (libc::SYS_open_tree, libc::ENOMEM),
        (libc::SYS_prctl, libc::EPERM),
    ];
    for (call, errno) in refused {
        in_fork(|| {
            refuse(call, errno);
            each_spawn(FRESH, |_, _| {});
        });
    }
    in_fork(|| {
        refuse(libc::SYS_clone3, libc::EAGAIN);
        refuse(libc::SYS_clone, libc::EAGAIN);
        for (name, choose) in OPTIONS {
            let mut command = Command::new("true");
            choose(&mut command);
            assert!(watched(|| command.spawn()).is_err(), "{name}");
        }
        let map = stage::id_map(&[(0, 0, 1 << 16)]);
        let unshare = Unshare::new(NamespaceSet::USER).uid_map(map);
        assert!(watched(|| unshare.apply()).is_err());
    });
}

/// Who is in the handler, and whether they may leave it.
static STOPPED: AtomicI32 = AtomicI32::new(0);
static IS_STOPPING: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_: i32) {
    STOPPED.fetch_add(1, SeqCst);
    while IS_STOPPING.load(SeqCst) {
        std::hint::spin_loop();
    }
    STOPPED.fetch_sub(1, SeqCst);
}

/// Has the other threads end, also where this one panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// As musl's `setuid(3)`: a signal to every thread, and none goes on before all are in its handler. One of them
/// allocates all the time, so that it is often stopped with the allocator's lock in its hands.
fn a_thread_that_stops_all_others_is_not_waited_for() {
    // SAFETY: a handler that makes no call but on atomics.
    unsafe { libc::signal(libc::SIGUSR1, stop as *const () as libc::sighandler_t) };
    let is_over = AtomicBool::new(false);
    HAS_LOCK.store(true, SeqCst);
    // SAFETY: asks for a number.
    let spawner = unsafe { libc::gettid() };
    let end = Instant::now() + Duration::from_millis(1500);
    let stops = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let (over, stops) = (&is_over, &stops);
        scope.spawn(move || {
            // SAFETY: asks for a number.
            tell.send(unsafe { libc::gettid() }).unwrap();
            while !over.load(SeqCst) {
                drop(std::hint::black_box(vec![0_u8; 5000]));
            }
        });
        let allocator = told.recv().unwrap();
        scope.spawn(move || {
            while !over.load(SeqCst) {
                IS_STOPPING.store(true, SeqCst);
                for thread in [spawner, allocator] {
                    // SAFETY: threads of this process.
                    unsafe {
                        libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGUSR1)
                    };
                }
                let deadline = Instant::now() + Duration::from_secs(20);
                while STOPPED.load(SeqCst) < 2 && !over.load(SeqCst) {
                    thread::yield_now();
                    if Instant::now() > deadline {
                        // SAFETY: ends the trial, of which a thread waits for ever.
                        unsafe { libc::_exit(99) };
                    }
                }
                IS_STOPPING.store(false, SeqCst);
                while STOPPED.load(SeqCst) > 0 {
                    thread::yield_now();
                }
                stops.fetch_add(1, SeqCst);
                thread::sleep(Duration::from_micros(200));
            }
        });
        let ending = Over(over);
        // An emulated machine takes longer for as many.
        while Instant::now() < end || stops.load(SeqCst) <= 20 {
            // Refused by the kernel when the signals are blocked, and started.
            let mut refused = Command::new("true");
            refused.unshare(NamespaceSet::PID).map_root().set_tid([7]);
            assert!(refused.spawn().is_err());
            let status = Command::new("true").map_root().status();
            assert!(status.unwrap_or_else(|error| panic!("{error:#}")).success());
        }
        drop(ending);
    });
    HAS_LOCK.store(false, SeqCst);
}

fn signals_that_cannot_be_blocked() {
    for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL] {
        in_fork(|| {
            refuse(libc::SYS_rt_sigprocmask, errno);
            not_blocked(Some(errno));
        });
    }
}

fn a_filter_that_lets_the_call_do_nothing() {
    in_fork(|| {
        refuse(libc::SYS_rt_sigprocmask, 0);
        not_blocked(None);
    });
}

fn not_blocked(errno: Option<i32>) {
    for choose in [
        |_: &mut Command| {},
        |command: &mut Command| {
            command.map_root();
        },
        |command: &mut Command| {
            command.init(Init::new());
        },
    ] {
        let mut command = Command::new("true");
        choose(&mut command);
        let error = command.spawn().unwrap_err();
        assert_eq!(error.step(), Some(Step::BlockSignals), "{error:?}");
        assert!(errno.is_none_or(|errno| error.raw_os_error() == Some(errno)), "{error:?}");
    }
    let error = Init::new().arm().unwrap_err();
    assert_eq!(error.step(), Some(Step::BecomeInit), "{error:?}");
}

fn dies_at_exec(command: &mut Command) {
    let before = kernel::census();
    let error = command.spawn().unwrap_err();
    is_of(&error, Step::Exec, ErrorKind::ChildDied);
    assert_eq!(kernel::census(), before);
}

fn killed_at_exec(options: &[Choose], engines: &[Engine]) {
    for engine in available(engines) {
        in_fork(|| {
            let place = engine.place();
            // SIGSYS, and what calls exec for a program of a root.
            kernel::forbid(libc::SYS_execve);
            kernel::forbid(libc::SYS_execveat);
            for choose in options {
                let mut command = Command::new("true");
                choose(&mut command);
                engine.choose(&mut command, place.as_ref());
                dies_at_exec(&mut command);
            }
        });
    }
}

fn a_child_that_is_killed_at_exec() {
    killed_at_exec(&[|_| {}], ALL);
    // Whatever becomes of the status of children.
    in_fork(|| {
        // SAFETY: changes this process alone.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        kernel::forbid(libc::SYS_execve);
        dies_at_exec(&mut Command::new("true"));
    });
    in_fork(|| {
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        assert_eq!(
            Command::new("true").spawn().unwrap().wait().ok().and_then(|it| it.signal()),
            None
        );
    });
}

fn a_child_in_namespaces_that_is_killed_at_exec() {
    let all: Choose = |command| {
        command.unshare(NamespaceSet::all()).map_root();
    };
    killed_at_exec(&[OPTIONS[1].1, all], FRESH);
}

fn a_program_of_an_init_that_is_killed_at_exec() {
    in_fork(|| {
        kernel::forbid(libc::SYS_execve);
        for option in [false, true] {
            let mut command = Command::new("true");
            command.map_root().init(Init::new());
            if option {
                command.uid(0);
            }
            dies_at_exec(&mut command);
        }
    });
}

fn a_program_inside_a_root_that_is_killed_at_exec() {
    killed_at_exec(&[OPTIONS[4].1], FRESH);
}
