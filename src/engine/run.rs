//! Executes the steps of a plan, one after the other: here, or in a child.
//!
//! Runs between clone and exec, in memory that may be the parent's: it allocates nothing, locks
//! nothing, and makes its system calls without libc. A parent that executes its own steps passes
//! through the same code.

#![forbid(unsafe_code)]

use core::ffi::CStr;
use core::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::engine::join::join_all;
use crate::engine::mounts::{self, MountState};
use crate::engine::slot::Slot;
use crate::plan::op::{FALLBACK, IdMapFile, IdMapWrite, Lookup, Op, PreExec, SpawnFn};
use crate::sys::exec::{self, CStringArray};
use crate::sys::in_child::InChild;
use crate::sys::signal::{self, SignalSet};
use crate::sys::{
    Errno, Result, caps, exec_inside, file, ids, in_root, mount, namespaces, net, prctl, process,
    terminal, uts,
};

/// What the steps need beside themselves.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) slot: &'a Slot,
    /// What the steps that mount hand on.
    pub(crate) mount_state: &'a MountState,
    /// The signal mask that the program gets.
    pub(crate) mask: SignalSet,
    /// The root of a checked `/proc`.
    pub(crate) proc: Option<BorrowedFd<'a>>,
    /// The pidfd of the id-map helper.
    pub(crate) helper: Option<BorrowedFd<'a>>,
    /// The pidfd of the parent.
    pub(crate) parent: Option<BorrowedFd<'a>>,
    /// What standard input, output and error will be, each 3 or more; those of the caller otherwise.
    pub(crate) stdio: [Option<BorrowedFd<'a>>; 3],
    pub(crate) exec: Option<&'a ExecArgs>,
    /// Where a child that goes on without exec says that it does: the end of a pipe, 3 or more.
    pub(crate) started: Option<BorrowedFd<'a>>,
    /// Where a child that an intermediate process made sends its pidfd.
    pub(crate) pid_fd_socket: Option<BorrowedFd<'a>>,
    /// Whether the last step is the caller's code.
    pub(crate) has_no_exec: bool,
    /// The parent's ends of the child's streams, of which a child without exec has copies.
    pub(crate) parent_stdio: [Option<BorrowedFd<'a>>; 3],
}

impl<'a> Context<'a> {
    /// Of steps that need no more.
    pub(crate) fn new(slot: &'a Slot, mount_state: &'a MountState, mask: SignalSet) -> Self {
        Self {
            slot,
            mount_state,
            mask,
            proc: None,
            helper: None,
            parent: None,
            stdio: [None; 3],
            exec: None,
            started: None,
            pid_fd_socket: None,
            has_no_exec: false,
            parent_stdio: [None; 3],
        }
    }

    /// Of a step that was planned with it.
    fn needed(file: Option<BorrowedFd<'_>>) -> Result<RawFd> {
        file.map(|file| file.as_raw_fd()).ok_or(Errno::BADF)
    }
}

/// What the program gets.
#[derive(Debug)]
pub(crate) struct ExecArgs {
    pub(crate) args: CStringArray,
    pub(crate) env: CStringArray,
}

/// Executes one step.
pub(crate) fn run(op: &Op, context: &Context<'_>, child: Option<InChild>) -> Result<()> {
    // Of steps that only a child has.
    let in_child = || child.ok_or(Errno::INVAL);
    match op {
        Op::SetDumpable => prctl::set_dumpable(false),
        Op::Enter(joins) => join_all(&joins.targets).map_err(|refused| {
            context.slot.set_detail(refused.index);
            refused.errno
        }),
        Op::Unshare(set) => namespaces::unshare(set.bits()),
        // Seen to where the rest of the steps is.
        Op::BecomeInit(_) => Ok(()),
        Op::NewSession => process::setsid(),
        Op::TakeTerminal => {
            let _ = terminal::take(0);
            Ok(())
        }
        Op::TakeForeground => take_foreground(),
        Op::SetProcessGroup(group) => process::setpgid(*group),
        Op::WriteIdMap(write) => write_own_map(write, context),
        Op::WaitForIdMaps => wait_for_id_maps(context),
        Op::WriteTimeOffsets(text) => write_own(c"self/timens_offsets", text, context),
        Op::SetPropagation(propagation) => match propagation.flag() {
            Some(flag) => mount::set_propagation(c"/", libc::MS_REC | flag),
            None => Ok(()),
        },
        Op::Mount(op) => mounts::run(op, context, child),
        Op::SetHostname(name) => uts::sethostname(name.as_bytes()),
        Op::SetDomainname(name) => uts::setdomainname(name.as_bytes()),
        Op::LoopbackUp => net::loopback_up(),
        Op::ChangeRoot(dir) => {
            file::fchdir(dir.as_raw_fd())?;
            file::chroot_here()
        }
        Op::Fchdir(dir) => file::fchdir(dir.as_raw_fd()),
        Op::ConnectStdio => connect_stdio(context, in_child()?),
        Op::SetGroups(groups) => ids::setgroups(groups),
        Op::DropGroups => ids::drop_groups(),
        Op::SetGid(gid) => ids::setgid(*gid),
        Op::SetUid(uid) => ids::setuid(*uid),
        Op::SetGidToRoot => ids::set_gid_to_root(),
        Op::SetUidToRoot => ids::set_uid_to_root(),
        Op::ChangeDirectory(path, Lookup::Plain) => file::chdir(path),
        Op::ChangeDirectory(path, Lookup::Inside) => file::chdir_inside(path),
        Op::ReturnToDirectory { path, fallback } => {
            return_to(path.as_deref(), fallback.as_deref(), context)
        }
        Op::SetUmask(mask) => file::umask(*mask).map(drop),
        Op::LockMounts => caps::drop_mount_capabilities(),
        Op::KeepCapsOverIds => caps::keep_over_ids(),
        Op::KeepCaps => caps::keep_over_exec(),
        Op::NoNewPrivs => prctl::set_no_new_privs(),
        Op::SetParentDeathSignal => die_with_parent(Context::needed(context.parent)?),
        Op::IgnoreSigchld => signal::ignore_sigchld(true),
        // Without exec they have to be closed at once.
        Op::CloseFds if context.has_no_exec => {
            file::close_all_but(Context::needed(context.started)?, in_child()?)
        }
        Op::CloseFds => file::close_on_exec_from(3, in_child()?),
        Op::ResetSignals => reset_signals(context.mask, in_child()?),
        Op::PreExec(work) => pre_exec(work),
        Op::Exec(candidates, lookup) => Err(exec(candidates, *lookup, context)),
        Op::SpawnFn(work) => run_spawn_fn(work, context, in_child()?),
    }
}

fn write_own_map(write: &IdMapWrite, context: &Context<'_>) -> Result<()> {
    let path = match write.file {
        IdMapFile::Setgroups => c"self/setgroups",
        IdMapFile::Uid => c"self/uid_map",
        IdMapFile::Gid => c"self/gid_map",
    };
    write_own(path, &write.text, context)
}

fn write_own(path: &CStr, text: &str, context: &Context<'_>) -> Result<()> {
    write_file(Context::needed(context.proc)?, path, text)
}

/// Writes a file of `/proc` at once, as those of namespaces have to be.
pub(crate) fn write_file(dir: RawFd, path: &CStr, text: &str) -> Result<()> {
    let file = in_root::open_on_same_mount(dir, path, libc::O_WRONLY)?;
    file::write_once(file.raw(), text.as_bytes())
}

/// Tells the helper who we are and sleeps until it has ended, whichever way.
fn wait_for_id_maps(context: &Context<'_>) -> Result<()> {
    let (proc, helper) = (Context::needed(context.proc)?, Context::needed(context.helper)?);
    let mut text = [0; 10];
    let own = in_root::open_on_same_mount(proc, c"self", libc::O_PATH | libc::O_NOFOLLOW)?;
    let length = file::readlink_at(own.raw(), c"", &mut text)?;
    let pid = text.iter().take(length).try_fold(0_u32, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit)
    });
    context.slot.ask_for_maps(pid.ok_or(Errno::SRCH)?);
    file::poll_readable(helper, true)?;
    context.slot.maps_result().map_err(|(file, errno)| {
        context.slot.set_detail(file);
        errno
    })
}

