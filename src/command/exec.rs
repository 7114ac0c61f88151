//! The program in place of this one.

#![forbid(unsafe_code)]

use super::Command;
use super::stdio::Stdio;
use crate::error::{Error, Result};

/// Running the program in place of this one.
impl Command {
    /// Replaces this program by that of the command, as `exec(3)` does: no child is made. What the child
    /// would do, this process does. Returns only to say why that failed.
    ///
    /// An entered pid namespace is that of the program's children; the program itself stays where this
    /// process is. An entered time namespace is the program's own.
    ///
    /// After a failure nothing is undone: this thread may be in other namespaces and have other ids, the
    /// process may have another root, working directory and umask and other standard streams, be undumpable, and
    /// have `SIGPIPE` at its default.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use linux_namespaces::{Command, Enter, NsFd};
    ///
    /// let blue = NsFd::open("/run/netns/blue")?;
    /// let error = Command::new("ip").arg("address").enter(Enter::new().namespace(blue)).exec();
    /// eprintln!("{error:#}");
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for new namespaces, which
    /// [`Unshare`](crate::Unshare) makes for a thread, and for what only a child can have: `init`, `cgroup`,
    /// `set_tid`, `auto_reap`, `kill_on_drop`, `empty_mount_namespace`,
    /// [`kill_on_parent_exit`](Self::kill_on_parent_exit), and
    /// [`close_other_fds`](Self::close_other_fds), which would take descriptors from this process should
    /// the program not start;
    /// [`Multithreaded`](crate::ErrorKind::Multithreaded) for a user or time namespace in a process with
    /// several threads; the rest as of [`spawn`](Self::spawn).
    ///
    /// # Privileges
    ///
    /// As of [`Enter::apply`](crate::Enter::apply).
    #[doc(alias = "execve")]
    #[must_use = "it returns only if it failed"]
    pub fn exec(&mut self) -> Error {
        match self.replace() {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    fn replace(&self) -> Result<core::convert::Infallible> {
        let plan = self.plan()?;
        if !self.setup.namespaces.is_empty() {
            return Err(Error::invalid(
                "new namespaces for a program in place of this one: make them with Unshare, then exec",
            ));
        }
        for (asked, name) in [
            (self.process.kill_on_parent_exit, "kill_on_parent_exit"),
            (self.process.close_other_fds, "close_other_fds"),
            (self.cgroup.is_some(), "cgroup"),
            (!self.clone3.set_tid.is_empty(), "set_tid"),
            (plan.clone_flags != 0, "auto_reap, kill_on_drop or empty_mount_namespace"),
        ] {
            if asked {
                return Err(Error::invalid(format!("{name} is for a child, not for exec")));
            }
        }
        let inherit = [Stdio::inherit(), Stdio::inherit(), Stdio::inherit()];
        Err(self.launcher(plan, inherit)?.exec())
    }
}
