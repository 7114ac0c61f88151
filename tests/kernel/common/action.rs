//! This test binary as a program that does something else than to run trials: see `act.rs`.

use linux_namespaces::Command;

/// The environment variable that names what it does.
pub(crate) const ACTION: &str = "LINUX_NAMESPACES_ACTION";

pub(crate) fn command(action: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ACTION, action);
    command
}

/// setsid(1) for shell scripts, to be used in the background.
pub(crate) fn setsid() -> String {
    let program = std::env::current_exe().unwrap();
    format!("setsid() {{ {ACTION}=setsid exec '{}' \"$@\"; }}; ", program.display())
}
