//! `/proc`, looked at before it is believed.
//!
//! Whoever controls the mount namespace may have put something else there, or something else over
//! a part of it. So its root is opened once and held, and what is opened below it must lie on the
//! same mount.

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx, StatxFlags};

use crate::error::{Error, ErrorKind, Result, Step};
use crate::sys::{Errno, abi, file, process};

/// The root of a proc mount that was found to be one.
#[derive(Debug)]
pub(crate) struct ProcFs {
    root: OwnedFd,
    mount: u64,
}

impl ProcFs {
    /// Opens and checks `/proc`.
    pub(crate) fn open() -> Result<Self> {
        let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, "/proc", path, Mode::empty()).map_err(|errno| {
            let kind = match errno {
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP => ErrorKind::UntrustedProc,
                _ => Error::os(Step::ReadProc, errno).kind(),
            };
            Error::os(Step::ReadProc, errno).with_kind(kind)
        })?;
        let is_proc = file::is_on(&root, abi::PROC_SUPER_MAGIC).map_err(refused)?;
        let about = statx(root.as_fd(), "", AtFlags::EMPTY_PATH)?;
        if !is_proc || about.stx_ino != abi::PROC_ROOT_INO {
            return Err(untrusted("/proc is not the root of a proc file system"));
        }
        Ok(Self { root, mount: about.stx_mnt_id })
    }

    /// Opens a namespace file of a task, which is a pid, `self` or `thread-self`.
    pub(crate) fn namespace(&self, task: impl Display, file: &str) -> Result<OwnedFd> {
        let dir = self.dir(format!("{task}/ns"))?;
        self.same_mount(&statx(dir.as_fd(), file, AtFlags::SYMLINK_NOFOLLOW)?)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&dir, file, flags, Mode::empty()).map_err(|errno| {
            Error::os(Step::OpenNamespace, errno).at(format!("/proc/{task}/ns/{file}"))
        })
    }

    /// Opens what lies below a directory of this mount, reached across no other mount.
    pub(crate) fn open_below(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
        flags: OFlags,
    ) -> core::result::Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let how = ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(dir, path, flags, Mode::empty(), how) {
            // A filter hides the call.
            Err(Errno::NOSYS | Errno::PERM) => {
                let file = rustix::fs::openat(dir, path, flags, Mode::empty())?;
                let about = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
                if about.stx_mnt_id == self.mount { Ok(file) } else { Err(Errno::XDEV) }
            }
            answer => answer,
        }
    }

    /// The whole of a file there.
    pub(crate) fn read(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
    ) -> core::result::Result<Vec<u8>, Errno> {
        let file = self.open_below(dir, path, OFlags::RDONLY)?;
        let mut bytes = Vec::with_capacity(4096);
        while rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes))? > 0 {
            bytes.reserve(4096);
        }
        Ok(bytes)
    }

    /// What one read gives, for files that have all ready at once.
    pub(crate) fn read_once(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
    ) -> core::result::Result<Vec<u8>, Errno> {
        let file = self.open_below(dir, path, OFlags::RDONLY)?;
        let mut bytes = Vec::with_capacity(4096);
        rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes))?;
        Ok(bytes)
    }

    /// The number of the mount, as mountinfo has it.
    pub(crate) fn mount(&self) -> u64 {
        self.mount
    }

    /// The pid of a pidfd's process, as this proc mount counts: the only number that may be used
    /// below it. `None` if the process has ended or is not visible here.
    pub(crate) fn pid_of(&self, pid_fd: BorrowedFd<'_>) -> Result<Option<u32>> {
        Ok(parse_pid(&self.about(pid_fd)?))
    }

    /// All its pids, from the pid namespace of this proc mount inwards; none if it has ended or is not
    /// visible here.
    pub(crate) fn pids_of(&self, pid_fd: BorrowedFd<'_>) -> Result<Vec<u32>> {
        Ok(parse_pids(&self.about(pid_fd)?))
    }

    /// Whether it counts as this process's pid namespace does, so that its numbers are good for calls.
    pub(crate) fn counts_as_here(&self) -> Result<bool> {
        let own = process::pidfd_open(process::getpid(), 0).map_err(refused)?;
        // Any other one that knows us is further out.
        Ok(self.pids_of(own.as_fd())?.len() == 1)
    }

    /// What it tells of a pidfd.
    fn about(&self, pid_fd: BorrowedFd<'_>) -> Result<String> {
        let dir = self.dir("thread-self/fdinfo".to_owned())?;
        let name = pid_fd.as_raw_fd().to_string();
        self.same_mount(&statx(dir.as_fd(), &name, AtFlags::SYMLINK_NOFOLLOW)?)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, &name, flags, Mode::empty()).map_err(refused)?;
        let mut text = String::new();
        File::from(file)
            .read_to_string(&mut text)
            .map_err(|error| refused(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        Ok(text)
    }

    /// The oldest child of a process, by its first thread.
    pub(crate) fn first_child(&self, pid: u32) -> Result<Option<u32>> {
        let dir = self.dir(format!("{pid}/task/{pid}"))?;
        let list = self.read_once(dir.as_fd(), "children").map_err(|errno| match errno {
            Errno::NOENT => Error::new(
                ErrorKind::Unsupported,
                "this kernel does not list children: CONFIG_PROC_CHILDREN",
            )
            .at_step(Step::ReadProc),
            errno => refused(errno),
        })?;
        Ok(parse_first(&list))
    }

    /// Whether a process is this user's, was forked, and has come to no exec: `PF_FORKNOEXEC`.
    pub(crate) fn is_fork_of_ours(&self, pid: u32) -> Result<bool> {
        const PF_FORKNOEXEC: u32 = 0x40;
        let read = |file| self.read_once(self.as_fd(), &format!("{pid}/{file}")).map_err(refused);
        let is_fork = task_flags(&read("stat")?).is_some_and(|flags| flags & PF_FORKNOEXEC != 0);
        Ok(is_fork && parse_uid(&read("status")?) == Some(process::geteuid()))
    }

    /// The path of a descriptor of this thread, for calls that take no descriptor.
    pub(crate) fn path_of(&self, file: BorrowedFd<'_>) -> Result<String> {
        self.dir("thread-self/fd".to_owned())?;
        Ok(format!("/proc/thread-self/fd/{}", file.as_raw_fd()))
    }

    fn dir(&self, path: String) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir =
            rustix::fs::openat(&self.root, &path, flags, Mode::empty()).map_err(
                |errno| match errno {
                    Errno::NOENT if path.starts_with("thread-self") => untrusted(
                        "/proc belongs to a pid namespace in which this process is not visible",
                    ),
                    Errno::NOENT => refused(Errno::SRCH),
                    _ => refused(errno),
                },
            )?;
        self.same_mount(&statx(dir.as_fd(), "", AtFlags::EMPTY_PATH)?)?;
        Ok(dir)
    }

    fn same_mount(&self, about: &Statx) -> Result<()> {
        if about.stx_mnt_id != self.mount {
            return Err(untrusted("something is mounted over a part of /proc"));
        }
        Ok(())
    }
}

