//! Terminals, and sessions on them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use super::machine::in_path;

/// A session whose leader has a new terminal.
pub(crate) struct Session {
    terminal: File,
    leader: Child,
    seen: String,
}

impl Session {
    pub(crate) fn new(program: &Path, args: &[&str]) -> Self {
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

    pub(crate) fn shell(args: &[&str]) -> Self {
        let own = ["--norc", "--noprofile", "--noediting", "-i"];
        let mut all = args.to_vec();
        all.extend(own);
        let mut session = Self::new(&in_path("bash").unwrap(), &own);
        session.wait_for("$ ");
        session
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until the text has come, and forgets what came before its end.
    pub(crate) fn wait_for(&mut self, text: &str) {
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

    pub(crate) fn command(&mut self, line: &str) {
        self.send(&format!("{line}\n"));
    }

    /// Its pid.
    pub(crate) fn leader(&self) -> u32 {
        self.leader.id()
    }

    /// The process group that has the terminal.
    pub(crate) fn foreground(&self) -> u32 {
        // SAFETY: asks the terminal; from its other side that needs no session.
        unsafe { libc::tcgetpgrp(self.terminal.as_raw_fd()) }.cast_unsigned()
    }

    /// The leader's, when it has ended.
    pub(crate) fn status(&mut self) -> Option<i32> {
        self.leader.wait().unwrap().code()
    }

    pub(crate) fn end(mut self, status: i32) {
        self.command(&format!("exit {status}"));
        assert_eq!(self.status(), Some(status));
    }
}
