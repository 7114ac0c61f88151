//! What an init says, in lines made without memory from an allocator.

#![forbid(unsafe_code)]

use core::fmt::{self, Write};

use super::policy::Verbosity;
use crate::sys::file;
use crate::sys::wait::Ended;

/// Something worth telling.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Notice {
    Started { pid: i32 },
    AdoptsNone,
    Reaped { pid: i32, ended: Ended },
    PassedOn { received: i32, sent: i32, whom: i32 },
    NotPassedOn { received: i32 },
    Outlived,
    Signalled { signal: i32 },
}

impl Notice {
    fn level(self) -> Verbosity {
        match self {
            Self::AdoptsNone | Self::Outlived => Verbosity::Warnings,
            Self::Started { .. } | Self::Reaped { .. } | Self::Signalled { .. } => Verbosity::Info,
            Self::PassedOn { .. } | Self::NotPassedOn { .. } => Verbosity::Debug,
        }
    }

    /// On standard error, if that is wanted.
    pub(crate) fn tell(self, verbosity: Verbosity) {
        if self.level() <= verbosity {
            let mut line = Line { text: [0; 128], length: 0 };
            let _ = writeln!(line, "init: {self}");
            // Nobody is there to hear of a failure.
            let _ = file::write_once(2, line.text.get(..line.length).unwrap_or_default());
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Started { pid } => write!(f, "started process {pid}"),
            Self::AdoptsNone => f.write_str(
                "neither PID 1 nor a subreaper: orphans go to another process, and stay zombies if that \
                 does not wait",
            ),
            Self::Reaped { pid, ended: Ended { code: libc::CLD_EXITED, status } } => {
                write!(f, "process {pid} exited with status {status}")
            }
            Self::Reaped { pid, ended } => {
                write!(f, "process {pid} was killed by signal {}", ended.status)
            }
            Self::PassedOn { received, sent, whom } if whom < 0 => {
                write!(f, "got signal {received}, sent {sent} to process group {}", -whom)
            }
            Self::PassedOn { received, sent, whom } => {
                write!(f, "got signal {received}, sent {sent} to process {whom}")
            }
            Self::NotPassedOn { received } => write!(f, "got signal {received}, sent none"),
            Self::Outlived => f.write_str("the program has ended, others are still there"),
            Self::Signalled { signal } => write!(f, "sent signal {signal} to the others"),
        }
    }
}

/// A line of limited length, the rest of which is lost.
struct Line {
    text: [u8; 128],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if let Some(place) = self.text.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
        }
        Ok(())
    }
}