fn connect_stdio(context: &Context<'_>, child: InChild) -> Result<()> {
    for (to, from) in (0..).zip(&context.stdio) {
        if let Some(from) = from {
            file::duplicate(from.as_raw_fd(), to, child)?;
        }
    }
    Ok(())
}

/// All signals are blocked, so that a terminal cannot stop us for asking.
fn take_foreground() -> Result<()> {
    let own = process::getpgrp();
    let terminal = (0..=2).find(|&stream| terminal::foreground(stream) == Ok(own));
    process::setpgid(0)?;
    // It may have been given to others since.
    let _ = terminal.map(|terminal| terminal::set_foreground(terminal, process::getpgrp()));
    Ok(())
}

fn die_with_parent(parent: RawFd) -> Result<()> {
    prctl::set_parent_death_signal(libc::SIGKILL)?;
    // The parent may have ended before the call. Its pid does not tell: seen from a new pid
    // namespace it is 0 at all times.
    if file::poll_readable(parent, false)? { Err(Errno::SRCH) } else { Ok(()) }
}

/// What std does: the mask is the caller's again, and SIGPIPE, which Rust ignores, kills.
fn reset_signals(mask: SignalSet, child: InChild) -> Result<()> {
    signal::set_default(libc::SIGPIPE, child)?;
    signal::set_mask(mask).map(drop)
}

