//! The ways in which a child is made.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use linux_namespaces::{
    Child, Clock, ClockOffset, Command, Enter, Error, IdExtent, IdMap, Init, NamespaceSet, Step,
};

/// Shares memory, has a copy, or is made by an intermediate process of either kind; with the helper, an init,
/// and the wait for an exec; and fails.
type Mode = (&'static str, fn(&Modes, &mut Command));

const MODES: [Mode; 10] = [
    ("sharing memory", |_, _| ()),
    ("sharing memory, in a user namespace", |_, command| {
        command.map_root();
    }),
    ("sharing memory, in more namespaces", |_, command| {
        let set = NamespaceSet::IPC | NamespaceSet::MOUNT | NamespaceSet::CGROUP;
        command.map_root().unshare(set).hostname("soak".parse().unwrap());
    }),
    ("copying memory", |_, command| {
        // SAFETY: does nothing.
        unsafe { command.pre_exec(|| Ok(())) };
    }),
    ("inside a UTS namespace", |modes, command| {
        command.enter(modes.uts.enter());
    }),
    ("inside a user namespace", |modes, command| {
        command.enter(modes.user.enter());
    }),
    ("with a time namespace", |_, command| {
        let offset = ClockOffset::new(1000, 0).unwrap();
        command.map_root().time_offset(Clock::Boottime, offset);
    }),
    ("with an init", |_, command| {
        command.map_root().init(Init::new());
    }),
    ("with a network", |_, command| {
        command.map_root().unshare(NamespaceSet::NET);
    }),
    ("with maps from outside", |_, command| map_from_outside(command)),
];

fn map_from_outside(command: &mut Command) {
    let map = || IdMap::new([IdExtent { inside: 0, outside: 0, count: 5 }]).unwrap();
    command.uid_map(map()).gid_map(map());
}

/// Not even root of a container has the right to these, if it has no `CAP_SYS_ADMIN`.
pub(crate) fn needs_no_user_namespace() -> bool {
    Command::new("true").unshare(NamespaceSet::UTS).status().is_ok()
}

/// What root may not do in most containers.
pub(crate) fn try_maps() -> Result<(), Error> {
    let mut command = Command::new("true");
    map_from_outside(&mut command);
    command.status().map(drop)
}

/// One with a network in so many rounds of the modes, since the kernel takes them down slowly.
const RARELY: usize = 16;

/// A process in namespaces to be entered, killed at the end.
struct Held {
    child: Child,
    set: NamespaceSet,
}

impl Held {
    fn new(set: NamespaceSet) -> Self {
        let mut command = Command::new("sleep");
        command.arg("36000").unshare(set);
        if set.contains(NamespaceSet::USER) {
            command.map_root();
        }
        command.kill_on_parent_exit();
        Self { child: command.spawn().unwrap(), set }
    }

    fn enter(&self) -> Enter {
        Enter::new().process(self.child.pidfd().try_clone().unwrap(), self.set)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub(crate) struct Modes {
    modes: &'static [Mode],
    program: &'static str,
    uts: Held,
    user: Held,
    counts: [AtomicUsize; MODES.len()],
    failures: AtomicUsize,
    own_code: AtomicUsize,
}

impl Modes {
    pub(crate) fn new(is_root: bool) -> Self {
        // Without a dynamic linker, which takes most of the time of so short a program.
        let program = ["/bin/busybox", "/usr/bin/env"];
        Self {
            // An ordinary user has no range of ids to map.
            modes: if is_root { &MODES } else { &MODES[..MODES.len() - 1] },
            program: program.into_iter().find(|program| Path::new(program).exists()).unwrap(),
            uts: Held::new(NamespaceSet::UTS),
            user: Held::new(NamespaceSet::USER | NamespaceSet::UTS),
            counts: Default::default(),
            failures: AtomicUsize::new(0),
            own_code: AtomicUsize::new(0),
        }
    }

    /// One, and to its end.
    pub(crate) fn spawn(&self, number: usize) {
        let ways = self.modes.len() + 2;
        let mode = match number % ways {
            0 => return self.fail(number / ways),
            1 => return self.run_own_code(number),
            mode if mode - 2 == 8 && number / ways % RARELY != 0 => 0,
            mode => mode - 2,
        };
        let (name, choose) = self.modes[mode];
        let succeeds = number % 3 != 0;
        let mut command = Command::new(self.program);
        command.arg(if succeeds { "true" } else { "false" });
        choose(self, &mut command);
        let status = command.status().unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert_eq!(status.code(), Some((!succeeds).into()), "{name}");
        self.counts[mode].fetch_add(1, Relaxed);
    }

    fn fail(&self, number: usize) {
        let (name, choose) = self.modes[number % self.modes.len()];
        let mut command = Command::new("/no/such/program");
        choose(self, &mut command);
        let error = command.spawn().unwrap_err();
        let got = (error.step(), error.raw_os_error());
        assert_eq!(got, (Some(Step::Exec), Some(libc::ENOENT)), "{name}: {error:#}");
        self.failures.fetch_add(1, Relaxed);
    }

    fn run_own_code(&self, number: usize) {
        let code = u8::try_from(number % 200).unwrap();
        let mut command = Command::new("inside");
        command.unshare(NamespaceSet::PID).map_root();
        // SAFETY: it answers a number.
        let mut child = unsafe { command.spawn_fn(move || code) }.unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code.into()));
        self.own_code.fetch_add(1, Relaxed);
    }

    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let named = self.modes.iter().zip(&self.counts).map(|((name, _), count)| (*name, count));
        let others = [("failing", &self.failures), ("running own code", &self.own_code)];
        named.chain(others).map(|(name, count)| (name, count.load(Relaxed)))
    }
}
