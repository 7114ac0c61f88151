//! What a child brings into namespaces that others live in: they must not get at the parent's memory
//! and files through it. And what a full memory cgroup around the child does to the parent.

pub(crate) mod covered;
pub(crate) mod fuse;
pub(crate) mod image;
pub(crate) mod moving;
pub(crate) mod races;
pub(crate) mod same;
pub(crate) mod stopped;
pub(crate) mod undo;

use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt as _;

use linux_namespaces::{Command, CommandExt, Enter, NamespaceSet, PidFd, Signal};

use crate::files::c_string;
use crate::fork::{self, Fork};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{MemoryCgroup, NewProc, OtherIds, Root, UserNamespaces};
use crate::machine::memory_cgroup;
use crate::stage;

cases! {
    the_attack_works_on_a_careless_child [UserNamespaces],
    nobody_inside_a_user_namespace_sees_into_the_child [UserNamespaces],
    nobody_inside_a_pid_namespace_sees_into_the_child [UserNamespaces, NewProc],
    nobody_sees_into_a_child_of_std_s_command [UserNamespaces],
    nobody_is_fast_enough [UserNamespaces, NewProc],
    a_neighbour_reads_a_copy_in_a_new_user_namespace [Root, UserNamespaces, OtherIds],
    a_full_memory_cgroup_around_the_child_spares_the_parent [Root, MemoryCgroup],
}

const SECRET: [u8; 16] = *b"for us and no-on";

/// Lives in a user namespace of its own, where it is root, and perhaps in a pid namespace; tries what
/// it can on the process that it is told.
struct Hostile {
    process: PidFd,
    first: Option<Fork>,
    orders: PipeWriter,
    reports: PipeReader,
    secret: Box<[u8; 16]>,
}

/// What the attacks got.
const MEMORY: u8 = 1;
const VM_READ: u8 = 2;
const TRACE: u8 = 4;
const FILES: u8 = 8;
const ENVIRON: u8 = 16;

impl Hostile {
    fn new(with_pid: bool) -> Self {
        let secret = Box::new(SECRET);
        let at = secret.as_ptr() as usize;
        let (orders_in, mut orders) = std::io::pipe().unwrap();
        let (mut reports, reports_out) = std::io::pipe().unwrap();
        let first = Fork::start(|| {
            stage::new_user(if with_pid { libc::CLONE_NEWPID | libc::CLONE_NEWNS } else { 0 });
            fork::close(&orders);
            let second = Fork::start(|| {
                if with_pid {
                    stage::proc("/proc");
                }
                attack(at, orders_in, &reports_out)
            });
            (&reports_out).write_all(&second.pid().to_ne_bytes()).unwrap();
            second.wait()
        });
        let mut pid = [0; 4];
        reports.read_exact(&mut pid).unwrap();
        // Ready when it says so.
        orders.write_all(&[0; 4]).unwrap();
        reports.read_exact(&mut [0]).unwrap();
        let process = PidFd::open(u32::from_ne_bytes(pid)).unwrap();
        Self { process, first: Some(first), orders, reports, secret }
    }

    fn enter(&self, set: NamespaceSet) -> Enter {
        Enter::new().process(self.process.try_clone().unwrap(), set)
    }

    /// Code for a child: lets itself be attacked, and goes on when that is over.
    fn stand_still(&self) -> impl FnMut() -> std::io::Result<()> + Send + Sync + 'static + use<> {
        let (orders, reports) = (self.orders.as_raw_fd(), self.reports.as_raw_fd());
        move || {
            // SAFETY: system calls on descriptors that the child has from its parent. The report is left
            // to the parent, but for a sign that it is there.
            unsafe {
                let pid = libc::getpid().to_ne_bytes();
                libc::write(orders, pid.as_ptr().cast(), 4);
                let mut ready = libc::pollfd { fd: reports, events: libc::POLLIN, revents: 0 };
                libc::poll(&raw mut ready, 1, -1);
            }
            Ok(())
        }
    }

    fn report(&mut self) -> u8 {
        let mut report = [0];
        self.reports.read_exact(&mut report).unwrap();
        report[0]
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        assert_eq!(*self.secret, SECRET);
        // The first process waits for it.
        self.process.send_signal(Signal::KILL).ok();
        self.first.take().map(Fork::wait);
    }
}

