//! The parent's side of a spawn: gets everything ready, makes the child, and turns what the child
//! left in the slot into a [`Child`] or an [`Error`].
//!
//! Invariant: what the child sees is dropped only after the child has its own memory. A child that shares ours is
//! waited for in `clone3` (`CLONE_VFORK`), uninterruptibly; one that has a copy by a pipe and its pidfd. The exception is a child that an intermediate
//! process made, if that one is killed: then the child is killed and its end awaited here.

#![allow(unsafe_code, reason = "it makes processes that share memory, and takes over their pidfds")]

use core::sync::atomic::Ordering::SeqCst;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::id;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::child::Child;
use crate::command::cgroup::refuse_frozen;
use crate::command::child::Job;
use crate::command::news::{Start, await_arrival};
use crate::command::stdio::Stream;
use crate::enter::enter_for_good;
use crate::error::{AtStep, Error, ErrorKind, Result, Step};
use crate::pid_fd::PidFd;
use crate::proc_fs::ProcFs;
use crate::process_state;
use crate::setup::helper::{Helper, HelperMemory, Work};
use crate::setup::map_tool::Log;
use crate::setup::mounts::Workshop;
use crate::setup::plan::{Op, Plan, mounts_of};
use crate::setup::run::{Context, ExecArgs};
use crate::setup::slot::Slot;
use crate::setup::steps::run_all;
use crate::setup::{failure_of, no_pid_namespace_pending, open_proc};
use crate::sys::clone::{SharedBox, Stack, can_share_memory, exec_enters_time_namespace};
use crate::sys::file::Fd;
use crate::sys::in_child::InChild;
use crate::sys::process::{self, Ended};
use crate::sys::signal::{MaskGuard, SignalSet, current_mask};
use crate::sys::{Errno, features};

/// What a plan leaves to the moment of the spawn.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) plan: Plan,
    pub(super) exec: ExecArgs,
    pub(super) streams: [Stream; 3],
    /// The program's signal mask, if it is not this thread's.
    pub(super) mask: Option<SignalSet>,
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

