//! What becomes of the calling thread: new namespaces, and others that are entered.

use std::thread;

use linux_namespaces::{
    Clock, ClockOffset, Command, Enter, ErrorKind, IdExtent, IdMap, Mount, Namespace, NamespaceSet,
    NsFd, Rootfs, Step, Unshare,
};

use super::{Place, Scenario, own_mounts, scenario};
use crate::machine::Need::{self, OtherIds, Root, UserNamespaces};
use crate::subject::{Act, Came, begin};

const USERS: &[Need] = &[UserNamespaces];

#[rustfmt::skip]
pub(super) const ALL: &[Scenario] = &[
    scenario("unshare::one", &[Root], || unshare(|| Unshare::new(NamespaceSet::UTS))),
    scenario("unshare::names", &[Root], || unshare(|| Unshare::new(NamespaceSet::UTS).hostname("x".parse().unwrap()).domainname("y".parse().unwrap()))),
    scenario("unshare::lo", &[Root], || unshare(|| Unshare::new(NamespaceSet::NET).loopback_up())),
    scenario("unshare::pid", &[Root], || unshare(|| Unshare::new(NamespaceSet::PID | NamespaceSet::UTS).hostname("x".parse().unwrap()))),
    scenario("unshare::time", &[Root], || unshare(|| Unshare::new(NamespaceSet::TIME).time_offset(Clock::Boottime, ClockOffset::new(1000, 0).unwrap()))),
    scenario("unshare::mounts", &[Root], || unshare(|| Unshare::new(NamespaceSet::MOUNT).mount(Mount::tmpfs("/tmp").unwrap()).mount(Mount::bind("/etc", "/run").unwrap().read_only()))),
    scenario("unshare::root", &[Root], || unshare(|| Unshare::new(NamespaceSet::MOUNT).rootfs(Rootfs::dir("/").unwrap().read_only()))),
    scenario("unshare::user", USERS, || unshare(|| Unshare::new(NamespaceSet::UTS).map_root().hostname("x".parse().unwrap()))),
    scenario("unshare::user_by_helper", &[Root, UserNamespaces, OtherIds], || unshare(by_helper)),
    scenario("enter::one", &[Root], || apply(NamespaceSet::UTS)),
    scenario("enter::several", &[Root], || apply(NamespaceSet::UTS | NamespaceSet::MOUNT | NamespaceSet::IPC | NamespaceSet::PID)),
    scenario("enter::user", USERS, || apply(NamespaceSet::USER | NamespaceSet::UTS)),
    scenario("enter::each_by_its_file", &[Root], by_files),
    scenario("enter::scoped", &[Root], || scoped(NamespaceSet::UTS | NamespaceSet::MOUNT | NamespaceSet::NET)),
    scenario("enter::scoped_time", &[Root], || scoped(NamespaceSet::TIME | NamespaceSet::PID)),
    scenario("exec::without_the_program", &[Root, OtherIds], exec),
    scenario("enter::on_a_thread", &[Root], on_a_thread),
    scenario("enter::inside_user_scoped", USERS, own_scope),
];

fn by_helper() -> Unshare {
    let map = IdMap::new([IdExtent { inside: 0, outside: 0, count: 3 }]).unwrap();
    Unshare::new(NamespaceSet::USER).uid_map(map.clone()).gid_map(map)
}

fn unshare(make: fn() -> Unshare) -> Act {
    Act::new(move || {
        let unshare = make();
        begin();
        unshare.apply().map(|()| Came::Done)
    })
    .changing()
}

fn apply(set: NamespaceSet) -> Act {
    let place = Place::new(set);
    Act::new(move || {
        let enter = place.enter();
        begin();
        enter.apply().map(|()| Came::Done)
    })
    .changing()
}

fn by_files() -> Act {
    let set = NamespaceSet::UTS | NamespaceSet::NET | NamespaceSet::CGROUP;
    let place = Place::new(set);
    Act::new(move || {
        let open = |kind| NsFd::of_process(place.child.pidfd(), kind).unwrap();
        let all = set.kinds().fold(Enter::new(), |it, kind| it.namespace(open(kind)));
        begin();
        all.apply().map(|()| Came::Done)
    })
    .changing()
}

fn scoped(set: NamespaceSet) -> Act {
    let place = Place::new(set);
    Act::new(move || {
        let enter = place.enter();
        begin();
        enter.scoped()?.leave().map(|()| Came::Done)
    })
}

/// All that comes before the program, of which there is none.
fn exec() -> Act {
    let place = Place::new(NamespaceSet::UTS | NamespaceSet::MOUNT | NamespaceSet::PID);
    Act::new(move || {
        let mut command = Command::new("/no/such/program");
        command.enter(place.enter()).uid(0).gid(0).groups([]).no_new_privs().current_dir("/");
        begin();
        let error = command.exec();
        let is_done = error.step() == Some(Step::Exec) && error.kind() == ErrorKind::NotFound;
        if is_done { Ok(Came::Done) } else { Err(error) }
    })
    .changing_in_any_case()
}

/// As an ordinary user may, in a user namespace of its own.
fn own_scope() -> Act {
    Act::new(|| {
        let before = NsFd::current(Namespace::Net).unwrap().id().unwrap();
        let net = thread::scope(|scope| {
            let made = scope.spawn(|| {
                // SAFETY: this thread alone.
                assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
                NsFd::current(Namespace::Net).unwrap()
            });
            made.join().unwrap()
        });
        begin();
        let scope = net.scoped()?;
        assert_ne!(NsFd::current(Namespace::Net)?.id()?, before);
        scope.leave().map(|()| Came::Done)
    })
    .staged(|| {
        own_mounts();
        // SAFETY: this process alone. There has to be a way back.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        with_threads();
    })
}

/// A first thread changes what a process does with the signals of the C library.
fn with_threads() {
    thread::spawn(|| ()).join().unwrap();
}

fn on_a_thread() -> Act {
    let place = Place::new(NamespaceSet::UTS | NamespaceSet::NET);
    Act::new(move || {
        let enter = place.enter();
        begin();
        enter.run(|| ()).map(|()| Came::Done)
    })
    .staged(with_threads)
}
