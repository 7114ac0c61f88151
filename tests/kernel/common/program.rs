//! Programs that trials run, and what comes of them.

use std::io::{BufRead, BufReader, Read};
use std::ops::{Deref, DerefMut};
use std::process::ChildStdout;

use linux_namespaces::{Child, Command, Enter, Error, ErrorKind, NamespaceSet, Stdio, Step};

use super::kernel;

pub(crate) fn sh(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

/// Stays longer than any trial takes.
pub(crate) fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    command.arg("600");
    command
}

#[track_caller]
pub(crate) fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| panic!("{error:#}\n{:?}", command.plan()))
}

/// What the program writes, which succeeds.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{error:#}\n{:?}", command.plan()));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The same without its last newline.
#[track_caller]
pub(crate) fn text(command: &mut Command) -> String {
    output(command).trim_end().to_owned()
}

/// The error of a command that fails, after which everything is as before.
#[track_caller]
pub(crate) fn refused(command: &mut Command) -> Error {
    let before = kernel::census();
    let error = match command.spawn() {
        Err(error) => error,
        Ok(mut child) => panic!("{command:?} was run, and ended with {:?}", child.wait()),
    };
    assert_eq!(kernel::census(), before, "after {error:?}");
    error
}

#[track_caller]
pub(crate) fn is_at(error: &Error, step: Step, errno: i32) {
    assert_eq!((error.step(), error.raw_os_error()), (Some(step), Some(errno)), "{error:#}");
}

#[track_caller]
pub(crate) fn is_of(error: &Error, step: Step, kind: ErrorKind) {
    assert_eq!((error.step(), error.kind()), (Some(step), kind), "{error:#}");
}

/// Starts a program, and waits until it has written the line `ready`.
#[track_caller]
pub(crate) fn until_ready(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = spawn(command.stdout(Stdio::piped()));
    let lines = ready(&mut child);
    (child, lines)
}

#[track_caller]
pub(crate) fn ready(child: &mut Child) -> BufReader<ChildStdout> {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(next_line(&mut lines), "ready\n");
    lines
}

pub(crate) fn next_line(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line
}

/// Waits for the end of every process that has the other end.
pub(crate) fn rest(mut lines: impl Read) -> String {
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    rest
}

/// A program that is killed and waited for by the drop.
pub(crate) struct Held {
    child: Child,
    set: NamespaceSet,
}

impl Held {
    /// A sleeper in new namespaces; in a user namespace it is root.
    #[track_caller]
    pub(crate) fn new(set: NamespaceSet) -> Self {
        let mut command = sleeper();
        command.unshare(set);
        if set.contains(NamespaceSet::USER) {
            command.map_root();
        }
        Self { child: spawn(&mut command), set }
    }

    #[track_caller]
    pub(crate) fn of(command: &mut Command) -> Self {
        spawn(command).into()
    }

    pub(crate) fn enter(&self, set: NamespaceSet) -> Enter {
        Enter::new().process(self.child.pidfd().try_clone().unwrap(), set)
    }

    /// Of all that is new.
    pub(crate) fn enter_all(&self) -> Enter {
        self.enter(self.set)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl From<Child> for Held {
    fn from(child: Child) -> Self {
        Self { child, set: NamespaceSet::empty() }
    }
}

impl Deref for Held {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have been waited for; and where SIGCHLD is ignored there is no status, but an end, before Linux 6.15.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
