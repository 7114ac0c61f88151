//! This process as an init.

#![forbid(unsafe_code)]

use core::marker::PhantomData;
use core::time::Duration;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::ExitStatus;

use super::Init;
use super::main_loop::{MainLoop, Wakeup, is_end};
use super::policy::{BROKEN, Placement, Role, WATCHED};
use super::report::Notice;
use crate::engine::supervise_and_exit::supervise_and_exit;
use crate::error::{AtStep, Error, Result, Step};
use crate::proc_fs::ProcFs;
use crate::signal::Signal;
use crate::sys::signal::{self, MaskGuard, SignalSet};
use crate::sys::wait::Ended;
use crate::sys::{self, Errno, prctl, process, terminal};

/// Something that happened to an init or its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A child has ended, or an orphan that this process adopted, and was waited for.
    #[non_exhaustive]
    Ended {
        /// Its pid, which another process may have from now on.
        pid: u32,
        /// The status it exited with.
        status: ExitStatus,
    },
    /// A child was stopped.
    #[non_exhaustive]
    Stopped {
        /// Its pid.
        pid: u32,
        /// The signal that stopped it.
        signal: Signal,
    },
    /// A stopped child was continued.
    #[non_exhaustive]
    Continued {
        /// Its pid.
        pid: u32,
    },
    /// This process received a signal.
    #[non_exhaustive]
    Received {
        /// The signal.
        signal: Signal,
    },
}

/// This process, armed as an init: made by [`Init::arm`].
///
/// It waits for every child of the process, also for those that other parts of the program started: they find
/// that another wait was faster. Its descriptor is readable for `poll(2)` when there is an event to take, after
/// [`next_event`](Self::next_event) has once answered `None`.
///
/// It is of the thread that armed it. Dropping it unblocks the signals that were not blocked before; those that
/// nobody took then do what they do.
#[derive(Debug)]
pub struct Supervisor {
    main_loop: MainLoop,
    mask: MaskGuard,
    pending: OwnedFd,
    /// Whether `SIGCHLD` was ignored, which has the kernel wait for children.
    pub(crate) ignored_children: bool,
    _proc: Option<ProcFs>,
    not_send: PhantomData<*const ()>,
}

impl Supervisor {
    /// What there is to see to now, or `None`. Does not wait: for that poll the descriptor. Passes nothing on;
    /// [`Child::send_signal`](crate::Child::send_signal) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Event, Init};
    /// use rustix::event::{PollFd, PollFlags, poll};
    ///
    /// let mut init = Init::new().arm()?;
    /// let child = init.spawn(Command::new("sh").args(["-c", "exit 3"]))?;
    /// let status = loop {
    ///     match init.next_event()? {
    ///         Some(Event::Ended { pid, status, .. }) if pid == child.id() => break status,
    ///         Some(Event::Received { signal, .. }) => child.send_signal(signal)?,
    ///         Some(_) => {}
    ///         // here an event loop would wait for other things as well
    ///         None => drop(poll(&mut [PollFd::new(&init, PollFlags::IN)], None)),
    ///     }
    /// };
    /// assert_eq!(status.code(), Some(3));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What the kernel answers for the wait: only if a seccomp filter forbids it.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        loop {
            let happened = self.main_loop.next(Some(Duration::ZERO)).at_step(Step::Wait)?;
            return Ok(Some(match happened {
                None => return Ok(None),
                Some(Wakeup::Signal(taken)) => match Signal::new(taken.number()) {
                    Ok(signal) => Event::Received { signal },
                    Err(_) => continue,
                },
                Some(Wakeup::Changed { pid, how }) => {
                    let pid = pid.unsigned_abs();
                    match (how.code, Signal::new(how.status)) {
                        _ if is_end(how) => Event::Ended { pid, status: how.into_status() },
                        (libc::CLD_STOPPED, Ok(signal)) => Event::Stopped { pid, signal },
                        (libc::CLD_CONTINUED, _) => Event::Continued { pid },
                        _ => continue,
                    }
                }
            }));
        }
    }

    /// The exit code for this end of a program: its own, or 128 and the signal, or 0 as
    /// [`Init::exit_zero_for`] says.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Init};
    ///
    /// let mut init = Init::new().exit_zero_for(3).arm()?;
    /// let child = init.spawn(Command::new("sh").args(["-c", "exit 3"]))?;
    /// let status = init.supervise(child)?;
    /// assert_eq!((status.code(), init.exit_code(status)), (Some(3), 0));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    #[must_use]
    pub fn exit_code(&self, status: ExitStatus) -> u8 {
        self.main_loop.policy.exit_code(Ended::from_status(status))
    }

    /// Whether orphans become children of this process: it is PID 1 or a subreaper, by [`Init::subreaper`] or
    /// because it was one before. That attribute survives `execve(2)`.
    #[must_use]
    pub fn adopts_orphans(&self) -> bool {
        self.main_loop.role != Role::Parent
    }

    pub(super) fn new(init: &Init) -> Result<Self> {
        let policy = init.policy;
        policy.checked()?;
        let is_first_thread = process::gettid() == process::getpid();
        if init.subreaper && !is_first_thread {
            return Err(Error::invalid(
                "orphans come to the first thread of a process: only that can be armed as a subreaper",
            ));
        }
        let before = SavedState::save();
        // The attribute outlives exec.
        let was_subreaper = before.is_subreaper == Ok(true);
        let role = if process::getpid() == 1 {
            Role::First
        } else if init.subreaper || (was_subreaper && is_first_thread) {
            Role::Subreaper
        } else {
            Role::Parent
        };
        let prepare = |errno| Error::os(Step::BecomeInit, errno);
        let pending = signal::pending_fd(WATCHED).map_err(prepare)?;
        let mask = MaskGuard::block(WATCHED).map_err(prepare)?;
        let ignored_children = before.ignored_children;
        become_init(init, role, &before).map_err(|errno| {
            before.restore();
            prepare(errno)
        })?;
        // Without it only the others' end remains to be waited for.
        let proc = (role == Role::Subreaper).then(ProcFs::open).and_then(Result::ok);
        let proc = proc.filter(|proc| proc.is_of_own_pid_namespace().is_ok_and(|same| same));
        if role == Role::Parent && !was_subreaper {
            Notice::AdoptsNone.tell(policy.verbosity);
        }
        let fd = proc.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        Ok(Self {
            main_loop: MainLoop::new(policy, role, WATCHED, fd),
            mask,
            pending,
            ignored_children,
            _proc: proc,
            not_send: PhantomData,
        })
    }

    pub(crate) fn placement(&self) -> Placement {
        self.main_loop.policy.placement
    }

    /// The signal mask of before.
    pub(crate) fn mask_before(&self) -> SignalSet {
        self.mask.before()
    }

    pub(crate) fn started(&self, pid: u32) {
        Notice::Started { pid: program(pid) }.tell(self.main_loop.policy.verbosity);
    }

    /// `before` is how it ended, if it was waited for already.
    pub(crate) fn run(&mut self, pid: u32, before: Option<ExitStatus>) -> Result<ExitStatus> {
        self.main_loop.ended = before.map(Ended::from_status);
        self.main_loop.program = program(pid);
        Ok(self.main_loop.run().at_step(Step::Wait)?.into_status())
    }

    /// As of [`run`](Self::run).
    pub(crate) fn run_to_the_end(mut self, pid: u32, before: Result<Option<ExitStatus>>) -> ! {
        let Ok(before) = before else {
            process::exit(BROKEN);
        };
        self.main_loop.ended = before.map(Ended::from_status);
        self.main_loop.program = program(pid);
        supervise_and_exit(self.main_loop)
    }
}

