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

use crate::engine::cgroup::check_cgroup;
use crate::engine::child::ChildJob;
use crate::engine::failure::{child_not_met, clone_refused, died, what_became};
use crate::engine::handshake::Handshake;
use crate::engine::helper::{Helper, HelperJob, HelperMemory};
use crate::engine::intermediate::{Outcome, meet_child, take_child};
use crate::engine::map_tool::Log;
use crate::engine::mounts::MountState;
use crate::engine::prepare::{no_pid_namespace_pending, open_proc};
use crate::engine::run::{Context, ExecArgs};
use crate::engine::slot::Slot;
use crate::engine::watch::{StartPipe, wait_for_exec_of_autoreaped, wait_for_time_namespace};
use crate::error::{AtStep, Error, Result, Step};
use crate::pid_fd::PidFd;
use crate::plan::op::mounts_of;
use crate::plan::stream::Stream;
use crate::plan::{Memory, Plan};
use crate::proc_fs::ProcFs;
use crate::sys::clone::{NewProcess, can_share_memory};
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
enum SlotMemory {
    Here(Slot),
    Shared(SharedBox<Slot>),
}

impl SlotMemory {
    fn get(&self) -> &Slot {
        match self {
            Self::Here(slot) => slot,
            Self::Shared(slot) => slot,
        }
    }
}

/// What is made ready while this thread may allocate.
struct SpawnResources {
    proc: Option<ProcFs>,
    helper_memory: Option<HelperMemory>,
    slot: SlotMemory,
    /// A pidfd of this process, for a child that is to end with it.
    parent: Option<PidFd>,
    log: Log,
    start: Option<StartPipe>,
    /// Where an intermediate process makes the child, and has a copy of the memory.
    handshake: Option<Handshake>,
    stack: Option<Stack>,
    mount_state: MountState,
    /// Whether this thread sleeps in `clone3`.
    sleeps: bool,
}

