//! The parent's side of a spawn: gets everything ready, makes the child, and turns what the child
//! left in the slot into a [`Child`] or an [`Error`].
//!
//! Invariant: what the child sees is dropped only after the child has its own memory. The thread
//! sleeps in `clone3` (`CLONE_VFORK`) until then. The exception is a child that an intermediate
//! process made, if that one is killed: then the child is killed and its end awaited here.

#![allow(unsafe_code, reason = "it makes processes that share memory, and takes over their pidfds")]

use core::sync::atomic::Ordering::SeqCst;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::id;

use crate::child::Child;
use crate::command::child::Job;
use crate::command::stdio::Stream;
use crate::command::strings::CStrings;
use crate::enter::enter_for_good;
use crate::error::{AtStep, Error, ErrorKind, Result, Step};
use crate::pid_fd::PidFd;
use crate::proc_fs::ProcFs;
use crate::setup::helper::{Helper, Work};
use crate::setup::map_tool::Log;
use crate::setup::plan::{Op, Plan};
use crate::setup::run::{Context, ExecArgs, run_all};
use crate::setup::slot::Slot;
use crate::setup::{failure_of, no_pid_namespace_pending};
use crate::sys::clone::{self, SharedBox, Stack};
use crate::sys::process::{self, Ended};
use crate::sys::signal::MaskGuard;
use crate::sys::{Errno, abi};

/// What a plan leaves to the moment of the spawn.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) plan: Plan,
    pub(super) args: CStrings,
    pub(super) env: CStrings,
    pub(super) streams: [Stream; 3],
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
        let shares = plan.copy.is_none();
        let slot = if shares {
            SlotPlace::Here(Slot::new())
        } else {
            SlotPlace::Shared(SharedBox::new(Slot::new()).map_err(prepare)?)
        };
        let slot = slot.get();
        let proc = plan.needs_proc().then(ProcFs::open).transpose()?;
        // Looked at behind ConnectStdio, which replaces 0 to 2.
        let above = |fd: PidFd| rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(prepare);
        let parent = plan.die_with_parent.then(PidFd::current).transpose()?;
        let parent = parent.map(above).transpose()?;
        let log = Log::for_writes(&plan.maps_outside)?;
        let argv = self.args.pointers();
        let envp = self.env.pointers();
        let blocked = MaskGuard::block_all();

        let work;
        let helper = match &proc {
            Some(proc) if !plan.maps_outside.is_empty() => {
                no_pid_namespace_pending()?;
                let writes = &plan.maps_outside;
                work = Work { slot, writes, proc, check_pid_fd: true, parent: id(), log: log.fd() };
                Some(Helper::start(&work)?)
            }
            _ => None,
        };
        let fd = |fd: Option<RawFd>| fd.unwrap_or(-1);
        let context = Context {
            slot,
            proc: fd(proc.as_ref().map(AsRawFd::as_raw_fd)),
            helper: fd(helper.as_ref().map(AsRawFd::as_raw_fd)),
            parent: fd(parent.as_ref().map(AsRawFd::as_raw_fd)),
            mask: blocked.before(),
            stdio: [0, 1, 2].map(|at: usize| self.streams[at].child_fd()),
            // SAFETY: the pointers are into args and env, which live in self.
            exec: Some(unsafe { ExecArgs::new(&argv, &envp) }),
        };
        let has_intermediate = !plan.before.is_empty();
        let inner_stack = (shares && has_intermediate).then(Stack::new).transpose();
        let inner_stack = inner_stack.map_err(prepare)?;
        let job = Job::new(plan, context, inner_stack.as_ref());
        let started = if has_intermediate {
            start_through_intermediate(&job)
        } else {
            // SAFETY: signals are blocked.
            unsafe { job.start() }.map_err(|errno| clone_refused(plan, errno))
        };
        drop(helper);
        drop(blocked);

        let pid = started?;
        let number = slot.pid_fd.load(SeqCst);
        // SAFETY: the kernel wrote the number of a descriptor that it made for us alone.
        let pid_fd = (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) });
        let pid_fd = PidFd::from_kernel(outcome(plan, &log, slot, pid_fd)?);
        Ok(Child::new(pid, pid_fd, self.streams.map(|stream| stream.parent)))
    }
}

