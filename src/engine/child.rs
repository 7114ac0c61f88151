//! What runs between clone and exec.
//!
//! The child sees the [`ChildJob`] and nothing else of the parent. It may share the parent's memory, in
//! which the parent's thread sleeps (`CLONE_VFORK`) until the child has let go of it by exec or by
//! its end. So what runs here allocates nothing, locks nothing, never panics, drops nothing that
//! frees, and makes its system calls without libc; all signals are blocked until the last step.

#![allow(unsafe_code, reason = "it makes processes that share memory")]

use core::sync::atomic::Ordering::SeqCst;
use std::os::fd::AsRawFd;

use crate::engine::handshake::INTRODUCING;
use crate::engine::run::Context;
use crate::engine::steps::run_all;
use crate::namespace::NamespaceSet;
use crate::plan::op::Op;
use crate::plan::{Memory, Plan};
use crate::sys::clone::{self, CloneMode, CloneRequest, NewProcess};
use crate::sys::in_child::InChild;
use crate::sys::signal::SignalsBlocked;
use crate::sys::stack::Stack;
use crate::sys::{Errno, Result, abi, file, namespaces, process, signal};

/// Everything that a child needs, made ready by the parent.
#[derive(Debug)]
pub(crate) struct ChildJob<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) context: Context<'a>,
    /// For the process that an intermediate one makes, if both share our memory: should the
    /// intermediate one be killed, we wake up while the other is still at work. And for an init.
    stack: Option<&'a Stack>,
    /// Whether the child's end is reported by `SIGCHLD`, which only exec would set otherwise.
    tells_its_end: bool,
    /// Whether the parent sleeps in `clone3`.
    sleeps: bool,
}

/// A status that no one sees but the parent that already knows from the slot.
const FAILED: i32 = 127;

impl<'a> ChildJob<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        context: Context<'a>,
        stack: Option<&'a Stack>,
        is_supervised: bool,
        sleeps: bool,
    ) -> Self {
        let tells_its_end = plan.has_init() || (is_supervised && plan.has_no_exec());
        Self { plan, context, stack, tells_its_end, sleeps }
    }

    pub(crate) fn is_legacy(&self) -> bool {
        self.context.slot.legacy.load(SeqCst)
    }

    /// Makes the child, or the intermediate process that makes it. What shares our memory has run exec or ended when
    /// this returns.
    pub(crate) fn begin(&self, blocked: SignalsBlocked<'_>) -> Result<NewProcess<'a>> {
        if self.plan.intermediate_ops.is_empty() {
            // SAFETY: this thread sleeps until the child has done with our memory, if it shares that; the stack is for
            // this one use.
            return unsafe { self.start_program(self.mode(self.stack), 0, blocked) };
        }
        // SAFETY: its child is seen to by `take_child`; where it has a copy of the memory there is no need.
        unsafe { self.start_intermediate(blocked) }
    }

    /// Makes the intermediate child that does what comes before, as entering namespaces, and then makes
    /// the one above, as a child of our own: it is never itself in a pid namespace that it enters.
    ///
    /// # Safety
    ///
    /// Should the intermediate child be killed, its child is killed and waited for before self or the plan changes.
    unsafe fn start_intermediate(&self, blocked: SignalsBlocked<'_>) -> Result<NewProcess<'a>> {
        let request = CloneRequest {
            flags: if self.shares_table() { abi::CLONE_FILES } else { 0 },
            exit_signal: self.exit_signal(),
            ..CloneRequest::new(self.mode(None), Some(&self.context.slot.intermediate_pid_fd))
        };
        // SAFETY: the caller's contract.
        unsafe { self.clone(request, run_intermediate, blocked) }
    }

    /// Whether the intermediate process has the parent's table of descriptors.
    fn shares_table(&self) -> bool {
        self.context.handshake.is_none()
    }

    /// None: until exec sets `SIGCHLD`, no other wait of the process takes notice, and a child that was killed before
    /// is known by it. An init has no exec, and who looks after code of the caller's sleeps until the signal comes.
    /// With `CLONE_PARENT` that of the intermediate process counts.
    fn exit_signal(&self) -> u64 {
        if self.tells_its_end { libc::SIGCHLD.unsigned_abs().into() } else { 0 }
    }

    fn mode(&self, stack: Option<&'a Stack>) -> CloneMode<'a> {
        match self.plan.memory {
            Memory::Shared => CloneMode::Vfork(stack),
            Memory::Copy(_) => CloneMode::Copy { stack, sleeps: self.sleeps },
        }
    }

    /// # Safety
    ///
    /// If it shares our memory, nobody else uses the stack, or below our frames, until the child is done, also if this
    /// process is killed.
    unsafe fn start_program(
        &self,
        mode: CloneMode<'a>,
        flags: u64,
        blocked: SignalsBlocked<'_>,
    ) -> Result<NewProcess<'a>> {
        let Plan { namespaces, clone_flags, .. } = self.plan;
        let flags = flags | u64::from(namespaces.bits()) | clone_flags;
        let is_sibling = flags & abi::CLONE_PARENT != 0;
        // Whether its pidfd comes to be in the parent's table.
        let is_ours = !is_sibling || self.shares_table();
        let request = CloneRequest {
            flags,
            exit_signal: if is_sibling { 0 } else { self.exit_signal() },
            pid: is_sibling.then_some(&self.context.slot.pid),
            set_tid: &self.plan.set_tid,
            cgroup: self.plan.cgroup.as_ref().map(|dir| dir.as_raw_fd()),
            ..CloneRequest::new(mode, is_ours.then_some(&self.context.slot.pid_fd))
        };
        // SAFETY: the caller's contract.
        unsafe { self.clone(request, become_program, blocked) }
    }

    /// # Safety
    ///
    /// As of [`start_program`](Self::start_program).
    unsafe fn clone(
        &self,
        mut request: CloneRequest<'a>,
        entry: clone::Entry<Self>,
        blocked: SignalsBlocked<'_>,
    ) -> Result<NewProcess<'a>> {
        request.flags |= abi::CLONE_CLEAR_SIGHAND;
        // SAFETY: this thread sleeps until the child is done, or that one has a copy of the memory, so
        // self and the stack live; the entries keep to what the head of this file says.
        unsafe { clone::clone(&request, &self.context.slot.legacy, entry, self, blocked) }
    }
}

