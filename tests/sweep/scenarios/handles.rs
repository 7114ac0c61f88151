//! Namespaces that are opened, kept and found.

use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use linux_namespaces::{
    Command, Discovery, Gap, Init, Namespace, NamespaceInfo, NamespaceSet, NsFd, NsId, PidFd,
    PinDir, Pinned, Signal, discover,
};

use super::{Place, Scenario, own_mounts, scenario};
use crate::machine::Need::{self, NewProc, PidfdNamespaces, Root, UniqueIds, UserNamespaces};
use crate::stage;
use crate::subject::{Act, Came, begin};

const USERS: &[Need] = &[UserNamespaces];
const PROCS: &[Need] = &[UserNamespaces, NewProc];
const PIN: &str = "/tmp/sweep-pin";
const DIR: &str = "/tmp/sweep-dir";

#[rustfmt::skip]
pub(super) const ALL: &[Scenario] = &[
    scenario("handles::current", &[], current),
    scenario("handles::of_a_process", USERS, of_a_process),
    scenario("handles::by_path", USERS, by_path),
    scenario("handles::netnsid", &[Root], netnsid),
    scenario("handles::relations", &[UserNamespaces, PidfdNamespaces], relations),
    scenario("handles::by_name", &[Root, UniqueIds], by_name),
    scenario("handles::of_a_socket", &[Root], of_a_socket),
    scenario("handles::child", USERS, child),
    scenario("handles::program", USERS, program),
    scenario("pin::and_unpin", USERS, pin_and_unpin),
    scenario("pin::dropped", USERS, pin_dropped),
    scenario("pin::opened", USERS, pin_opened),
    scenario("pin::in_a_directory", USERS, pin_in_a_directory),
    scenario("pin::netns", &[Root], pin_netns),
    scenario("discover::all", PROCS, discover_all),
    scenario("discover::and_opened", PROCS, discover_and_opened),
    scenario("discover::members", PROCS, members),
    scenario("discover::until_empty", PROCS, until_empty),
    scenario("discover::holders", PROCS, holders),
];

fn own_uts() -> NsFd {
    NsFd::current(Namespace::Uts).unwrap()
}

fn current() -> Act {
    Act::new(|| {
        begin();
        for &kind in Namespace::ALL {
            let namespace = NsFd::current(kind)?;
            namespace.id()?;
        }
        NsFd::for_children(Namespace::Pid)?;
        PidFd::current()?.pid()?;
        Ok(Came::Done)
    })
}

fn of_a_process() -> Act {
    let place = Place::new(NamespaceSet::USER | NamespaceSet::UTS);
    Act::new(move || {
        let pid = place.child.id();
        begin();
        let process = PidFd::open(pid)?;
        assert_eq!(process.pid()?, Some(pid));
        assert_eq!(process.pids()?.last(), Some(&pid));
        let one = NsFd::of_process(&process, Namespace::Uts)?;
        let other = NsFd::of_pid(pid, Namespace::Uts)?;
        assert_eq!(one.id()?, other.id()?);
        Ok(Came::Done)
    })
}

fn by_path() -> Act {
    let place = Place::new(NamespaceSet::USER | NamespaceSet::UTS);
    Act::new(move || {
        let pid = place.child.id();
        let process = place.child.pidfd();
        begin();
        let one = NsFd::open(format!("/proc/{pid}/ns/pid_for_children"))?;
        let other = NsFd::for_children_of(process, Namespace::Pid)?;
        assert_eq!(one.id()?, other.id()?);
        assert!(!process.has_ended()?);
        Ok(Came::Done)
    })
}

fn netnsid() -> Act {
    let place = Place::new(NamespaceSet::NET);
    Act::new(move || {
        let net = NsFd::of_process(place.child.pidfd(), Namespace::Net).unwrap();
        begin();
        assert_eq!(net.netnsid()?, None);
        Ok(Came::Done)
    })
}

fn relations() -> Act {
    let place = Place::new(NamespaceSet::USER | NamespaceSet::PID);
    Act::new(move || {
        let pid = NsFd::of_process(place.child.pidfd(), Namespace::Pid).unwrap();
        begin();
        pid.unique_id()?;
        let user = pid.owner()?;
        user.owner_uid()?;
        let parent = pid.parent()?;
        assert_eq!(parent.id()?, NsFd::current(Namespace::Pid)?.id()?);
        assert_eq!(pid.pid_inside(place.child.id())?, 1);
        assert_eq!(pid.pid_outside(1)?, place.child.id());
        Ok(Came::Done)
    })
}

fn program() -> Act {
    let mut command = Command::new("sleep");
    command.arg("6000").map_root().init(Init::new());
    let init = Place {
        child: command.spawn().unwrap_or_else(|error| panic!("{error:#}")),
        set: NamespaceSet::USER | NamespaceSet::PID,
    };
    Act::new(move || {
        begin();
        let program = init.child.program()?;
        assert_eq!(program.pids()?.last(), Some(&2));
        Ok(Came::Done)
    })
}

fn by_name() -> Act {
    Act::new(|| {
        let namespace = own_uts();
        begin();
        let again = namespace.file_handle()?.open()?;
        assert_eq!(again.id()?, namespace.id()?);
        Ok(Came::Done)
    })
}

fn of_a_socket() -> Act {
    Act::new(|| {
        let (socket, _other) = UnixStream::pair().unwrap();
        let number = socket.as_raw_fd();
        begin();
        let copy = PidFd::current()?.copy_fd(number)?;
        NsFd::of_socket(&copy)?.id()?;
        Ok(Came::Done)
    })
}

