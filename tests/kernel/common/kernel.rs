//! The oracle: what the kernel says of this thread and of others, read without the crate.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use linux_namespaces::{Namespace, NamespaceSet};

use super::harness::limit;

/// The inode number of a task's namespace; `task` is a pid, `self` or `thread-self`.
pub(crate) fn ns(task: impl std::fmt::Display, name: &str) -> u64 {
    let path = format!("/proc/{task}/ns/{name}");
    fs::metadata(&path).unwrap_or_else(|error| panic!("{path}: {error}")).ino()
}

/// The children of this process's main thread.
pub(crate) fn children() -> Vec<i32> {
    let pid = std::process::id();
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Which namespaces of two tasks differ.
pub(crate) fn different(one: &str, other: &str) -> NamespaceSet {
    Namespace::ALL
        .iter()
        .copied()
        .filter(|kind| ns(one, kind.name()) != ns(other, kind.name()))
        .collect()
}

/// All namespaces of the calling thread, with those for its children.
pub(crate) fn all_ns() -> Vec<(String, u64)> {
    let mut all: Vec<_> = fs::read_dir("/proc/thread-self/ns")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| {
            (
                name.clone(),
                fs::metadata(format!("/proc/thread-self/ns/{name}")).map_or(0, |it| it.ino()),
            )
        })
        .collect();
    all.sort();
    all
}

/// A line of the `status` of this thread.
pub(crate) fn status(field: &str) -> String {
    status_of("thread-self", field)
}

pub(crate) fn status_of(task: impl std::fmt::Display, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{task}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in status")).trim().to_owned()
}

/// Fields of a `status` file that a program printed. grep(1) is not on every machine.
pub(crate) fn fields<'a>(text: &'a str, names: &[&str]) -> Vec<&'a str> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.filter(|(name, _)| names.contains(name)).map(|(_, value)| value.trim()).collect()
}

