//! Time namespaces: what the clocks show inside, on kernels whose exec enters one and on those whose exec
//! does not.

use std::os::fd::FromRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use linux_namespaces::{
    Clock, ClockOffset, Command, ErrorKind, Init, Namespace, NamespaceSet, NsFd, Step, Unshare,
};

use crate::action;
use crate::engine::{Engine, FRESH, available};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::{self, Call};
use crate::machine::Need::{Root, UserNamespaces};
use crate::machine::is_root;
use crate::program::{Held, is_at, output, refused, sh, sleeper, text};

cases! {
    both_clocks_are_set [UserNamespaces],
    both_clocks_are_set_where_exec_enters_none [UserNamespaces],
    a_time_namespace_where_exec_enters_none_and_clone3_is_hidden [UserNamespaces],
    clocks_go_with_all_else [UserNamespaces],
    clocks_of_children_after_unshare [UserNamespaces],
    a_clock_below_zero_is_refused [UserNamespaces],
    only_the_first_thread_sets_clocks [Root],
    a_member_freezes_the_clocks [UserNamespaces],
    a_spawn_answers_when_the_time_namespace_is_entered [UserNamespaces],
    own_code_runs_in_its_time_namespace [UserNamespaces],
    a_new_one_inside_an_entered_one [UserNamespaces],
}

const CLOCKS: [(Clock, libc::clockid_t, i64); 2] = [
    (Clock::Monotonic, libc::CLOCK_MONOTONIC, 1_000_000),
    // Behind by less than the machine has been up: the clock starts at zero.
    (Clock::Boottime, libc::CLOCK_BOOTTIME, -1),
];

#[allow(clippy::useless_conversion, reason = "it has 32 bits on some architectures")]
fn seconds(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut time) }, 0);
    time.tv_sec.into()
}

/// A program that prints both clocks in whole seconds, as the kernel tells them.
fn tell() -> Command {
    action::command("clocks")
}

/// What [`tell`] runs.
pub(crate) fn show() -> ExitCode {
    for (_, clock, _) in CLOCKS {
        println!("{}", seconds(clock));
    }
    ExitCode::SUCCESS
}

fn set_both(command: &mut Command) {
    for (clock, _, offset) in CLOCKS {
        command.time_offset(clock, ClockOffset::new(offset, 0).unwrap());
    }
}

fn check(command: &mut Command) {
    let before = CLOCKS.map(|(_, clock, offset)| seconds(clock) + offset);
    let shown: Vec<i64> = output(command).lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(shown.len(), 2);
    for (shown, expected) in shown.into_iter().zip(before) {
        // The clocks go on while the program starts.
        assert!((expected..expected + 30).contains(&shown), "{shown} instead of {expected}");
    }
}

/// Linux before 6.2: who has a time namespace waiting for its children makes none that share memory.
fn refuse_to_enter_by_exec() {
    answer_whether_exec_enters(libc::EINVAL);
}

/// This is how the crate asks.
fn answer_whether_exec_enters(errno: i32) {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    kernel::refuse(Call::clone_with(flags), errno);
}

fn both_clocks_are_set() {
    for engine in available(FRESH) {
        let mut command = tell();
        command.map_root();
        set_both(&mut command);
        // What older kernels have no choice about.
        if engine == Engine::Copying {
            engine.choose(&mut command, None);
        }
        let plan = command.plan().unwrap().to_string();
        assert!(plan.contains("monotonic 1000000 0, boottime -1 0"), "{plan}");
        check(&mut command);
    }
}

fn both_clocks_are_set_where_exec_enters_none() {
    // Where a filter or a limit leaves the question open, it may be so.
    for errno in [libc::EINVAL, libc::EPERM, libc::EAGAIN] {
        in_fork(|| {
            answer_whether_exec_enters(errno);
            both_clocks_are_set_by_birth();
        });
    }
}

fn both_clocks_are_set_by_birth() {
    let mut command = tell();
    command.map_root().new_session();
    set_both(&mut command);
    let plan = command.plan().unwrap();
    assert!(plan.to_string().contains("a copy of the parent's memory"), "{plan}");
    assert!(
        plan.steps().position(|step| step == Step::WriteTimeOffsets)
            < plan.steps().position(|step| step == Step::Clone)
    );
    check(&mut command);
    assert_eq!(
        refused(
            Command::new("/no/such/program")
                .map_root()
                .time_offset(Clock::Boottime, ClockOffset::new(1, 0).unwrap(),)
        )
        .step(),
        Some(Step::Exec)
    );
}

