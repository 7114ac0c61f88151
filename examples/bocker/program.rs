//! What is the same for every program in a container, and how we wait for it.

use linux_namespaces::{Command, Init, Supervisor};

use crate::{Result, terminal};

/// A program with the environment of a container.
pub(crate) fn new(program: &[String]) -> Result<Command> {
    let (name, args) = program.split_first().ok_or("there is no program to run")?;
    let mut command = Command::new(name);
    command.args(args).env_clear().current_dir("/");
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", "/root");
    if let Some(kind) = std::env::var_os("TERM") {
        command.env("TERM", kind);
    }
    // Whoever kills us ends what we look after.
    command.kill_on_parent_exit().close_other_fds();
    Ok(command)
}

/// Signals that reach this process from here on are for the program.
pub(crate) fn arm() -> Result<Supervisor> {
    Ok(Init::new().new_process_group().arm()?)
}

/// Takes the terminal back that a program had.
pub(crate) fn with_terminal<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let is_ours = terminal::is_ours();
    let result = work();
    if is_ours {
        terminal::take_back();
    }
    result
}
