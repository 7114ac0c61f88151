//! An init and nothing else for the rest of this process.

#![allow(unsafe_code, reason = "it gives up the memory of code that never runs again")]

use core::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd};

use crate::engine::init_process::{InitOrigin, InitProcess};
use crate::init::main_loop::MainLoop;
use crate::init::policy::BROKEN;
use crate::proc_fs::{ProcFs, command_line};
use crate::sys::image::Image;
use crate::sys::in_child::OnlyThread;
use crate::sys::memory::CommandLine;
use crate::sys::process;
use crate::sys::span::Span;

/// Supervises the main_loop's program and ends this process as it ends. If this is the only thread, gives up what
/// [`InitProcess`] lists.
pub(crate) fn supervise_and_exit(mut main_loop: MainLoop) -> ! {
    // An error lies in memory that is about to go.
    let proc = ProcFs::open().ok().map(ManuallyDrop::new);
    let fd = proc.as_ref().map_or(-1, |proc| proc.as_raw_fd());
    let lists_children =
        proc.as_ref().is_some_and(|proc| matches!(proc.is_of_own_pid_namespace(), Ok(true)));
    main_loop.proc = if lists_children { fd } else { -1 };
    // Of a process that cannot tell whether others share its memory, all but that is given up.
    let only_thread = OnlyThread::ask().or_else(|| {
        // SAFETY: the kernel says so.
        has_one_thread(proc.as_deref()).then(|| unsafe { OnlyThread::assume() })
    });
    if let Some(only_thread) = only_thread {
        let command_line = proc.as_ref().and_then(|proc| {
            let stat = proc.read_once(proc.as_fd(), "self/stat").ok()?;
            let (start, end) = command_line(&stat)?;
            Some(CommandLine::new(Span { start, end }))
        });
        let image = Image::own().filter(|_| only_thread.owns_memory());
        let command_line = command_line.unwrap_or_default();
        let init = InitProcess {
            main_loop,
            origin: InitOrigin::SuperviseAndExit,
            proc: fd,
            image,
            command_line,
        };
        init.run(only_thread)
    }
    process::exit(main_loop.run().map_or(BROKEN, |ended| main_loop.policy.exit_code(ended).into()))
}

fn has_one_thread(proc: Option<&ProcFs>) -> bool {
    let status = proc.and_then(|proc| proc.read_once(proc.as_fd(), "self/status").ok());
    status.is_some_and(|text| text.split(|&byte| byte == b'\n').any(|line| line == b"Threads:\t1"))
}
