//! A program with privileges of its file (set-user-ID) believes nothing of its caller's environment. The test
//! binary is copied, marked and run by an ordinary user, with [`ACTION`] set and a hostile `PATH`.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Command as StdCommand, ExitCode};

use linux_namespaces::Command;

use crate::action::ACTION;
use crate::files::{c_string, dir, script, set_mode};
use crate::harness::cases;
use crate::machine::Need::{OtherIds, Root};
use crate::stage;

cases! {
    a_set_user_id_program_does_not_believe_its_path [Root, OtherIds],
    an_ordinary_program_does [Root, OtherIds],
}

const CALLER: u32 = 65_534;
/// Whose file it is: not root's, so that id maps of more than its own id take newuidmap(1).
const OWNER: u32 = 54_321;

/// In the program: whether anything of the caller's `PATH` is run or would be.
pub(crate) fn act(hostile: &str) -> ExitCode {
    let theirs = Command::new("id").output().is_ok_and(|output| output.stdout == b"hostile\n");
    let map = stage::id_map(&[(0, 100_000, 10)]);
    let mut mapped = Command::new("/bin/true");
    mapped.uid_map(map.clone()).gid_map(map);
    let plan = mapped.plan().map_or_else(|error| format!("{error:#}"), |plan| plan.to_string());
    let tool = plan.contains(hostile);
    let mut told = Command::new("id");
    let told = told.env("PATH", hostile).output().is_ok_and(|output| output.stdout == b"hostile\n");
    println!("{theirs} {tool} {told}");
    ExitCode::SUCCESS
}

fn run(mode: u32) -> String {
    let dir = dir();
    let hostile = dir.path().join("hostile");
    fs::create_dir(&hostile).unwrap();
    for name in ["id", "newuidmap", "newgidmap"] {
        script(hostile.join(name), "#!/bin/sh\necho hostile\n");
    }
    let program = dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    chown(&program, Some(OWNER), None).unwrap();
    set_mode(&program, mode);
    let path = c_string(&program);
    // SAFETY: a C string and room for the answer; all zero bytes are a statvfs.
    let mounted = unsafe {
        let mut about: libc::statvfs = std::mem::zeroed();
        assert_eq!(libc::statvfs(path.as_ptr(), &raw mut about), 0);
        about.f_flag
    };
    assert_eq!(mounted & libc::ST_NOSUID, 0, "the trial takes a directory without nosuid");
    let mut command = StdCommand::new(&program);
    command.uid(CALLER).gid(CALLER).current_dir("/");
    command.env(ACTION, format!("secure={}", hostile.display())).env("PATH", &hostile);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn a_set_user_id_program_does_not_believe_its_path() {
    assert_eq!(run(0o4755), "false false true\n");
}

/// So the attack is one.
fn an_ordinary_program_does() {
    assert_eq!(run(0o755), "true true true\n");
}