/// Ends the process if it is dropped.
struct EndOnUnwind;

impl Drop for EndOnUnwind {
    fn drop(&mut self) {
        process::exit(101);
    }
}

fn pre_exec(work: &PreExec) -> Result<()> {
    // Spawning takes the builder by unique reference, so nobody else is at it.
    let Ok(mut work) = work.try_lock() else {
        return Err(Errno::BUSY);
    };
    // A panic must not unwind into the parent's code, which would then run twice.
    let end = EndOnUnwind;
    // Dropping the error would free memory, in a child that may not.
    let answer = ManuallyDrop::new(work());
    let _ = ManuallyDrop::new(end);
    match &*answer {
        Ok(()) => Ok(()),
        Err(error) => Err(Errno::from_io_error(error).unwrap_or(Errno::INVAL)),
    }
}

/// Tells the parent, and ends with what the caller's code answers. A panic ends the process, too.
fn run_spawn_fn(work: &SpawnFn, context: &Context<'_>, child: InChild) -> Result<()> {
    let Ok(mut work) = work.try_lock() else {
        return Err(Errno::BUSY);
    };
    // With its own copies open it would never see the end of its input. The others may lead out of a root
    // of its own, also for those who can look into `/proc/1/fd` there.
    let ours = [context.proc, context.helper, context.parent, context.pid_fd_socket];
    let copies = context.parent_stdio.iter().chain(&ours).flatten().map(AsRawFd::as_raw_fd);
    // What is lower is a standard stream by now.
    copies.filter(|&copy| copy > 2).for_each(|copy| file::close_copy(copy, child));
    let started = Context::needed(context.started)?;
    file::write_once(started, &[1])?;
    file::close_copy(started, child);
    let _end = EndOnUnwind;
    process::exit(work().into())
}

fn return_to(path: Option<&CStr>, fallback: Option<&CStr>, context: &Context<'_>) -> Result<()> {
    // The kernel returned this path, so there was no link in it: one that somebody has put there since leads to another
    // directory than the caller's.
    let done = path.map_or(Err(Errno::NOENT), file::chdir_without_links);
    match (done, fallback) {
        (Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS), Some(fallback)) => {
            context.slot.set_detail(FALLBACK);
            file::chdir_inside(fallback)
        }
        (done, _) => done,
    }
}

/// As `execvp(3)`: what is not there or not allowed in one directory may be in the next. A directory of
/// PATH that may not be searched does not make a missing program a forbidden one, though.
fn exec(candidates: &[std::ffi::CString], lookup: Lookup, context: &Context<'_>) -> Errno {
    let Some(ExecArgs { args, env }) = context.exec else {
        return Errno::INVAL;
    };
    let mut answer = Errno::NOENT;
    for candidate in candidates {
        let errno = match lookup {
            Lookup::Plain => exec::exec(candidate, args, env),
            Lookup::Inside => exec_inside::exec(candidate, args, env),
        };
        let is_there = || match lookup {
            Lookup::Plain => file::exists(candidate),
            Lookup::Inside => exec_inside::is_there(candidate),
        };
        match errno {
            _ if candidates.len() == 1 => return errno,
            Errno::ACCESS if is_there() => answer = errno,
            Errno::ACCESS | Errno::NOENT | Errno::NOTDIR => {}
            _ => return errno,
        }
    }
    answer
}
