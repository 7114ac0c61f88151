//! Directories of pinned namespaces, and `ip netns` beside us.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use linux_namespaces::{
    Command, ErrorKind, Namespace, NamespaceSet, NsFd, PinDir, PinState, Step, Unshare,
};

use super::races::{at_once, killed_at};
use super::{bare, expect, inhabitant, uts};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::{self, supervised};
use crate::machine::Need::{Program, Root, UserNamespaces};
use crate::sandbox::own_mounts;
use crate::stage::{self, mounts_at};

cases! {
    it_lists_opens_and_removes [UserNamespaces],
    names_are_checked [UserNamespaces],
    it_takes_every_kind_where_mounts_propagate [UserNamespaces],
    it_is_made_once [UserNamespaces],
    who_makes_it_second_waits [UserNamespaces],
    who_holds_its_lock_is_not_waited_for_for_ever [UserNamespaces],
    many_work_in_it_at_once [UserNamespaces],
    it_says_why_it_cannot_be [UserNamespaces],
    ip_netns_and_we_see_each_other_s [UserNamespaces, Program("ip")],
    the_machine_s_are_seen_and_not_touched [Root, Program("ip")],
}

fn names(dir: &PinDir) -> Vec<String> {
    let all = dir.list().unwrap();
    all.into_iter().map(|(name, _)| name.into_string().unwrap()).collect()
}

fn it_lists_opens_and_removes() {
    own_mounts();
    let dir = PinDir::create("/run/all").unwrap();
    assert_eq!(dir.list().unwrap(), []);
    let child = inhabitant();
    for &kind in Namespace::ALL {
        let namespace = child.namespace(kind).unwrap();
        dir.pin(kind.name(), &namespace).unwrap_or_else(|error| panic!("{error:#}")).keep();
    }
    killed_at(libc::SYS_move_mount, || {
        drop(PinDir::open("/run/all").unwrap().pin("stale", &uts()));
    });
    fs::write("/run/all/text", "text").unwrap();
    symlink("net", "/run/all/link").unwrap();
    // Another process looks.
    in_fork(|| {
        let dir = PinDir::open("/run/all").unwrap();
        let listed = dir.list().unwrap();
        assert_eq!(listed.len(), 9);
        for (name, state) in listed {
            let name = name.to_str().unwrap();
            match state {
                PinState::Live { kind, id, .. } => {
                    assert_eq!((kind.name(), id.ino), (name, kernel::ns(child.id(), name)));
                    assert_eq!(dir.get(name).unwrap().id().unwrap(), id);
                }
                _ => assert_eq!((name, state), ("stale", PinState::Stale)),
            }
        }
    });
    drop(child);
    for name in ["text", "link"] {
        assert_eq!(dir.remove(name).unwrap_err().kind(), ErrorKind::NotANamespace, "{name}");
        dir.get(name).unwrap_err();
    }
    assert_eq!(dir.get("stale").unwrap_err().kind(), ErrorKind::NotANamespace);
    dir.pin("net", &uts()).unwrap_err();
    // A stale name is used again, or removed.
    let again = dir.pin("stale", &uts()).unwrap();
    assert_eq!(dir.get("stale").unwrap(), uts());
    drop(again);
    bare("/run/all/stale");
    for name in names(&dir) {
        dir.remove(&name).unwrap();
        let error = dir.remove(&name).unwrap_err();
        expect(&error, Step::Unpin, libc::ENOENT, "nothing is pinned");
    }
    let left = fs::read_dir("/run/all").unwrap().flatten();
    let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["link", "text"]);
}

fn names_are_checked() {
    own_mounts();
    let dir = PinDir::create("/run/all").unwrap();
    let long = "x".repeat(256);
    for name in ["", ".", "..", "/", "a/b", "../x", "/run/x", "a\0b", &long] {
        let errors = [
            dir.pin(name, &uts()).unwrap_err(),
            dir.get(name).unwrap_err(),
            dir.remove(name).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::InvalidInput), "{name:?}");
    }
    for name in [&long.as_bytes()[1..], b"...", b" ", b"-n", b"\xff\n"] {
        let name = OsStr::from_bytes(name);
        dir.pin(name, &uts()).unwrap().keep();
        assert_eq!(dir.list().unwrap()[0].0, name);
        dir.remove(name).unwrap();
    }
    assert_eq!(dir.list().unwrap(), []);
}