/// Attacks each process that it is told, or for pid -1 all that there are until its end.
fn attack(secret: usize, mut orders: PipeReader, mut reports: &PipeWriter) -> i32 {
    let mut pid = [0; 4];
    // Both this process and its parent write reports, so each when it is its turn.
    orders.read_exact(&mut pid).unwrap();
    reports.write_all(&[0]).unwrap();
    while orders.read_exact(&mut pid).is_ok() {
        let pid = i32::from_ne_bytes(pid);
        if pid == -1 {
            loop {
                let all = fs::read_dir("/proc").into_iter().flatten().flatten();
                let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
                // SAFETY: asks for a number.
                for pid in pids.filter(|pid| *pid != unsafe { libc::getpid() }) {
                    if read_memory(pid, secret) || vm_read(pid, secret) {
                        reports.write_all(&[MEMORY]).unwrap();
                    }
                }
            }
        }
        let mut got = 0;
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        let opened =
            files.into_iter().flatten().flatten().any(|file| File::open(file.path()).is_ok());
        for (attack, worked) in [
            (MEMORY, read_memory(pid, secret)),
            (VM_READ, vm_read(pid, secret)),
            (FILES, opened),
            (ENVIRON, fs::read(format!("/proc/{pid}/environ")).is_ok_and(|text| !text.is_empty())),
            (TRACE, trace(pid)),
        ] {
            got |= if worked { attack } else { 0 };
        }
        reports.write_all(&[got]).unwrap();
    }
    0
}

/// Becomes the tracer, and lets go again.
fn trace(pid: i32) -> bool {
    // SAFETY: of a process that is not ours, which is what is tried.
    unsafe {
        if libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) != 0 {
            return false;
        }
        libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0);
        libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL);
        libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0);
    }
    true
}

fn read_memory(pid: i32, at: usize) -> bool {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; 16];
    let memory = File::open(format!("/proc/{pid}/mem"));
    memory.is_ok_and(|memory| memory.read_exact_at(&mut bytes, at as u64).is_ok())
        && bytes == SECRET
}

fn vm_read(pid: i32, at: usize) -> bool {
    let mut bytes = [0_u8; 16];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 16 };
    let remote = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: 16 };
    // SAFETY: writes to our own 16 bytes at most.
    let got = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    got == 16 && bytes == SECRET
}

fn the_attack_works_on_a_careless_child() {
    let mut hostile = Hostile::new(false);
    let user =
        File::open(format!("/proc/{}/ns/user", hostile.process.pid().unwrap().unwrap())).unwrap();
    let _file = File::open("/etc/passwd").unwrap();
    let mut stand_still = hostile.stand_still();
    let mut careless = std::process::Command::new("true");
    // SAFETY: system calls only.
    unsafe {
        careless.pre_exec(move || {
            if libc::setns(user.as_raw_fd(), libc::CLONE_NEWUSER) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // What entering somebody else's namespace would clear by itself.
            libc::prctl(libc::PR_SET_DUMPABLE, 1);
            stand_still()
        });
    }
    assert!(careless.status().unwrap().success());
    let got = hostile.report();
    assert_eq!(got, MEMORY | VM_READ | TRACE | FILES | ENVIRON, "these are no attacks");
}

fn enter_and_be_attacked(with_pid: bool, set: NamespaceSet) {
    let mut hostile = Hostile::new(with_pid);
    let _file = File::open("/etc/passwd").unwrap();
    let mut command = Command::new("true");
    command.enter(hostile.enter(set));
    // SAFETY: system calls only.
    unsafe { command.pre_exec(hostile.stand_still()) };
    assert!(command.status().unwrap_or_else(|error| panic!("{error:#}")).success());
    assert_eq!(hostile.report(), 0, "{set}");
    assert_eq!(kernel::dumpable(), 1, "the parent's flag is as it was");
}

fn nobody_inside_a_user_namespace_sees_into_the_child() {
    enter_and_be_attacked(false, NamespaceSet::USER);
}

fn nobody_inside_a_pid_namespace_sees_into_the_child() {
    enter_and_be_attacked(true, NamespaceSet::USER | NamespaceSet::PID);
    enter_and_be_attacked(true, NamespaceSet::USER | NamespaceSet::PID | NamespaceSet::MOUNT);
}

fn nobody_sees_into_a_child_of_std_s_command() {
    let mut hostile = Hostile::new(false);
    let mut command = std::process::Command::new("true");
    command.enter(&hostile.enter(NamespaceSet::USER)).unwrap();
    // SAFETY: system calls only.
    unsafe { command.pre_exec(hostile.stand_still()) };
    assert!(command.status().unwrap().success());
    assert_eq!(hostile.report(), 0);
}

