//! What a process gives up that is an init and nothing else from now on. The child of a
//! [`Command`](crate::Command) with an init becomes one, and a process that calls
//! [`Supervisor::supervise_and_exit`](crate::Supervisor::supervise_and_exit).
//!
//! | | the child of a command | a process that calls `supervise_and_exit` |
//! |---|---|---|
//! | memory that the loop does not need | given back | given back, except the command line |
//! | working directory | `/` | `/` |
//! | capabilities except `CAP_KILL` | dropped | dropped |
//! | `no_new_privs` | set | set |
//! | descriptors from 3 on | closed | closed |
//! | standard streams | closed, except what it writes notices to, and the terminal that it manages | kept |
//! | name | `init` | kept |
//! | root directory, umask, session, ids, timers, parent death signal, seccomp filters | kept | kept |
//!
//! A subreaper that signals other processes keeps a descriptor of `/proc`.

#![allow(unsafe_code, reason = "it gives up the memory of code that never runs again")]

use std::os::fd::RawFd;

use crate::init::main_loop::MainLoop;
use crate::init::policy::{BROKEN, Placement, RemainingProcesses, Role, Verbosity};
use crate::init::report::Notice;
use crate::sys::clone::continue_on;
use crate::sys::image::Image;
use crate::sys::in_child::{InChild, OnlyThread};
use crate::sys::memory::{CommandLine, KeptMemory, release};
use crate::sys::signal::{self, ALL};
use crate::sys::stack::Stack;
use crate::sys::{abi, caps, file, namespaces, prctl, process, terminal};

/// How the process became an init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InitOrigin {
    /// As the child of a command.
    Command,
    /// By `Supervisor::supervise_and_exit`.
    SuperviseAndExit,
}

/// An init for the rest of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InitProcess {
    pub(crate) main_loop: MainLoop,
    pub(crate) origin: InitOrigin,
    /// The root of a checked `/proc`; or -1.
    pub(crate) proc: RawFd,
    /// If it is not known, no memory is given back.
    pub(crate) image: Option<Image>,
    /// The command line that other processes read.
    pub(crate) command_line: CommandLine,
}

/// The loop, and the memory that it keeps.
#[derive(Clone, Copy)]
struct InitState {
    init: InitProcess,
    kept: Option<KeptMemory>,
}

impl InitProcess {
    /// Gives up what an init does not need, supervises the program, and ends this process as it ends.
    pub(crate) fn run(mut self, only_thread: OnlyThread) -> ! {
        // Also those with a handler of libc's, which would look for its thread.
        let _ = signal::set_mask(ALL);
        self.main_loop.watched = ALL;
        self.image = self.image.filter(|_| only_thread.owns_memory());
        // Of which the range is known, whatever the stack of this process looks like.
        let stack = self.image.and_then(|_| Stack::new(Stack::SMALL).ok());
        let (Some(image), Some(stack)) = (self.image, stack) else {
            begin(&InitState { init: self, kept: None });
        };
        let kept = KeptMemory { image, stack: stack.span(), command_line: self.command_line };
        // SAFETY: `begin` never returns to these frames, and leaks what is in them.
        unsafe { continue_on(stack, begin, InitState { init: self, kept: Some(kept) }) }
    }

    fn give_up_resources(&mut self, kept: Option<&KeptMemory>) {
        // SAFETY: the only thread is here, and never returns to who owns a descriptor.
        let alone = unsafe { InChild::assume(false) };
        // Processes that share these keep them as they are. Where a filter forbids to unshare, as those of container
        // engines do, hardly any process shares them, and what stays open keeps mounts busy.
        let is_own = |answer| answer == Ok(()) || namespaces::is_filtered(answer);
        let has_own_fs = is_own(namespaces::unshare_fs());
        let has_own_files = is_own(namespaces::unshare_files());
        if has_own_fs {
            let _ = file::chdir(c"/");
        }
        if let Some(kept) = kept {
            // SAFETY: the only thread of this memory is here, or there is nothing to keep. We are on the stack that is kept, where the main_loop and all that it
            // refers to is.
            let _ = unsafe { release(self.proc, kept) };
        }
        if has_own_files {
            self.close_files(alone);
        }
        let _ = caps::keep_only(abi::CAP_KILL);
        let _ = prctl::set_no_new_privs();
    }

    fn close_files(&mut self, alone: InChild) {
        let signals_others = matches!(
            self.main_loop.policy.remaining,
            RemainingProcesses::Terminate { .. } | RemainingProcesses::Kill
        );
        if self.main_loop.role != Role::Subreaper || !signals_others {
            self.main_loop.proc = -1;
        }
        let _ = file::close_all_but(self.main_loop.proc.max(2), alone);
        if self.origin == InitOrigin::Command {
            let manages = self.main_loop.policy.placement == Placement::Group;
            let is_terminal = |stream| terminal::foreground(stream).is_ok();
            let terminal = (0..=2).find(|&stream| manages && is_terminal(stream));
            let writes = self.main_loop.policy.verbosity != Verbosity::Silent;
            (0..=2)
                .filter(|&stream| Some(stream) != terminal && !(writes && stream == 2))
                .for_each(|stream| file::close_copy(stream, alone));
        }
    }
}

fn begin(begun: &InitState) -> ! {
    let mut init = begun.init;
    init.give_up_resources(begun.kept.as_ref());
    let policy = init.main_loop.policy;
    if init.origin == InitOrigin::Command {
        Notice::Started { pid: init.main_loop.program }.tell(policy.verbosity);
    }
    process::exit(init.main_loop.run().map_or(BROKEN, |ended| policy.exit_code(ended).into()))
}
