//! What went wrong, in words that scripts know, and the exit status that goes with it.

use core::fmt;
use std::ffi::OsStr;
use std::io;

use linux_namespaces::{Error, Step};
use nix::errno::Errno;

#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    status: u8,
}

const OUR_FAULT: u8 = 1;
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: OUR_FAULT }
    }

    /// The first line says what is wrong; clap has more to say.
    pub(crate) fn of_options(fault: &clap::Error) -> Self {
        let text = fault.to_string();
        let line = text.lines().next().unwrap_or_default();
        let line = line.strip_prefix("error: ").unwrap_or(line);
        Self::new(format!("{line}\nTry 'unshare --help' for more information."))
    }

    /// The program could not be started, or what comes before.
    pub(crate) fn of_program(name: &OsStr, error: &Error) -> Self {
        match (error.step(), error.raw_os_error()) {
            (Some(Step::Exec), Some(errno)) => Self::of_exec(name, errno),
            (Some(Step::Clone | Step::Unshare), _) => {
                Self::new(format!("unshare failed: {error:#}"))
            }
            _ => Self::new(format!("{error:#}")),
        }
    }

    fn of_exec(name: &OsStr, errno: i32) -> Self {
        let errno = Errno::from_raw(errno);
        let message = format!("failed to execute {}: {}", name.to_string_lossy(), errno.desc());
        let status = if errno == Errno::ENOENT { NOT_FOUND } else { CANNOT_RUN };
        Self { message, status }
    }

    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(format!("{error:#}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}
