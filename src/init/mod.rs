//! The policy of a PID 1, and its loop.

pub(crate) mod main_loop;
pub(crate) mod policy;
pub(crate) mod report;
pub(crate) mod supervisor;

use crate::error::Result;
use crate::signal::Signal;

use policy::{Placement, Policy};
use supervisor::Supervisor;

/// What a PID 1 is to do: reap orphans, pass signals on, and end as its program does.
///
/// A program that is PID 1 of a pid namespace gets no signal that it has no handler for, and becomes the
/// parent of orphans in there. Few programs are made for that. An init stands between: it is PID 1, the program
/// is a process like any other. There are three ways to have one:
///
/// - [`Command::init`](crate::Command::init): the child of a new pid namespace is an init of this crate, which
///   starts the program as PID 2. Nothing else is needed.
/// - [`arm`](Self::arm) and [`Supervisor::supervise`]: this process is the init, because it is PID 1 of a
///   container, or because it is a [`subreaper`](Self::subreaper).
/// - [`arm`](Self::arm) and [`Supervisor::next_event`]: the same for a program with an event loop of its own.
///
/// # Signals
///
/// All that can be caught are passed on to the program, real-time signals with their values, except
/// `SIGCHLD`, which the init needs, and what the kernel sends for a fault of the init itself. What a terminal
/// sends to its foreground process group is not passed on to a program that is in that group too: it has got
/// it already.
///
/// # Job control
///
/// `SIGTSTP`, `SIGTTIN` and `SIGTTOU` stop the init together with the program, so that the shell that started the
/// init takes the terminal back. `fg` and `bg` continue both. PID 1 cannot stop.
///
/// | the program is in | `^Z` at the terminal | one of the signals, sent to the init |
/// |---|---|---|
/// | the init's process group | the kernel stops the program, the init stops too | the init passes the signal on and stops |
/// | … and the init is PID 1 | the kernel stops the program, and with it the process that started the init | passes it on |
/// | [its own group](Self::new_process_group) | the kernel stops the program, the init takes the terminal back and stops | passes it on, takes the terminal back and stops |
/// | … and the init is PID 1 | continues the program at once, since no shell would | passes it on |
/// | [its own session](Self::new_session) | sends the program `SIGSTOP` and stops | sends the program `SIGSTOP` and stops |
/// | … and the init is PID 1 | passes it on: the kernel does not stop the program, which leads a session | passes it on, as at the terminal |
///
/// `SIGSTOP` is sent in place of a signal that is not [rewritten](Self::rewrite). An init does not stop for a signal
/// that it ignores or that is rewritten to none. After `^Z` it stops only where a
/// shell can continue it: as for any other program the kernel ignores the signal in an orphaned process group, for
/// example below `ssh -t host init program`.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Command, Init, Signal};
///
/// let mut command = Command::new("sh");
/// command.args(["-c", "kill -TERM $$"]).map_root().init(Init::new());
/// match command.status() {
///     // as PID 1 the shell would not even have noticed
///     Ok(status) => assert_eq!(status.code(), Some(128 + 15)),
///     Err(error) => eprintln!("{error:#}"),
/// }
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [pid_namespaces(7)](https://man7.org/linux/man-pages/man7/pid_namespaces.7.html),
/// [`PR_SET_CHILD_SUBREAPER`](https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html)
#[derive(Debug, Clone)]
#[must_use = "it does nothing until it is armed or given to a command"]
pub struct Init {
    pub(crate) policy: Policy,
    subreaper: bool,
    parent_death_signal: Option<Signal>,
}

impl Default for Init {
    fn default() -> Self {
        Self::new()
    }
}

impl Init {
    /// An init that passes every signal on to the program, and does nothing about other processes when the
    /// program has ended.
    pub fn new() -> Self {
        Self { policy: Policy::new(), subreaper: false, parent_death_signal: None }
    }

    /// Makes this process the init of the program that [`Supervisor::spawn`] will start.
    ///
    /// All signals are blocked from here on, so that none is lost: in this thread, and in threads that it
    /// starts afterwards. Call it before there are other threads, for they would take signals that are meant
    /// for the program, and die of them.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Init};
    ///
    /// let mut init = Init::new().subreaper().arm()?;
    /// let child = init.spawn(&mut Command::new("true"))?;
    /// assert!(init.supervise(child)?.success());
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a rule about `SIGKILL`, `SIGSTOP` or `SIGCHLD`,
    /// for [`signal_process_group`](Self::signal_process_group) without a group, and for a [`subreaper`](Self::subreaper) on
    /// another thread than the process's first, which alone gets orphans. [`LimitReached`](crate::ErrorKind::LimitReached)
    /// for `EMFILE`. This process is then what it was before.
    pub fn arm(self) -> Result<Supervisor> {
        Supervisor::new(&self)
    }

    /// What to do with the remaining processes when the program has ended: nothing, without this.
    pub fn remaining_processes(mut self, remaining: policy::RemainingProcesses) -> Self {
        self.policy.remaining = remaining;
        self
    }

    /// Passes on another signal instead of this one, or none.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Init, Signal};
    ///
    /// // a server that takes SIGQUIT for an orderly end
    /// let init = Init::new().rewrite(Signal::TERM, Signal::QUIT).rewrite(Signal::HUP, None);
    /// ```
    pub fn rewrite(mut self, from: Signal, to: impl Into<Option<Signal>>) -> Self {
        self.policy.rewrite(from, to.into());
        self
    }

    /// Ends with 0 where it would end with this code, which is 128 + n for a program that signal n ended.
    pub fn exit_zero_for(mut self, code: u8) -> Self {
        self.policy.map_to_zero(code);
        self
    }

    /// What the init says on standard error: nothing, without this.
    pub fn verbosity(mut self, verbosity: policy::Verbosity) -> Self {
        self.policy.verbosity = verbosity;
        self
    }

    /// Starts the program in a new process group, in the foreground of the terminal if the init's group is:
    /// then `^C` and `^Z` go to the program and what it starts alone.
    ///
    /// For what `^Z` does see [job control](Self#job-control).
    pub fn new_process_group(mut self) -> Self {
        self.policy.placement = Placement::Group;
        self
    }

    /// Starts the program in a new session. If this process leads a session with a terminal, it gives
    /// the terminal up for the program.
    ///
    /// A terminal that is not given up is not the program's: `^C` and `^Z` reach it through the init. See
    /// [job control](Self#job-control).
    pub fn new_session(mut self) -> Self {
        self.policy.placement = Placement::Session;
        self
    }

    /// Passes signals on to the program's process group instead of the program alone. The group must be a new one:
    /// [`new_process_group`](Self::new_process_group) or [`new_session`](Self::new_session).
    pub fn signal_process_group(mut self) -> Self {
        self.policy.to_group = true;
        self
    }

    /// Makes this process adopt the orphans among its descendants when it is [armed](Self::arm), where it is
    /// not PID 1. It stays so afterwards. A process that is a subreaper already, since the program that it
    /// replaced by `execve(2)` was one, adopts them without this. Without effect for
    /// [`Command::init`](crate::Command::init).
    ///
    /// # Kernel
    ///
    /// Linux 3.4.
    #[doc(alias = "PR_SET_CHILD_SUBREAPER")]
    pub fn subreaper(mut self) -> Self {
        self.subreaper = true;
        self
    }

    /// Has the kernel send this signal to this process when its parent ends, to be passed on like any other.
    /// From when it is [armed](Self::arm). For [`Command::init`](crate::Command::init) there is
    /// [`kill_on_parent_exit`](crate::Command::kill_on_parent_exit).
    #[doc(alias = "PR_SET_PDEATHSIG")]
    pub fn parent_death_signal(mut self, signal: Signal) -> Self {
        self.parent_death_signal = Some(signal);
        self
    }
}