/// What is asked of a child, and sent to it.
fn child() -> Act {
    Act::new(|| {
        let mut command = Command::new("/bin/sleep");
        command.arg("6000").unshare(NamespaceSet::USER).kill_on_parent_exit();
        let mut child = command.spawn().unwrap();
        begin();
        let outcome = (|| {
            child.namespace(Namespace::User)?.owner_uid()?;
            child.try_wait()?;
            child.wait_timeout(Duration::from_millis(1))?;
            child.send_signal(Signal::TERM)
        })();
        // SAFETY: our own child, which is not waited for.
        unsafe { libc::kill(child.id().cast_signed(), libc::SIGKILL) };
        child.wait()?;
        outcome.map(|()| Came::Done)
    })
}

fn pin_and_unpin() -> Act {
    Act::new(|| {
        let namespace = own_uts();
        begin();
        namespace.pin(PIN)?.unpin().map(|()| Came::Done)
    })
    .staged(own_mounts)
}

fn pin_dropped() -> Act {
    Act::new(|| {
        let pinned = own_uts().pin(PIN).unwrap();
        begin();
        drop(pinned);
        Ok(Came::Done)
    })
    .staged(own_mounts)
}

/// What was pinned before.
fn pin_opened() -> Act {
    Act::new(|| {
        begin();
        let pinned = Pinned::open(PIN)?;
        assert_eq!(pinned.namespace().kind(), Namespace::Uts);
        pinned.keep();
        Ok(Came::Done)
    })
    .staged(|| {
        own_mounts();
        std::fs::write(PIN, "").unwrap();
        stage::bind("/proc/self/ns/uts", PIN);
    })
}

fn pin_in_a_directory() -> Act {
    Act::new(|| {
        let namespace = own_uts();
        begin();
        let dir = PinDir::create(DIR)?;
        dir.pin("one", &namespace)?.keep();
        let listed = dir.list()?;
        let is_whole = listed.iter().any(|(name, _)| name == OsStr::new("one"));
        dir.get("one")?;
        dir.remove("one")?;
        Ok(if is_whole { Came::Done } else { Came::Incomplete })
    })
    .staged(own_mounts)
    .keeping(DIR)
}

fn pin_netns() -> Act {
    Act::new(|| {
        begin();
        let dir = PinDir::create_netns()?;
        dir.pin("sweep", &NsFd::current(Namespace::Net)?)?.unpin().map(|()| Came::Done)
    })
    .staged(|| {
        own_mounts();
        stage::tmpfs("/run");
    })
    .keeping("/run/netns")
}

/// Where there are few processes.
fn alone(act: Act) -> Act {
    act.inside(libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS).staged(|| {
        stage::proc("/proc");
    })
}

/// What is found must be found again, or be told to be missing.
fn compare((found, gaps): &(usize, Vec<Gap>), now: &(usize, Vec<Gap>)) -> Came {
    match now {
        (same, _) if same >= found => Came::Done,
        (_, others) if others.iter().any(|gap| !gaps.contains(gap)) => Came::Told,
        _ => Came::Incomplete,
    }
}

fn discover_all() -> Act {
    let numbers = |all: &Discovery| (all.namespaces().len(), all.gaps().to_vec());
    alone(Act::new(move || {
        let before = discover().unwrap();
        begin();
        let after = discover()?;
        assert!(after.namespaces().all(|it| before.get(it.id()).is_some_and(|was| is_it(it, was))));
        Ok(compare(&numbers(&before), &numbers(&after)))
    }))
}

/// What is told of a namespace is true, or is not told.
fn is_it(found: &NamespaceInfo, was: &NamespaceInfo) -> bool {
    let is = |now: Option<NsId>, before| now.is_none() || now == before;
    found.kind() == was.kind()
        && is(found.owner(), was.owner())
        && is(found.parent(), was.parent())
        && [None, was.unique_id()].contains(&found.unique_id())
        && [None, was.owner_uid()].contains(&found.owner_uid())
        && found.pids().count() <= was.pids().count()
}

fn discover_and_opened() -> Act {
    alone(Act::new(|| {
        let own = own_uts().id().unwrap();
        let all = discover().unwrap();
        let found = all.get(own).unwrap();
        begin();
        assert_eq!(all.open(found)?.id()?, own);
        Ok(Came::Done)
    }))
}

/// One is left, and this process is in the other.
fn until_empty() -> Act {
    let place = Place::new(NamespaceSet::USER | NamespaceSet::IPC);
    let left = NsFd::of_process(place.child.pidfd(), Namespace::Ipc).unwrap();
    drop(place);
    alone(Act::new(move || {
        let own = own_uts();
        begin();
        let is_empty = left.wait_until_empty(None)?;
        let has_none = own.wait_until_empty(Some(Duration::from_millis(1)))?;
        Ok(if is_empty && !has_none { Came::Done } else { Came::Incomplete })
    }))
}

fn members() -> Act {
    alone(Act::new(|| {
        let namespace = own_uts();
        begin();
        let members = namespace.members()?;
        Ok(if members.len() == 1 { Came::Done } else { Came::Incomplete })
    }))
}

fn holders() -> Act {
    alone(Act::new(|| {
        let namespace = own_uts();
        let all = || namespace.holders().map(|all| (all.iter().len(), all.gaps().to_vec()));
        let before = all().unwrap();
        begin();
        all().map(|after| compare(&before, &after))
    }))
}
