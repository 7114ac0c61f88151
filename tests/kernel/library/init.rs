//! `Command::init`: a PID 1 that comes with the command.

pub(crate) mod armed;
pub(crate) mod memory;
pub(crate) mod payload;
pub(crate) mod shed;
pub(crate) mod stops;

use std::fs;
use std::io::BufReader;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use linux_namespaces::{
    Command, Enter, ErrorKind, Init, Mount, Namespace, NamespaceSet, RemainingProcesses, Signal,
    Stdio, Step, Verbosity,
};

use crate::action::setsid;
use crate::fork::{Fork, in_fork};
use crate::harness::cases;
use crate::kernel;
use crate::library::since::statuses_are_kept;
use crate::machine::Need::{NewProc, OtherIds, Root, UserNamespaces};
use crate::machine::is_root;
use crate::program::{Held, is_at, is_of, next_line, rest, sh, sleeper, spawn, text, until_ready};

cases! {
    the_program_is_a_process_like_any_other [UserNamespaces, NewProc],
    a_status_is_the_program_s [UserNamespaces, NewProc],
    every_signal_is_passed_on [UserNamespaces],
    signals_are_rewritten [UserNamespaces, NewProc],
    a_signal_before_exec_is_not_lost [UserNamespaces],
    a_stopped_program_goes_on [UserNamespaces],
    ten_thousand_orphans_leave_no_zombie [UserNamespaces, NewProc],
    a_daemon_ends_with_the_init [UserNamespaces, NewProc],
    others_that_ignore_term_are_killed [UserNamespaces, NewProc],
    others_are_waited_for_on_request [UserNamespaces, NewProc],
    an_init_that_is_killed_takes_all_along [UserNamespaces, NewProc],
    an_init_ends_with_the_parent [UserNamespaces, NewProc],
    its_memory_is_not_for_the_program [UserNamespaces, NewProc],
    nothing_of_the_parent_is_left_in_it [UserNamespaces, NewProc],
    the_program_has_the_caller_s_mask_and_ignored_signals [UserNamespaces, NewProc],
    ids_are_the_program_s [Root, OtherIds],
    its_program_is_told_and_can_be_entered [UserNamespaces, NewProc],
    no_other_process_is_told_for_its_program [UserNamespaces, NewProc],
    nobody_reads_what_it_says [UserNamespaces, NewProc],
    inits_nest [UserNamespaces],
    the_caller_s_code_may_be_the_program [UserNamespaces],
    the_caller_s_code_has_a_large_stack [UserNamespaces],
    a_program_that_does_not_start_is_told [UserNamespaces],
    what_an_init_cannot_do_is_refused [],
}

/// A shell below an init, with its proc.
fn below(init: Init, script: &str) -> Command {
    let mut command = sh(script);
    command.map_root().mount(Mount::proc("/proc").unwrap()).init(init);
    command
}

fn status(script: &str, init: Init) -> ExitStatus {
    below(init, script).status().unwrap_or_else(|error| panic!("{error:#}"))
}

fn the_program_is_a_process_like_any_other() {
    let script = "echo $$ $PPID; cat /proc/1/comm; \
                  until status=$(cat /proc/1/status); \
                  case $status in *NoNewPrivs:?1*) ;; *) false;; esac; do :; done; \
                  echo \"$status\"";
    let mut command = below(Init::new(), script);
    assert!(command.plan().unwrap().to_string().contains("become an init"));
    // CAP_KILL, and nothing else.
    let none = "0".repeat(16);
    let kill = "0000000000000020";
    let text = text(&mut command);
    assert!(text.starts_with("2 1\ninit\n"), "{text}");
    let caps = kernel::fields(&text, &["CapInh", "CapPrm", "CapEff", "CapAmb"]);
    assert_eq!(caps, [&*none, kill, kill, &none]);
}

fn a_status_is_the_program_s() {
    assert_eq!(status("exit 3", Init::new()).code(), Some(3));
    assert_eq!(status("kill -TERM $$", Init::new()).code(), Some(143));
    assert_eq!(status("kill -KILL $$", Init::new()).code(), Some(137));
    let init = Init::new().exit_zero_for(143).exit_zero_for(7);
    assert_eq!(status("kill -TERM $$", init.clone()).code(), Some(0));
    assert_eq!(status("exit 7", init.clone()).code(), Some(0));
    assert_eq!(status("exit 8", init).code(), Some(8));
}

