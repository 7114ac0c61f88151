//! One run of a scenario in a traced process, in which one thing happens at one point.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::point::{Deed, Kind, Point, Role};
use crate::subject::{self, Act, Report};
use crate::trace::{self, Entry, Until};
use crate::{calls, harness};

/// A call that was seen.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) point: Point,
    /// The call and what it is about, for people and for the list of exceptions.
    pub(crate) what: String,
    /// All who lived at that moment.
    pub(crate) alive: Vec<Role>,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Run {
    /// All calls, where nothing was to happen.
    pub(crate) calls: Vec<Seen>,
    /// Whether the point was come to.
    pub(crate) reached: bool,
    /// What the parent said at its end, if it came to that.
    pub(crate) report: Option<Report>,
    /// Its end, as `waitpid(2)` tells.
    pub(crate) status: i32,
    /// Who was still there long after, and where.
    pub(crate) stuck: Option<String>,
}

#[derive(Debug)]
struct Task {
    role: Role,
    counts: BTreeMap<libc::c_long, u32>,
    /// The flags of the process that it is about to make.
    flags: u64,
    /// Whether it has made a pair of sockets for it.
    has_sockets: bool,
    /// What the call that it is in is made to answer.
    answer: Option<i32>,
    /// What the `read(2)` that it is in fills.
    buffer: Option<u64>,
    last: String,
}

impl Task {
    fn new(role: Role) -> Self {
        Self {
            role,
            counts: BTreeMap::new(),
            flags: 0,
            has_sockets: false,
            answer: None,
            buffer: None,
            last: String::new(),
        }
    }
}

struct Tracer {
    root: i32,
    deed: Option<(Point, Deed)>,
    tasks: BTreeMap<i32, Task>,
    /// They stopped for the first time before their parent told of them.
    early: Vec<i32>,
    roles: BTreeMap<Kind, u32>,
    sweeping: bool,
    status: Option<i32>,
    calls: Vec<Seen>,
    reached: bool,
}

/// This process has one thread.
pub(crate) fn run(act: &Act, deed: Option<(Point, Deed)>) -> Run {
    let spared = children();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (mut wait, mut go) = std::io::pipe().unwrap();
    let root = fork(act.flags);
    if root == 0 {
        drop((reader, go));
        wait.read_exact(&mut [0]).ok();
        drop(wait);
        subject::main(act, writer);
    }
    drop((writer, wait));
    trace::seize(root);
    go.write_all(&[0]).unwrap();
    drop(go);
    let mut tracer = Tracer {
        root,
        deed,
        tasks: BTreeMap::from([(root, Task::new(Role::PARENT))]),
        early: Vec::new(),
        roles: BTreeMap::new(),
        sweeping: false,
        status: None,
        calls: Vec::new(),
        reached: false,
    };
    let stuck = tracer.follow(&spared);
    let mut text = String::new();
    // All who have the other end are gone.
    reader.read_to_string(&mut text).ok();
    Run {
        calls: tracer.calls,
        reached: tracer.reached,
        report: Report::parse(&text),
        status: tracer.status.unwrap_or(-1),
        stuck,
    }
}

/// Beside a tracer the crate does some of its work in another way; here it is to do what it does without one.
fn hide_tracer(pid: i32, buffer: u64, length: usize) {
    const FIELD: &[u8] = b"TracerPid:\t";
    let text = trace::read(pid, buffer, length);
    if let Some(at) = text.windows(FIELD.len()).position(|part| part == FIELD) {
        trace::write(pid, buffer + (at + FIELD.len()) as u64, b"0\n");
    }
}

/// As `fork(2)`, into new namespaces.
fn fork(flags: i32) -> i32 {
    let flags = (flags | libc::SIGCHLD) as libc::c_long;
    // SAFETY: this process has one thread, so the child may do anything.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    assert!(pid >= 0, "cannot fork: {}", std::io::Error::last_os_error());
    pid as i32
}

