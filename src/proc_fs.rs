//! `/proc`, looked at before it is believed.
//!
//! Who controls the mount namespace may have put something else there, or something else over a part of it: also a
//! link over a link, as `self`, which the kernel follows from where it lies. So its root is opened once and held, and
//! what is opened below it is reached across no other mount. Where a magic link has to be followed, what was opened is
//! compared with what the link says.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::ffi::CString;
use std::fmt::Display;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags};

use crate::error::{Error, ErrorKind, Result, Step};
use crate::mountinfo;
use crate::namespace::Namespace;
use crate::ns_fd::NsFd;
use crate::sys::file::{cached_statx, is_on};
use crate::sys::in_root::open_on_same_mount_here;
use crate::sys::mount::is_known_on;
use crate::sys::stat::identity;
use crate::sys::{Errno, abi, ids, pidfd, process};

/// Whether a thread of this process is in a root that somebody else laid out, so that nobody else pays for the care that
/// it takes there: see `process_state.rs`.
pub(crate) static OTHER_ROOTS: AtomicBool = AtomicBool::new(false);

/// Room for the text of a link.
pub(crate) type Text = [MaybeUninit<u8>; 4096];

/// The root of a proc mount that was found to be one.
#[derive(Debug)]
pub(crate) struct ProcFs {
    root: OwnedFd,
    mount: u64,
    /// Whether something may be mounted over what it says of processes.
    may_be_covered: bool,
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
        let about = cached_statx(&root).map_err(refused)?;
        // Others have that number, too.
        let is_root = about.stx_ino == abi::PROC_ROOT_INO;
        let is_on = if OTHER_ROOTS.load(Relaxed) { is_known_on } else { is_on };
        if !is_root || !is_on(root.as_fd(), abi::PROC_SUPER_MAGIC).map_err(refused)? {
            return Err(untrusted("/proc is not the root of a proc file system"));
        }
        Ok(Self { root, mount: about.stx_mnt_id, may_be_covered: true })
    }

    /// Opens a namespace file of a task, which is a pid, `self` or `thread-self`.
    pub(crate) fn namespace(&self, task: impl Display, file: &str) -> Result<OwnedFd> {
        let dir = self.dir(format!("{task}/ns"))?;
        let refused = |errno| match errno {
            Errno::XDEV => covered(),
            _ => Error::os(Step::OpenNamespace, errno).at(format!("/proc/{task}/ns/{file}")),
        };
        self.namespace_in(dir.as_fd(), file).map_err(refused)
    }

    /// Opens a namespace file in a directory `ns` of this or another proc mount. `EXDEV` for anything else there.
    pub(crate) fn namespace_in(
        &self,
        dir: BorrowedFd<'_>,
        file: &str,
    ) -> core::result::Result<OwnedFd, Errno> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        // Another task may go to the next namespace meanwhile.
        for _ in 0..8 {
            let number = number_in(self.read_link_in(dir, file, &mut buffer)?);
            let opened = open_link(dir, file)?;
            let about = rustix::fs::fstat(&opened)?;
            if number == Some(about.st_ino) && is_on(&opened, abi::NSFS_MAGIC)? {
                return Ok(opened);
            }
        }
        Err(Errno::XDEV)
    }

    /// Opens what a descriptor of this thread was opened on with `O_PATH`.
    pub(crate) fn reopen(&self, file: BorrowedFd<'_>) -> Result<OwnedFd> {
        let dir = self.dir("thread-self/fd".to_owned())?;
        let name = file.as_raw_fd().to_string();
        drop(self.open_below(dir.as_fd(), &name, LINK).map_err(refused)?);
        let opened = open_link(dir.as_fd(), &name).map_err(refused)?;
        let same = identity(opened.as_raw_fd()).map_err(refused)?
            == identity(file.as_raw_fd()).map_err(refused)?;
        if same { Ok(opened) } else { Err(covered()) }
    }

    /// Opens what a magic link leads to with `O_PATH`, whatever that is.
    pub(crate) fn place_of(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
    ) -> core::result::Result<OwnedFd, Errno> {
        drop(self.open_below(dir, name, LINK)?);
        rustix::fs::openat(dir, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    }

    /// The text of a link of this mount.
    pub(crate) fn read_link<'a>(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
        buffer: &'a mut Text,
    ) -> core::result::Result<&'a [u8], Errno> {
        if !self.may_be_covered {
            return rustix::fs::readlinkat_raw(dir, path, buffer).map(|(text, _)| &*text);
        }
        self.read_link_in(dir, path, buffer)
    }

    /// The text of a link of this or another proc mount, reached as by [`open_below`](Self::open_below).
    pub(crate) fn read_link_in<'a>(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
        buffer: &'a mut Text,
    ) -> core::result::Result<&'a [u8], Errno> {
        let link = self.open_below(dir, path, LINK)?;
        rustix::fs::readlinkat_raw(&link, "", buffer).map(|(text, _)| &*text)
    }

    /// Opens what lies below a directory of this or another proc mount, reached across no other mount.
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
                let path = CString::new(path).map_err(|_| Errno::INVAL)?;
                open_on_same_mount_here(dir.as_raw_fd(), &path, flags.bits() as i32)
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

    /// Whether a debugger or the like has this thread. Where that cannot be read: no.
    pub(crate) fn is_traced(&self) -> bool {
        let status = self.read_once(self.root.as_fd(), "thread-self/status").unwrap_or_default();
        let mut lines = status.split(|&byte| byte == b'\n');
        lines.any(|line| line.strip_prefix(b"TracerPid:\t").is_some_and(|pid| pid != b"0"))
    }

    /// Whether the process of a pidfd has run exec since it was made; `None` where that cannot be read.
    pub(crate) fn has_run_exec(&self, process: BorrowedFd<'_>) -> Option<bool> {
        let pid = self.pid_of(process).ok()??;
        let stat = self.read_once(self.as_fd(), &format!("{pid}/stat")).ok()?;
        task_flags(&stat).map(|flags| flags & PF_FORKNOEXEC == 0)
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

    /// Spares itself two calls for each link if nothing is mounted over what it says of processes, by this `mountinfo`,
    /// and nobody but the caller mounts here.
    pub(crate) fn look_for_covers(&mut self, mounts: &[u8], is_in_other_root: bool) {
        let Some(top) = mountinfo::lines(mounts).find(|mount| mount.id == self.mount) else {
            return;
        };
        let is_of_system = |point: &[u8]| {
            let name = point.strip_prefix(&*top.point).and_then(|rest| rest.strip_prefix(b"/"));
            let name = name.and_then(|name| name.split(|&byte| byte == b'/').next());
            name.is_some_and(|name| {
                let is_number = name.iter().all(u8::is_ascii_digit);
                !is_number && ![&b"self"[..], b"thread-self"].contains(&name)
            })
        };
        let mut above = mountinfo::lines(mounts).filter(|mount| mount.parent == top.id);
        self.may_be_covered = is_in_other_root
            || !above.all(|mount| is_of_system(&mount.point))
            || !has_own_mounts().unwrap_or(false);
    }

    /// How many directories are in one, at least.
    pub(crate) fn links_to(&self, dir: BorrowedFd<'_>, path: &str) -> u32 {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let held = self.may_be_covered.then(|| self.open_below(dir, path, flags));
        let about = match held {
            None => rustix::fs::statx(dir, path, AtFlags::empty(), StatxFlags::NLINK),
            Some(held) => held.and_then(|held| {
                rustix::fs::statx(held, "", AtFlags::EMPTY_PATH, StatxFlags::NLINK)
            }),
        };
        about.map_or(0, |about| about.stx_nlink.saturating_sub(2))
    }

    /// The number of the mount that a magic link leads to, without a request to its file system.
    pub(crate) fn mount_behind(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
    ) -> core::result::Result<u64, Errno> {
        if self.may_be_covered {
            drop(self.open_below(dir, path, LINK)?);
        }
        // Also a file system that refuses all else to this user returns this.
        let about = rustix::fs::statx(dir, path, AtFlags::STATX_DONT_SYNC, StatxFlags::empty())?;
        Ok(about.stx_mnt_id)
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
        let own = pidfd::open(process::getpid(), 0).map_err(refused)?;
        // Any other one that knows us is further out.
        Ok(self.pids_of(own.as_fd())?.len() == 1)
    }

    /// What it tells of a pidfd.
    fn about(&self, pid_fd: BorrowedFd<'_>) -> Result<String> {
        let dir = self.dir("thread-self/fdinfo".to_owned())?;
        let text = self.read(dir.as_fd(), &pid_fd.as_raw_fd().to_string()).map_err(refused)?;
        String::from_utf8(text).map_err(|_| refused(Errno::IO))
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
        let read = |file| self.read_once(self.as_fd(), &format!("{pid}/{file}")).map_err(refused);
        let is_fork = task_flags(&read("stat")?).is_some_and(|flags| flags & PF_FORKNOEXEC != 0);
        Ok(is_fork && parse_uid(&read("status")?) == Some(ids::geteuid()))
    }

    /// The path of a descriptor of this thread, for calls that take no descriptor. Nothing is mounted over a part of
    /// it; who may mount here could do so before the call.
    pub(crate) fn path_of(&self, file: BorrowedFd<'_>) -> Result<String> {
        let path = format!("thread-self/fd/{}", file.as_raw_fd());
        drop(self.open_below(self.as_fd(), &path, LINK).map_err(refused)?);
        Ok(format!("/proc/{path}"))
    }

    fn dir(&self, path: String) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        self.open_below(self.as_fd(), &path, flags).map_err(|errno| match errno {
            Errno::NOENT if path.starts_with("thread-self") => {
                untrusted("/proc belongs to a pid namespace in which this process is not visible")
            }
            Errno::NOENT => refused(Errno::SRCH),
            _ => refused(errno),
        })
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

/// Of a task that was forked, and has come to no exec.
const PF_FORKNOEXEC: u32 = 0x40;

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

fn refused(errno: Errno) -> Error {
    if errno == Errno::XDEV { covered() } else { Error::os(Step::ReadProc, errno) }
}

pub(crate) fn covered() -> Error {
    untrusted("something is mounted over a part of /proc")
}

/// Whether the mount namespace belongs to this thread's user namespace, so that no user below it can mount there.
fn has_own_mounts() -> Result<bool> {
    let owner = NsFd::current(Namespace::Mount)?.owner()?;
    Ok(owner == NsFd::current(Namespace::User)?)
}

const LINK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW);

/// Opens where a magic link leads. It was seen to be one, and what has come there since must not block.
fn open_link(dir: BorrowedFd<'_>, name: &str) -> core::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// As 4026531840 in `mnt:[4026531840]`.
fn number_in(link: &[u8]) -> Option<u64> {
    let start = link.iter().position(|&byte| byte == b'[')? + 1;
    core::str::from_utf8(link.get(start..)?.strip_suffix(b"]")?).ok()?.parse().ok()
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