impl Launch {
    pub(super) fn spawn(self) -> Result<Child> {
        let prepare = |errno| Error::os(Step::Prepare, errno);
        let plan = &self.plan;
        plan.cgroup.as_ref().map_or(Ok(()), |dir| refuse_frozen(dir.as_fd()))?;
        let shares = plan.copy.is_none();
        let proc = open_proc(plan.all_ops())?;
        let helper_memory = match &proc {
            Some(proc) if !plan.maps_outside.is_empty() => Some(HelperMemory::new(proc)?),
            _ => None,
        };
        let slot = if shares && helper_memory.as_ref().is_none_or(HelperMemory::is_shared) {
            SlotPlace::Here(Slot::new())
        } else {
            SlotPlace::Shared(SharedBox::new(Slot::new()).map_err(prepare)?)
        };
        let slot = slot.get();
        // Looked at behind ConnectStdio, which replaces 0 to 2.
        let above = |fd: PidFd| rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(prepare);
        let parent = plan.die_with_parent.then(PidFd::current).transpose()?;
        let parent = parent.map(above).transpose()?;
        let log = Log::for_writes(&plan.maps_outside)?;
        let has_intermediate = !plan.before.is_empty();
        // Nobody interrupts a sleep in clone3, so the parent sleeps there only for who shares its memory. But gdb(1)
        // takes a child for a thread if the parent does not sleep.
        let is_traced = || match &proc {
            Some(proc) => proc.is_traced(),
            None => ProcFs::open().is_ok_and(|proc| proc.is_traced()),
        };
        let is_awaited = has_intermediate || !plan.goes_on();
        let sleeps = is_awaited && (shares || is_traced());
        let is_watched = plan.goes_on() || !(sleeps || has_intermediate);
        let start = is_watched.then(Start::new).transpose()?;
        let (work, helper_memory) = match (&proc, helper_memory) {
            (Some(proc), Some(memory)) => {
                no_pid_namespace_pending()?;
                let writes = &plan.maps_outside;
                let (parent, log) = (id(), log.fd());
                Some((Work { slot, writes, proc, check_pid_fd: true, parent, log }, memory))
            }
            _ => None,
        }
        .unzip();
        // An init keeps nothing but its stack, so that has to be of its own. Paths take more room than the calling
        // thread may have left, also in a copy.
        let needs_stack = (shares && has_intermediate)
            || (can_share_memory() && (plan.looks_inside() || plan.has_init()));
        let size = match (plan.has_own_code(), plan.looks_inside()) {
            (true, _) => Stack::FOR_OWN_CODE,
            (_, true) => Stack::FOR_PATHS,
            _ => Stack::SMALL,
        };
        let stack = needs_stack.then(|| Stack::new(size)).transpose().map_err(prepare)?;
        let workshop = Workshop::of(mounts_of(&plan.ops));

        // Until the signals are unblocked nothing is allocated: see MaskGuard.
        let blocked = MaskGuard::block_all().at_step(Step::BlockSignals)?;
        let helper = work.as_ref().zip(helper_memory);
        let helper = helper.map(|(work, memory)| Helper::start(work, memory, blocked.proof()));
        let helper = match helper.transpose() {
            Ok(helper) => helper,
            Err(errno) => {
                drop(blocked);
                return Err(Error::os(Step::StartIdMapHelper, errno));
            }
        };
        let fd = |fd: Option<RawFd>| fd.unwrap_or(-1);
        let context = Context {
            slot,
            workshop: &workshop,
            proc: fd(proc.as_ref().map(AsRawFd::as_raw_fd)),
            helper: fd(helper.as_ref().map(AsRawFd::as_raw_fd)),
            parent: fd(parent.as_ref().map(AsRawFd::as_raw_fd)),
            mask: self.mask.unwrap_or(blocked.before()),
            stdio: [0, 1, 2].map(|at: usize| self.streams[at].child_fd()),
            exec: Some(&self.exec),
            others: [0, 1, 2].map(|at: usize| self.streams[at].parent_fd()),
            started: fd(start.as_ref().map(Start::for_child)),
            has_no_exec: plan.has_no_exec(),
        };
        let job = Job::new(plan, context, stack.as_ref(), self.mask.is_some(), sleeps);
        let made = if has_intermediate {
            // SAFETY: its child is seen to below, by `await_intermediate`.
            unsafe { job.start_intermediate(blocked.proof()) }
        } else {
            job.start(blocked.proof())
        };
        // Handlers may not run in children that share our memory. They have all signals blocked, too.
        drop(blocked);
        let started = match (made, has_intermediate) {
            (Err(errno), false) => Err(clone_refused(plan, errno)),
            (Err(errno), true) => Err(Error::os(Step::Clone, errno)),
            (Ok(pid), false) => Ok(pid),
            (Ok(_), true) => await_intermediate(&job).map_err(|ended| died(plan, slot, ended)),
        };
        // A clone that failed late may leave a number there that it took back.
        let number = if started.is_ok() { slot.pid_fd.load(SeqCst) } else { -1 };
        // SAFETY: the kernel wrote the number of a descriptor that it made for us alone.
        let pid_fd = (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) });
        let runs = match (start, &pid_fd) {
            (Some(start), Some(pid_fd)) if plan.goes_on() => start.happens(pid_fd),
            (start, Some(pid_fd)) => {
                start.into_iter().for_each(|start| start.await_exec(pid_fd));
                slot.failure().is_none()
                    && slot.step() == plan.before.len() + plan.ops.len()
                    && process::has_run_exec(libc::P_PIDFD, pid_fd.as_raw_fd())
            }
            (_, None) => false,
        };
        drop(helper);
        let pid = started?;
        let pid_fd = match pid_fd {
            Some(pid_fd) if runs => PidFd::from_kernel(pid_fd),
            other => return Err(what_became(plan, &log, slot, other)),
        };
        if plan.arrives_by_exec {
            await_arrival(&pid_fd);
        }
        let pipes = self.streams.map(|stream| stream.parent);
        Ok(Child::new(pid, pid_fd, self.plan.has_init(), pipes))
    }
}

impl Launch {
    /// Does here what a child would do. Returns only if that failed.
    pub(super) fn exec(self) -> Error {
        let plan = &self.plan;
        for op in &plan.before {
            let done = match op {
                Op::Enter(joins) => enter_for_good(&joins.targets),
                Op::DropGroups => process::drop_groups().at_step(Step::SetGroups),
                _ => process::set_dumpable(false).at_step(Step::SetDumpable),
            };
            if let Err(error) = done {
                return error;
            }
        }
        if plan.ops.iter().any(|op| matches!(op, Op::ChangeRoot(_) | Op::Mount(_))) {
            // If the program does not start, the root stays, which all threads share.
            process_state::note_other_root_of_all();
        }
        let slot = Slot::new();
        let mask = match current_mask() {
            Ok(mask) => mask,
            Err(errno) => return Error::os(Step::BlockSignals, errno),
        };
        let context = Context {
            slot: &slot,
            workshop: &Workshop::of(mounts_of(&plan.ops)),
            proc: -1,
            helper: -1,
            parent: -1,
            mask,
            stdio: [0, 1, 2].map(|at: usize| self.streams[at].child_fd()),
            exec: Some(&self.exec),
            others: [-1; 3],
            started: -1,
            has_no_exec: false,
        };
        // SAFETY: what needs it of the steps here replaces the standard streams, which the program is to have, and
        // sets SIGPIPE as it is to find it; both are documented.
        let child = unsafe { InChild::assume() };
        let errno = run_all(&plan.ops, 0, &context, Some(child)).err().unwrap_or(Errno::INVAL);
        failure_of(plan.ops.get(slot.step()), &[], &Log::none(), &slot, errno)
    }
}

