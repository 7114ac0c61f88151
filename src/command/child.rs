//! What runs between clone and exec.
//!
//! The child sees the [`Job`] and nothing else of the parent. It may share the parent's memory, in
//! which the parent's thread sleeps (`CLONE_VFORK`) until the child has let go of it by exec or by
//! its end. So what runs here allocates nothing, locks nothing, never panics, drops nothing that
//! frees, and makes its system calls without libc; all signals are blocked until the last step.

#![allow(unsafe_code, reason = "it makes processes that share memory")]

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::namespace::NamespaceSet;
use crate::setup::join::{join_all, pack, refused_kind};
use crate::setup::plan::Plan;
use crate::setup::run::{Context, run_all};
use crate::sys::clone::{self, CAN_SHARE_MEMORY, Request, Stack};
use crate::sys::{Errno, Result, abi, process, signal};

/// Everything that a child needs, made ready by the parent.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) plan: &'a Plan,
    pub(super) context: Context<'a>,
    /// Whether `clone(2)` had to do, which leaves more to the child.
    legacy: AtomicBool,
    /// For the process that an intermediate one makes, if both share our memory: should the
    /// intermediate one be killed, we wake up while the other is still at work.
    inner_stack: Option<&'a Stack>,
}

/// Steps of the engine itself, above any index of the plan's.
pub(super) const HIDE: usize = 1 << 20;
pub(super) const ENTER: usize = HIDE + 1;
pub(super) const CLONE: usize = HIDE + 2;

/// A status that no one sees but the parent that already knows from the slot.
const FAILED: i32 = 127;

impl<'a> Job<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        context: Context<'a>,
        inner_stack: Option<&'a Stack>,
    ) -> Self {
        Self { plan, context, legacy: AtomicBool::new(false), inner_stack }
    }

    /// Makes the child that becomes the program. The answer comes when it has exec'd or ended.
    ///
    /// # Safety
    ///
    /// All signals are blocked.
    pub(super) unsafe fn start(&self) -> Result<u32> {
        // SAFETY: the caller's contract.
        unsafe { self.start_program(self.memory(), None) }
    }

    /// Makes the intermediate child that enters namespaces and there makes the one above, as a child
    /// of our own: it cannot do that itself, as it is never in a pid namespace that it enters.
    ///
    /// # Safety
    ///
    /// All signals are blocked; `pid_fd` is valid for a write. Should the intermediate child be killed,
    /// its child is killed and waited for before self or the plan changes.
    pub(super) unsafe fn start_intermediate(&self, pid_fd: *mut i32) -> Result<u32> {
        // With one table of descriptors, the pidfd that it makes is ours.
        let flags = self.memory() | abi::CLONE_FILES;
        // SAFETY: the caller's contract.
        unsafe { self.clone(flags, pid_fd, None, enter_and_start) }
    }

    fn memory(&self) -> u64 {
        if self.plan.copy.is_none() { abi::CLONE_VM } else { 0 }
    }

    /// # Safety
    ///
    /// All signals are blocked. With `CLONE_VM`, nobody else uses `stack`, or below our frames, until
    /// the child is done, also if this process is killed.
    unsafe fn start_program(&self, flags: u64, stack: Option<&Stack>) -> Result<u32> {
        let flags = flags | u64::from(self.plan.namespaces.bits());
        // SAFETY: the caller's contract.
        unsafe { self.clone(flags, self.context.slot.pid_fd.as_ptr(), stack, become_program) }
    }

    /// # Safety
    ///
    /// As of [`start_program`](Self::start_program).
    unsafe fn clone(
        &self,
        flags: u64,
        pid_fd: *mut i32,
        stack: Option<&Stack>,
        entry: clone::Entry<Self>,
    ) -> Result<u32> {
        let flags = flags | abi::CLONE_PIDFD | abi::CLONE_VFORK | abi::CLONE_CLEAR_SIGHAND;
        // No exit signal: until exec sets SIGCHLD, no other wait of the process takes notice.
        let request = Request { flags, exit_signal: 0, pid_fd, stack };
        // SAFETY: this thread sleeps until the child is done, so self and the stack live; the entries
        // keep to what the head of this file says.
        unsafe { clone::clone(&request, &self.legacy, entry, self) }
    }
}

/// Enters, makes the child, and ends.
fn enter_and_start(job: &Job<'_>) -> ! {
    let slot = job.context.slot;
    if let Err(errno) = enter(job).and_then(|()| start_inside(job)) {
        slot.fail(errno);
    }
    slot.finish();
    process::exit(0)
}

fn enter(job: &Job<'_>) -> Result<()> {
    let slot = job.context.slot;
    if job.plan.hide {
        slot.begin(HIDE);
        process::set_dumpable(false)?;
    }
    slot.begin(ENTER);
    let targets = &job.plan.joins.targets;
    join_all(targets).map_err(|refused| {
        let target = targets.get(refused.index);
        let kind = target.and_then(|target| refused_kind(*target, refused.errno));
        slot.set_detail(pack(refused.index, kind));
        refused.errno
    })
}

fn start_inside(job: &Job<'_>) -> Result<()> {
    let slot = job.context.slot;
    slot.begin(CLONE);
    job.legacy.store(false, SeqCst);
    let memory = if CAN_SHARE_MEMORY { abi::CLONE_VM } else { 0 };
    let flags = memory | abi::CLONE_PARENT;
    // SAFETY: signals are blocked since before the clone that made this process. The inner stack is for
    // this one use; without it our memory is a copy, in which nobody runs if we are killed.
    let pid = unsafe { job.start_program(flags, job.inner_stack) }.inspect_err(|_| {
        slot.pid_fd.store(-1, SeqCst);
    })?;
    slot.pid.store(pid, SeqCst);
    Ok(())
}

/// The steps of the plan, the last of which is exec.
fn become_program(job: &Job<'_>) -> ! {
    let slot = job.context.slot;
    let errno = match prepare(job).and_then(|()| run_all(&job.plan.ops, &job.context)) {
        Err(errno) => errno,
        // A plan without exec.
        Ok(()) => Errno::INVAL,
    };
    slot.fail(errno);
    process::exit(FAILED)
}

/// What is left of an intermediate process where there is none, and what clone3 would have done, had it
/// been allowed.
fn prepare(job: &Job<'_>) -> Result<()> {
    if job.plan.hide && job.plan.joins.is_empty() {
        job.context.slot.begin(HIDE);
        process::set_dumpable(false)?;
    }
    if !job.legacy.load(SeqCst) {
        return Ok(());
    }
    signal::clear_handlers();
    if job.plan.namespaces.contains(NamespaceSet::TIME) {
        job.context.slot.begin(CLONE);
        process::unshare(abi::CLONE_NEWTIME)?;
        // Before Linux 6.2 exec would stay behind.
        if !clone::exec_enters_time_namespace() {
            return Err(Errno::NOSYS);
        }
    }
    Ok(())
}