/// Does what comes before, makes the child, and ends.
fn run_intermediate(job: &ChildJob<'_>, child: InChild) -> ! {
    let slot = job.context.slot;
    if let Some(ends) = job.context.handshake {
        ends.leave(child);
    }
    let done = run_all(&job.plan.intermediate_ops, 0, &job.context, Some(child));
    let done = done.and_then(|()| start_inside(job, child));
    if let Err(errno) = done {
        slot.fail(errno);
    }
    slot.finish();
    process::exit(0)
}

fn start_inside(job: &ChildJob<'_>, child: InChild) -> Result<()> {
    let slot = job.context.slot;
    slot.begin(job.plan.intermediate_ops.len());
    slot.legacy.store(false, SeqCst);
    let mode = if job.plan.shares_with_intermediate {
        CloneMode::Vfork(job.stack)
    } else {
        CloneMode::Copy { stack: job.stack, sleeps: !job.plan.stays_in_copy() }
    };
    // SAFETY: the stack is for this one use; without it our memory is a copy, in which nobody runs if we are
    // killed.
    let made = unsafe { job.start_program(mode, abi::CLONE_PARENT, child.signals_blocked()) }?;
    slot.pid.store(made.pid, SeqCst);
    Ok(())
}

/// The steps of the plan, the last of which is exec.
fn become_program(job: &ChildJob<'_>, child: InChild) -> ! {
    let slot = job.context.slot;
    let first = job.plan.intermediate_ops.len() + 1;
    let done =
        prepare(job, child).and_then(|()| run_all(&job.plan.ops, first, &job.context, Some(child)));
    let errno = match done {
        Err(errno) => errno,
        // A plan without exec.
        Ok(()) => Errno::INVAL,
    };
    slot.fail(errno);
    process::exit(FAILED)
}

/// What clone3 would have done, had it been allowed.
fn prepare(job: &ChildJob<'_>, child: InChild) -> Result<()> {
    let clone = job.plan.intermediate_ops.len();
    job.context.slot.begin(clone);
    if let Some(ends) = job.context.handshake {
        job.context.slot.set_detail(INTRODUCING);
        ends.introduce()?;
        job.context.slot.set_detail(0);
    }
    if !job.is_legacy() {
        return Ok(());
    }
    // Told as the step that does the rest of it.
    if let Some(reset) = job.plan.ops.iter().position(|op| matches!(op, Op::ResetSignals)) {
        job.context.slot.begin(clone + 1 + reset);
    }
    signal::clear_handlers(child)?;
    job.context.slot.begin(clone);
    if let Some(dir) = &job.plan.cgroup {
        file::join_cgroup(dir.as_raw_fd())?;
        if job.plan.namespaces.contains(NamespaceSet::CGROUP) {
            namespaces::unshare(abi::CLONE_NEWCGROUP)?;
        }
    }
    if job.plan.namespaces.contains(NamespaceSet::TIME) {
        namespaces::unshare(abi::CLONE_NEWTIME)?;
        // Before Linux 6.2 exec would stay behind. Such a child is born there, unless that is not known.
        if !clone::exec_enters_time_namespace() {
            return Err(Errno::NOSYS);
        }
    }
    Ok(())
}