/// All that can be sent and caught, but the one that the init needs.
fn all_signals() -> impl Iterator<Item = i32> {
    (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(signal))
}

fn every_signal_is_passed_on() {
    // To the program alone; and to its group, which has a second process.
    for (init, receivers) in [
        (Init::new(), 1),
        (Init::new().new_process_group().signal_process_group(), 2),
        (Init::new().new_session().signal_process_group(), 2),
    ] {
        let mut command = payload::command(&format!("signals={receivers}"));
        command.map_root().init(init);
        let (mut child, mut lines) = until_ready(&mut command);
        // One after the other: of those for stopping and continuing, one cancels another.
        for signal in all_signals() {
            child.send_signal(Signal::new(signal).unwrap()).unwrap();
            for _ in 0..receivers {
                assert_eq!(next_line(&mut lines), format!("{signal}\n"));
            }
        }
        assert_eq!(rest(lines), "");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

fn signals_are_rewritten() {
    let init = Init::new().rewrite(Signal::TERM, Signal::USR1).rewrite(Signal::HUP, None);
    let script = "trap 'echo usr1; exit 5' USR1; trap 'echo hup; exit 6' HUP; echo ready; while :; do sleep 0.01; done";
    let (mut child, lines) = until_ready(&mut below(init, script));
    child.send_signal(Signal::HUP).unwrap();
    child.send_signal(Signal::TERM).unwrap();
    assert_eq!(rest(lines), "usr1\n");
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

fn a_signal_before_exec_is_not_lost() {
    let mut command = sleeper();
    command.map_root().init(Init::new());
    // SAFETY: a system call.
    unsafe {
        command.pre_exec(|| {
            assert_eq!(libc::kill(libc::getppid(), libc::SIGTERM), 0);
            Ok(())
        });
    }
    assert_eq!(spawn(&mut command).wait().unwrap().code(), Some(143));
}

fn a_stopped_program_goes_on() {
    let mut command = payload::command("signals=1");
    command.map_root().init(Init::new().rewrite(Signal::TSTP, Signal::STOP));
    let (mut child, lines) = until_ready(&mut command);
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let program = fs::read_to_string(children).unwrap().trim().to_owned();
    child.send_signal(Signal::TSTP).unwrap();
    kernel::until(|| kernel::state_of(&program) == 'T');
    child.send_signal(Signal::CONT).unwrap();
    kernel::until(|| kernel::state_of(&program) != 'T');
    child.send_signal(Signal::new(64).unwrap()).unwrap();
    assert_eq!(rest(lines), "18\n64\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn ten_thousand_orphans_leave_no_zombie() {
    let mut command = payload::command("orphans=10000");
    command.map_root().mount(Mount::proc("/proc").unwrap()).init(Init::new());
    assert_eq!(text(&mut command), "no zombie");
}

fn a_daemon_ends_with_the_init() {
    // It left its session, its parent and its grandparent, and has the pipe alone.
    let script =
        "echo ready; (setsid sh -c 'trap \"\" TERM HUP; sleep 600 & wait' <&- 2>&- &) ; exit 4";
    let script = setsid() + script;
    let (mut child, lines) = until_ready(&mut below(Init::new(), &script));
    assert_eq!(rest(lines), "");
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

/// The program ends when its input does, which is when we wait for it.
const LEAVES: &str = "(trap 'echo term' TERM; echo ready; while :; do sleep 0.01; done) & \
                      read line; exit 4";

fn others_that_ignore_term_are_killed() {
    let grace = Duration::from_secs(2);
    let start = Instant::now();
    let init = Init::new().remaining_processes(RemainingProcesses::Terminate { grace });
    let (mut child, lines) = until_ready(below(init, LEAVES).stdin(Stdio::piped()));
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert!(start.elapsed() >= grace);
    assert_eq!(rest(lines), "term\n");

    let start = Instant::now();
    let init = Init::new().remaining_processes(RemainingProcesses::Kill);
    let (mut child, lines) = until_ready(below(init, LEAVES).stdin(Stdio::piped()));
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert_eq!(rest(lines), "");
    // A minute's grace is not used up by those that go.
    let goes = "sleep 50 & sleep 50 & echo ready; exit 4";
    let init = Init::new()
        .remaining_processes(RemainingProcesses::Terminate { grace: Duration::from_secs(60) });
    let (mut child, _lines) = until_ready(&mut below(init, goes));
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert!(start.elapsed() < Duration::from_secs(40));
}

fn others_are_waited_for_on_request() {
    let script = "echo ready; (sleep 0.2; echo late) & exit 4";
    let (mut child, lines) =
        until_ready(&mut below(Init::new().remaining_processes(RemainingProcesses::Wait), script));
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert_eq!(rest(lines), "late\n");
    // Signals go to them meanwhile.
    let script = "echo ready; (trap 'echo got; exit' USR1; while test -e /proc/2; do :; done; echo up >&2; while :; do sleep 0.01; done) & exit 4";
    let mut command = below(Init::new().remaining_processes(RemainingProcesses::Wait), script);
    let (mut child, lines) = until_ready(command.stderr(Stdio::piped()));
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    next_line(&mut errors);
    child.send_signal(Signal::USR1).unwrap();
    assert_eq!(rest(lines), "got\n");
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

fn an_init_that_is_killed_takes_all_along() {
    let script = setsid() + "setsid sleep 600 & sleep 600 & echo ready; wait";
    let (mut child, lines) = until_ready(&mut below(Init::new(), &script));
    child.kill().unwrap();
    assert_eq!(rest(lines), "");
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
}

fn an_init_ends_with_the_parent() {
    let (reader, writer) = std::io::pipe().unwrap();
    let middle = Fork::start(|| {
        let mut command = below(Init::new(), "sleep 600 & wait");
        let child = command.stdout(OwnedFd::from(writer)).kill_on_parent_exit().spawn();
        child.is_err().into()
    });
    assert_eq!(rest(reader), "");
    assert_eq!(middle.wait(), 0);
    let mut killed = 0;
    // SAFETY: the init, by adoption.
    assert!(unsafe { libc::waitpid(-1, &raw mut killed, 0) } > 0);
    assert_eq!(killed, libc::SIGKILL);
}

fn its_memory_is_not_for_the_program() {
    let mut command = payload::command("spy");
    command.map_root().mount(Mount::proc("/proc").unwrap()).init(Init::new());
    assert_eq!(text(&mut command), "root inside, and refused");
}

fn nothing_of_the_parent_is_left_in_it() {
    let secret = vec![0x5a_u8; 1 << 20];
    let file = fs::File::open("/proc/self/status").unwrap();
    let (child, _lines) = until_ready(&mut below(Init::new(), "echo ready; sleep 600"));
    let child = Held::from(child);
    let init = child.id();
    // Right after the program was started, which is when we learn of it.
    kernel::until(|| fs::read_to_string(format!("/proc/{init}/comm")).unwrap().trim() == "init");
    if is_root() {
        kernel::until(|| fs::read_dir(format!("/proc/{init}/fd")).unwrap().count() == 0);
    }
    // The portable engine's calls go through libc, which needs its memory.
    if is_root() && crate::machine::SHARES_MEMORY {
        let maps = fs::read_to_string(format!("/proc/{init}/maps")).unwrap();
        let own: Vec<&str> = maps
            .lines()
            .filter(|line| line.contains(" rw-p ") && line.contains(" 00:00 0"))
            .collect();
        // Its stack.
        assert_eq!(own.len(), 1, "{maps}");
        assert!(!maps.contains("[heap]"), "{maps}");
        let at = secret.as_ptr().addr();
        let holds = |line: &&str| {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let number = |text| usize::from_str_radix(text, 16).unwrap();
            (number(start)..number(end)).contains(&at)
        };
        assert_eq!(maps.lines().find(holds), None);
    }
    drop((secret, file));
}

fn the_program_has_the_caller_s_mask_and_ignored_signals() {
    in_fork(|| {
        // SAFETY: this process alone.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            for signal in [libc::SIGUSR1, libc::SIGTERM, libc::SIGTTIN] {
                libc::sigaddset(&raw mut set, signal);
            }
            libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
            for signal in [libc::SIGINT, libc::SIGTTOU, libc::SIGHUP] {
                libc::signal(signal, libc::SIG_IGN);
            }
            // With this one ignored, older kernels keep no status that could be asked for.
            if !statuses_are_kept() {
                libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            }
        }
        let program = || {
            let mut command = Command::new("cat");
            command.arg("/proc/self/status").stderr(Stdio::inherit());
            command
        };
        let signals = |text: &str| {
            let sets = kernel::fields(text, &["SigBlk", "SigIgn", "SigCgt"]);
            assert_eq!(sets.len(), 3, "{text}");
            sets.join(" ")
        };
        let plain = signals(&text(&mut program()));
        let mut command = program();
        command.map_root().mount(Mount::proc("/proc").unwrap());
        assert_eq!(signals(&text(command.init(Init::new()))), plain);
        let mut armed = Init::new().arm().unwrap();
        let mut child = armed.spawn(program().stdout(Stdio::piped())).unwrap();
        let lines = child.stdout.take().unwrap();
        assert!(armed.supervise(child).unwrap().success());
        assert_eq!(signals(&rest(lines)), plain);
    });
}

fn ids_are_the_program_s() {
    let mut command = sh("id -u; id -g; stat -c %u /proc/1");
    command.mount(Mount::proc("/proc").unwrap()).uid(65534).gid(65534).groups([]);
    command.init(Init::new());
    assert_eq!(text(&mut command), "65534\n65534\n0");
    // It may signal a program of another user.
    let mut child = spawn(sleeper().uid(65534).init(Init::new()));
    child.send_signal(Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

/// By an ordinary user, too, who cannot look into the init.
fn its_program_is_told_and_can_be_entered() {
    let inside = NamespaceSet::USER | NamespaceSet::PID | NamespaceSet::MOUNT;
    let (mut child, _lines) = until_ready(&mut below(Init::new(), "echo ready; exec sleep 600"));
    let program = child.program().unwrap();
    assert_eq!(program.pids().unwrap().last(), Some(&2));
    assert_eq!(child.namespace(Namespace::Pid).is_ok(), is_root());
    let mut other = sh("echo $$; cat /proc/1/comm");
    other.enter(Enter::new().process(child.program().unwrap(), inside));
    assert_eq!(text(&mut other), "3\ninit");
    program.send_signal(Signal::KILL).unwrap();
    child.wait().unwrap();
    assert_eq!(child.program().unwrap_err().kind(), ErrorKind::ProcessGone);
    // Without an init it is the child.
    let child = Held::of(&mut sleeper());
    assert_eq!(child.program().unwrap().pid().unwrap(), Some(child.id()));
}

fn inits_nest() {
    let mut command = payload::command("inits=3");
    command.map_root().init(Init::new());
    // Each is started by a process that is an init as well, and takes two numbers there.
    let (mut child, lines) = until_ready(&mut command);
    child.send_signal(Signal::TERM).unwrap();
    assert_eq!(rest(lines), "terminated at 2 4 6\n");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

fn the_caller_s_code_may_be_the_program() {
    let mut command = Command::new("code");
    command.unshare(NamespaceSet::IPC).map_root().init(Init::new());
    let work = || {
        // SAFETY: asks for numbers.
        let (own, parent) = unsafe { (libc::getpid(), libc::getppid()) };
        if (own, parent) == (2, 1) { 7 } else { 8 }
    };
    // SAFETY: this process has one thread.
    let child = unsafe { command.spawn_fn(work) };
    assert_eq!(child.unwrap_or_else(|error| panic!("{error:#}")).wait().unwrap().code(), Some(7));
}

fn the_caller_s_code_has_a_large_stack() {
    let fill = || {
        let mut bytes = [1_u8; 4 << 20];
        std::hint::black_box(&mut bytes);
        bytes[1 << 20]
    };
    let mut command = Command::new("code");
    command.map_root().init(Init::new());
    // SAFETY: this process has one thread.
    let child = unsafe { command.spawn_fn(fill) };
    assert_eq!(child.unwrap_or_else(|error| panic!("{error:#}")).wait().unwrap().code(), Some(1));
    let mut command = Command::new("true");
    command.map_root().init(Init::new());
    // SAFETY: as above.
    unsafe {
        command.pre_exec(
            move || if fill() == 1 { Ok(()) } else { Err(std::io::ErrorKind::Other.into()) },
        )
    };
    assert!(command.status().unwrap_or_else(|error| panic!("{error:#}")).success());
}

fn no_other_process_is_told_for_its_program() {
    // An orphan that is there when the program has ended.
    let init = Init::new().remaining_processes(RemainingProcesses::Wait);
    let mut command = below(init, "(sleep 600 & echo ready); read line");
    let (mut child, _lines) = until_ready(command.stdin(Stdio::piped()));
    let program = child.program().unwrap();
    drop(child.stdin.take());
    kernel::until(|| program.pids().unwrap().is_empty());
    assert_eq!(child.program().unwrap_err().kind(), ErrorKind::ProcessGone);
    child.kill().unwrap();
    child.wait().unwrap();
    // A /proc that counts otherwise than the caller's pid namespace.
    let mut outer = Command::new("code");
    outer.unshare(NamespaceSet::PID).map_root();
    let work = || {
        let (mut child, _lines) = until_ready(sh("echo ready; read line").init(Init::new()));
        let answer = child.program().map_err(|error| error.kind());
        child.kill().unwrap();
        child.wait().unwrap();
        u8::from(matches!(answer, Err(ErrorKind::UntrustedProc)))
    };
    // SAFETY: this process has one thread.
    let child = unsafe { outer.spawn_fn(work) };
    assert_eq!(child.unwrap_or_else(|error| panic!("{error:#}")).wait().unwrap().code(), Some(1));
}

/// Then the kernel sends the init `SIGPIPE`, which is not for the program.
fn nobody_reads_what_it_says() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let before = std::io::stderr().as_fd().try_clone_to_owned().unwrap();
    // SAFETY: this process's own.
    unsafe { libc::dup2(writer.as_raw_fd(), 2) };
    for setup in ["", "trap '' PIPE;"] {
        let script = format!("{setup} trap 'exit 7' TERM; echo ready; while :; do read line; done");
        let mut command = below(Init::new().verbosity(Verbosity::Debug), &script);
        let (mut child, _lines) = until_ready(command.stdin(Stdio::piped()).stderr(Stdio::null()));
        // Of two that wait, the one with the lower number comes first.
        child.send_signal(Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(7), "{setup}");
    }
    // SAFETY: as above.
    unsafe { libc::dup2(before.as_raw_fd(), 2) };
}

fn a_program_that_does_not_start_is_told() {
    type Row = (&'static str, fn(&mut Command), Step, i32);
    let rows: [Row; 4] = [
        ("/no/such/program", |_| {}, Step::Exec, libc::ENOENT),
        ("/etc/passwd", |_| {}, Step::Exec, libc::EACCES),
        ("true", |it| _ = it.current_dir("/no/such/place"), Step::ChangeDirectory, libc::ENOENT),
        ("true", |it| _ = it.uid(4321), Step::SetUid, libc::EINVAL),
    ];
    let before = kernel::census();
    for (program, prepare, step, errno) in rows {
        let mut command = Command::new(program);
        command.map_root().init(Init::new());
        prepare(&mut command);
        let error = command.spawn().unwrap_err();
        is_at(&error, step, errno);
    }
    let mut command = Command::new("true");
    command.map_root().init(Init::new());
    // SAFETY: ends the process of the program.
    unsafe { command.pre_exec(|| libc::_exit(3)) };
    let error = command.spawn().unwrap_err();
    is_of(&error, Step::PreExec, ErrorKind::ChildDied);
    assert_eq!(kernel::census(), before);
}

fn what_an_init_cannot_do_is_refused() {
    for init in [
        Init::new().signal_process_group(),
        Init::new().rewrite(Signal::KILL, Signal::TERM),
        Init::new().rewrite(Signal::STOP, None),
        Init::new().rewrite(Signal::CHLD, Signal::TERM),
    ] {
        let error = Command::new("true").init(init.clone()).spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:#}");
        assert_eq!(init.arm().unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
