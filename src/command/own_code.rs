//! The caller's own code in the child.

#![allow(unsafe_code, reason = "what the code may do is the caller's promise")]

use std::io;
use std::sync::{Arc, Mutex};

use super::{Command, Stdio};
use crate::child::Child;
use crate::error::Result;
use crate::setup::plan::Op;

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

    /// Runs `work` in the child instead of the program, as all its options say; what it answers is the exit
    /// status. The answer comes when all other steps are done and `work` begins.
    ///
    /// The child is a copy of the calling thread and of this process's memory. Destructors, buffers and
    /// handlers registered for the end of the process do not run at its end. Signals that this process
    /// handles have their default action in there, those it ignores stay ignored (`CLONE_CLEAR_SIGHAND`).
    /// A child that entered a user or pid namespace stays untraceable.
    ///
    /// There is no exec that would make the child send `SIGCHLD` at its end: it sends no signal, and only
    /// [`Child::wait`], or a wait with `__WALL`, takes notice of it.
    ///
    /// # Safety
    ///
    /// If this process has one thread, `work` may do anything but start threads, since libc does not know
    /// that it is in another process. Otherwise it may only do what `signal-safety(7)` allows to a signal
    /// handler: what other threads held is held for ever, as the allocator's lock, and half of what they
    /// were about is done.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, NamespaceSet};
    ///
    /// let mut command = Command::new("inside");
    /// command.unshare(NamespaceSet::PID).map_root();
    /// // SAFETY: system calls on numbers.
    /// let child = unsafe { command.spawn_fn(|| u8::from(libc::getpid() == 1 && libc::getuid() == 0)) };
    /// match child {
    ///     Ok(mut child) => assert_eq!(child.wait()?.code(), Some(1)),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`spawn`](Self::spawn), without those of running a program.
    ///
    /// # Privileges
    ///
    /// As of [`spawn`](Self::spawn).
    #[doc(alias = "fork")]
    pub unsafe fn spawn_fn(&mut self, work: impl FnOnce() -> u8 + Send + 'static) -> Result<Child> {
        let mut work = Some(work);
        // Called once: in the child.
        let once = move || work.take().map_or(0, |work| work());
        let plan = self.compile(Op::Run(Arc::new(Mutex::new(once))))?;
        self.launcher(plan, [Stdio::inherit(), Stdio::inherit(), Stdio::inherit()])?.spawn()
    }
}