fn it_takes_every_kind_where_mounts_propagate() {
    own_mounts();
    stage::share("/run");
    fs::create_dir("/run/peer").unwrap();
    stage::bind("/run", "/run/peer");
    let dir = PinDir::create("/run/all").unwrap();
    let child = inhabitant();
    for &kind in Namespace::ALL {
        dir.pin(kind.name(), &child.namespace(kind).unwrap()).unwrap().keep();
        let path = format!("/run/all/{kind}");
        assert_eq!((mounts_at(&path), mounts_at(&format!("/run/peer/all/{kind}"))), (1, 0));
    }
}

fn it_is_made_once() {
    own_mounts();
    let made = at_once(6, || u8::from(PinDir::create("/run/all").is_err()));
    assert_eq!(made, [0; 6]);
    assert_eq!(mounts_at("/run/all"), 1);
    // What is pinned there before it is made fit stays.
    fs::create_dir("/run/later").unwrap();
    PinDir::open("/run/later").unwrap().pin("x", &uts()).unwrap().keep();
    let dir = PinDir::create("/run/later").unwrap();
    assert_eq!(dir.get("x").unwrap(), uts());
    let made = at_once(6, || u8::from(PinDir::create_netns().is_err()));
    assert_eq!((made, mounts_at(PinDir::NETNS)), (vec![0; 6], 1));
    // Without the new calls.
    in_fork(|| {
        kernel::refuse(libc::SYS_open_tree, libc::ENOSYS);
        PinDir::create("/run/old").unwrap().pin("x", &uts()).unwrap().keep();
        assert_eq!((mounts_at("/run/old"), mounts_at("/run/old/x")), (1, 1));
    });
}

fn who_makes_it_second_waits() {
    own_mounts();
    let mut second = None;
    let meet = |_| {
        second = Some(thread::spawn(|| drop(PinDir::create("/run/all").unwrap())));
        thread::sleep(Duration::from_millis(200));
        assert!(!second.as_ref().unwrap().is_finished(), "it does not wait");
        true
    };
    supervised(libc::SYS_move_mount, meet, || drop(PinDir::create("/run/all").unwrap()));
    second.unwrap().join().unwrap();
    assert_eq!(mounts_at("/run/all"), 1);
}

/// Any user who may read it.
fn who_holds_its_lock_is_not_waited_for_for_ever() {
    own_mounts();
    for path in ["/run/all", PinDir::NETNS] {
        fs::create_dir(path).unwrap();
        let make =
            || if path == PinDir::NETNS { PinDir::create_netns() } else { PinDir::create(path) };
        for how in [libc::LOCK_SH, libc::LOCK_EX] {
            let holder = fs::File::open(path).unwrap();
            // SAFETY: an open descriptor.
            assert_eq!(unsafe { libc::flock(holder.as_raw_fd(), how) }, 0);
            expect(&make().unwrap_err(), Step::CreatePinDir, libc::EBUSY, "lslocks");
            assert_eq!(mounts_at(path), 0);
        }
        make().unwrap();
        assert_eq!(mounts_at(path), 1);
        // The lock of what is there already is nobody's business.
        let holder = fs::File::open(path).unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { libc::flock(holder.as_raw_fd(), libc::LOCK_EX) }, 0);
        make().unwrap().pin("x", &uts()).unwrap().unpin().unwrap();
    }
}

fn many_work_in_it_at_once() {
    own_mounts();
    PinDir::create("/run/all").unwrap();
    let outcomes = at_once(4, || {
        let dir = PinDir::open("/run/all").unwrap();
        let mut unexpected = 0;
        for round in 0..50 {
            let name = format!("{}", round % 3);
            let pin = dir.pin(&name, &uts()).map(linux_namespaces::Pinned::keep);
            let list = dir.list().map(drop);
            let remove = dir.remove(&name);
            for (outcome, known) in [
                (pin, &[ErrorKind::AlreadyExists][..]),
                (list, &[]),
                (remove, &[ErrorKind::NotFound]),
            ] {
                if let Err(error) = outcome.as_ref().map_err(|error| error.kind()) {
                    if !known.contains(&error) {
                        eprintln!("{:#}", outcome.unwrap_err());
                        unexpected += 1;
                    }
                }
            }
        }
        unexpected
    });
    assert_eq!(outcomes, [0; 4]);
    let dir = PinDir::open("/run/all").unwrap();
    for name in names(&dir) {
        dir.remove(name).unwrap();
    }
    assert_eq!(fs::read_dir("/run/all").unwrap().count(), 0);
}