/// An unknown flag and wrong arguments have one number: which it is, the kernel tells when asked.
fn clone_refused(plan: &Plan, errno: Errno) -> Error {
    let flags = [abi::CLONE_AUTOREAP, abi::CLONE_PIDFD_AUTOKILL, abi::CLONE_EMPTY_MNTNS];
    let mut asked = flags.into_iter().filter(|flag| plan.clone_flags & flag != 0);
    if errno == Errno::INVAL && asked.any(|flag| !clone::knows(flag)) {
        return Error::new(
            ErrorKind::Unsupported,
            "this kernel cannot reap or kill a child by itself, nor make a mount namespace that is \
             empty: Linux 7.1 can",
        )
        .at_step(Step::Clone);
    }
    let error = Error::os(Step::Clone, errno);
    if errno == Errno::PERM && !plan.set_tid.is_empty() {
        return error.on("with chosen pids, which takes CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN");
    }
    error
}

impl Launch {
    /// Does here what a child would do. Returns only if that failed.
    pub(super) fn exec(self) -> Error {
        let plan = &self.plan;
        for op in &plan.before {
            let done = match op {
                Op::HideMemory => process::set_dumpable(false).at_step(Step::HideMemory),
                Op::Enter(joins) => enter_for_good(&joins.targets),
                // What else an intermediate process would do is for new namespaces.
                _ => Ok(()),
            };
            if let Err(error) = done {
                return error;
            }
        }
        let log = match Log::for_writes(&[]) {
            Ok(log) => log,
            Err(error) => return error,
        };
        let argv = self.args.pointers();
        let envp = self.env.pointers();
        let slot = Slot::new();
        let context = Context {
            slot: &slot,
            proc: -1,
            helper: -1,
            parent: -1,
            mask: MaskGuard::block_all().before(),
            stdio: [0, 1, 2].map(|at: usize| self.streams[at].child_fd()),
            // SAFETY: the pointers are into args and env, which live in self.
            exec: Some(unsafe { ExecArgs::new(&argv, &envp) }),
        };
        let first = plan.before.len() + 1;
        let errno = run_all(&plan.ops, first, &context).err().unwrap_or(Errno::INVAL);
        failure_of(plan.op(slot.step()), &[], &log, &slot, errno)
    }
}

/// Makes the child by way of a process that enters namespaces, and awaits the end of that one.
fn start_through_intermediate(job: &Job<'_>) -> Result<u32> {
    let slot = job.context.slot;
    let mut number: RawFd = -1;
    // SAFETY: signals are blocked; its child is seen to below.
    let started = unsafe { job.start_intermediate(&raw mut number) };
    started.map_err(|errno| Error::os(Step::Clone, errno))?;
    // SAFETY: the call succeeded, so the kernel made this descriptor for us.
    let intermediate = unsafe { OwnedFd::from_raw_fd(number) };
    let ended = process::await_end(intermediate.as_raw_fd());
    if !slot.is_finished() {
        // It was killed, so its child may not be done yet with the memory that we are about to free.
        let child = slot.pid_fd.load(SeqCst);
        // Only a child of our own can be waited for, so no other descriptor is mistaken for it.
        if child >= 0 && process::wait(child, false).is_ok() {
            // SAFETY: so it is the descriptor that the kernel made for us.
            let child = unsafe { OwnedFd::from_raw_fd(child) };
            let _ = process::pidfd_send_signal(child.as_raw_fd(), libc::SIGKILL);
            process::await_end(child.as_raw_fd());
        }
        return Err(died(job.plan, slot.step(), ended));
    }
    Ok(slot.pid.load(SeqCst))
}

/// The pidfd of a running program, or what became of it.
fn outcome(plan: &Plan, log: &Log, slot: &Slot, pid_fd: Option<OwnedFd>) -> Result<OwnedFd> {
    let failure = slot.failure();
    let in_exec = slot.step() == plan.before.len() + plan.ops.len();
    let pid_fd = match pid_fd {
        Some(pid_fd) if failure.is_none() && in_exec => return Ok(pid_fd),
        other => other,
    };
    let ended = pid_fd.and_then(|pid_fd| process::await_end(pid_fd.as_raw_fd()));
    let Some(failure) = failure else {
        return Err(died(plan, slot.step(), ended));
    };
    if plan.op(failure.step).is_none() {
        return Err(clone_refused(plan, failure.errno));
    }
    Err(failure_of(plan.op(failure.step), &plan.maps_outside, log, slot, failure.errno))
}

fn died(plan: &Plan, step: usize, ended: Option<Ended>) -> Error {
    let step = plan.op(step).map_or(Step::Clone, Op::step);
    let how = match ended {
        Some(Ended { code: libc::CLD_EXITED, status }) => format!("ended with status {status}"),
        Some(Ended { status, .. }) => format!("was killed by signal {status}"),
        None => "ended".to_owned(),
    };
    Error::new(ErrorKind::ChildDied, format!("the child {how} when it was to {step}")).at_step(step)
}
