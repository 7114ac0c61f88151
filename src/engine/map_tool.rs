//! `newuidmap(1)` and `newgidmap(1)`, run by the helper: they have the privilege to write what the
//! administrator allows in `/etc/subuid` and `/etc/subgid`.
//!
//! The process to serve waits for its maps, and nobody waits for the process, so that its number stays
//! its own while the program looks it up.

#![allow(unsafe_code, reason = "it makes a process and runs a program in it")]

use core::ffi::CStr;
use core::sync::atomic::AtomicBool;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::fs::MemfdFlags;

use crate::error::{self, AtStep, Error, ErrorKind, Step};
use crate::plan::op::{IdMapWrite, MapTool};
use crate::sys::clone::{self, CloneMode, CloneRequest, PidFdCell};
use crate::sys::file::Fd;
use crate::sys::in_child::InChild;
use crate::sys::{Errno, Result, abi, exec, file, prctl, process, signal, wait};

/// The program refused: what it wrote is in the log.
pub(crate) const REFUSED: Errno = Errno::CANCELED;

/// What such programs say, in memory that is a file. Nothing where none is to be run.
#[derive(Debug)]
pub(crate) struct Log(Option<OwnedFd>);

impl Log {
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    pub(crate) fn for_writes(writes: &[IdMapWrite]) -> error::Result<Self> {
        let wanted = writes.iter().any(|write| write.tool.is_some());
        let make = || {
            let log = rustix::fs::memfd_create(c"id map program", MemfdFlags::CLOEXEC)?;
            // The program's standard output comes to be it, which takes another number.
            rustix::io::fcntl_dupfd_cloexec(log, 3)
        };
        Ok(Self(wanted.then(make).transpose().at_step(Step::Prepare)?))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// The error of a program that [refused](REFUSED).
    pub(crate) fn refusal(&self, write: &IdMapWrite) -> Error {
        let mut said = vec![0; 4096];
        let length = self.0.as_ref().and_then(|log| rustix::io::pread(log, &mut said[..], 0).ok());
        said.truncate(length.unwrap_or(0));
        let said = String::from_utf8_lossy(&said).trim().replace('\n', "; ");
        let path = write.tool.as_ref().map_or(c"", |tool| &tool.path);
        let hint = if prctl::has_no_new_privs() {
            "; this process has no_new_privs set, so that no program gains the privilege"
        } else {
            ""
        };
        let said = if said.is_empty() { "it did not say why".to_owned() } else { said };
        let message = format!("{path:?} did not write the map: {said}{hint}");
        Error::new(ErrorKind::PermissionDenied, message).at_step(write.file.step())
    }
}

/// The program, the pid, and three numbers for each of 340 extents, and a null pointer.
const MOST_ARGS: usize = 3 + 3 * 340;

struct ToolCall<'a> {
    path: &'a CStr,
    /// The last place stays empty.
    args: [Option<&'a CStr>; MOST_ARGS],
    log: RawFd,
}

/// Runs the program for a process, and waits for its end. Allocates nothing.
pub(crate) fn run(tool: &MapTool, pid: &CStr, log: RawFd, child: InChild) -> Result<()> {
    let mut call = ToolCall { path: &tool.path, args: [None; MOST_ARGS], log };
    let args = [&*tool.path, pid].into_iter().chain(tool.args.iter().map(|arg| &**arg));
    for (place, arg) in call.args.iter_mut().take(MOST_ARGS - 1).zip(args) {
        *place = Some(arg);
    }
    // Where it is ignored, the kernel keeps no exit status of children.
    signal::ignore_sigchld(false)?;
    let place = PidFdCell::new();
    // A copy of the memory: should this process be killed, nobody waits for the other one before the parent
    // frees what all would see.
    let mode = CloneMode::Copy { stack: None, sleeps: false };
    let flags = abi::CLONE_CLEAR_SIGHAND;
    let request = CloneRequest { flags, ..CloneRequest::new(mode, Some(&place)) };
    // SAFETY: the call lives in the copy; the entry makes system calls and nothing else.
    unsafe {
        let blocked = child.signals_blocked();
        clone::clone(&request, &AtomicBool::new(false), become_tool, &call, blocked)
    }?;
    // SAFETY: the kernel has just made it. It is closed without libc.
    let pid_fd = unsafe { Fd::from_raw(place.number().ok_or(Errno::BADF)?) };
    let ended = wait::await_end(pid_fd.raw());
    match ended {
        Some(wait::Ended { code: libc::CLD_EXITED, status: 0 }) => Ok(()),
        _ => Err(REFUSED),
    }
}

fn become_tool(call: &ToolCall<'_>, child: InChild) -> ! {
    let ready = file::duplicate(call.log, 1, child)
        .and_then(|()| file::duplicate(call.log, 2, child))
        .and_then(|()| signal::set_default(libc::SIGPIPE, child))
        .and_then(|()| signal::set_mask(0));
    if ready.is_ok() {
        exec::exec_bare(call.path, &call.args);
    }
    process::exit(127)
}