fn it_says_why_it_cannot_be() {
    own_mounts();
    fs::write("/run/text", "").unwrap();
    fs::create_dir("/run/dir").unwrap();
    symlink("/run/dir", "/run/link").unwrap();
    for path in ["/run/text", "/run/link"] {
        let error = PinDir::create(path).unwrap_err();
        expect(&error, Step::CreatePinDir, libc::ENOTDIR, "not followed");
        let error = PinDir::open(path).unwrap_err();
        expect(&error, Step::OpenPinDir, libc::ENOTDIR, "not followed");
    }
    let error = PinDir::create("/run/no/such").unwrap_err();
    expect(&error, Step::CreatePinDir, libc::ENOENT, "around it");
    let error = PinDir::open("/run/no").unwrap_err();
    expect(&error, Step::OpenPinDir, libc::ENOENT, "no such directory");
    in_fork(|| {
        Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
        let error = PinDir::create("/run/dir").unwrap_err();
        expect(&error, Step::CreatePinDir, libc::EPERM, "stayed outside");
    });
}

fn ip(args: &str) -> String {
    let output = Command::new("ip").args(args.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {args}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn ip_netns_and_we_see_each_other_s() {
    own_mounts();
    // ip goes into the new network and back.
    Unshare::new(NamespaceSet::NET).apply().unwrap();
    let child = inhabitant();
    let red = child.namespace(Namespace::Net).unwrap();
    let dir = PinDir::create_netns().unwrap();
    // Ours, by ip.
    let pinned = dir.pin("red", &red).unwrap();
    assert_eq!(ip("netns list").trim(), "red");
    if crate::machine::is_root() {
        let link = ip("netns exec red readlink /proc/self/ns/net");
        assert_eq!(link.trim(), format!("net:[{}]", kernel::ns(child.id(), "net")));
    }
    ip("netns delete red");
    assert_eq!(dir.list().unwrap(), []);
    assert_eq!(pinned.unpin().unwrap_err().kind(), ErrorKind::NotFound);
    drop(child);
    // Its, by us; a directory that it made, too.
    for made_by_ip in [false, true] {
        if made_by_ip {
            stage::unmount(PinDir::NETNS);
            fs::remove_dir(PinDir::NETNS).unwrap();
        }
        ip("netns add blue");
        let dir = PinDir::create_netns().unwrap();
        assert_eq!(mounts_at(PinDir::NETNS), 1);
        assert_eq!(names(&dir), ["blue"]);
        let blue = dir.get("blue").unwrap();
        assert_eq!(blue, NsFd::open("/run/netns/blue").unwrap());
        assert_eq!(dir.pin("blue", &blue).unwrap_err().kind(), ErrorKind::AlreadyExists);
        // Another mount namespace sees what is named later.
        in_fork(|| {
            let outside = NsFd::current(Namespace::Mount).unwrap();
            stage::new(libc::CLONE_NEWNS);
            outside.run(|| dir.pin("green", &blue).unwrap().keep()).unwrap();
            assert_eq!(mounts_at("/run/netns/green"), 1);
            outside.run(|| dir.remove("green").unwrap()).unwrap();
            assert_eq!(mounts_at("/run/netns/green"), 0);
        });
        dir.remove("blue").unwrap();
        assert_eq!(ip("netns list"), "");
    }
}

fn the_machine_s_are_seen_and_not_touched() {
    let before = kernel::census();
    match PinDir::open(PinDir::NETNS) {
        Ok(dir) => {
            let listed = names(&dir);
            let told = ip("netns list");
            assert!(told.lines().all(|line| listed.iter().any(|name| line.starts_with(name))));
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
    }
    assert_eq!(kernel::census(), before);
}