/// The children of this process.
fn children() -> Vec<i32> {
    // The kernel has CONFIG_PROC_CHILDREN.
    let list = fs::read_to_string("/proc/thread-self/children").unwrap();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

impl Tracer {
    /// Until all are gone. Answers who was not, when it took too long.
    fn follow(&mut self, spared: &[i32]) -> Option<String> {
        // Longer than any run takes on a busy machine, so that a hang is found.
        let end = Instant::now() + Duration::from_secs(u64::from(harness::limit()) / 5);
        let mut stuck = None;
        loop {
            let others = || children().into_iter().filter(|pid| !spared.contains(pid));
            if self.status.is_some() && self.tasks.is_empty() && others().next().is_none() {
                return stuck;
            }
            let mut status = 0;
            // SAFETY: waits. Every second a signal ends it, so that the time is looked at.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
            if pid > 0 {
                self.changed(pid, status);
            } else {
                self.adopt_strays();
            }
            if stuck.is_none() && Instant::now() > end {
                stuck = Some(self.describe(others()));
                self.tasks.keys().copied().chain(others()).for_each(trace::kill);
            }
        }
    }

    fn describe(&self, others: impl Iterator<Item = i32>) -> String {
        let tasks = self.tasks.values().map(|task| format!("{} in {}", task.role, task.last));
        let others = others.filter(|pid| !self.tasks.contains_key(pid));
        let others = others.map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("a program {}", name.trim())
        });
        tasks.chain(others).collect::<Vec<_>>().join(", ")
    }

    fn changed(&mut self, pid: i32, status: i32) {
        if !libc::WIFSTOPPED(status) {
            if pid == self.root {
                self.status = Some(status);
            }
            self.tasks.remove(&pid);
            self.early.retain(|&early| early != pid);
            return;
        }
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                self.made(pid);
                self.go_on(pid, 0);
            }
            libc::PTRACE_EVENT_EXEC => {
                self.tasks.remove(&pid);
                trace::detach(pid);
            }
            libc::PTRACE_EVENT_STOP if self.tasks.contains_key(&pid) => self.go_on(pid, 0),
            libc::PTRACE_EVENT_STOP => self.early.push(pid),
            _ if signal == libc::SIGTRAP | 0x80 => {
                self.at_call(pid);
                self.go_on(pid, 0);
            }
            _ if signal == subject::BEGIN && pid == self.root && !self.sweeping => {
                self.sweeping = true;
                self.go_on(pid, 0);
            }
            _ => self.go_on(pid, signal),
        }
    }

    fn go_on(&self, pid: i32, signal: i32) {
        let until = if self.sweeping { Until::Call } else { Until::Event };
        trace::go_on(pid, until, signal);
    }

    /// `pid` made a process.
    fn made(&mut self, pid: i32) {
        let (Some(new), Some(parent)) = (trace::event_pid(pid), self.tasks.get(&pid)) else {
            return;
        };
        // Of what was made before the crate's part, the flags were not seen.
        let is_thread = fs::exists(format!("/proc/{pid}/task/{new}")).unwrap_or(false);
        let of_flags = Kind::of(parent.role.kind, parent.flags, parent.has_sockets);
        if let (Kind::Intermediate, Some(parent)) = (of_flags, self.tasks.get_mut(&pid)) {
            parent.has_sockets = false;
        }
        self.adopt(new, if is_thread { Kind::Thread } else { of_flags });
        if let Some(at) = self.early.iter().position(|&early| early == new) {
            self.early.remove(at);
            self.go_on(new, 0);
        }
    }

    /// Nobody has told of these for a while: their parent was killed.
    fn adopt_strays(&mut self) {
        for stray in std::mem::take(&mut self.early) {
            self.adopt(stray, Kind::Stray);
            self.go_on(stray, 0);
        }
    }

    fn adopt(&mut self, pid: i32, kind: Kind) {
        let count = self.roles.entry(kind).or_default();
        let role = Role { kind, index: *count };
        *count += 1;
        self.tasks.insert(pid, Task::new(role));
    }

    fn at_call(&mut self, pid: i32) {
        let Some(entry) = trace::entry(pid) else {
            if let Some(task) = self.tasks.get_mut(&pid) {
                if let Some(errno) = task.answer.take() {
                    trace::answer(pid, errno);
                } else if let Some(at) = task.buffer.take() {
                    hide_tracer(pid, at, trace::returned(pid));
                }
            }
            return;
        };
        if entry.number == subject::END {
            self.sweeping = false;
        }
        if !self.sweeping {
            return;
        }
        let Some(point) = self.count(pid, &entry) else {
            return;
        };
        match self.deed {
            None => {
                let what = calls::describe(pid, self.root, &entry);
                let alive = self.tasks.values().map(|task| task.role).collect();
                if let Some(task) = self.tasks.get_mut(&pid) {
                    task.last.clone_from(&what);
                }
                self.calls.push(Seen { point, what, alive });
            }
            Some((at, deed)) if self.is_at(at, deed, point) => {
                self.reached = self.happen(pid, &entry, deed);
            }
            Some(_) => {
                if let Some(task) = self.tasks.get_mut(&pid) {
                    task.last = calls::name(entry.number).to_owned();
                }
            }
        }
    }

    fn is_at(&self, at: Point, deed: Deed, here: Point) -> bool {
        match deed {
            Deed::Filter(_) => at.number == here.number,
            Deed::Refuse(_) | Deed::Kill(_) => at == here && !self.reached,
        }
    }

    fn count(&mut self, pid: i32, entry: &Entry) -> Option<Point> {
        let task = self.tasks.get_mut(&pid)?;
        // Where clone3 was refused, its flags say more.
        let refused = if entry.number == libc::SYS_clone { task.flags } else { 0 };
        task.flags = calls::clone_flags(pid, entry) | refused;
        task.has_sockets |= entry.number == libc::SYS_socketpair && entry.args[1] & 0xf == 5;
        task.buffer = (entry.number == libc::SYS_read).then_some(entry.args[1]);
        let count = task.counts.entry(entry.number).or_default();
        *count += 1;
        Some(Point { role: task.role, number: entry.number, nth: *count })
    }

    /// Answers whether it did: who is to be killed may be gone.
    fn happen(&mut self, pid: i32, entry: &Entry, deed: Deed) -> bool {
        match deed {
            Deed::Refuse(errno) | Deed::Filter(errno) => {
                if !calls::is_done_in_any_case(entry.number) {
                    trace::skip(pid);
                }
                if let Some(task) = self.tasks.get_mut(&pid) {
                    task.answer = Some(errno);
                }
                true
            }
            Deed::Kill(role) => {
                let victim = self.tasks.iter().find(|(_, task)| task.role == role);
                victim.map(|(&victim, _)| trace::kill(victim)).is_some()
            }
        }
    }
}
