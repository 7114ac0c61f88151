//! Where a child's standard streams come from and go to.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::error::{AtStep, Result, Step};
use crate::plan::stream::Stream;
use crate::process_state;
use crate::sys::Errno;
use crate::sys::file::{NULL_DEVICE, is_device};
use crate::sys::in_root::open_inside_here;

/// What a standard stream of a child is connected to, like [`std::process::Stdio`], whose contents no other crate can
/// access.
///
/// It is created from whatever std's is created from. A pipe or a socket is one by way of [`OwnedFd`]:
/// `OwnedFd::from(reader)`.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Command, Stdio};
/// use std::fs::File;
///
/// let status = Command::new("cat")
///     .stdin(File::open("/proc/self/comm")?)
///     .stdout(Stdio::null())
///     .status()?;
/// assert!(status.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Stdio(StdioKind);

#[derive(Debug)]
enum StdioKind {
    Inherit,
    Null,
    Piped,
    Fd(OwnedFd),
    OwnStdout,
    OwnStderr,
}

impl Stdio {
    /// The same stream of this process.
    #[must_use]
    pub fn inherit() -> Self {
        Self(StdioKind::Inherit)
    }

    /// `/dev/null`.
    #[must_use]
    pub fn null() -> Self {
        Self(StdioKind::Null)
    }

    /// A new pipe, the other end of which is in the [`Child`](crate::Child).
    #[must_use]
    pub fn piped() -> Self {
        Self(StdioKind::Piped)
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Self {
        Self(StdioKind::Fd(fd))
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        OwnedFd::from(file).into()
    }
}

impl From<ChildStdin> for Stdio {
    fn from(pipe: ChildStdin) -> Self {
        OwnedFd::from(pipe).into()
    }
}

impl From<ChildStdout> for Stdio {
    fn from(pipe: ChildStdout) -> Self {
        OwnedFd::from(pipe).into()
    }
}

impl From<ChildStderr> for Stdio {
    fn from(pipe: ChildStderr) -> Self {
        OwnedFd::from(pipe).into()
    }
}

/// Standard output of this process, as it is at the spawn.
impl From<io::Stdout> for Stdio {
    fn from(_: io::Stdout) -> Self {
        Self(StdioKind::OwnStdout)
    }
}

/// Standard error of this process, as it is at the spawn.
impl From<io::Stderr> for Stdio {
    fn from(_: io::Stderr) -> Self {
        Self(StdioKind::OwnStderr)
    }
}

/// Which end of a pipe is the parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

impl Stream {
    pub(super) fn open(stdio: &Stdio, direction: Direction) -> Result<Self> {
        Self::try_open(stdio, direction).at_step(Step::Prepare)
    }

    fn try_open(stdio: &Stdio, direction: Direction) -> core::result::Result<Self, Errno> {
        Ok(match &stdio.0 {
            StdioKind::Inherit => Self::default(),
            StdioKind::Null => {
                let access =
                    if direction == Direction::In { OFlags::RDONLY } else { OFlags::WRONLY };
                let null = open_null(access | OFlags::CLOEXEC)?;
                Self { child: Some(above_stdio(null)?), parent: None }
            }
            StdioKind::Piped => {
                let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
                let (child, parent) = match direction {
                    Direction::In => (reader, writer),
                    Direction::Out => (writer, reader),
                };
                Self { child: Some(above_stdio(child)?), parent: Some(parent) }
            }
            StdioKind::Fd(fd) => Self { child: Some(duplicate_above(fd)?), parent: None },
            StdioKind::OwnStdout => {
                Self { child: Some(duplicate_above(io::stdout())?), parent: None }
            }
            StdioKind::OwnStderr => {
                Self { child: Some(duplicate_above(io::stderr())?), parent: None }
            }
        })
    }
}

/// In a root that is not the caller's it may be a link to what this process has open, `ELOOP`, and in any root something
/// else than the device: `ENODEV`.
fn open_null(flags: OFlags) -> core::result::Result<OwnedFd, Errno> {
    let is_other_root = process_state::is_in_other_root();
    if is_other_root && !is_device(open_inside_here(c"/dev/null")?, NULL_DEVICE)? {
        return Err(Errno::NODEV);
    }
    // What has come there since must not block.
    let at_once = if is_other_root { OFlags::NONBLOCK } else { OFlags::empty() };
    let flags = flags | OFlags::NOCTTY;
    let null = rustix::fs::openat(CWD, "/dev/null", flags | at_once, Mode::empty())?;
    if !is_device(&null, NULL_DEVICE)? {
        return Err(Errno::NODEV);
    }
    if is_other_root {
        rustix::fs::fcntl_setfl(&null, flags)?;
    }
    Ok(null)
}

/// A program may have closed 0, 1 or 2, so that a new descriptor gets that number.
fn above_stdio(fd: OwnedFd) -> core::result::Result<OwnedFd, Errno> {
    if fd.as_raw_fd() > 2 { Ok(fd) } else { duplicate_above(fd) }
}

fn duplicate_above(fd: impl AsFd) -> core::result::Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3)
}
