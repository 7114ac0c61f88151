//! What is told of one process in a namespace.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use crate::error::Result;
use crate::namespace::Namespace;
use crate::proc_fs::ProcFs;
use crate::sys::{self, Errno};

use super::processes::{DIR, match_link};
use super::scan::is_gone;
use super::{NamespaceInfo, text};

/// A process in a namespace, as it was when it was asked: [`NamespaceInfo::process`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProcessInfo {
    pid: u32,
    parent: Option<u32>,
    uid: u32,
    command_line: Vec<OsString>,
}

impl ProcessInfo {
    /// Its number, as this thread's `/proc` shows it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The number of its parent. `None` if that is in no pid namespace which this `/proc` shows, and of
    /// the first process of the machine.
    #[must_use]
    pub fn parent(&self) -> Option<u32> {
        self.parent
    }

    /// Its effective uid, in this thread's user namespace; 65534 if that uid is not mapped here.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The words of its command line; of a thread of the kernel, and of a process that has ended, its name
    /// alone.
    ///
    /// Programs may change what is told here, and of long ones the first 4096 bytes are.
    #[must_use]
    pub fn command_line(&self) -> &[OsString] {
        &self.command_line
    }
}

impl NamespaceInfo {
    /// What `/proc` tells now of a process in the namespace. `None` if no process of this number is in it,
    /// so that what is told is never another's.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Namespace, NsFd, discover};
    ///
    /// let all = discover()?;
    /// let mine = all.get(NsFd::current(Namespace::Net)?.id()?).expect("I am in it");
    /// for pid in mine.pids() {
    ///     if let Some(process) = mine.process(pid)? {
    ///         println!("{pid}: {:?}, uid {}", process.command_line(), process.uid());
    ///     }
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc) if `/proc` cannot be believed;
    /// [`LimitReached`](crate::ErrorKind::LimitReached) without a few descriptors to work with.
    pub fn process(&self, pid: u32) -> Result<Option<ProcessInfo>> {
        let proc = ProcFs::open()?;
        match ask(&proc, pid, self.kind, self.id.ino) {
            Ok(info) => Ok(info),
            Err(Errno::XDEV) => Err(crate::proc_fs::covered()),
            Err(errno) => is_gone(errno).map(|_| None),
        }
    }
}

fn ask(proc: &ProcFs, pid: u32, kind: Namespace, ino: u64) -> sys::Result<Option<ProcessInfo>> {
    let dir = proc.open_below(proc.as_fd(), &format!("{pid}/ns"), DIR)?;
    if match_link(proc, dir.as_fd(), kind, kind.name())? != Some(ino) {
        return Ok(None);
    }
    // This directory belongs to the effective uid, also if the process may not be dumped.
    let above = proc.open_below(dir.as_fd(), "..", DIR)?;
    let about = rustix::fs::fstat(&above)?;
    let parent = text::parent(&proc.read_once(dir.as_fd(), "../stat")?);
    let command_line = command_line(proc, dir.as_fd())?;
    Ok(Some(ProcessInfo { pid, parent, uid: about.st_uid, command_line }))
}

fn command_line(proc: &ProcFs, dir: BorrowedFd<'_>) -> sys::Result<Vec<OsString>> {
    let cmdline = proc.read_once(dir, "../cmdline")?;
    let mut words = text::words(&cmdline);
    let name;
    if words.is_empty() {
        name = proc.read_once(dir, "../comm")?;
        words.push(name.strip_suffix(b"\n").unwrap_or(&name));
    }
    Ok(words.into_iter().map(|word| OsString::from_vec(word.to_vec())).collect())
}
