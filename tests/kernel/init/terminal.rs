//! Inits on a terminal of their own: a shell inside of one works as it does without.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{Example, NewProc, Program, UserNamespaces};
use crate::machine::example;

cases! {"init_terminal":
    a_shell_in_its_own_group_has_job_control [Example("init"), Program("bash")],
    a_shell_in_its_own_session_has_job_control [Example("init"), Program("bash")],
    a_shell_below_a_pid_1_has_job_control
        [Example("container"), Program("bash"), UserNamespaces, NewProc],
    an_interrupt_ends_the_program_alone [Example("init"), Program("bash")],
    a_stop_gives_the_terminal_back [Example("init"), Program("bash")],
}

/// A session whose leader has a new terminal.
pub(super) struct Session {
    terminal: File,
    leader: Child,
    seen: String,
}

impl Session {
    pub(super) fn new(program: &Path, args: &[&str]) -> Self {
        let (mut ours, mut theirs) = (-1, -1);
        // SAFETY: the kernel makes two descriptors, which are ours alone.
        let (terminal, other) = unsafe {
            let none = std::ptr::null_mut();
            assert_eq!(
                libc::openpty(&raw mut ours, &raw mut theirs, none, none.cast(), none.cast()),
                0
            );
            libc::fcntl(ours, libc::F_SETFD, libc::FD_CLOEXEC);
            (File::from_raw_fd(ours), File::from_raw_fd(theirs))
        };
        let mut command = Command::new(program);
        command
            .args(args)
            .env("PS1", "$ ")
            .env("TERM", "dumb")
            .env_remove("PROMPT_COMMAND")
            .stdin(other.try_clone().unwrap())
            .stdout(other.try_clone().unwrap())
            .stderr(other);
        // SAFETY: system calls.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let leader = command.spawn().unwrap();
        Self { terminal, leader, seen: String::new() }
    }

    pub(super) fn shell(args: &[&str]) -> Self {
        let own = ["--norc", "--noprofile", "--noediting", "-i"];
        let mut all = args.to_vec();
        all.extend(own);
        let mut session = Self::new(&crate::machine::in_path("bash").unwrap(), &own);
        session.wait_for("$ ");
        session
    }

    pub(super) fn send(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until the text has come, and forgets what came before its end.
    pub(super) fn wait_for(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let mut entry =
                libc::pollfd { fd: self.terminal.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry.
            let ready = unsafe { libc::poll(&raw mut entry, 1, 20_000) };
            let mut chunk = [0; 1024];
            let length = if ready == 1 { self.terminal.read(&mut chunk).unwrap_or(0) } else { 0 };
            assert!(length > 0, "no {text:?} comes after {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
    }

    pub(super) fn command(&mut self, line: &str) {
        self.send(&format!("{line}\n"));
    }

    /// Its pid.
    pub(super) fn leader(&self) -> u32 {
        self.leader.id()
    }

    /// The process group that has the terminal.
    pub(super) fn foreground(&self) -> u32 {
        // SAFETY: asks the terminal; from its other side that needs no session.
        unsafe { libc::tcgetpgrp(self.terminal.as_raw_fd()) }.cast_unsigned()
    }

    /// The leader's, when it has ended.
    pub(super) fn status(&mut self) -> Option<i32> {
        self.leader.wait().unwrap().code()
    }

    pub(super) fn end(mut self, status: i32) {
        self.command(&format!("exit {status}"));
        assert_eq!(self.status(), Some(status));
    }
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
