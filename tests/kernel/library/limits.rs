//! Spawns where there is little of something: stack, descriptors, processes, address space. Each succeeds, or
//! fails with an error that names the step.

use std::ffi::c_void;
use std::fs::{self, File};
use std::ptr;

use linux_namespaces::{
    Clock, ClockOffset, Command, Enter, Error, ErrorKind, Init, Mount, NamespaceSet, Rootfs, Stdio,
    Unshare,
};

use crate::fork::{as_ordinary, in_fork};
use crate::harness::{cases, limit};
use crate::kernel::{Limit, refuse};
use crate::machine::Need::{File as NeedFile, NewProc, OtherIds, Root, UserNamespaces};
use crate::machine::{Need, is_root};
use crate::program::Held;
use crate::sandbox::with_programs;
use crate::stage;

cases! {
    little_stack [],
    four_descriptors [],
    the_last_process [UserNamespaces],
    little_address_space [],
}

type Work = Box<dyn FnMut() -> Result<(), Error> + Send>;

/// A way to start a child or to change namespaces, prepared without limits.
struct Way {
    name: &'static str,
    needs: &'static [Need],
    prepare: fn(&Ground) -> Work,
}

const fn way(name: &'static str, needs: &'static [Need], prepare: fn(&Ground) -> Work) -> Way {
    Way { name, needs, prepare }
}

#[rustfmt::skip]
const WAYS: &[Way] = &[
    way("plain", &[], |_| status(|_| ())),
    way("streams", &[], |_| status(|it| { it.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_parent_exit(); })),
    way("output", &[], |_| output()),
    way("no such program", &[], |_| not_found()),
    way("working directory and process group", &[], |_| status(|it| { it.current_dir("/").process_group(0); })),
    way("close_other_fds and no_new_privs", &[], |_| status(|it| { it.close_other_fds().no_new_privs(); })),
    way("pre_exec", &[], |_| status(with_own_code)),
    way("spawn_fn", &[], |_| own_code(|_| ())),
    way("spawn_fn in a pid namespace", &[UserNamespaces], |_| own_code(|it| { it.unshare(NamespaceSet::PID).map_root(); })),
    way("spawn_fn in a root", &[UserNamespaces, NewProc], |_| own_code(in_root)),
    way("ids", &[Root, OtherIds], |_| status(|it| { it.groups([7]).gid(7).uid(7); })),
    way("map_root", &[UserNamespaces], |_| status(|it| { it.map_root(); })),
    way("map_root without openat2", &[UserNamespaces], |_| without_openat2(status(|it| { it.map_root(); }))),
    way("map_root and pre_exec without openat2", &[UserNamespaces], |_| without_openat2(status(|it| { it.map_root(); with_own_code(it); }))),
    way("all namespaces", &[UserNamespaces], |_| status(|it| { it.unshare(NamespaceSet::all()).map_root().hostname("box".parse().unwrap()).loopback_up(); })),
    way("time", &[UserNamespaces], |_| status(|it| { it.map_root().time_offset(Clock::Boottime, ClockOffset::new(9, 0).unwrap()); })),
    way("maps from outside", &[Root, OtherIds, UserNamespaces], |_| status(with_maps)),
    way("maps from outside and pre_exec", &[Root, OtherIds, UserNamespaces], |_| status(|it| { with_maps(it); with_own_code(it); })),
    way("init", &[UserNamespaces], |_| status(|it| { it.map_root().init(Init::new()); })),
    way("init in a root", &[UserNamespaces, NewProc], |_| status(|it| { in_root(it); it.init(Init::new()); })),
    way("mounts", &[UserNamespaces, NewProc], |_| status(|it| { it.map_root().unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap()).mount(Mount::tmpfs("/tmp").unwrap()); })),
    way("root", &[UserNamespaces, NewProc], |_| status(in_root)),
    way("root and pre_exec", &[UserNamespaces, NewProc], |_| status(|it| { in_root(it); with_own_code(it); })),
    way("root without openat2", &[UserNamespaces, NewProc], |_| without_openat2(status(in_root))),
    way("root and pre_exec without openat2", &[UserNamespaces, NewProc], |_| without_openat2(status(|it| { in_root(it); with_own_code(it); }))),
    way("script in a root", &[UserNamespaces, NewProc, NeedFile("/usr/bin/ldd")], |_| script()),
    way("entered UTS namespace", &[Root], |ground| entered(ground, NamespaceSet::UTS, |_| ())),
    way("entered UTS namespace and pre_exec", &[Root], |ground| entered(ground, NamespaceSet::UTS, with_own_code)),
    way("entered pid namespace", &[Root], |ground| entered(ground, NamespaceSet::PID, |_| ())),
    way("entered mount namespace", &[Root], |ground| entered(ground, NamespaceSet::MOUNT, |_| ())),
    way("entered user and mount namespaces", &[UserNamespaces], |ground| entered(ground, NamespaceSet::USER | NamespaceSet::MOUNT, |_| ())),
    way("init in entered namespaces", &[UserNamespaces], |ground| entered(ground, NamespaceSet::USER | NamespaceSet::MOUNT, |it| { it.init(Init::new()); })),
    way("root_dir_fd", &[Root], |_| status(|it| { it.root_dir_fd(File::open("/").unwrap()).current_dir_fd(File::open("/tmp").unwrap()); })),
    way("Unshare", &[UserNamespaces], |_| unshare(|it| it.hostname("box".parse().unwrap()).loopback_up())),
    way("Unshare with a root", &[UserNamespaces], |_| unshare(|it| it.rootfs(Rootfs::tmpfs()).mount(Mount::bind("/proc", "/proc").unwrap()))),
    way("Enter::apply", &[Root], |ground| entering(ground, |it| it.apply())),
    way("Enter::scoped", &[Root], |ground| entering(ground, |it| it.scoped()?.leave())),
    way("Enter::run", &[Root], |ground| entering(ground, |it| it.run(|| ()))),
];

