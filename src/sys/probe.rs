//! A throw-away child that tries to make namespaces, or asks what a filter may kill it for, and ends.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::clone::{self, CloneMode, CloneRequest, Entry, PidFdCell, can_share_memory};
use super::in_child::InChild;
use super::signal::MaskGuard;
use super::stack::SharedBox;
use super::wait::Ended;
use super::{Errno, Result, abi, file, in_root, namespaces, process, wait};

/// The kinds in the order they are tried: after that of pid, this child can have no other.
pub(crate) const KINDS: [u32; 7] = [
    abi::CLONE_NEWCGROUP,
    abi::CLONE_NEWIPC,
    abi::CLONE_NEWNS,
    abi::CLONE_NEWNET,
    abi::CLONE_NEWTIME,
    abi::CLONE_NEWUTS,
    abi::CLONE_NEWPID,
];

/// A user namespace to make first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewUserNamespace<'a> {
    /// The root of proc.
    pub(crate) proc: RawFd,
    pub(crate) uid_map: &'a [u8],
    pub(crate) gid_map: &'a [u8],
}

/// What was found. `None`: not tried, since something before it failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProbeResult {
    pub(crate) user: Option<Result<()>>,
    /// setgroups, uid map, gid map.
    pub(crate) maps: [Option<Result<()>>; 3],
    /// As [`KINDS`].
    pub(crate) kinds: [Option<Result<()>>; 7],
    /// Whether exec enters the time namespace that was made.
    pub(crate) exec_enters_time: Option<bool>,
    /// How the child ended; it should have ended by itself, with status 0.
    pub(crate) ended: Option<Ended>,
}

const UNTRIED: i32 = -1;

/// Answers as they come: 0, or an error number.
struct ProbeAnswers {
    user: AtomicI32,
    maps: [AtomicI32; 3],
    kinds: [AtomicI32; 7],
    exec: AtomicI32,
}

struct ProbeArgs<'a> {
    user: Option<NewUserNamespace<'a>>,
    answers: &'a ProbeAnswers,
}

/// Tries to make one namespace of each kind in a child that ends before this returns. With it comes the
/// pidfd of that child, which was waited for. The child of a thread whose pid namespace waits for its
/// PID 1 would become that: the caller makes sure that it is not so.
///
/// With `in_copy` the child gets a copy of our memory. Before Linux 5.16 a filter that kills it would take
/// us with it otherwise.
pub(crate) fn try_namespaces(
    user: Option<NewUserNamespace<'_>>,
    in_copy: bool,
) -> Result<(ProbeResult, OwnedFd)> {
    let untried = || AtomicI32::new(UNTRIED);
    let answers = SharedBox::new(ProbeAnswers {
        user: untried(),
        maps: [(); 3].map(|()| untried()),
        kinds: [(); 7].map(|()| untried()),
        exec: untried(),
    })?;
    let (ended, pid_fd) = run(in_copy, main, &ProbeArgs { user, answers: &answers })?;
    let exec = answers.exec.load(SeqCst);
    let found = ProbeResult {
        user: answer(&answers.user),
        maps: [0, 1, 2].map(|at: usize| answer(&answers.maps[at])),
        kinds: [0, 1, 2, 3, 4, 5, 6].map(|at: usize| answer(&answers.kinds[at])),
        exec_enters_time: (exec != UNTRIED).then_some(exec == 1),
        ended,
    };
    Ok((found, pid_fd))
}

/// What questions may be about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProbeFds {
    /// A namespace file.
    pub(crate) namespace: RawFd,
    /// The pidfd of a process that was waited for.
    pub(crate) ended: RawFd,
}

/// Asks whether the kernel knows something, by system calls and nothing else.
pub(crate) type Probe = fn(ProbeFds) -> bool;

struct ProbeRun<'a, const N: usize> {
    questions: &'a [Probe; N],
    about: ProbeFds,
    answers: &'a [AtomicI32; N],
}