fn a_time_namespace_where_exec_enters_none_and_clone3_is_hidden() {
    refuse_to_enter_by_exec();
    kernel::refuse(libc::SYS_clone3, libc::ENOSYS);
    let mut command = Command::new("readlink");
    command.arg("/proc/self/ns/time").unshare(NamespaceSet::TIME | NamespaceSet::PID).map_root();
    let output = command.output().unwrap_or_else(|error| panic!("{error:#}"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_ne!(text.trim(), format!("time:[{}]", kernel::ns("self", "time")));
}

/// In a pid namespace, where the one that makes the time namespace must not be PID 1.
fn clocks_go_with_all_else() {
    for old in [false, true] {
        in_fork(|| {
            if old {
                refuse_to_enter_by_exec();
            }
            let mut command = Command::new("sh");
            command.args(["-c", "echo $$; id -u; readlink /proc/self/ns/time"]);
            command.unshare(NamespaceSet::all()).map_root().hostname("x".parse().unwrap());
            set_both(&mut command);
            let output = command.output().unwrap_or_else(|error| panic!("{error:#}"));
            let text = String::from_utf8(output.stdout).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines[..2], ["1", "0"]);
            assert_ne!(lines[2], format!("time:[{}]", kernel::ns("self", "time")));
            let mut told = tell();
            told.unshare(NamespaceSet::all()).map_root();
            set_both(&mut told);
            check(&mut told);
        });
    }
}

fn clocks_of_children_after_unshare() {
    // Before Linux 6.2, where no child may share memory then.
    in_fork(|| {
        refuse_to_enter_by_exec();
        Unshare::new(NamespaceSet::USER | NamespaceSet::TIME).map_root().apply().unwrap();
        let plan = tell().plan().unwrap().to_string();
        assert!(plan.contains("a copy of the parent's memory"), "{plan}");
        assert!(tell().output().unwrap().status.success());
    });
    let mut unshare = Unshare::new(NamespaceSet::USER).map_root();
    for (clock, _, offset) in CLOCKS {
        unshare = unshare.time_offset(clock, ClockOffset::new(offset, 0).unwrap());
    }
    unshare.apply().unwrap_or_else(|error| panic!("{error:#}"));
    check(&mut tell());
    let children = NsFd::for_children(Namespace::Time).unwrap();
    assert_ne!(children, NsFd::current(Namespace::Time).unwrap());
}

fn a_clock_below_zero_is_refused() {
    let ages = ClockOffset::behind(Duration::from_secs(4_000_000_000)).unwrap();
    for old in [false, true] {
        in_fork(|| {
            if old {
                refuse_to_enter_by_exec();
            }
            let error =
                refused(Command::new("true").map_root().time_offset(Clock::Monotonic, ages));
            is_at(&error, Step::WriteTimeOffsets, libc::ERANGE);
            assert!(error.explain().unwrap().contains("4611686018"));
        });
    }
    let error = ClockOffset::new(-4_611_686_019, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("0 to 4611686018"), "{error}");
    assert!(ClockOffset::new(0, 1_000_000_000).is_err());
    assert!(ClockOffset::ahead(Duration::MAX).is_err());
    assert!(ClockOffset::behind(Duration::MAX).is_err());
}

fn only_the_first_thread_sets_clocks() {
    let unshare = || {
        let offset = ClockOffset::new(1, 0).unwrap();
        Unshare::new(NamespaceSet::empty()).time_offset(Clock::Monotonic, offset).apply()
    };
    let error = std::thread::spawn(unshare).join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    unshare().unwrap();
}

fn a_member_freezes_the_clocks() {
    let mut command = sleeper();
    command.map_root().time_offset(Clock::Boottime, ClockOffset::new(5, 0).unwrap());
    let child = Held::of(&mut command);
    let enter = child.enter(NamespaceSet::USER | NamespaceSet::TIME);
    let script = "echo 'boottime 7 0' 2>/dev/null >/proc/self/timens_offsets || cat /proc/self/timens_offsets";
    let text = text(sh(script).enter(enter));
    assert!(text.contains("boottime"), "{text}");
    assert_eq!(text.split_whitespace().nth(4), Some("5"), "{text}");
}

/// Commands for a time namespace that its program, or process without one, has to be in.
fn with_clocks() -> [Command; 5] {
    let with = |choose: fn(&mut Command)| {
        let mut command = sleeper();
        command.map_root().unshare(NamespaceSet::TIME | NamespaceSet::PID);
        choose(&mut command);
        command
    };
    [
        with(|_| ()),
        with(set_both),
        with(|command| {
            set_both(command);
            Engine::Copying.choose(command, None);
        }),
        with(|command| {
            command.init(Init::new());
        }),
        with(|command| {
            set_both(command);
            command.init(Init::new());
        }),
    ]
}

/// A process, and its child if it is an init. Only root can look into an init.
fn to_look_into(id: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let children: Vec<u32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    let first = (is_root() || children.is_empty()).then_some(id);
    first.into_iter().chain(children).collect()
}

/// Keeps the map of this process's memory locked most of the time. A child that shares it needs the map
/// once more in its exec, between waking its parent and entering a time namespace.
fn hold_memory_map(over: &Receiver<()>) {
    const SIZE: usize = 64 << 20;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a mapping that nobody else knows of.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), SIZE, libc::PROT_READ, flags, -1, 0);
        libc::madvise(at, SIZE, libc::MADV_NOHUGEPAGE);
        libc::madvise(at, SIZE, libc::MADV_POPULATE_READ);
        while over.try_recv() == Err(TryRecvError::Empty) {
            libc::mprotect(at, SIZE, libc::PROT_NONE);
            libc::mprotect(at, SIZE, libc::PROT_READ);
        }
        libc::munmap(at, SIZE);
    }
}

