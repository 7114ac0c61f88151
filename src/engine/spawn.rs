//! The parent's side of a spawn: gets everything ready, makes the child, and turns what the child
//! left in the slot into descriptors or an [`Error`].
//!
//! Invariant: what the child sees is dropped only after the child has its own memory. A child that shares ours is
//! waited for in `clone3` (`CLONE_VFORK`), uninterruptibly; one that has a copy by a pipe and its pidfd. The exception is a
//! child that shares our memory and that an intermediate process made, if that one is killed: then the child is killed
//! and its end awaited here.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::id;

use crate::engine::child::Job;
use crate::engine::failure::{clone_refused, died, not_handed_over, what_became};
use crate::engine::frozen::refuse_frozen;
use crate::engine::handover::Handover;
use crate::engine::helper::{Helper, HelperJob, HelperMemory};
use crate::engine::intermediate::{Outcome, await_intermediate};
use crate::engine::map_tool::Log;
use crate::engine::mounts::MountState;
use crate::engine::prepare::{no_pid_namespace_pending, open_proc};
use crate::engine::run::{Context, ExecArgs};
use crate::engine::slot::Slot;
use crate::engine::watch::{Start, await_arrival, has_run_exec_unseen};
use crate::error::{AtStep, Error, Result, Step};
use crate::pid_fd::PidFd;
use crate::plan::op::mounts_of;
use crate::plan::stream::Stream;
use crate::plan::{Memory, Plan};
use crate::proc_fs::ProcFs;
use crate::sys::clone::{Made, can_share_memory};
use crate::sys::signal::{MaskGuard, SignalSet};
use crate::sys::stack::{SharedBox, Stack};
use crate::sys::{Errno, abi, wait};

/// A plan, and what it leaves to the moment of the spawn.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) plan: Plan,
    pub(crate) exec: ExecArgs,
    pub(crate) streams: [Stream; 3],
    /// The program's signal mask, if it is not this thread's.
    pub(crate) mask: Option<SignalSet>,
}

/// A child that runs what it was to run.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: u32,
    pub(crate) pid_fd: PidFd,
    /// This process's ends.
    pub(crate) pipes: [Option<OwnedFd>; 3],
}

/// The slot, in memory that the child sees.
enum SlotPlace {
    Here(Slot),
    Shared(SharedBox<Slot>),
}

impl SlotPlace {
    fn get(&self) -> &Slot {
        match self {
            Self::Here(slot) => slot,
            Self::Shared(slot) => slot,
        }
    }
}

/// What is made ready while this thread may allocate.
struct Tools {
    proc: Option<ProcFs>,
    helper_memory: Option<HelperMemory>,
    slot: SlotPlace,
    /// A pidfd of this process, for a child that is to end with it.
    parent: Option<PidFd>,
    log: Log,
    start: Option<Start>,
    /// Where an intermediate process makes the child.
    handover: Option<Handover>,
    stack: Option<Stack>,
    mount_state: MountState,
    /// Whether this thread sleeps in `clone3`.
    sleeps: bool,
}

impl Tools {
    fn new(plan: &Plan) -> Result<Self> {
        let prepare = |errno| Error::os(Step::Prepare, errno);
        let shares = plan.memory == Memory::Shared;
        let proc = open_proc(plan.all_ops())?;
        let helper_memory = match &proc {
            Some(proc) if !plan.maps_outside.is_empty() => {
                no_pid_namespace_pending()?;
                Some(HelperMemory::new(proc)?)
            }
            _ => None,
        };
        let slot = if shares && helper_memory.as_ref().is_none_or(HelperMemory::is_shared) {
            SlotPlace::Here(Slot::new())
        } else {
            SlotPlace::Shared(SharedBox::new(Slot::new()).map_err(prepare)?)
        };
        // Looked at behind ConnectStdio, which replaces 0 to 2.
        let above = |fd: PidFd| rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(prepare);
        let parent = plan.die_with_parent.then(PidFd::current).transpose()?;
        let parent = parent.map(above).transpose()?.map(PidFd::from_kernel);
        let has_intermediate = !plan.before.is_empty();
        // Nobody interrupts a sleep in clone3, so the parent sleeps there only for who shares its memory. But gdb(1)
        // takes a child for a thread if the parent does not sleep.
        let is_traced = || match &proc {
            Some(proc) => proc.is_traced(),
            None => ProcFs::open().is_ok_and(|proc| proc.is_traced()),
        };
        let is_awaited = has_intermediate || !plan.goes_on();
        let sleeps = is_awaited && (shares || is_traced());
        // Should the intermediate process be killed, its child is watched as well.
        let is_watched = plan.goes_on() || !shares && (!sleeps || has_intermediate);
        Ok(Self {
            log: Log::for_writes(&plan.maps_outside)?,
            start: is_watched.then(Start::new).transpose()?,
            handover: has_intermediate.then(Handover::new).transpose()?,
            stack: stack_for(plan).map_err(prepare)?,
            mount_state: MountState::of(mounts_of(&plan.ops)),
            proc,
            helper_memory,
            slot,
            parent,
            sleeps,
        })
    }

    fn helper_job<'a>(&'a self, plan: &'a Plan) -> Option<HelperJob<'a>> {
        let proc = self.proc.as_ref().filter(|_| self.helper_memory.is_some())?;
        let (slot, writes, log) = (self.slot.get(), &plan.maps_outside[..], self.log.fd());
        Some(HelperJob { slot, writes, proc, check_pid_fd: true, parent: id(), log })
    }
}