/// Asks in a copy of this process. Where a filter kills it for the call, the answer is no.
pub(crate) fn run_probes<const N: usize>(
    questions: &[Probe; N],
    about: ProbeFds,
) -> Result<[bool; N]> {
    let answers = SharedBox::new([(); N].map(|()| AtomicI32::new(UNTRIED)))?;
    let next = || answers.iter().find(|answer| answer.load(SeqCst) == UNTRIED);
    while let Some(first) = next() {
        drop(run(true, run_each, &ProbeRun { questions, about, answers: &answers })?);
        let _ = first.compare_exchange(UNTRIED, 0, SeqCst, SeqCst);
    }
    Ok(core::array::from_fn(|at| answers[at].load(SeqCst) == 1))
}

fn run_each<const N: usize>(inquiry: &ProbeRun<'_, N>, _: InChild) -> ! {
    for (question, answer) in inquiry.questions.iter().zip(inquiry.answers) {
        if answer.load(SeqCst) == UNTRIED {
            answer.store(question(inquiry.about).into(), SeqCst);
        }
    }
    process::exit(0)
}

/// Runs `entry` in a child until its end. It makes system calls and nothing else.
fn run<T: Sync>(in_copy: bool, entry: Entry<T>, job: &T) -> Result<(Option<Ended>, OwnedFd)> {
    let place = PidFdCell::new();
    let mode = if can_share_memory() && !in_copy {
        CloneMode::Vfork(None)
    } else {
        CloneMode::Copy { stack: None, sleeps: false }
    };
    // No exit signal: nobody else's wait takes notice.
    let request = CloneRequest::new(mode, Some(&place));
    let blocked = MaskGuard::block_all()?;
    // SAFETY: if the child shares our memory, this thread sleeps until its end; the entries of this file
    // make system calls and nothing else; signals are blocked. The pidfd's place outlives the call.
    let made =
        unsafe { clone::clone(&request, &AtomicBool::new(false), entry, job, blocked.proof()) };
    drop(blocked);
    let pid_fd = made?.into_pid_fd().ok_or(Errno::BADF)?;
    Ok((wait::await_end(pid_fd.as_raw_fd()), pid_fd))
}

fn answer(place: &AtomicI32) -> Option<Result<()>> {
    match place.load(SeqCst) {
        UNTRIED => None,
        0 => Some(Ok(())),
        errno => Some(Err(Errno::from_raw_os_error(errno))),
    }
}

/// What runs in the child.
fn main(job: &ProbeArgs<'_>, _: InChild) -> ! {
    let usable = match &job.user {
        Some(user) => make_user_namespace(user, job.answers),
        None => true,
    };
    if usable {
        for (flag, place) in KINDS.into_iter().zip(&job.answers.kinds) {
            let made = note(place, namespaces::unshare(flag));
            if made && flag == abi::CLONE_NEWTIME {
                job.answers.exec.store(clone::exec_enters_time_namespace().into(), SeqCst);
            }
        }
    }
    process::exit(0)
}

fn make_user_namespace(user: &NewUserNamespace<'_>, answers: &ProbeAnswers) -> bool {
    let [setgroups, uid, gid] = &answers.maps;
    note(&answers.user, namespaces::unshare(abi::CLONE_NEWUSER))
        && note(setgroups, write(user.proc, c"self/setgroups", b"deny"))
        && note(uid, write(user.proc, c"self/uid_map", user.uid_map))
        && note(gid, write(user.proc, c"self/gid_map", user.gid_map))
}

fn write(proc: RawFd, path: &CStr, text: &[u8]) -> Result<()> {
    let map = in_root::open_on_same_mount(proc, path, libc::O_WRONLY)?;
    file::write_once(map.raw(), text)
}

/// Says whether it succeeded.
fn note(place: &AtomicI32, answer: Result<()>) -> bool {
    place.store(answer.err().map_or(0, Errno::raw_os_error), SeqCst);
    answer.is_ok()
}
