//! The caller's own code in the child.

#![allow(unsafe_code, reason = "what the code may do is the caller's promise")]

use std::io;
use std::sync::{Arc, Mutex};

use super::Command;

impl Command {
    /// Runs `work` in the child, after all other steps, right before the program.
    ///
    /// The child gets a copy of the parent's memory then, instead of sharing it, which costs about
    /// 30 ms for each GiB in use. An error that `work` returns comes back from the spawn, with its
    /// error number if it has one.
    ///
    /// # Safety
    ///
    /// `work` runs in a process that was made from a single thread of this one: locks that other
    /// threads held are held for ever. So it may only do what `signal-safety(7)` allows to a signal
    /// handler: no allocation, no lock, none of std that might do either. A panic in it ends the
    /// child, after the panic hook, which may wait for such a lock.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let mut command = Command::new("true");
    /// // SAFETY: one system call.
    /// unsafe { command.pre_exec(|| { libc::umask(0o077); Ok(()) }) };
    /// assert!(command.status()?.success());
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub unsafe fn pre_exec(
        &mut self,
        work: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> &mut Self {
        self.pre_exec.push(Arc::new(Mutex::new(work)));
        self
    }
}