/// The effective uid and gid.
pub(crate) fn ids() -> (u32, u32) {
    // SAFETY: returns numbers.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

pub(crate) fn dumpable() -> i32 {
    // SAFETY: asks for a number.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }
}

/// With musl, std takes `O_PATH` off the flags of its `OpenOptions`.
pub(crate) fn open_path(path: &str, flags: i32) -> OwnedFd {
    let path = std::ffi::CString::new(path).unwrap();
    // SAFETY: a C string.
    let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_PATH | libc::O_CLOEXEC) };
    assert!(fd >= 0, "{path:?}: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just made it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Waits until something is so that is sure to become so.
#[track_caller]
pub(crate) fn until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(u64::from(limit()) / 8);
    while !is_so() {
        assert!(Instant::now() < end, "it never became so");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The end of this process's only other thread: for a moment after a join it is still in its namespaces.
pub(crate) fn join<T>(thread: thread::JoinHandle<T>) -> T {
    let value = thread.join().unwrap();
    until_alone();
    value
}

/// Threads that are joined may not have left the process yet.
pub(crate) fn until_alone() {
    until(|| status("Threads") == "1");
}

/// Keeps this thread, and its children, on the processor where it is.
pub(crate) fn stay_on_one_processor() {
    let (mut processors, mut here) = (vec![0_u64; 128], 0_u32);
    // SAFETY: the kernel writes a number, and reads as many bytes as are told.
    unsafe {
        libc::syscall(libc::SYS_getcpu, &raw mut here, 0, 0);
        processors[here as usize / 64] = 1 << (here % 64);
        libc::sched_setaffinity(0, 1024, processors.as_ptr().cast());
    }
}

/// A child that has this process's memory for a tenth of a second.
pub(crate) fn guest_in_this_memory() -> i32 {
    extern "C" fn stay(_: *mut libc::c_void) -> libc::c_int {
        // SAFETY: sleeps, and ends this process alone.
        unsafe {
            libc::poll(std::ptr::null_mut(), 0, 100);
            libc::_exit(0)
        }
    }
    // The child's last call may still need it when we hear of its end.
    let stack = Vec::leak(vec![0_u128; 4096]);
    let flags = libc::CLONE_VM | libc::SIGCHLD;
    // SAFETY: the child has the stack for itself.
    let pid = unsafe {
        libc::clone(stay, stack.as_mut_ptr_range().end.cast(), flags, std::ptr::null_mut())
    };
    assert!(pid > 0, "{}", std::io::Error::last_os_error());
    pid
}

/// `R`, `S`, `T`, `Z`, ... as `proc_pid_stat(5)` has them.
pub(crate) fn state_of(pid: impl std::fmt::Display) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('-')
}

/// What a failed call must not have changed in this thread and process.
pub(crate) fn census() -> Vec<String> {
    let mut all = vec![
        format!("mask {}", status("SigBlk")),
        format!("ignored {}", status("SigIgn")),
        format!("caught {}", status("SigCgt")),
        format!("threads {}", status("Threads")),
        format!("ids {} {}", status("Uid"), status("Gid")),
        format!("caps {} {}", status("CapEff"), status("CapPrm")),
        format!("dumpable {}", dumpable()),
        format!("cwd {:?}", std::env::current_dir()),
        format!("namespaces {:?}", all_ns()),
        format!("mounts {}", fs::read_to_string("/proc/thread-self/mountinfo").unwrap()),
        format!("descriptors {:?}", super::harness::descriptors()),
    ];
    let mut status = 0;
    // SAFETY: waits for nothing.
    let left = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
    all.push(format!("children {left}"));
    all
}

#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

/// A soft limit of this process, until it is dropped.
pub(crate) struct Limit(Resource, libc::rlimit);

impl Limit {
    pub(crate) fn set(resource: Resource, value: libc::rlim_t) -> Self {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: reads and writes one rlimit each.
        unsafe {
            assert_eq!(libc::getrlimit(resource, &raw mut before), 0);
            let now = libc::rlimit { rlim_cur: value, ..before };
            assert_eq!(libc::setrlimit(resource, &raw const now), 0);
        }
        Self(resource, before)
    }

    /// Leaves so many numbers for new descriptors.
    pub(crate) fn free_descriptors(count: usize) -> Self {
        let open: BTreeSet<i32> =
            super::harness::descriptors().into_iter().map(|(number, _)| number).collect();
        let limit = (0..).filter(|number| !open.contains(number)).nth(count).unwrap();
        Self::set(libc::RLIMIT_NOFILE, limit.try_into().unwrap())
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // SAFETY: reads one rlimit.
        assert_eq!(unsafe { libc::setrlimit(self.0, &raw const self.1) }, 0);
    }
}

/// A copy of another process's descriptor.
pub(crate) fn descriptor_of(pid: i32, number: i32) -> OwnedFd {
    // SAFETY: descriptors that the kernel has just made; the first is closed again.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let fd = libc::syscall(libc::SYS_pidfd_getfd, process, number, 0);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        libc::close(process as i32);
        OwnedFd::from_raw_fd(fd as i32)
    }
}

/// A system call as a filter sees it: by its number, or also by the low half of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    number: libc::c_long,
    argument: Option<(u8, u32)>,
}

impl Call {
    pub(crate) const fn with(number: libc::c_long, argument: u8, value: u32) -> Self {
        Self { number, argument: Some((argument, value)) }
    }

    /// `clone(2)` with these flags, which s390x takes second.
    pub(crate) const fn clone_with(flags: i32) -> Self {
        let argument = if cfg!(target_arch = "s390x") { 1 } else { 0 };
        Self::with(libc::SYS_clone, argument, flags.cast_unsigned())
    }
}

impl From<libc::c_long> for Call {
    fn from(number: libc::c_long) -> Self {
        Self { number, argument: None }
    }
}

/// The number of an `ioctl(2)` request here, from that of most architectures: powerpc has three bits for the direction.
pub(crate) const fn request(number: u32) -> u32 {
    if !cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) {
        return number;
    }
    let direction = match number >> 30 {
        0 => 1,
        1 => 4,
        2 => 2,
        _ => 6,
    };
    number & 0x1fff_ffff | direction << 29
}

