//! What this test binary does as a program: see `common/action.rs`.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use crate::action::ACTION;
use crate::library::{
    around, birth, clocks, contained, counts, discover, hostile, init, secure_exec,
};
use crate::stage;

pub(crate) fn act(action: &str) -> ExitCode {
    if let Some(action) = action.strip_prefix("init:") {
        return init::payload::act(action);
    }
    match action.split_once('=').unwrap_or((action, "")) {
        ("clocks", _) => clocks::show(),
        ("spawns", _) => around::act(),
        ("undo", attack) => hostile::undo::attacks::act(attack),
        ("contained", filter) => contained::act(filter),
        ("stall", attack) => hostile::fuse::act(attack),
        ("hide", how) => discover::mounts::hide_a_pin(how),
        ("cover", _) => discover::cover_own_proc(),
        ("mount", path) => mount_inside(path),
        ("setsid", _) => in_a_session(),
        ("discover", others) => counts::discover_among(others.parse().unwrap()),
        ("secure", hostile) => secure_exec::act(hostile),
        ("nest", levels) => birth::nest(levels.parse().unwrap()),
        _ => counts::act(action),
    }
}

fn in_a_session() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let mut program = Command::new(arguments.next().unwrap());
    program.args(arguments).env_remove(ACTION);
    // SAFETY: this process alone.
    assert!(unsafe { libc::setsid() } > 0, "{}", std::io::Error::last_os_error());
    panic!("{}", program.exec())
}

fn mount_inside(path: &str) -> ExitCode {
    stage::tmpfs(path);
    fs::write(format!("{path}/inside"), "").unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    println!("{} shared", mounts.matches(" shared:").count());
    ExitCode::SUCCESS
}