/// An unknown flag and wrong arguments have one number: which it is, the kernel tells when asked.
fn clone_refused(plan: &Plan, errno: Errno) -> Error {
    let flags = plan.clone_flags;
    if errno == Errno::INVAL && flags != 0 && !features::clone3_knows(flags, 0) {
        return Error::new(
            ErrorKind::Unsupported,
            "this kernel cannot reap or kill a child by itself, nor make a mount namespace that is \
             empty: Linux 7.1 can",
        )
        .at_step(Step::Clone);
    }
    // The answer of every kernel to this is EFAULT, unless a time namespace is pending before Linux 6.2.
    if errno == Errno::INVAL && !features::clone3() && !exec_enters_time_namespace() {
        return Error::new(
            ErrorKind::Unsupported,
            "qemu-user or another emulator runs this program, and takes no clone(2) without an exit signal: run it \
             on the kernel itself, or on a whole emulated machine",
        )
        .at_step(Step::Clone);
    }
    let error = Error::os(Step::Clone, errno).concerning(plan.namespaces);
    if errno == Errno::PERM && !plan.set_tid.is_empty() {
        return error.on("with chosen pids, which takes CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN");
    }
    error
}

/// Awaits the end of the process that enters namespaces and makes the child, and returns the child's pid; or how that
/// process ended, if it was killed before the child ran exec.
fn await_intermediate(job: &Job<'_>) -> core::result::Result<u32, Option<Ended>> {
    let slot = job.context.slot;
    // SAFETY: the call succeeded, so the kernel made this descriptor for us.
    let intermediate = unsafe { OwnedFd::from_raw_fd(slot.middle_pid_fd.load(SeqCst)) };
    // The child is made where the kernel told its pid: the number of its descriptor alone may be one that it took back,
    // which others have got since.
    let made = || {
        let child = slot.pid_fd.load(SeqCst);
        (slot.pid.load(SeqCst) != 0 && child >= 0).then_some(child)
    };
    // Who may signal it in the entered user namespace can stop it when the program runs already.
    while job.plan.copy.is_some() && has_not_ended(&intermediate) {
        if made().is_some_and(process::is_seen_after_exec) {
            let _ = process::pidfd_send_signal(intermediate.as_raw_fd(), libc::SIGKILL);
            break;
        }
    }
    let ended = process::await_end(intermediate.as_raw_fd());
    // SAFETY: the intermediate process opened them in our table, and is gone.
    slot.left_open().for_each(|file| drop(unsafe { Fd::from_raw(file) }));
    if slot.is_finished() || made().is_some_and(process::is_seen_after_exec) {
        return Ok(slot.pid.load(SeqCst));
    }
    // It was killed, so its child may not be done yet with the memory that we are about to free.
    if let Some(child) = made().or_else(|| made_by_clone2(job)) {
        // SAFETY: so it is the descriptor that the kernel made for us.
        let child = unsafe { OwnedFd::from_raw_fd(child) };
        let _ = process::pidfd_send_signal(child.as_raw_fd(), libc::SIGKILL);
        process::await_end(child.as_raw_fd());
    }
    Err(ended)
}

/// Whether it is still there a while later.
fn has_not_ended(process: &OwnedFd) -> bool {
    let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let mut ready = [PollFd::new(process, PollFlags::IN)];
    // A filter may refuse the call.
    matches!(poll(&mut ready, Some(&pause)), Ok(0) | Err(Errno::INTR))
}

/// The descriptor of the child that a process made by clone(2), which tells no pid, and was killed. What cannot be waited
/// for is no child of ours; where a filter refuses to wait, it is better not to free what one may use.
fn made_by_clone2(job: &Job<'_>) -> Option<RawFd> {
    let child = job.context.slot.pid_fd.load(SeqCst);
    let is_other = |errno| matches!(errno, Errno::CHILD | Errno::BADF | Errno::INVAL);
    let is_made =
        child >= 0 && job.is_legacy() && !process::wait(child, false).is_err_and(is_other);
    is_made.then_some(child)
}

/// Why the child does not run what it was to run.
fn what_became(plan: &Plan, log: &Log, slot: &Slot, pid_fd: Option<OwnedFd>) -> Error {
    let ended = pid_fd.and_then(|pid_fd| process::await_end(pid_fd.as_raw_fd()));
    let Some(failure) = slot.failure() else {
        return died(plan, slot, ended);
    };
    if plan.op(failure.step).is_none() {
        return clone_refused(plan, failure.errno);
    }
    failure_of(plan.op(failure.step), &plan.maps_outside, log, slot, failure.errno)
        .concerning(plan.namespaces)
}

fn died(plan: &Plan, slot: &Slot, ended: Option<Ended>) -> Error {
    let step = plan.op(slot.step()).map_or(Step::Clone, |op| op.step_at(slot.detail()));
    let how = match ended {
        Some(Ended { code: libc::CLD_EXITED, status }) => format!("ended with status {status}"),
        Some(Ended { status, .. }) => format!("was killed by signal {status}"),
        None => "ended".to_owned(),
    };
    Error::new(ErrorKind::ChildDied, format!("the child {how} when it was to {step}")).at_step(step)
}
