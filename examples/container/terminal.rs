//! The terminal, which we lend to the program and take back.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{getpgrp, tcgetpgrp, tcsetpgrp};

/// Whether a person sits at the terminal and talks to us: not in the background, not in a pipeline,
/// whose other programs need the terminal as well.
pub(crate) fn is_ours() -> bool {
    let all_streams = stdin().is_terminal() && stdout().is_terminal() && stderr().is_terminal();
    all_streams && tcgetpgrp(stdin()) == Ok(getpgrp())
}

/// Makes our process group the terminal's foreground group again. The init inside cannot: our group has no
/// number there.
pub(crate) fn take_back() {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTTOU);
    if blocked.thread_block().is_ok() {
        tcsetpgrp(stdin(), getpgrp()).ok();
        blocked.thread_unblock().ok();
    }
}

/// Ctrl-C and Ctrl-\ go to all processes at the terminal. What they mean is for the program to say; we
/// live until it ends. A handler, since what is ignored would be ignored in the program, too.
pub(crate) fn leave_signals_to_the_program() {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGQUIT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))).ok();
    }
}