/// Those after which this process runs another program, which itself needs what there is little of.
#[rustfmt::skip]
const EXECS: &[Way] = &[
    way("exec", &[], |_| exec(|_| ())),
    way("exec in a root", &[Root], |_| exec(|it| { it.root_dir_fd(File::open("/").unwrap()); })),
];

/// What is entered.
struct Ground {
    user: Option<Held>,
    own: Option<Held>,
}

impl Ground {
    fn new() -> Self {
        let has_users = UserNamespaces.missing().is_none();
        let set = NamespaceSet::UTS | NamespaceSet::MOUNT | NamespaceSet::PID;
        Self {
            user: has_users.then(|| Held::new(set | NamespaceSet::USER)),
            own: is_root().then(|| Held::new(set)),
        }
    }

    fn own(&self) -> &Held {
        self.own.as_ref().unwrap()
    }
}

/// Runs `work` for each way that this machine has, in a process of its own.
fn each_way<'a>(
    ways: impl IntoIterator<Item = &'a Way>,
    ground: &Ground,
    work: impl Fn(&str, Work),
) {
    // What the machine has is asked once; who this process is may have changed since.
    let has = |need: &Need| match need {
        Root => is_root() && need.missing().is_none(),
        need => need.missing().is_none(),
    };
    let can_run = |way: &&Way| way.needs.iter().all(has);
    for way in ways.into_iter().filter(can_run) {
        in_fork(|| {
            // SAFETY: this process alone.
            unsafe { libc::alarm(limit() / 4) };
            work(way.name, (way.prepare)(ground));
        });
    }
}

fn true_command() -> Command {
    let mut command = Command::new("true");
    // What the dynamic linker says of missing memory is not for the report of the trials.
    command.stderr(Stdio::null());
    command
}

fn status(change: fn(&mut Command)) -> Work {
    let mut command = true_command();
    change(&mut command);
    Box::new(move || command.status().map(drop))
}

fn output() -> Work {
    let mut command = Command::new("echo");
    command.arg("x".repeat(20_000));
    Box::new(move || command.output().map(drop))
}

/// Its error is explained on the same stack.
fn not_found() -> Work {
    let mut command = Command::new("/no/such/program");
    Box::new(move || {
        let error = command.status().unwrap_err();
        drop((error.explain(), format!("{error:#}")));
        if error.raw_os_error() == Some(libc::ENOENT) { Ok(()) } else { Err(error) }
    })
}

fn with_own_code(command: &mut Command) {
    // SAFETY: does nothing.
    unsafe { command.pre_exec(|| Ok(())) };
}

fn own_code(change: fn(&mut Command)) -> Work {
    let mut command = Command::new("code");
    change(&mut command);
    // SAFETY: returns a number.
    Box::new(move || unsafe { command.spawn_fn(|| 0) }?.wait().map(drop))
}