/// An init keeps nothing but its stack, so that has to be of its own. Paths take more room than the calling
/// thread may have left, also in a copy.
fn stack_for(plan: &Plan) -> core::result::Result<Option<Stack>, Errno> {
    let needs_stack = (plan.memory == Memory::Shared && !plan.before.is_empty())
        || (can_share_memory() && (plan.looks_inside() || plan.has_init()));
    let size = match (plan.has_own_code(), plan.looks_inside()) {
        (true, _) => Stack::FOR_OWN_CODE,
        (_, true) => Stack::FOR_PATHS,
        _ => Stack::SMALL,
    };
    needs_stack.then(|| Stack::new(size)).transpose()
}

impl Launch {
    pub(crate) fn spawn(self) -> Result<Spawned> {
        let plan = &self.plan;
        plan.cgroup.as_ref().map_or(Ok(()), |dir| refuse_frozen(dir.as_fd()))?;
        let mut tools = Tools::new(plan)?;
        let start = tools.start.take();
        let tools = &tools;
        let slot = tools.slot.get();
        let helper_job = tools.helper_job(plan);

        // Until the signals are unblocked nothing is allocated: see MaskGuard.
        let blocked = MaskGuard::block_all().at_step(Step::BlockSignals)?;
        let helper = helper_job.as_ref().zip(tools.helper_memory.as_ref());
        let helper = helper.map(|(job, memory)| Helper::start(job, memory, blocked.proof()));
        let helper = match helper.transpose() {
            Ok(helper) => helper,
            Err(errno) => {
                drop(blocked);
                return Err(Error::os(Step::StartIdMapHelper, errno));
            }
        };
        let mask = self.mask.unwrap_or(blocked.before());
        let context = Context {
            proc: tools.proc.as_ref().map(AsFd::as_fd),
            helper: helper.as_ref().map(AsFd::as_fd),
            parent: tools.parent.as_ref().map(AsFd::as_fd),
            stdio: [0, 1, 2].map(|at: usize| self.streams[at].child.as_ref().map(AsFd::as_fd)),
            others: [0, 1, 2].map(|at: usize| self.streams[at].parent.as_ref().map(AsFd::as_fd)),
            exec: Some(&self.exec),
            started: start.as_ref().map(Start::for_child),
            handover: tools.handover.as_ref().map(Handover::for_child),
            has_no_exec: plan.has_no_exec(),
            ..Context::new(slot, &tools.mount_state, mask)
        };
        let job = Job::new(plan, context, tools.stack.as_ref(), self.mask.is_some(), tools.sleeps);
        let made = job.begin(blocked.proof());
        // Handlers may not run in children that share our memory. They have all signals blocked, too.
        drop(blocked);
        let child = match (made, &tools.handover) {
            (Err(errno), None) => Err(clone_refused(plan, errno)),
            (Err(errno), Some(_)) => Err(Error::os(Step::Clone, errno)),
            (Ok(made), None) => Ok((made.pid, made.into_pid_fd())),
            (Ok(made), Some(handover)) => child_of(&job, made, handover),
        };
        let runs = match &child {
            Ok((_, Some(pid_fd))) => runs(plan, slot, start, pid_fd),
            _ => false,
        };
        drop(helper);
        let (pid, pid_fd) = child?;
        let pid_fd = match pid_fd {
            Some(pid_fd) if runs => PidFd::from_kernel(pid_fd),
            other => return Err(what_became(plan, &tools.log, slot, other)),
        };
        if plan.arrives_by_exec {
            await_arrival(&pid_fd);
        }
        Ok(Spawned { pid, pid_fd, pipes: self.streams.map(|stream| stream.parent) })
    }
}

/// The child that an intermediate process made, if it came to that.
fn child_of(
    job: &Job<'_>,
    intermediate: Made<'_>,
    handover: &Handover,
) -> Result<(u32, Option<OwnedFd>)> {
    let died = |ended| died(job.plan, job.context.slot, ended);
    let intermediate = intermediate.into_pid_fd().ok_or_else(|| died(None))?;
    match await_intermediate(job, &intermediate, handover) {
        Outcome::Child(pid, pid_fd) => Ok((pid, Some(pid_fd))),
        Outcome::Failed => Ok((0, None)),
        Outcome::Killed(ended) => Err(died(ended)),
        Outcome::NoRoom(errno) => Err(not_handed_over(errno)),
    }
}

/// Waits until the child runs what it was to run, or has ended, and says which.
fn runs(plan: &Plan, slot: &Slot, start: Option<Start>, pid_fd: &OwnedFd) -> bool {
    let start = match start {
        Some(start) if plan.goes_on() => return start.happens(pid_fd),
        start => start,
    };
    let reaped_by_kernel = plan.clone_flags & abi::CLONE_AUTOREAP != 0;
    let has_run = reaped_by_kernel.then(|| has_run_exec_unseen(pid_fd)).flatten();
    if has_run.is_none() {
        start.into_iter().for_each(|start| start.await_exec(pid_fd));
    }
    slot.failure().is_none()
        && slot.step() == plan.before.len() + plan.ops.len()
        && has_run.unwrap_or_else(|| wait::may_have_run_exec(libc::P_PIDFD, pid_fd.as_raw_fd()))
}
