//! What inits look after in the trials: this test binary, started again with [`ACTION`] set.

use std::fs;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use linux_namespaces::{Command, Init, RemainingProcesses, Verbosity};

use crate::action;
use crate::kernel;

/// A command of this binary that does `action`.
pub(crate) fn command(action: &str) -> Command {
    action::command(&format!("init:{action}"))
}

pub(crate) fn act(action: &str) -> ExitCode {
    match action.split_once('=').unwrap_or((action, "")) {
        ("signals", processes) => signals(processes),
        ("orphans", count) => orphans(count.parse().unwrap()),
        ("spy", _) => spy(),
        ("value", _) => value(),
        ("warns", _) => looks_after(&["true"], Verbosity::Warnings),
        ("signal-state", _) => looks_after(&["cat", "/proc/self/status"], Verbosity::Silent),
        ("job", how) => job(how),
        ("inits", levels) => inits(levels.parse().unwrap()),
        _ => panic!("{action}"),
    }
    ExitCode::SUCCESS
}

/// Blocks all signals, as the kernel numbers them: libc hides two of them.
fn block_all() -> u64 {
    let all = u64::MAX;
    // SAFETY: the kernel reads a set of 8 bytes.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, 0, 8) };
    all
}

/// Tells every signal that it and, if there are to be two, another process of its group gets. The last
/// signal ends each.
fn signals(processes: &str) {
    let all = block_all();
    let mut stdout = std::io::stdout();
    let other = match processes {
        // SAFETY: this process has one thread.
        "2" => unsafe { libc::fork() },
        _ => -1,
    };
    if other != 0 {
        stdout.write_all(b"ready\n").unwrap();
    }
    loop {
        // SAFETY: the kernel reads a set of 8 bytes.
        let signal = unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &raw const all, 0, 0, 8) };
        // Its other process has ended, or it was stopped and goes on.
        if signal == 17 || signal == -1 {
            continue;
        }
        stdout.write_all(format!("{signal}\n").as_bytes()).unwrap();
        if signal == 64 {
            break;
        }
    }
    if other > 0 {
        // SAFETY: a child of this process.
        assert_eq!(unsafe { libc::waitpid(other, std::ptr::null_mut(), 0) }, other);
    }
}

/// Tells the value that the first signal comes with.
fn value() {
    let all = block_all();
    println!("ready");
    // SAFETY: the kernel reads a set of 8 bytes and writes a siginfo.
    let (signal, value) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let signal = libc::syscall(libc::SYS_rt_sigtimedwait, &raw const all, &raw mut info, 0, 8);
        (signal, info.si_value().sival_ptr.addr())
    };
    println!("{signal} {value}");
}

fn orphans(count: u32) {
    for _ in 0..count {
        // SAFETY: this process has one thread; its children make system calls only.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0);
            if child == 0 {
                // The grandchild is left to the init, dead or alive.
                libc::fork();
                libc::_exit(0);
            }
            assert_eq!(libc::waitpid(child, std::ptr::null_mut(), 0), child);
        }
    }
    let end = Instant::now() + Duration::from_millis(100);
    while let Some(zombie) = zombie() {
        assert!(Instant::now() < end, "{zombie} is left");
    }
    print!("no zombie");
}

fn zombie() -> Option<String> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let mut stats = pids.filter_map(|pid| fs::read_to_string(pid.path().join("stat")).ok());
    stats.find(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

/// Root inside, it tries all ways to look into PID 1.
fn spy() {
    let failed = |answer: libc::c_long| answer == -1;
    for file in ["mem", "environ", "maps", "cwd", "root", "exe"] {
        let path = format!("/proc/1/{file}");
        let opened = match file {
            "cwd" | "root" | "exe" => fs::read_link(&path).map(drop),
            _ => fs::read(&path).map(drop),
        };
        assert_eq!(opened.expect_err(&path).raw_os_error(), Some(libc::EACCES), "{path}");
    }
    let mut word = 0_u64;
    let mut local = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: 8 };
    let remote = libc::iovec { iov_base: signals as *mut libc::c_void, iov_len: 8 };
    // SAFETY: asks the kernel about another process; what it reads goes to `word`.
    unsafe {
        assert_eq!(libc::getuid(), 0);
        assert!(failed(libc::ptrace(libc::PTRACE_ATTACH, 1, 0, 0)));
        assert!(failed(libc::ptrace(libc::PTRACE_SEIZE, 1, 0, 0)));
        assert!(failed(libc::process_vm_readv(1, &raw mut local, 1, &raw const remote, 1, 0) as _));
        let pid_fd = libc::syscall(libc::SYS_pidfd_open, 1, 0);
        assert!(failed(libc::syscall(libc::SYS_pidfd_getfd, pid_fd, 0, 0)));
    }
    print!("root inside, and refused");
}

/// `PLACEMENT,ROLE,PROGRAM`.
fn job(how: &str) {
    extern "C" fn nothing(_: libc::c_int) {}
    let [placement, role, program] = how.splitn(3, ',').collect::<Vec<_>>()[..] else {
        panic!("{how}")
    };
    let init = match placement {
        "same" => Init::new(),
        "group" => Init::new().new_process_group(),
        _ => Init::new().new_session(),
    };
    let words: Vec<&str> = program.split(' ').collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    let init = match role {
        "first" => {
            // Who starts an init waits for it, also at ^C.
            // SAFETY: the handler does nothing.
            unsafe { libc::signal(libc::SIGINT, nothing as *const () as libc::sighandler_t) };
            let status = command.map_root().init(init).status();
            let code = status.unwrap_or_else(|error| panic!("{error:#}")).code();
            std::process::exit(code.unwrap_or(1));
        }
        "waits" => {
            command = Command::new("sh");
            command.args(["-c", &format!("{program} &")]);
            init.subreaper().remaining_processes(RemainingProcesses::Wait)
        }
        "subreaper" => init.subreaper(),
        _ => init,
    };
    let mut armed = init.arm().unwrap();
    let child = armed.spawn(&mut command).unwrap();
    armed.supervise_and_exit(child);
}

/// An init without options.
fn looks_after(program: &[&str], verbosity: Verbosity) {
    let mut armed = Init::new().verbosity(verbosity).arm().unwrap();
    let child = armed.spawn(Command::new(program[0]).args(&program[1..])).unwrap();
    armed.supervise_and_exit(child);
}

/// An init inside of an init, to some depth. The innermost program tells where it is, and each status is
/// one more than that of the program inside.
fn inits(levels: u32) {
    if levels > 1 {
        let mut command = command(&format!("inits={}", levels - 1));
        command.init(Init::new());
        // As a container's runtime it hands its own signals on, too.
        let mut armed = Init::new().arm().unwrap();
        let child = armed.spawn(&mut command).unwrap_or_else(|error| panic!("{error:#}"));
        armed.supervise_and_exit(child);
    }
    let all = block_all();
    println!("ready");
    // SAFETY: the kernel reads a set of 8 bytes.
    let signal = unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &raw const all, 0, 0, 8) };
    assert_eq!(signal, 15);
    let numbers = kernel::status("NSpid");
    let inner: Vec<&str> = numbers.split_whitespace().rev().take(3).collect();
    println!("terminated at {}", inner.join(" "));
    std::process::exit(9);
}
