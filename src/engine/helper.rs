//! The process that writes id maps from outside a new user namespace.
//!
//! Only a process in the parent user namespace may map more than its own id. The thread that makes
//! the namespace is inside at once, or asleep until its child execs; so a helper is made before,
//! sharing our memory where it can, and sleeps until it is told whom to serve.
//!
//! What it and the others rely on is said in [`slot`](super::slot). It reads the writes and the slot, and nothing
//! else, until it ends; [`Helper`] waits for that end before it lets go of them.

#![allow(unsafe_code, reason = "it starts a process that shares our memory")]

use core::ffi::CStr;
use core::marker::PhantomData;
use core::sync::atomic::AtomicBool;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::engine::map_tool;
use crate::engine::run::write_file;
use crate::engine::slot::Slot;
use crate::error::{AtStep, Result, Step};
use crate::plan::op::{IdMapFile, IdMapWrite};
use crate::proc_fs::ProcFs;
use crate::sys::clone::{self, CloneMode, CloneRequest, PidFdCell, can_share_memory};
use crate::sys::in_child::InChild;
use crate::sys::signal::SignalsBlocked;
use crate::sys::stack::Stack;
use crate::sys::{self, Errno, abi, file, in_root, namespaces, prctl, process, wait};

/// A helper that is waiting or at job.
#[derive(Debug)]
pub(crate) struct Helper<'a> {
    pid_fd: OwnedFd,
    slot: &'a Slot,
    job: PhantomData<(&'a HelperJob<'a>, &'a HelperMemory)>,
}

/// What a helper runs in.
#[derive(Debug)]
pub(crate) struct HelperMemory {
    /// Where it shares our memory: what it runs on.
    stack: Option<Stack>,
    exit_signal: u64,
}

impl HelperMemory {
    /// None: nobody else's wait takes notice of the helper. But gdb(1) takes a process without `SIGCHLD` for a thread
    /// of ours, which it stops as long as another child shares our memory. So beside a tracer it is a process like any
    /// other.
    pub(crate) fn new(proc: &ProcFs) -> Result<Self> {
        let is_traced = proc.is_traced();
        let shares = can_share_memory() && !is_traced;
        let stack = shares.then(|| Stack::new(Stack::SMALL)).transpose();
        Ok(Self {
            stack: stack.at_step(Step::StartIdMapHelper)?,
            exit_signal: if is_traced { libc::SIGCHLD.unsigned_abs().into() } else { 0 },
        })
    }

    /// Whether it is ours, so that the slot may lie anywhere.
    pub(crate) fn is_shared(&self) -> bool {
        self.stack.is_some()
    }
}

/// What the helper sees.
#[derive(Debug)]
pub(crate) struct HelperJob<'a> {
    pub(crate) slot: &'a Slot,
    pub(crate) writes: &'a [IdMapWrite],
    pub(crate) proc: &'a ProcFs,
    /// Whether the slot holds the pidfd of the process to serve.
    pub(crate) check_pid_fd: bool,
    pub(crate) parent: u32,
    /// What a program that writes a map has to say; -1 if there is none.
    pub(crate) log: RawFd,
}

impl<'a> Helper<'a> {
    pub(crate) fn start(
        job: &'a HelperJob<'a>,
        memory: &'a HelperMemory,
        blocked: SignalsBlocked<'_>,
    ) -> sys::Result<Self> {
        let place = PidFdCell::new();
        let mode = match &memory.stack {
            Some(stack) => CloneMode::Concurrent(stack),
            None => CloneMode::Copy { stack: None, sleeps: false },
        };
        let request = CloneRequest {
            // The table of descriptors is shared until the helper starts work: the pidfd of a process
            // that is made later appears in it.
            flags: abi::CLONE_FILES,
            exit_signal: memory.exit_signal,
            ..CloneRequest::new(mode, Some(&place))
        };
        // The helper needs nothing of what clone(2) lacks.
        let legacy = AtomicBool::new(false);
        // SAFETY: `job` and the stack live in the Helper until its end was waited for; the entry
        // calls nothing but sys. The kernel writes the pidfd before it returns.
        let made = unsafe { clone::clone(&request, &legacy, main, job, blocked) }?;
        let pid_fd = made.into_pid_fd().ok_or(Errno::BADF)?;
        Ok(Self { pid_fd, slot: job.slot, job: PhantomData })
    }
}

impl AsFd for Helper<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pid_fd.as_fd()
    }
}

impl Drop for Helper<'_> {
    fn drop(&mut self) {
        self.slot.cancel_maps();
        // Its end is near in any case: it waits for nothing any more.
        wait::await_end(self.pid_fd.as_raw_fd());
    }
}

/// What runs in the helper.
fn main(job: &HelperJob<'_>, child: InChild) -> ! {
    let tied = prctl::set_parent_death_signal(libc::SIGKILL).is_ok();
    if tied && process::getppid() == job.parent {
        if let Some(pid) = job.slot.wait_for_target() {
            job.slot.maps_done(serve(job, pid, child));
        }
    }
    process::exit(0)
}

fn serve(
    job: &HelperJob<'_>,
    pid: u32,
    child: InChild,
) -> core::result::Result<(), (usize, Errno)> {
    let first = |errno| (0, errno);
    // From here on what the helper opens is its own.
    namespaces::unshare_files().map_err(first)?;
    let mut text = [0_u8; 11];
    let name = decimal(pid, &mut text).ok_or((0, Errno::INVAL))?;
    let dir =
        in_root::open_on_same_mount(job.proc.as_raw_fd(), name, libc::O_PATH | libc::O_DIRECTORY)
            .map_err(first)?;
    if job.check_pid_fd {
        // The process asked for its maps and is waiting. If it lives now, then the number was its
        // own when the directory was opened, and a directory never comes to mean another process.
        if file::poll_readable(job.slot.asker().ok_or((0, Errno::BADF))?, false).map_err(first)? {
            return Err((0, Errno::SRCH));
        }
    }
    for (index, write) in job.writes.iter().enumerate() {
        let path = match write.file {
            IdMapFile::Setgroups => c"setgroups",
            IdMapFile::Uid => c"uid_map",
            IdMapFile::Gid => c"gid_map",
        };
        let written = match &write.tool {
            Some(tool) => map_tool::run(tool, name, job.log, child),
            None => write_file(dir.raw(), path, &write.text),
        };
        written.map_err(|errno| (index, errno))?;
    }
    Ok(())
}

/// The number as a C string, in a buffer on the stack.
pub(crate) fn decimal(mut number: u32, buffer: &mut [u8; 11]) -> Option<&CStr> {
    let mut at = buffer.len() - 1;
    buffer[at] = 0;
    loop {
        at = at.checked_sub(1)?;
        buffer[at] = b'0' + u8::try_from(number % 10).ok()?;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    CStr::from_bytes_with_nul(&buffer[at..]).ok()
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 1, 9, 10, 4_194_304, u32::MAX] {
            let mut buffer = [0xff; 11];
            let text = decimal(number, &mut buffer).unwrap();
            assert_eq!(text.to_str().unwrap(), number.to_string());
        }
    }
}
