//! An init and nothing else for the rest of this process.

#![allow(unsafe_code, reason = "it gives up the memory of code that never runs again")]

use core::mem::ManuallyDrop;
use std::os::fd::AsRawFd;

use super::engine::Engine;
use crate::proc_fs::ProcFs;
use crate::sys::clone::InChild;
use crate::sys::signal::{self, ALL};
use crate::sys::{file, memory, process};

/// An init that cannot go on: `EX_SOFTWARE` of `sysexits.h`.
pub(crate) const BROKEN: i32 = 70;

/// Supervises the engine's program and ends this process as it ends. If this is the only thread, gives up all
/// descriptors but the standard streams, and all memory that the loop does not need.
pub(super) fn finish(mut engine: Engine) -> ! {
    let proc = ProcFs::open().map(ManuallyDrop::new);
    engine.proc = proc.as_ref().map_or(-1, |proc| proc.as_raw_fd());
    let lists_children = proc.as_ref().is_ok_and(|proc| matches!(proc.counts_as_here(), Ok(true)));
    // An error lies in memory that is about to go.
    let _ = ManuallyDrop::new(proc);
    if process::is_alone() {
        // Also those with a handler of libc's, which would look for its thread.
        let _ = signal::set_mask(ALL);
        engine.watched = ALL;
        // SAFETY: there is one thread, which never returns from here.
        let child = unsafe { InChild::assume() };
        let _ = file::close_all_but(engine.proc.max(2), child);
        // SAFETY: there is one thread, which never returns from here, and the loop uses its frames alone.
        let _ = unsafe { memory::forget(engine.proc) };
    }
    if !lists_children {
        engine.proc = -1;
    }
    process::exit(engine.run().map_or(BROKEN, |ended| engine.policy.exit_code(ended).into()))
}