fn with_maps(command: &mut Command) {
    let map = || stage::id_map(&[(0, 0, 9)]);
    command.uid_map(map()).gid_map(map());
}

fn in_root(command: &mut Command) {
    command.map_root().unshare(NamespaceSet::PID).rootfs(Rootfs::tmpfs());
    with_programs(command);
    command.mount(Mount::proc("/proc").unwrap()).mount(Mount::dev("/dev").unwrap());
    command.mount(Mount::tmpfs("/tmp").unwrap()).mount(Mount::mask("/proc/version").unwrap());
}

fn script() -> Work {
    // A script on every Debian, with /bin/sh as its interpreter.
    let mut command = Command::new("/usr/bin/ldd");
    command.arg("--version").stdout(Stdio::null());
    in_root(&mut command);
    Box::new(move || command.status().map(drop))
}

fn entered(ground: &Ground, set: NamespaceSet, change: fn(&mut Command)) -> Work {
    let mut command = true_command();
    let place = if set.contains(NamespaceSet::USER) { &ground.user } else { &ground.own };
    command.enter(place.as_ref().unwrap().enter(set));
    change(&mut command);
    Box::new(move || command.status().map(drop))
}

fn without_openat2(work: Work) -> Work {
    refuse(libc::SYS_openat2, libc::ENOSYS);
    work
}

fn exec(change: fn(&mut Command)) -> Work {
    let mut command = Command::new("true");
    change(&mut command);
    Box::new(move || Err(command.exec()))
}

fn entering(ground: &Ground, work: fn(&Enter) -> Result<(), Error>) -> Work {
    let enter = ground.own().enter(NamespaceSet::UTS | NamespaceSet::MOUNT);
    Box::new(move || work(&enter))
}

fn unshare(change: fn(Unshare) -> Unshare) -> Work {
    if !is_root() {
        // Now, since with a second thread it is too late.
        Unshare::new(NamespaceSet::USER | NamespaceSet::MOUNT).map_root().apply().unwrap();
    }
    let unshare = change(Unshare::new(NamespaceSet::UTS | NamespaceSet::MOUNT | NamespaceSet::NET));
    Box::new(move || unshare.apply())
}

/// What a thread has in all, with what libc keeps there. Without optimisation frames are four times as large.
fn stack_size() -> usize {
    // SAFETY: returns a number.
    let least = unsafe { libc::sysconf(libc::_SC_THREAD_STACK_MIN) };
    let wanted = match (cfg!(debug_assertions), cfg!(target_arch = "s390x")) {
        (true, _) => 64 * 1024,
        // Each frame has 160 bytes for registers.
        (false, true) => 24 * 1024,
        (false, false) => 16 * 1024,
    };
    wanted.max(usize::try_from(least).unwrap_or(0))
}

fn little_stack() {
    let ground = Ground::new();
    each_way(WAYS.iter().chain(EXECS), &ground, |name, mut work| {
        // With room to spare, to report how much is missing.
        in_fork(|| {
            let (outcome, used) = Stack::new(1 << 20).run(&mut work);
            outcome.unwrap_or_else(|error| panic!("{name}: {error:#}"));
            assert!(used <= stack_size(), "{name} took {used} bytes of stack");
        });
        let (outcome, _) = Stack::new(stack_size()).run(&mut work);
        outcome.unwrap_or_else(|error| panic!("{name}, on a small stack: {error:#}"));
    });
}

/// Memory for the stack of a thread.
struct Stack {
    bottom: *mut u8,
    size: usize,
}

const UNUSED: u8 = 0xa5;

struct Job<'a> {
    work: &'a mut Work,
    outcome: Option<Result<(), Error>>,
}

