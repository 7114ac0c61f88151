//! The terminal, which we lend to the program and take back.

use std::io::{IsTerminal, stderr, stdin, stdout};

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