/// Makes a system call answer an error number from here on, in this process and its children.
pub(crate) fn refuse(call: impl Into<Call>, errno: i32) {
    filter(call.into(), libc::SECCOMP_RET_ERRNO | errno.cast_unsigned(), 0);
}

/// Makes whoever comes to this call from here on, in this thread and its children, sleep in it until
/// [`HeldCall::release`] or its end.
pub(crate) fn hold(call: impl Into<Call>) -> OwnedFd {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let fd = filter(call.into(), libc::SECCOMP_RET_USER_NOTIF, flags);
    // SAFETY: the kernel has just made this descriptor.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }
}

/// Somebody who sleeps in a held call.
pub(crate) struct HeldCall {
    pub(crate) pid: i32,
    pub(crate) arguments: [u64; 6],
    id: u64,
}

impl HeldCall {
    /// Waits for the next one; `None` when the other descriptor is at its end before.
    pub(crate) fn next(listener: BorrowedFd<'_>, end: BorrowedFd<'_>) -> Option<Self> {
        let entry = |fd: BorrowedFd<'_>| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut ready = [entry(listener), entry(end)];
        loop {
            // SAFETY: two entries; and all zero bytes are a notice, as the kernel wants it.
            let mut notice: libc::seccomp_notif = unsafe {
                libc::poll(ready.as_mut_ptr(), 2, -1);
                std::mem::zeroed()
            };
            if ready[0].revents & libc::POLLIN == 0 {
                return None;
            }
            let number = libc::SECCOMP_IOCTL_NOTIF_RECV;
            // SAFETY: the kernel writes one notice.
            if unsafe { libc::ioctl(listener.as_raw_fd(), number, &raw mut notice) } == 0 {
                let pid = notice.pid.cast_signed();
                return Some(Self { pid, arguments: notice.data.args, id: notice.id });
            }
            // It died in the meantime.
        }
    }

    /// Lets it make its call.
    pub(crate) fn release(&self, listener: BorrowedFd<'_>) {
        let mut answer = libc::seccomp_notif_resp {
            id: self.id,
            val: 0,
            error: 0,
            flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        };
        // SAFETY: the kernel reads one answer.
        unsafe {
            libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer);
        }
    }
}

/// Runs `work`, while all who come to the call are met there: by `meet`, which answers whether they
/// go on. The process has one thread.
pub(crate) fn supervised<T>(
    call: impl Into<Call>,
    mut meet: impl FnMut(i32) -> bool + Send,
    work: impl FnOnce() -> T,
) -> T {
    let (end, ended) = std::io::pipe().unwrap();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        // Started before the filter is there, so that it does not hold itself.
        let supervisor = scope.spawn(move || {
            let listener: OwnedFd = told.recv().unwrap();
            while let Some(held) = HeldCall::next(listener.as_fd(), end.as_fd()) {
                if meet(held.pid) {
                    held.release(listener.as_fd());
                }
            }
        });
        tell.send(hold(call)).unwrap();
        let answer = work();
        drop(ended);
        supervisor.join().unwrap();
        answer
    })
}

/// Kills whoever makes this call from here on.
pub(crate) fn forbid(call: impl Into<Call>) {
    filter(call.into(), libc::SECCOMP_RET_KILL_PROCESS, 0);
}

fn filter(call: Call, answer: u32, flags: libc::c_ulong) -> libc::c_long {
    let low_half = if cfg!(target_endian = "big") { 4 } else { 0 };
    // Without an argument to look at, the number is looked at twice.
    let (at, value) = call.argument.map_or((0, call.number as u32), |(index, value)| {
        (16 + 8 * u32::from(index) + low_half, value)
    });
    let instructions = [
        bpf(0x20, 0, 0, 0),
        bpf(0x15, 0, 3, call.number as u32),
        bpf(0x20, 0, 0, at),
        bpf(0x15, 0, 1, value),
        bpf(0x06, 0, 0, answer),
        bpf(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 6, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the program lives through the calls, and changes this process alone.
    let done = unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program)
    };
    assert!(done >= 0, "{}", std::io::Error::last_os_error());
    done
}

fn bpf(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}
