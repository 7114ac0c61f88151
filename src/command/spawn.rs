//! What starts the program.

#![forbid(unsafe_code)]

use std::process::{ExitStatus, Output};

use super::Command;
use super::stdio::{Direction, Stdio};
use super::strings::CStrings;
use crate::child::Child;
use crate::engine::run::ExecArgs;
use crate::engine::spawn::{Launch, Spawned};
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::stream::Stream;

/// Running the program.
impl Command {
    /// Starts the program and answers when it runs: an error of any step up to `execve(2)` is
    /// answered here, and then nothing is left of the child.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Step};
    ///
    /// let mut child = Command::new("true").spawn()?;
    /// assert!(child.wait()?.success());
    /// let error = Command::new("/etc").spawn().unwrap_err();
    /// assert_eq!(error.step(), Some(Step::Exec));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::step`](crate::Error::step) says what failed. [`NotFound`](crate::ErrorKind::NotFound) for a program that
    /// is not there, [`PermissionDenied`](crate::ErrorKind::PermissionDenied) for one that may not be
    /// run, or for namespaces that may not be made; [`ChildDied`](crate::ErrorKind::ChildDied) if the
    /// child was killed on its way; what [`plan`](Self::plan) answers.
    ///
    /// # Privileges
    ///
    /// None for a new user namespace and others made together with it; `CAP_SYS_ADMIN` for others.
    pub fn spawn(&mut self) -> Result<Child> {
        self.launch([Stdio::inherit(), Stdio::inherit(), Stdio::inherit()])
    }

    /// Starts the program and waits for its end.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// assert_eq!(Command::new("sh").args(["-c", "exit 3"]).status()?.code(), Some(3));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`spawn`](Self::spawn) and [`Child::wait`].
    pub fn status(&mut self) -> Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Starts the program, reads what it writes, and waits for its end.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// assert_eq!(Command::new("echo").arg("hello").output()?.stdout, b"hello\n");
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`spawn`](Self::spawn) and [`Child::wait_with_output`]. The program is killed if its output
    /// cannot be read.
    pub fn output(&mut self) -> Result<Output> {
        let mut child = self.launch([Stdio::null(), Stdio::piped(), Stdio::piped()])?;
        child.output().inspect_err(|_| {
            // Nobody else has it.
            drop(child.kill().and_then(|()| child.wait()));
        })
    }

    fn launch(&self, defaults: [Stdio; 3]) -> Result<Child> {
        self.start(self.plan()?, defaults)
    }

    pub(super) fn start(&self, plan: Plan, defaults: [Stdio; 3]) -> Result<Child> {
        let has_init = plan.has_init();
        let Spawned { pid, pid_fd, pipes } = self.launcher(plan, defaults)?.spawn()?;
        Ok(Child::new(pid, pid_fd, has_init, pipes))
    }

    pub(super) fn launcher(&self, plan: Plan, defaults: [Stdio; 3]) -> Result<Launch> {
        let name = self.arg0.as_ref().unwrap_or(&self.program);
        let stream = |at: usize, direction| {
            Stream::open(self.stdio[at].as_ref().unwrap_or(&defaults[at]), direction)
        };
        Ok(Launch {
            exec: ExecArgs {
                args: CStrings::of_args([name].into_iter().chain(&self.args))?.for_exec(),
                env: CStrings::of_env(self.env_clear, &self.env)?.for_exec(),
            },
            streams: [
                stream(0, Direction::In)?,
                stream(1, Direction::Out)?,
                stream(2, Direction::Out)?,
            ],
            plan,
            mask: self.supervised.map(|by| by.mask),
        })
    }
}
