//! Namespaces kept at files: `--net=FILE`. Who is inside of a new user or mount namespace cannot do that, so a
//! process does it that stays outside: this one for its child, and for itself one that it starts before.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use linux_namespaces::{Child, Command, Namespace, NsFd, PidFd, Pinned, Stdio};
use nix::unistd::geteuid;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, open, statat, unlinkat};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::failure::Failure;
use crate::options::Options;

/// The first argument of the process that stays outside. The rest are whom to serve, and the command line
/// once more.
pub(crate) const NAME: &str = "--outside";

/// Says yes to a process that waits, when its namespaces are kept.
const GO: &[u8] = b".";

/// Keeps the namespaces of a process, or of its children to come: all of them or none.
fn keep_all(process: &PidFd, files: &[(Namespace, PathBuf)]) -> Result<(), Failure> {
    let mut pins = Vec::new();
    for (kind, file) in files {
        let namespace = NsFd::for_children_of(process, *kind)?;
        make_room(file)?;
        pins.push(namespace.pin(file)?);
    }
    pins.into_iter().for_each(Pinned::keep);
    Ok(())
}

/// The original mounts on a file that exists. An empty one of ours makes room for a new one.
fn make_room(file: &Path) -> io::Result<()> {
    let Some(name) = file.file_name() else { return Ok(()) };
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    // Held, as its owner could exchange it for another one.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = open(parent.unwrap_or(Path::new(".")), flags, Mode::empty()) else {
        return Ok(());
    };
    let Ok(about) = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return Ok(());
    };
    let is_file = FileType::from_raw_mode(about.st_mode) == FileType::RegularFile;
    if !is_file || about.st_size != 0 || about.st_uid != geteuid().as_raw() {
        return Ok(());
    }
    match unlinkat(&dir, name, AtFlags::empty()) {
        // There is a namespace, which stays.
        Err(Errno::BUSY) => Ok(()),
        removed => Ok(removed?),
    }
}

/// A process outside of the namespaces that this one is going to make for itself.
pub(crate) struct Outside(Child);

impl Outside {
    /// To be called before.
    pub(crate) fn start() -> Result<Self, Failure> {
        let mut command = Command::new(env::current_exe()?);
        command.args([NAME, &std::process::id().to_string()]).args(env::args_os().skip(1));
        Ok(Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?))
    }

    /// To be called after, when they are there.
    pub(crate) fn keep(mut self) -> Result<(), Failure> {
        let (mut told, mut orders) = (String::new(), self.0.stdin.take());
        let asked = orders.as_mut().map_or(Ok(()), |orders| orders.write_all(GO));
        drop(orders);
        if let Some(mut answers) = self.0.stdout.take() {
            answers.read_to_string(&mut told)?;
        }
        let done = self.0.wait()?.success();
        asked?;
        if done { Ok(()) } else { Err(Failure::new(told.trim_end())) }
    }

    /// There is nothing to keep.
    pub(crate) fn call_off(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

/// The process outside, of which the answer is read by the one that makes the namespaces.
pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> u8 {
    let serve = |args: &mut dyn Iterator<Item = OsString>| -> Result<(), Failure> {
        let pid = args.next().and_then(|pid| pid.to_str()?.parse().ok());
        let process = PidFd::open(pid.ok_or_else(|| Failure::new("no process to serve"))?)?;
        let options = Options::parse(args).map_err(|fault| Failure::of_options(&fault))?;
        let mut order = [0; 1];
        io::stdin().read_exact(&mut order)?;
        keep_all(&process, &options.files())
    };
    match serve(&mut args) {
        Ok(()) => 0,
        Err(failure) => {
            println!("{failure}");
            failure.status()
        }
    }
}

/// Where a child waits until its namespaces are kept.
pub(crate) struct Gate {
    reader: File,
    writer: File,
}

impl Gate {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfd(&reader, FdFlags::empty())?;
        Ok(Self { reader: reader.into(), writer: writer.into() })
    }

    /// What the child knows it by.
    pub(crate) fn number(&self) -> i32 {
        self.reader.as_raw_fd()
    }

    /// Keeps the child's namespaces, and lets it in. If that fails the child ends.
    pub(crate) fn keep(self, child: &Child, files: &[(Namespace, PathBuf)]) -> Result<(), Failure> {
        keep_all(child.pidfd(), files)?;
        Ok((&self.writer).write_all(GO)?)
    }
}
