//! Session, process group, umask, descriptors and lifetime of the program.

#![forbid(unsafe_code)]

use super::Command;
use crate::error::{Error, Result};

#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) new_session: bool,
    pub(super) group: Option<i32>,
    pub(super) umask: Option<u32>,
    pub(super) close_other_fds: bool,
    pub(super) kill_on_parent_exit: bool,
}

impl Process {
    pub(super) fn check(&self) -> Result<()> {
        if let Some(group) = self.group.filter(|&group| group < 0) {
            return Err(Error::invalid(format!(
                "process_group: {group} is not a process group; use 0 for a new one, or the pid of its leader"
            )));
        }
        // The kernel ignores other bits.
        if let Some(mask) = self.umask.filter(|&mask| mask > 0o777) {
            return Err(Error::invalid(format!(
                "umask: {mask:#o} has bits that are not permissions; use 0 to 0o777"
            )));
        }
        Ok(())
    }
}

/// Session, process group, umask, descriptors and lifetime of the program.
impl Command {
    /// Starts the program in a new session, without a controlling terminal: it cannot push
    /// characters into the parent's.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let status = Command::new("sh").args(["-c", "! test -t 0 || ! : >/dev/tty"]).new_session().status()?;
    /// assert!(status.success());
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    #[doc(alias = "setsid")]
    pub fn new_session(&mut self) -> &mut Self {
        self.process.new_session = true;
        self
    }

    /// The program's process group; 0 for a new one. Without effect with
    /// [`new_session`](Self::new_session), which makes a new one.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// assert!(Command::new("true").process_group(0).status()?.success());
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The plan returns [`InvalidInput`](crate::ErrorKind::InvalidInput) for a negative number; the spawn `EPERM`
    /// for a group that does not exist in this session.
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.process.group = Some(group);
        self
    }

    /// Sets the program's file mode creation mask: permissions in it are turned off in files that the program creates.
    ///
    /// The child sets it after all mounts, so it does not affect mount points and other files that the command creates.
    /// Code given to [`pre_exec`](Self::pre_exec) runs with it and may change it. Without this the program inherits the
    /// caller's umask; an [`init`](Self::init) always does.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let output = Command::new("sh").args(["-c", "umask"]).umask(0o077).output()?;
    /// assert_eq!(output.stdout, b"0077\n");
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The plan returns [`InvalidInput`](crate::ErrorKind::InvalidInput) for bits above `0o777`, which the kernel
    /// ignores.
    ///
    /// # References
    ///
    /// [umask(2)](https://man7.org/linux/man-pages/man2/umask.2.html)
    pub fn umask(&mut self, mask: u32) -> &mut Self {
        self.process.umask = Some(mask);
        self
    }

    /// Gives the program no descriptors but the three standard streams, whatever this process has
    /// open without close-on-exec.
    ///
    /// Code given to [`pre_exec`](Self::pre_exec) still has them all (not on Linux 5.10).
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let output = Command::new("ls").arg("/proc/self/fd").close_other_fds().output()?;
    /// assert_eq!(output.stdout, b"0\n1\n2\n3\n");      // 3 is the directory that ls reads
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    #[doc(alias = "close_range")]
    pub fn close_other_fds(&mut self) -> &mut Self {
        self.process.close_other_fds = true;
        self
    }

    /// Kills the program when its parent ends: when the thread that spawned it does.
    ///
    /// A program that gains privileges by exec sheds this.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let mut child = Command::new("sleep").arg("60").kill_on_parent_exit().spawn()?;
    /// // would end with this thread, if nothing else ended it
    /// child.kill()?;
    /// child.wait()?;
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// [`PR_SET_PDEATHSIG`](https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html)
    #[doc(alias = "PR_SET_PDEATHSIG")]
    pub fn kill_on_parent_exit(&mut self) -> &mut Self {
        self.process.kill_on_parent_exit = true;
        self
    }
}
