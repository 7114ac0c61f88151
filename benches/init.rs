//! An init beside tini, dumb-init and catatonit, each as PID 1 of a pid namespace: orphans waited for, the way
//! of a signal, and memory.
//!
//! What is not installed is left out. The figures of one run are to be compared with each other alone.

#![allow(unsafe_code, reason = "the payloads are made of plain system calls")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "plain calls on this process")]
#![allow(clippy::incompatible_msrv, reason = "running the benches takes a current Rust")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::ChildStdout;
use std::time::Instant;

use linux_namespaces::{Child, Command, Init, NamespaceSet, Signal, Stdio};

use common::{example, installed, is_list, is_short, median, not_installed, verdict};

/// With this set, the bench is what an init looks after.
const PAYLOAD: &str = "LINUX_NAMESPACES_INIT_BENCH";

fn main() {
    match std::env::var(PAYLOAD).as_deref() {
        Ok("orphans") => return orphans(),
        Ok("echo") => return echo(),
        _ if is_list() => return,
        _ => {}
    }
    let example = match example("init") {
        Ok(example) => example,
        Err(why) => return println!("left out: {why}"),
    };
    let inits = Tool::all(example);
    // No worse than the best of the others: what is left is the spread from run to run.
    table("microseconds from a signal to the program's answer", &inits, latencies(&inits), 1.05);
    table("milliseconds until 2000 orphans are waited for", &inits, storms(&inits), 1.05);
    table("resident memory, in KiB", &inits, memory(&inits), 1.2);
}

const OURS: &str = "example init";

struct Tool {
    name: &'static str,
    path: Option<PathBuf>,
    args: &'static [&'static str],
}

impl Tool {
    fn all(example: PathBuf) -> Vec<Self> {
        let mut all = vec![Self { name: OURS, path: Some(example), args: &["--"] }];
        let others: [(&str, &[&str]); 3] =
            [("tini", &["--"]), ("dumb-init", &[]), ("catatonit", &["--"])];
        for (name, args) in others {
            match installed(name) {
                // The packages have the names of the programs.
                None => println!("{}", not_installed(name, name)),
                path => all.push(Self { name, path, args }),
            }
        }
        all.push(Self { name: "Command::init", path: None, args: &[] });
        all
    }

    fn start(&self, payload: &str) -> (Child, BufReader<ChildStdout>) {
        let own = std::env::current_exe().unwrap();
        let mut command = match &self.path {
            Some(path) => {
                let mut command = Command::new(path);
                command.args(self.args).arg(own);
                command
            }
            None => {
                let mut command = Command::new(own);
                command.init(Init::new());
                command
            }
        };
        command.unshare(NamespaceSet::PID).map_root().kill_on_parent_exit();
        command.env(PAYLOAD, payload).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{error:#}"));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        (child, stdout)
    }
}

fn table(title: &str, tools: &[Tool], figures: Vec<f64>, limit: f64) {
    println!("\n{title}");
    let ours = figures[0];
    let best = |(tool, _): &(&Tool, &f64)| tool.path.is_some() && tool.name != OURS;
    let others = tools.iter().zip(&figures).filter(best).map(|(_, &figure)| figure);
    let best = others.fold(f64::INFINITY, f64::min);
    for (tool, figure) in tools.iter().zip(&figures) {
        print!("{:16}{figure:10.1}", tool.name);
        if tool.name == OURS && best.is_finite() {
            let goal = format!("at most {limit} times the best of the others");
            print!("{:8.2}{}", ours / best, verdict(ours <= limit * best, &goal));
        }
        println!();
    }
}

/// All are alive and take turns.
fn latencies(tools: &[Tool]) -> Vec<f64> {
    let rounds = if is_short() { 3 } else { 3000 };
    let mut running: Vec<_> = tools.iter().map(|tool| (tool.start("echo"), Vec::new())).collect();
    let mut byte = [0];
    for ((_, stdout), _) in &mut running {
        stdout.read_exact(&mut byte).unwrap();
    }
    let count = running.len();
    for round in 0..rounds {
        for turn in 0..count {
            let ((child, stdout), times) = &mut running[(round + turn) % count];
            let start = Instant::now();
            child.send_signal(Signal::USR1).unwrap();
            stdout.read_exact(&mut byte).unwrap();
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    let end = |((mut child, _), times): ((Child, _), Vec<f64>)| {
        child.kill().unwrap();
        child.wait().unwrap();
        median(times)
    };
    running.into_iter().map(end).collect()
}

fn storms(tools: &[Tool]) -> Vec<f64> {
    let rounds = if is_short() { 1 } else { 61 };
    let mut times = vec![Vec::new(); tools.len()];
    for round in 0..rounds {
        for turn in 0..tools.len() {
            let at = (round + turn) % tools.len();
            let (mut child, mut stdout) = tools[at].start("orphans");
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            child.wait().unwrap();
            times[at].push(line.trim().parse().unwrap());
        }
    }
    times.into_iter().map(median).collect()
}

fn memory(tools: &[Tool]) -> Vec<f64> {
    let resident = |tool: &Tool| {
        let (mut child, mut stdout) = tool.start("echo");
        stdout.read_exact(&mut [0]).unwrap();
        // A signal later it is surely in its loop.
        child.send_signal(Signal::USR1).unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        line.trim().split(' ').next().unwrap().parse().unwrap()
    };
    tools.iter().map(resident).collect()
}

/// Answers each signal with a byte, and says so at the start.
fn echo() {
    // SAFETY: plain calls on this process, with a set of its own.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        loop {
            libc::write(1, c"x".as_ptr().cast(), 1);
            let mut signal = 0;
            libc::sigwait(&raw const set, &raw mut signal);
        }
    }
}

/// Makes orphans that live until a pipe is closed, and tells how long after that the last one is gone.
fn orphans() {
    let count = if is_short() { 50 } else { 2000 };
    let mut pids: Vec<i32> = Vec::new();
    let (gate, keep) = std::io::pipe().unwrap();
    let (mut names, tell) = std::io::pipe().unwrap();
    for _ in 0..count {
        // SAFETY: one thread; the children make system calls only.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                if libc::fork() == 0 {
                    use std::os::fd::AsRawFd;
                    libc::close(keep.as_raw_fd());
                    let pid = libc::getpid();
                    libc::write(tell.as_raw_fd(), (&raw const pid).cast(), 4);
                    libc::read(gate.as_raw_fd(), (&raw const pid).cast_mut().cast(), 1);
                }
                libc::_exit(0);
            }
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        let mut pid = [0; 4];
        names.read_exact(&mut pid).unwrap();
        pids.push(i32::from_ne_bytes(pid));
    }
    let start = Instant::now();
    drop(keep);
    // A zombie still takes signals.
    // SAFETY: asks whether the process is there.
    let is_there = |&pid: &i32| unsafe { libc::kill(pid, 0) } == 0;
    while pids.iter().any(is_there) {
        std::thread::yield_now();
    }
    println!("{}", start.elapsed().as_secs_f64() * 1e3);
}
