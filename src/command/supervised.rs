//! Programs that an init looks after: one that comes with the command, or this process.

#![forbid(unsafe_code)]

use std::process::ExitStatus;

use super::Command;
use crate::child::Child;
use crate::error::Result;
use crate::init::Init;
use crate::init::policy::Placement;
use crate::init::supervisor::Supervisor;
use crate::namespace::NamespaceSet;
use crate::plan::op::{NewInit, Op};
use crate::sys::signal::{self, SignalSet};

/// What a program of an armed process needs that others do not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Supervised {
    pub(super) mask: SignalSet,
    placement: Placement,
    ignores_children: bool,
}

/// A PID 1 beside the program.
impl Command {
    /// Makes the child an init, PID 1 of a new pid namespace, that starts the program as a process of its own
    /// and looks after it: see [`Init`].
    ///
    /// The [`Child`] is the init. It ends when the program does, with the program's exit status or 128 + n for
    /// a signal, and with it ends everything in the namespace. What is sent to it is passed on, except
    /// `SIGKILL` and `SIGSTOP`.
    ///
    /// Steps that make a place, namespaces and mounts, are the init's; what makes the program what it is, its
    /// ids, streams, session and limits, is done by the program's process. The init starts as a copy of this
    /// process, and before anybody can wait for the program it has given up all of that: the memory, the
    /// descriptors, and the capabilities but `CAP_KILL` (the memory on x86_64 and
    /// aarch64 only). It can never be traced, nor its files in `/proc` be opened, unless by a process that has
    /// `CAP_SYS_PTRACE` in this process's user namespace: through `/proc/1/exe` a container could write this
    /// program's file. Its namespaces are those of its [`program`](crate::Child::program) as well.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Init};
    ///
    /// let mut command = Command::new("sh");
    /// match command.args(["-c", "test $$ -gt 1; exit $?"]).map_root().init(Init::new()).status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// From the spawn, [`InvalidInput`](crate::ErrorKind::InvalidInput) as of [`Init::arm`], and together with
    /// an entered pid namespace, which has a PID 1.
    pub fn init(&mut self, init: Init) -> &mut Self {
        self.setup.namespaces |= NamespaceSet::PID;
        self.init = Some(init);
        self
    }

    /// The step of the init.
    pub(super) fn init_op(&self) -> Result<Option<Op>> {
        let Some(init) = &self.init else {
            return Ok(None);
        };
        init.policy.checked()?;
        Ok(Some(Op::BecomeInit(Box::new(NewInit::new(init.policy)))))
    }

    /// The steps into the program's session and process group.
    pub(super) fn session_ops(&self) -> Vec<Op> {
        let of_init = self.init.as_ref().map(|init| init.policy.placement);
        let placement = of_init.or(self.supervised.map(|by| by.placement));
        let mut ops = Vec::new();
        match placement {
            Some(Placement::Session) => ops.extend([Op::NewSession, Op::TakeTerminal]),
            _ if self.process.new_session => ops.push(Op::NewSession),
            Some(Placement::Group) => ops.push(Op::TakeForeground),
            _ => ops.extend(self.process.group.map(Op::SetProcessGroup)),
        }
        ops
    }

    /// An init needs to wait for its children, whatever this process does.
    pub(super) fn ignores_children(&self) -> bool {
        match self.supervised {
            Some(by) => by.ignores_children,
            None => self.init.is_some() && signal::is_ignored(libc::SIGCHLD),
        }
    }
}

impl Supervisor {
    /// Starts the program, as [`Command::spawn`]: with the signal mask and the ignored signals that this process
    /// had before it was armed, in the process group or session that the [`Init`] says.
    ///
    /// # Errors
    ///
    /// As of [`Command::spawn`].
    pub fn spawn(&mut self, command: &mut Command) -> Result<Child> {
        command.supervised = Some(Supervised {
            mask: self.mask_before(),
            placement: self.placement(),
            ignores_children: self.ignored_children,
        });
        let child = command.spawn();
        command.supervised = None;
        child.inspect(|child| self.started(child.id()))
    }

    /// Supervises the program until it has ended, and then does with the remaining processes what the [`Init`] says.
    /// Passes signals on, waits for every child, and returns the status that the program exited with.
    ///
    /// # Errors
    ///
    /// `ECHILD` if the kernel keeps no status of a child that was waited for before, as before Linux 6.15; what a
    /// seccomp filter answers that forbids to wait.
    pub fn supervise(&mut self, mut child: Child) -> Result<ExitStatus> {
        // A program that reads to the end of its input would wait for us.
        drop(child.stdin.take());
        let before = child.waited_for()?;
        self.run(child.id(), before)
    }

    /// Looks after the program as [`supervise`](Self::supervise), and then ends this process as the program
    /// ended: with [its exit code](Self::exit_code). Never returns, and no destructor runs.
    ///
    /// This is for a process that has nothing else to do. If there is no other thread, it
    ///
    /// - closes all descriptors except the standard streams,
    /// - changes its working directory to `/`, so that the file system of the old one can be unmounted,
    /// - drops all capabilities except `CAP_KILL`, and sets `no_new_privs`,
    /// - gives back the memory that the loop does not need (x86_64 and aarch64 only). It keeps its executable code
    ///   and its command line, for `ps`, but not its environment.
    ///
    /// It keeps its root directory, its session and terminal, its name, umask, ids and timers, and its program's
    /// file: those file systems stay busy. It keeps all memory
    ///
    /// - if its image is not known, or with a sanitizer,
    /// - if another process still shares it after about a second, as the program does until `execve(2)` has finished,
    /// - where a seccomp filter blocks `unshare(2)`, which reports whether one does: in a container of Docker that has
    ///   no `CAP_SYS_ADMIN`, for example. Without a `/proc` that can be believed it does not know there either whether
    ///   it has other threads, and gives up nothing of the list.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use linux_namespaces::{Command, Init};
    ///
    /// let mut init = Init::new().subreaper().arm()?;
    /// let child = init.spawn(&mut Command::new("server"))?;
    /// init.supervise_and_exit(child)
    /// # ; Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn supervise_and_exit(self, mut child: Child) -> ! {
        drop(child.stdin.take());
        let before = child.waited_for();
        self.run_to_the_end(child.id(), before)
    }
}