extern "C" fn main(job: *mut c_void) -> *mut c_void {
    // SAFETY: the thread that joins this one keeps the job.
    let job = unsafe { &mut *job.cast::<Job<'_>>() };
    job.outcome = Some((job.work)());
    ptr::null_mut()
}

impl Stack {
    const GUARD: usize = 64 * 1024;

    /// With inaccessible memory below, so that a thread which needs more is killed.
    fn new(size: usize) -> Self {
        let all = Self::GUARD + size;
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory, for good.
        let bottom = unsafe {
            let at = libc::mmap(ptr::null_mut(), all, access, kind, -1, 0).cast::<u8>();
            assert_eq!(libc::mprotect(at.cast(), Self::GUARD, libc::PROT_NONE), 0);
            at.add(Self::GUARD)
        };
        // SAFETY: as long as that memory.
        unsafe { ptr::write_bytes(bottom, UNUSED, size) };
        Self { bottom, size }
    }

    /// Runs `work` on it. Returns also how many bytes were used, by children too that share them.
    fn run(&self, work: &mut Work) -> (Result<(), Error>, usize) {
        let mut job = Job { work, outcome: None };
        // SAFETY: the stack is for this thread, which is joined.
        unsafe {
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            let mut thread: libc::pthread_t = std::mem::zeroed();
            libc::pthread_attr_init(&raw mut attributes);
            let errno =
                libc::pthread_attr_setstack(&raw mut attributes, self.bottom.cast(), self.size);
            assert_eq!(errno, 0);
            let job = (&raw mut job).cast();
            let errno = libc::pthread_create(&raw mut thread, &raw const attributes, main, job);
            assert_eq!(errno, 0);
            libc::pthread_join(thread, ptr::null_mut());
        }
        // SAFETY: all of it is initialised.
        let bytes = unsafe { std::slice::from_raw_parts(self.bottom, self.size) };
        let unused = bytes.iter().take_while(|&&byte| byte == UNUSED).count();
        (job.outcome.unwrap(), self.size - unused)
    }
}

/// A limit leads to success or to an error that names the limit and the step, and is explained.
fn judge(name: &str, outcome: Result<(), Error>, errno: &[i32]) {
    if let Err(error) = outcome {
        assert!(error.step().is_some(), "{name}: {error:?}");
        // A program for which there is no memory is killed in the middle of exec.
        let is_killed = error.kind() == ErrorKind::ChildDied && errno.contains(&libc::ENOMEM);
        let is_limit = error.raw_os_error().is_some_and(|got| errno.contains(&got));
        assert!(is_killed || (is_limit && error.explain().is_some()), "{name}: {error:?}");
    }
}

fn four_descriptors() {
    let ground = Ground::new();
    for free in 0..=4 {
        each_way(WAYS, &ground, |name, mut work| {
            let limit = Limit::free_descriptors(free);
            let outcome = work();
            drop(limit);
            judge(&format!("{name}, {free} descriptors"), outcome, &[libc::EMFILE]);
        });
    }
}

fn the_last_process() {
    as_ordinary(|| {
        let ground = Ground::new();
        for more in 0..=3 {
            each_way(WAYS, &ground, |name, mut work| {
                let limit = Limit::set(libc::RLIMIT_NPROC, last_refused() + more);
                let outcome = work();
                drop(limit);
                judge(&format!("{name}, {more} processes"), outcome, &[libc::EAGAIN]);
            });
        }
    });
}

/// The highest limit on processes at which this one can start none.
fn last_refused() -> libc::rlim_t {
    let is_refused = |count: &libc::rlim_t| {
        let _limit = Limit::set(libc::RLIMIT_NPROC, *count);
        // SAFETY: this process has one thread.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: the child made above, if there is one.
        pid < 0 || unsafe { libc::waitpid(pid, ptr::null_mut(), 0) } < 0
    };
    (0..).take_while(is_refused).last().unwrap()
}

fn little_address_space() {
    if !cfg!(target_env = "gnu") {
        // The heap of musl cannot be told to keep memory, and without memory for it every Rust program aborts.
        return;
    }
    let ground = Ground::new();
    // Less than a program takes, and then that much more than this process has.
    let limits = [(false, 64), (false, 1024)].into_iter();
    let limits = limits.chain([0, 64, 256, 1024, 16 * 1024].map(|more| (true, more)));
    for (is_above, kib) in limits {
        each_way(WAYS, &ground, |name, mut work| {
            keep_memory();
            let own = if is_above { address_space() } else { 0 };
            let limit = Limit::set(libc::RLIMIT_AS, own + kib * 1024);
            let outcome = work();
            drop(limit);
            judge(&format!("{name}, {kib} KiB"), outcome, &[libc::ENOMEM, libc::EAGAIN]);
        });
    }
}

/// How much this process has mapped.
fn address_space() -> libc::rlim_t {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: libc::rlim_t = pages.split(' ').next().unwrap().parse().unwrap();
    // SAFETY: returns a number.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as libc::rlim_t
}

/// The heap has what is needed.
fn keep_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: this process's allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 8 << 20);
    }
    drop(vec![1_u8; 1 << 20]);
}