/// What this process is for others, before it is armed.
struct SavedState {
    ignored_children: bool,
    is_subreaper: sys::Result<bool>,
    parent_death_signal: sys::Result<i32>,
}

impl SavedState {
    fn save() -> Self {
        Self {
            ignored_children: signal::is_ignored(libc::SIGCHLD),
            is_subreaper: prctl::is_subreaper(),
            parent_death_signal: prctl::parent_death_signal(),
        }
    }

    fn restore(&self) {
        if self.ignored_children {
            let _ = signal::ignore_sigchld(true);
        }
        if self.is_subreaper == Ok(false) {
            let _ = prctl::set_subreaper(false);
        }
        if let Ok(signal) = self.parent_death_signal {
            let _ = prctl::set_parent_death_signal(signal);
        }
    }
}

/// The terminal last, as it cannot be taken back.
fn become_init(init: &Init, role: Role, before: &SavedState) -> sys::Result<()> {
    if before.ignored_children {
        signal::ignore_sigchld(false)?;
    }
    if role == Role::Subreaper {
        prctl::set_subreaper(true)?;
    }
    if let Some(signal) = init.parent_death_signal {
        let parent = process::getppid();
        prctl::set_parent_death_signal(signal.number())?;
        if process::getppid() != parent {
            signal::signal_self(signal.number())?;
        }
    }
    if init.policy.placement == Placement::Session {
        give_up_terminal(WATCHED)?;
    }
    Ok(())
}

/// Pids go up to 2^22.
fn program(pid: u32) -> i32 {
    i32::try_from(pid).unwrap_or(0)
}

/// So that the program's session can take it. The kernel sends a leader, as we may be, two signals for that.
fn give_up_terminal(watched: SignalSet) -> core::result::Result<(), Errno> {
    if terminal::give_up(0).is_ok() && process::is_session_leader() {
        let both = watched & (1 << (libc::SIGHUP - 1) | 1 << (libc::SIGCONT - 1));
        for _ in 0..2 {
            signal::take(both, Some(Duration::ZERO))?;
        }
    }
    Ok(())
}

impl AsFd for Supervisor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pending.as_fd()
    }
}

impl AsRawFd for Supervisor {
    fn as_raw_fd(&self) -> RawFd {
        self.pending.as_raw_fd()
    }
}