/// Asked of a pidfd first, as newer kernels let `/proc` wait for the end of an exec.
fn time_namespace(pid: u32) -> u64 {
    loop {
        // SAFETY: numbers, and descriptors that are closed again.
        let (file, errno) = unsafe {
            let pid_fd = libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32;
            let file = libc::ioctl(pid_fd, kernel::request(0xff07) as _, 0);
            let errno = std::io::Error::last_os_error();
            libc::close(pid_fd);
            (file, errno)
        };
        let number = match errno.raw_os_error() {
            // SAFETY: the kernel has just made it.
            _ if file >= 0 => unsafe { std::fs::File::from_raw_fd(file) }.metadata(),
            Some(libc::ENOTTY | libc::EINVAL) => std::fs::metadata(format!("/proc/{pid}/ns/time")),
            _ => Err(errno),
        };
        match number {
            // Before the end of its exec, the program of an init is as hidden as that.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                std::thread::yield_now();
            }
            number => return number.unwrap().ino(),
        }
    }
}

/// Exec wakes a parent that sleeps in clone before it enters the namespace.
fn a_spawn_answers_when_the_time_namespace_is_entered() {
    let own = kernel::ns("self", "time");
    std::thread::scope(|scope| {
        let (busy, over) = channel();
        scope.spawn(move || hold_memory_map(&over));
        let outside = (0..10).flat_map(|_| with_clocks().into_iter().enumerate()).find_map(|it| {
            let (number, mut command) = it;
            let child = Held::of(&mut command);
            to_look_into(child.id())
                .into_iter()
                .find(|&pid| time_namespace(pid) == own)
                .map(|_| number)
        });
        drop(busy);
        assert_eq!(outside, None, "a child was not in its time namespace yet");
    });
}

/// No exec leads the caller's own code into the namespace.
fn own_code_runs_in_its_time_namespace() {
    for old in [false, true] {
        in_fork(|| {
            if old {
                refuse_to_enter_by_exec();
            }
            let own = seconds(CLOCKS[0].1);
            let mut command = Command::new("inside");
            command.map_root();
            set_both(&mut command);
            // SAFETY: this process has one thread.
            let spawned = unsafe {
                command.spawn_fn(move || u8::from(seconds(CLOCKS[0].1) < own + CLOCKS[0].2))
            };
            assert_eq!(spawned.unwrap().wait().unwrap().code(), Some(0));
        });
    }
    // An intermediate process makes it, for which the kernel does not reap.
    let mut command = Command::new("true");
    set_both(command.init(Init::new()).auto_reap());
    assert_eq!(command.plan().unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn a_new_one_inside_an_entered_one() {
    let set = NamespaceSet::USER | NamespaceSet::TIME;
    let first = Held::new(set);
    // An ordinary user's child is hidden from what it enters, and so from its own files in /proc.
    for clocks in [false].into_iter().chain(is_root().then_some(true)) {
        let mut command = sleeper();
        command.enter(first.enter(set)).unshare(NamespaceSet::TIME);
        if clocks {
            set_both(&mut command);
        }
        let second = Held::of(&mut command);
        let got = time_namespace(second.id());
        assert_ne!(got, kernel::ns("self", "time"));
        assert_ne!(got, time_namespace(first.id()));
    }
}
