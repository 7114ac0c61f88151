//! The process in which a scenario runs: it says where the crate's part begins and ends, and what it was
//! before and is after.

use std::fs;
use std::io::{PipeWriter, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitStatus;
use std::sync::Mutex;

use linux_namespaces::Error;

use crate::machine::is_root;
use crate::{harness, kernel, stage};

/// The signal before the first of the crate's calls. It never arrives.
pub(crate) const BEGIN: i32 = libc::SIGURG;
/// The number of a call that does not exist, after the last.
pub(crate) const END: libc::c_long = 0x5eed;

/// What a scenario comes to.
pub(crate) type Answer = Result<Came, Error>;

#[derive(Debug)]
pub(crate) enum Came {
    Done,
    /// A program ended.
    Ended(ExitStatus),
    /// A list is not whole, and says so.
    Told,
    /// A list is not whole.
    Incomplete,
}

/// When the thread is another afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changes {
    Nothing,
    IfDone,
    /// What a process is for others, and nothing else.
    FlagsIfDone,
    Always,
}

impl Changes {
    /// What that is, in the first words of the look at this process.
    fn what(self) -> &'static [&'static str] {
        match self {
            Self::Nothing => &[],
            Self::FlagsIfDone => &["prctl", "ignored"],
            Self::IfDone => {
                &["namespaces", "mount", "caps", "ids", "groups", "cwd", "root", "dumpable"]
            }
            Self::Always => &[
                "namespaces",
                "mount",
                "caps",
                "ids",
                "groups",
                "cwd",
                "root",
                "dumpable",
                "mask",
                "ignored",
                "caught",
                "session",
                "prctl",
            ],
        }
    }
}

/// What is done in the subject.
pub(crate) struct Act {
    /// The namespaces in which the subject is born.
    pub(crate) flags: i32,
    /// What comes before the first look at this process.
    pub(crate) stage: Box<dyn Fn()>,
    pub(crate) changes: Changes,
    /// What is to stay, in the words of the look at this process.
    pub(crate) keeps: &'static str,
    /// Calls [`begin`] when it is ready.
    pub(crate) work: Box<dyn Fn() -> Answer>,
}

/// What the subject says at its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// A name of [`Came`], an end of a program, or the step of an error.
    pub(crate) outcome: String,
    pub(crate) kind: String,
    pub(crate) errno: Option<i32>,
    /// All of the error, for people.
    pub(crate) text: String,
    /// What is not as before.
    pub(crate) left: Vec<String>,
}

pub(crate) fn begin() {
    // SAFETY: the tracer takes the signal away.
    unsafe { libc::syscall(libc::SYS_kill, libc::getpid(), BEGIN) };
}

fn end() {
    // SAFETY: there is no such call.
    unsafe { libc::syscall(END) };
}

pub(crate) fn main(act: &Act, mut writer: PipeWriter) -> ! {
    static PANIC: Mutex<String> = Mutex::new(String::new());
    panic::set_hook(Box::new(|info| *PANIC.lock().unwrap() = info.to_string()));
    keep_memory();
    let machine = kernel::ns("self", "mnt");
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        if is_root() {
            own_mounts();
        }
        (act.stage)();
        let has_own_mounts = kernel::ns("self", "mnt") != machine;
        let state = || state(has_own_mounts);
        let before = state();
        let outcome = panic::catch_unwind(AssertUnwindSafe(&act.work));
        end();
        let mut report = match outcome {
            Ok(answer) => Report::of(&answer),
            Err(_) => Report::panicked(&PANIC.lock().unwrap()),
        };
        report.left = difference(&before, &state());
        let changes = match act.changes {
            _ if report.kind == "NotRestored" => Changes::IfDone,
            Changes::IfDone | Changes::FlagsIfDone if !report.kind.is_empty() => Changes::Nothing,
            changes => changes,
        };
        report.left.retain(|line| {
            let what = line.split(' ').nth(1).unwrap_or_default();
            !changes.what().contains(&what) && (act.keeps.is_empty() || !line.contains(act.keeps))
        });
        report
    }));
    let report = outcome.unwrap_or_else(|_| Report::panicked(&PANIC.lock().unwrap()));
    writer.write_all(report.print().as_bytes()).ok();
    // SAFETY: ends the process without what the test binary registered for its end.
    unsafe { libc::_exit(0) }
}

/// The allocator has what it needs, so that no call is its own.
fn keep_memory() {
    // Others cannot be asked to.
    #[cfg(target_env = "gnu")]
    // SAFETY: this process's allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 32 << 20);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
    drop(vec![1_u8; 1 << 20]);
}

