//! The caller's own code in the child.

#![allow(unsafe_code, reason = "what the code may do is the caller's promise")]

use std::io;
use std::sync::{Arc, Mutex};

use super::{Command, Stdio};
use crate::child::Child;
use crate::error::Result;
use crate::plan::op::Op;
use crate::process_state;

/// The caller's code in the child.
impl Command {
    /// Runs `work` in the child, after all other steps, right before the program.
    ///
    /// The child gets a copy of the parent's memory then, instead of sharing it, which costs about
    /// 30 ms for each GiB in use. An error that `work` returns comes back from the spawn, with its
    /// error number if it has one.
    ///
    /// # Safety
    ///
    /// `work` may only do what `signal-safety(7)` allows to a signal handler: system calls on data that was
    /// prepared before. **It must not allocate, nor free memory**, nor take a lock, nor call anything of std that
    /// might. The child is created from one thread by a raw `clone3(2)`: locks that other threads held are never
    /// released in it, and libc does not repair those of its allocator, as `fork(3)` does. So code that happens
    /// to work in a `pre_exec` of [`std::process::Command`], which forks, hangs here for ever if another thread
    /// was allocating at that moment. A panic ends the child, after the panic hook, which allocates and locks.
    /// With musl, `raise(3)` and `abort(3)` in the child send their signal to the parent's thread, whose number the
    /// library remembers: use `kill(2)` with `getpid(2)`.
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
    /// handler, and **it must not allocate, nor free memory**: the child is created by a raw `clone3(2)`, after
    /// which libc does not repair the locks of its allocator, as `fork(3)` does. Locks held by other threads are
    /// never released in the child, and data that they were modifying may be inconsistent. With musl, `raise(3)` and
    /// `abort(3)` signal the parent: see [`pre_exec`](Self::pre_exec).
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
        let joins = self.enter.joins()?;
        let has_other_root = self.has_other_root(&joins);
        // Called once: in the child.
        let once = move || {
            if has_other_root {
                // Its mount namespace may be new, so that the parent cannot know it.
                process_state::note_other_root_of_all();
            }
            work.take().map_or(0, |work| work())
        };
        let plan = self.compile(joins, Op::SpawnFn(Arc::new(Mutex::new(once))))?;
        self.start(plan, [Stdio::inherit(), Stdio::inherit(), Stdio::inherit()])
    }
}
