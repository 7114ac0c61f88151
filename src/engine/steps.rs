//! The steps of a plan, one after the other.
//!
//! One of them turns the process into the init of a new pid namespace: it makes the process that does the rest of the
//! steps, sheds what it has of its parent, and loops. It has a copy of the parent's memory and descriptors, which must
//! not be for the program: until they are gone it cannot be traced, unless by who has `CAP_SYS_PTRACE` where the
//! parent is.

#![allow(unsafe_code, reason = "it makes a process that shares memory")]

use core::ptr;
use core::sync::atomic::AtomicBool;
use std::os::fd::AsRawFd;

use crate::init::main_loop::MainLoop;
use crate::init::policy::{BROKEN, Role};

use crate::engine::init_process::{InitOrigin, InitProcess};
use crate::engine::run::{Context, run};
use crate::plan::op::{NewInit, Op};
use crate::sys::clone::{self, CloneMode, CloneRequest, can_share_memory};
use crate::sys::in_child::InChild;
use crate::sys::memory::CommandLine;
use crate::sys::signal::{self, ALL};
use crate::sys::{Errno, Result, file, prctl, process, wait};

/// Executes all of `ops`, the first of which has number `first`. On a failure the slot says where, and
/// the rest is not done.
///
/// `child` is there where this process is a child that gives itself up to the program.
pub(crate) fn run_all(
    ops: &[Op],
    first: usize,
    context: &Context<'_>,
    child: Option<InChild>,
) -> Result<()> {
    for (index, op) in ops.iter().enumerate() {
        context.slot.begin(first + index);
        if let Op::BecomeInit(policy) = op {
            let rest = ops.get(index + 1..).unwrap_or_default();
            let child = child.ok_or(Errno::INVAL)?;
            return become_init(policy, rest, first + index + 1, context, child);
        }
        run(op, context, child)?;
        if matches!(op, Op::Mount(_)) && !matches!(ops.get(index + 1), Some(Op::Mount(_))) {
            context.mount_state.close();
        }
    }
    Ok(())
}

/// The steps of the program's process.
struct Program<'a> {
    ops: &'a [Op],
    first: usize,
    context: &'a Context<'a>,
}

/// Does not return, unless there is no program.
fn become_init(
    init: &NewInit,
    ops: &[Op],
    first: usize,
    context: &Context<'_>,
    child: InChild,
) -> Result<()> {
    // What is ignored is not waited for.
    signal::ignore_sigchld(false)?;
    if !context.has_no_exec {
        prctl::set_name(c"init")?;
    }
    let slot = context.slot;
    let main = start(&Program { ops, first, context }, child)?;
    let last = first + ops.len().saturating_sub(1);
    let runs =
        context.has_no_exec || (slot.step() == last && wait::may_have_run_exec(libc::P_PID, main));
    if slot.failure().is_some() || !runs {
        // The parent learns from the slot what became of it.
        process::exit(BROKEN);
    }
    if !context.has_no_exec {
        slot.begin(first - 1);
        let started = context.started.ok_or(Errno::BADF)?;
        file::write_once(started.as_raw_fd(), &[1])?;
    }
    // SAFETY: the value of a reference. Volatile, since it must be read now: an ordinary copy may be put off,
    // and the memory is about to go.
    let NewInit { policy, image } = unsafe { ptr::read_volatile(init) };
    let mut main_loop = MainLoop::new(policy, Role::First, ALL, -1);
    main_loop.program = main;
    let command_line = CommandLine::default();
    let proc = context.proc.map_or(-1, |proc| proc.as_raw_fd());
    let init = InitProcess { main_loop, origin: InitOrigin::Command, proc, image, command_line };
    init.run(child.only_thread())
}

fn start(program: &Program<'_>, child: InChild) -> Result<i32> {
    let mode = if program.context.has_no_exec || !can_share_memory() {
        CloneMode::Copy { stack: None, sleeps: !program.context.has_no_exec }
    } else {
        CloneMode::Vfork(None)
    };
    // Exec sets it otherwise, and so tells that the program runs.
    let exit_signal =
        if program.context.has_no_exec { libc::SIGCHLD.unsigned_abs().into() } else { 0 };
    // Handlers were reset when this process was made.
    let request = CloneRequest { exit_signal, ..CloneRequest::new(mode, None) };
    let legacy = AtomicBool::new(false);
    // SAFETY: we sleep until the child has done with our memory, or it has a copy; the steps neither
    // allocate, lock, unwind nor call libc, or are the caller's code, for which the caller promised.
    let made =
        unsafe { clone::clone(&request, &legacy, run_program, program, child.signals_blocked()) }?;
    i32::try_from(made.pid).map_err(|_| Errno::INVAL)
}

fn run_program(program: &Program<'_>, child: InChild) -> ! {
    let errno = match run_all(program.ops, program.first, program.context, Some(child)) {
        Err(errno) => errno,
        // Steps without exec.
        Ok(()) => Errno::INVAL,
    };
    program.context.slot.fail(errno);
    process::exit(BROKEN)
}