impl AsFd for ProcFs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl AsRawFd for ProcFs {
    fn as_raw_fd(&self) -> RawFd {
        self.root.as_raw_fd()
    }
}

/// The `Pid:` line of a pidfd's fdinfo: -1 if reaped, 0 if not visible.
fn parse_pid(fdinfo: &str) -> Option<u32> {
    let pid = fdinfo.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    pid.trim().parse().ok().filter(|&pid| pid != 0)
}

/// The `NSpid:` line: -1 or 0 alone as above, or a number for each namespace.
fn parse_pids(fdinfo: &str) -> Vec<u32> {
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let pids: Option<Vec<u32>> = line.split_whitespace().map(|pid| pid.parse().ok()).collect();
    pids.filter(|pids| !pids.contains(&0)).unwrap_or_default()
}

/// The flags of a task, from its `/proc/PID/stat`: `7 (any name) S 1 ...`.
pub(crate) fn task_flags(stat: &[u8]) -> Option<u32> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let flags = stat[end..].split(|&byte| byte == b' ').nth(7)?;
    core::str::from_utf8(flags).ok()?.parse().ok()
}

/// Where the command line of a process lies, from its `/proc/PID/stat`.
pub(crate) fn arguments(stat: &[u8]) -> Option<(usize, usize)> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let mut words = core::str::from_utf8(&stat[end..]).ok()?.split_ascii_whitespace().skip(46);
    let (start, end) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    // The kernel writes 0 for what the reader may not know.
    (0 < start && start < end).then_some((start, end))
}

/// The real one of the `Uid:` line.
fn parse_uid(status: &[u8]) -> Option<u32> {
    let mut lines = core::str::from_utf8(status).ok()?.lines();
    lines.find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

fn parse_first(pids: &[u8]) -> Option<u32> {
    let first = pids.split(|&byte| byte == b' ').next()?;
    core::str::from_utf8(first).ok()?.parse().ok()
}

fn statx(dir: BorrowedFd<'_>, path: &str, how: AtFlags) -> Result<Statx> {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    rustix::fs::statx(dir, path, how, wanted).map_err(refused)
}

fn refused(errno: Errno) -> Error {
    Error::os(Step::ReadProc, errno)
}

fn untrusted(why: &'static str) -> Error {
    Error::new(ErrorKind::UntrustedProc, why).at_step(Step::ReadProc)
}

#[cfg(test)]
mod tests {
    use super::{parse_first, parse_pid, parse_pids};

    #[test]
    fn the_first_child() {
        assert_eq!(parse_first(b"31 7 8 "), Some(31));
        assert_eq!(parse_first(b""), None);
        assert_eq!(parse_first(b"x 7"), None);
    }

    #[test]
    fn pids_are_read_from_fdinfo() {
        assert_eq!(parse_pids("Pid:\t4711\nNSpid:\t4711\t17\t1\n"), [4711, 17, 1]);
        for gone in ["Pid:\t-1\nNSpid:\t-1\n", "Pid:\t0\nNSpid:\t0\n", "Pid:\t0\n", ""] {
            assert_eq!(parse_pids(gone), []);
        }
    }

    #[test]
    fn a_pid_is_read_from_fdinfo() {
        assert_eq!(
            parse_pid("pos:\t0\nflags:\t02000002\nPid:\t4711\nNSpid:\t4711\t1\n"),
            Some(4711)
        );
        assert_eq!(parse_pid("Pid:\t-1\n"), None);
        assert_eq!(parse_pid("Pid:\t0\n"), None);
        assert_eq!(parse_pid("pos:\t0\n"), None);
        assert_eq!(parse_pid(""), None);
    }
}