fn nobody_is_fast_enough() {
    let mut hostile = Hostile::new(true);
    hostile.orders.write_all(&(-1_i32).to_ne_bytes()).unwrap();
    let set = NamespaceSet::USER | NamespaceSet::PID;
    for _ in 0..300 {
        assert!(Command::new("/bin/true").enter(hostile.enter(set)).status().unwrap().success());
    }
    let mut ready =
        libc::pollfd { fd: hostile.reports.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, no wait.
    assert_eq!(unsafe { libc::poll(&raw mut ready, 1, 0) }, 0, "the secret was seen");
}

/// Gives up all capabilities but these of the first 32.
pub(crate) fn keep_capabilities(kept: u32) {
    let header = [0x2008_0522_u32, 0];
    let data = [kept, kept, 0, 0, 0, 0];
    // SAFETY: a header of version 3 and two structures of three words each.
    let answer = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}

/// What the crate page says under "How a program is started": a capability keeps other processes of the same
/// user out of this one's memory, but not out of a child's in a new user namespace, although that has a copy.
fn a_neighbour_reads_a_copy_in_a_new_user_namespace() {
    const USER: u32 = 54_321;
    const CAP_NET_RAW: u32 = 1 << 13;
    let secret = Box::new(SECRET);
    let at = secret.as_ptr() as usize;
    let (orders_in, orders) = std::io::pipe().unwrap();
    let (mut reports, reports_out) = std::io::pipe().unwrap();
    // SAFETY: this process has one thread; it is the trial's.
    unsafe {
        libc::prctl(libc::PR_SET_KEEPCAPS, 1);
        assert_eq!(libc::setresgid(USER, USER, USER), 0);
        assert_eq!(libc::setresuid(USER, USER, USER), 0);
        libc::prctl(libc::PR_SET_DUMPABLE, 1);
    }
    let neighbour = Fork::start(|| {
        fork::close(&orders);
        keep_capabilities(0);
        let mut pid = [0; 4];
        while (&orders_in).read_exact(&mut pid).is_ok() {
            let got = u8::from(vm_read(i32::from_ne_bytes(pid), at));
            (&reports_out).write_all(&[got]).unwrap();
        }
        0
    });
    keep_capabilities(CAP_NET_RAW);
    let me = std::process::id().cast_signed();
    let mut report = [0xff];
    (&orders).write_all(&me.to_ne_bytes()).unwrap();
    reports.read_exact(&mut report).unwrap();
    assert_eq!(report, [0], "a capability keeps the neighbour out of this process");
    let mut command = Command::new("true");
    command.unshare(NamespaceSet::USER);
    let (order, answer) = (orders.as_raw_fd(), reports.as_raw_fd());
    let stand_still = move || {
        // SAFETY: system calls on descriptors that the child has from its parent, who reads the answer.
        unsafe {
            let pid = libc::getpid().to_ne_bytes();
            libc::write(order, pid.as_ptr().cast(), 4);
            let mut ready = libc::pollfd { fd: answer, events: libc::POLLIN, revents: 0 };
            libc::poll(&raw mut ready, 1, -1);
        }
        Ok(())
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(stand_still) };
    assert!(command.plan().unwrap().to_string().contains("with a copy"));
    assert!(command.status().unwrap().success());
    reports.read_exact(&mut report).unwrap();
    drop(orders);
    neighbour.wait();
    assert_eq!(report, [1], "the crate page warns of more than there is");
}

/// Whoever is in a group with hardly any memory, and a group that goes away at the end.
struct Tight(std::path::PathBuf);

impl Tight {
    fn new() -> Self {
        let (root, limit) = memory_cgroup().unwrap();
        let dir = root.join(format!("linux-namespaces-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(limit), "4194304").unwrap();
        Self(dir)
    }
}

impl Drop for Tight {
    fn drop(&mut self) {
        // The kernel may still be at the last member's end.
        while fs::remove_dir(&self.0).is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
        {
            std::thread::yield_now();
        }
    }
}

fn a_full_memory_cgroup_around_the_child_spares_the_parent() {
    let tight = Tight::new();
    let members = c_string(tight.0.join("cgroup.procs"));
    let ballast = vec![7_u8; 32 << 20];
    // A watcher puts every child of ours into the group, as soon as it sees it, until we end it.
    let parent = std::process::id();
    let watcher = Fork::start(|| {
        let children = format!("/proc/{parent}/task/{parent}/children");
        loop {
            let pids = fs::read_to_string(&children).unwrap_or_default();
            let own = std::process::id().to_string();
            for pid in pids.split_whitespace().filter(|pid| *pid != own) {
                fs::write(tight.0.join("cgroup.procs"), pid).ok();
            }
        }
    });
    // Arguments that take more kernel memory than the group has.
    let much: Vec<String> = (0..60).map(|_| "x".repeat(100_000)).collect();
    let mut refused = 0;
    for copy in [false, true] {
        for _ in 0..20 {
            let mut command = Command::new("true");
            command.args(&much).unshare(NamespaceSet::all() - NamespaceSet::NET).map_root();
            if copy {
                let members = members.clone();
                // SAFETY: system calls only: here the child goes into the group for sure.
                unsafe {
                    command.pre_exec(move || {
                        let file = libc::open(members.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                        libc::write(file, c"0".as_ptr().cast(), 1);
                        Ok(())
                    });
                }
            }
            // Either way is well, as long as we are there to see it.
            match command.status() {
                Ok(status) => refused += i32::from(!status.success()),
                Err(_) => refused += 1,
            }
        }
    }
    drop(watcher);
    assert!(refused > 0, "the group was not tight at all");
    assert!(ballast.iter().all(|byte| *byte == 7));
}
