//! Inits on a terminal of their own: a shell inside of one works as it does without.

use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{Example, NewProc, Program, UserNamespaces};
use crate::machine::example;
use crate::terminal::Session;

cases! {
    a_shell_in_its_own_group_has_job_control [Example("init"), Program("bash")],
    a_shell_in_its_own_session_has_job_control [Example("init"), Program("bash")],
    a_shell_below_a_pid_1_has_job_control
        [Example("container"), Program("bash"), UserNamespaces, NewProc],
    an_interrupt_ends_the_program_alone [Example("init"), Program("bash")],
    a_stop_gives_the_terminal_back [Example("init"), Program("bash")],
}

/// Interrupts and stops a program of the shell, and takes it up again.
fn use_job_control(mut session: Session, status: i32) {
    // The words are put together by the shell, so that they are not seen where they are typed.
    session.command("sleep 61");
    foreground(&session, "sleep");
    session.send("\x03");
    session.wait_for("$ ");
    session.command("echo in''terrupted $?");
    session.wait_for("interrupted 130");
    session.command("sleep 62");
    foreground(&session, "sleep");
    session.send("\x1a");
    session.wait_for("Stopped");
    session.command("fg");
    foreground(&session, "sleep");
    session.send("\x03");
    session.wait_for("$ ");
    session.command("echo back''ground $?");
    session.wait_for("background 130");
    session.command("echo `tty` is mine''.");
    session.wait_for("is mine.");
    session.end(status);
}

/// Waits until a program of this name leads the foreground process group.
fn foreground(session: &Session, name: &str) {
    kernel::until(|| {
        let group = session.foreground();
        let comm = std::fs::read_to_string(format!("/proc/{group}/comm")).unwrap_or_default();
        comm.trim() == name && kernel::state_of(group) == 'S'
    });
}

const BASH: [&str; 4] = ["bash", "--norc", "--noprofile", "--noediting"];

fn a_shell_in_its_own_group_has_job_control() {
    let mut args = vec!["-s", "--"];
    args.extend(BASH);
    args.push("-i");
    let mut session = Session::new(&example("init").unwrap(), &args);
    session.wait_for("$ ");
    use_job_control(session, 5);
}

fn a_shell_in_its_own_session_has_job_control() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dumb-init");
    std::os::unix::fs::symlink(example("init").unwrap(), &path).unwrap();
    let mut args = BASH.to_vec();
    args.push("-i");
    let mut session = Session::new(&path, &args);
    session.wait_for("$ ");
    use_job_control(session, 6);
}

fn a_shell_below_a_pid_1_has_job_control() {
    let mut args = BASH.to_vec();
    args.push("-i");
    let mut session = Session::new(&example("container").unwrap(), &args);
    session.wait_for("$ ");
    use_job_control(session, 7);
}

fn an_interrupt_ends_the_program_alone() {
    let mut session = Session::shell(&[]);
    let init = example("init").unwrap();
    session.command(&format!("{} -s sleep 63; echo status''is $?", init.display()));
    foreground(&session, "sleep");
    session.send("\x03");
    session.wait_for("statusis 130");
    session.end(0);
}

fn a_stop_gives_the_terminal_back() {
    let mut session = Session::shell(&[]);
    let init = example("init").unwrap();
    session.command(&format!("{} -s sleep 64; echo status''is $?", init.display()));
    foreground(&session, "sleep");
    session.send("\x1a");
    session.wait_for("Stopped");
    session.command("echo shell''again");
    session.wait_for("shellagain");
    session.command("fg; echo status''after $?");
    foreground(&session, "sleep");
    session.send("\x03");
    session.wait_for("statusafter 130");
    session.end(0);
}