impl SpawnResources {
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
            SlotMemory::Here(Slot::new())
        } else {
            SlotMemory::Shared(SharedBox::new(Slot::new()).map_err(prepare)?)
        };
        // Looked at behind ConnectStdio, which replaces 0 to 2.
        let above = |fd: PidFd| rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(prepare);
        let parent = plan.die_with_parent.then(PidFd::current).transpose()?;
        let parent = parent.map(above).transpose()?.map(PidFd::from_kernel);
        let has_intermediate = !plan.intermediate_ops.is_empty();
        // Nobody interrupts a sleep in clone3, so the parent sleeps there only for who shares its memory. But gdb(1)
        // takes a child for a thread if the parent does not sleep.
        let is_traced = || match &proc {
            Some(proc) => proc.is_traced(),
            None => ProcFs::open().is_ok_and(|proc| proc.is_traced()),
        };
        let is_awaited = has_intermediate || !plan.stays_in_copy();
        let sleeps = is_awaited && (shares || is_traced());
        // Should the intermediate process be killed, its child is watched as well.
        let is_watched = plan.stays_in_copy() || !shares && (!sleeps || has_intermediate);
        Ok(Self {
            log: Log::for_writes(&plan.maps_outside)?,
            start: is_watched.then(StartPipe::new).transpose()?,
            handshake: (has_intermediate && !sleeps).then(Handshake::new).transpose()?,
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
    let needs_stack = (plan.memory == Memory::Shared && !plan.intermediate_ops.is_empty())
        || (can_share_memory() && (plan.resolves_inside() || plan.has_init()));
    let size = match (plan.has_callers_code(), plan.resolves_inside()) {
        (true, _) => Stack::FOR_CALLERS_CODE,
        (_, true) => Stack::FOR_PATHS,
        _ => Stack::SMALL,
    };
    needs_stack.then(|| Stack::new(size)).transpose()
}

impl Launch {
    pub(crate) fn spawn(self) -> Result<Spawned> {
        let plan = &self.plan;
        plan.cgroup.as_ref().map_or(Ok(()), |dir| check_cgroup(dir.as_fd()))?;
        let mut resources = SpawnResources::new(plan)?;
        let start = resources.start.take();
        let resources = &resources;
        let slot = resources.slot.get();
        let helper_job = resources.helper_job(plan);

        // Until the signals are unblocked nothing is allocated: see MaskGuard.
        let blocked = MaskGuard::block_all().at_step(Step::BlockSignals)?;
        let helper = helper_job.as_ref().zip(resources.helper_memory.as_ref());
        let helper = helper.map(|(job, memory)| Helper::start(job, memory, blocked.proof()));
        let helper = match helper.transpose() {
            Ok(helper) => helper,
            Err(errno) => {
                drop(blocked);
                return Err(Error::os(Step::StartIdMapHelper, errno));
            }
        };
        let mask = self.mask.unwrap_or(blocked.before());
        let context = self.context(resources, helper.as_ref(), start.as_ref(), mask);
        let job = ChildJob::new(
            plan,
            context,
            resources.stack.as_ref(),
            self.mask.is_some(),
            resources.sleeps,
        );
        let made = job.begin(blocked.proof());
        // Handlers may not run in children that share our memory. They have all signals blocked, too.
        drop(blocked);
        let child = match (made, plan.intermediate_ops.is_empty()) {
            (Err(errno), true) => Err(clone_refused(plan, errno)),
            (Err(errno), false) => Err(Error::os(Step::Clone, errno)),
            (Ok(made), true) => Ok((made.pid, made.into_pid_fd())),
            (Ok(made), false) => child_of(&job, made, resources.handshake.as_ref()),
        };
        let runs = match &child {
            Ok((_, Some(pid_fd))) => wait_until_running(plan, slot, start, pid_fd),
            _ => false,
        };
        drop(helper);
        let (pid, pid_fd) = child?;
        let pid_fd = match pid_fd {
            Some(pid_fd) if runs => PidFd::from_kernel(pid_fd),
            other => return Err(what_became(plan, &resources.log, slot, other)),
        };
        if plan.enters_time_by_exec {
            wait_for_time_namespace(&pid_fd);
        }
        Ok(Spawned { pid, pid_fd, pipes: self.streams.map(|stream| stream.parent) })
    }

    fn context<'a>(
        &'a self,
        resources: &'a SpawnResources,
        helper: Option<&'a Helper<'_>>,
        start: Option<&'a StartPipe>,
        mask: SignalSet,
    ) -> Context<'a> {
        Context {
            proc: resources.proc.as_ref().map(AsFd::as_fd),
            helper: helper.map(AsFd::as_fd),
            parent: resources.parent.as_ref().map(AsFd::as_fd),
            stdio: [0, 1, 2].map(|at: usize| self.streams[at].child.as_ref().map(AsFd::as_fd)),
            parent_stdio: [0, 1, 2]
                .map(|at: usize| self.streams[at].parent.as_ref().map(AsFd::as_fd)),
            exec: Some(&self.exec),
            started: start.map(StartPipe::for_child),
            handshake: resources.handshake.as_ref().map(Handshake::ends),
            has_no_exec: self.plan.has_no_exec(),
            ..Context::new(resources.slot.get(), &resources.mount_state, mask)
        }
    }
}

/// The child that an intermediate process made, if it came to that.
fn child_of(
    job: &ChildJob<'_>,
    intermediate: NewProcess<'_>,
    handshake: Option<&Handshake>,
) -> Result<(u32, Option<OwnedFd>)> {
    let died = |ended| died(job.plan, job.context.slot, ended);
    let intermediate = intermediate.into_pid_fd().ok_or_else(|| died(None))?;
    let outcome = match handshake {
        Some(handshake) => meet_child(job, &intermediate, handshake),
        None => take_child(job, &intermediate),
    };
    match outcome {
        Outcome::Child(pid, pid_fd) => Ok((pid, Some(pid_fd))),
        Outcome::Failed => Ok((0, None)),
        Outcome::Killed(ended) => Err(died(ended)),
        Outcome::NotMet(errno) => Err(child_not_met(errno)),
    }
}

/// Waits until the child runs what it was to run, or has ended, and says which.
fn wait_until_running(
    plan: &Plan,
    slot: &Slot,
    start: Option<StartPipe>,
    pid_fd: &OwnedFd,
) -> bool {
    let start = match start {
        Some(start) if plan.stays_in_copy() => return start.wait_for_start(pid_fd),
        start => start,
    };
    let reaped_by_kernel = plan.clone_flags & abi::CLONE_AUTOREAP != 0;
    let has_run = reaped_by_kernel.then(|| wait_for_exec_of_autoreaped(pid_fd)).flatten();
    if has_run.is_none() {
        start.into_iter().for_each(|start| start.wait_for_exec(pid_fd));
    }
    slot.failure().is_none()
        && slot.step() == plan.intermediate_ops.len() + plan.ops.len()
        && has_run.unwrap_or_else(|| wait::may_have_run_exec(libc::P_PIDFD, pid_fd.as_raw_fd()))
}