/// What others mount meanwhile is not seen.
fn own_mounts() {
    // SAFETY: this process has one thread.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    stage::private();
}

/// All that a call must not change.
fn state(with_mounts: bool) -> Vec<String> {
    // It may take a moment until a joined thread is no more.
    kernel::until(|| kernel::status("Threads") == "1");
    let listed = ["mounts", "descriptors"];
    let mut state: Vec<_> = kernel::census()
        .into_iter()
        .filter(|line| !listed.iter().any(|what| line.starts_with(what)))
        .collect();
    if with_mounts {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        state.extend(mounts.lines().map(|line| format!("mount {line}")));
    }
    let descriptors = harness::descriptors();
    state.extend(descriptors.iter().map(|(number, what)| format!("descriptor {number} {what}")));
    // SAFETY: this process has one thread.
    let umask = unsafe { libc::umask(0) };
    // SAFETY: as above.
    unsafe { libc::umask(umask) };
    state.push(format!("umask {umask:o}"));
    let status = ["CapInh", "CapBnd", "CapAmb"].map(kernel::status);
    state.push(format!("caps {status:?}"));
    state.push(format!("groups {}", kernel::status("Groups")));
    // What is not blocked is on its way: a tracer has even an ignored SIGCHLD queued for a moment.
    let set = |field| u64::from_str_radix(&kernel::status(field), 16).unwrap();
    let pending = (set("SigPnd") | set("ShdPnd")) & set("SigBlk");
    state.push(format!("pending {pending:x}"));
    state.push(format!("name {}", kernel::status("Name")));
    // SAFETY: asks for numbers.
    let (session, group) = unsafe { (libc::getsid(0), libc::getpgrp()) };
    state.push(format!("session {session} {group}"));
    state.push(format!("prctl {:?}", flags()));
    let maps = fs::read_to_string("/proc/thread-self/maps").unwrap();
    // The heap of a process that forked, or was, grows by further ones.
    let maps = maps.lines().filter(|line| !line.ends_with("[heap]"));
    state.push(format!("mappings {}", maps.count()));
    state.push(format!("root {:?}", fs::read_link("/proc/thread-self/root")));
    state.extend(files("/tmp"));
    state
}

/// The signal for the end of the parent, and whether this process is a subreaper, gains no privileges and keeps
/// capabilities.
fn flags() -> [i32; 5] {
    let (mut signal, mut subreaper) = (0, 0);
    // SAFETY: the kernel writes two numbers, and answers the others.
    unsafe {
        libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal);
        libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper);
        let no_new_privs = libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
        let bits = libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0);
        [signal, subreaper, no_new_privs, bits, libc::prctl(libc::PR_GET_KEEPCAPS, 0, 0, 0, 0)]
    }
}

/// The files that scenarios make.
fn files(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.filter_map(|entry| entry.path().to_str().map(str::to_owned));
    let ours = paths.filter(|path| path.starts_with("/tmp/sweep-"));
    ours.flat_map(|path| [vec![format!("file {path}")], files(&path)].concat()).collect()
}

/// What is new, and what is no more.
fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    new.chain(gone).collect()
}

impl Report {
    fn of(answer: &Answer) -> Self {
        match answer {
            Ok(Came::Ended(status)) => Self { outcome: status.to_string(), ..Self::default() },
            Ok(came) => Self { outcome: format!("{came:?}"), ..Self::default() },
            Err(error) => Self {
                outcome: error.step().map_or_else(|| "no step".to_owned(), |it| format!("{it:?}")),
                kind: format!("{:?}", error.kind()),
                errno: error.raw_os_error(),
                text: format!("{error:#}"),
                left: Vec::new(),
            },
        }
    }

    fn panicked(text: &str) -> Self {
        Self { outcome: "panic".to_owned(), text: text.to_owned(), ..Self::default() }
    }

    fn print(&self) -> String {
        let errno = self.errno.unwrap_or(0);
        let fields = [&self.outcome, &self.kind, &errno.to_string(), &self.text];
        let lines = fields.into_iter().chain(&self.left);
        lines.map(|line| line.replace('\n', " | ") + "\n").collect()
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::to_owned);
        let mut report = Self { outcome: lines.next()?, kind: lines.next()?, ..Self::default() };
        report.errno = lines.next()?.parse().ok().filter(|&errno| errno != 0);
        report.text = lines.next()?;
        report.left = lines.collect();
        Some(report)
    }
}
