//! Namespaces that are kept by a bind mount. Each trial has mounts of its own, with an empty `/run`.

pub(crate) mod dir;
pub(crate) mod owners;
pub(crate) mod races;

use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::Path;

use linux_namespaces::{
    Command, Enter, Error, ErrorKind, Namespace, NamespaceSet, NsFd, PinDir, Pinned, Step, Unshare,
};

use crate::files::fifo;
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::{self, refuse};
use crate::machine::Need::{Ordinary, OtherIds, Root, UserNamespaces};
use crate::program::{Held, is_at, is_of, sleeper};
use crate::sandbox::own_mounts;
use crate::stage::{self, mounts_at};

cases! {
    every_kind_outlives_its_processes [UserNamespaces],
    a_pin_ends_with_its_value_or_stays [UserNamespaces],
    the_newest_call_is_taken_and_the_old_one_will_do [UserNamespaces],
    what_is_there_is_not_replaced [UserNamespaces],
    another_user_s_file_is_not_used [Root, OtherIds],
    what_was_mounted_over_it_is_left_alone [UserNamespaces],
    there_are_no_loops_of_mount_namespaces [UserNamespaces],
    where_mounts_propagate_no_mount_namespace_is_pinned [UserNamespaces],
    who_is_inside_cannot_pin [UserNamespaces],
    a_pin_belongs_to_its_mount_namespace [UserNamespaces],
    a_pin_needs_no_proc_but_its_end_does [UserNamespaces],
    a_mount_point_that_was_renamed_is_found [UserNamespaces],
    what_was_put_in_its_place_is_left_alone [UserNamespaces],
    a_mount_point_that_was_removed_is_gone [UserNamespaces],
    a_failed_pin_leaves_nothing [UserNamespaces],
    where_nothing_may_be_written_nothing_is_pinned [Ordinary, UserNamespaces],
}

/// A process in eight new namespaces, with a name.
fn inhabitant() -> Held {
    let mut command = sleeper();
    command.unshare(NamespaceSet::all()).map_root().hostname("kept".parse().unwrap());
    Held::of(&mut command)
}

fn uts() -> NsFd {
    NsFd::current(Namespace::Uts).unwrap()
}

fn bare(path: &str) {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o0).open(path).unwrap();
}

fn expect(error: &Error, step: Step, errno: i32, word: &str) {
    is_at(error, step, errno);
    assert!(error.explain().unwrap().contains(word), "{word}: {error:#}");
}

fn every_kind_outlives_its_processes() {
    own_mounts();
    let child = inhabitant();
    let mut inodes = Vec::new();
    for &kind in Namespace::ALL {
        let path = format!("/run/{kind}");
        let pinned = child.namespace(kind).unwrap().pin(&path);
        let pinned = pinned.unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(pinned.path(), Path::new(&path));
        assert_eq!(pinned.namespace().kind(), kind);
        inodes.push(kernel::ns(child.id(), kind.name()));
        pinned.keep();
    }
    drop(child);
    in_fork(|| {
        for (kind, inode) in Namespace::ALL.iter().copied().zip(&inodes) {
            let path = format!("/run/{kind}");
            assert_eq!((fs::metadata(&path).unwrap().ino(), mounts_at(&path)), (*inode, 1));
            let namespace = NsFd::open(&path).unwrap();
            assert_eq!((namespace.kind(), namespace.id().unwrap().ino), (kind, *inode));
        }
        let open = |kind| NsFd::open(format!("/run/{kind}")).unwrap();
        let inside = Enter::new().namespace(open(Namespace::User)).namespace(open(Namespace::Uts));
        let output = Command::new("uname").arg("-n").enter(inside).output().unwrap();
        assert_eq!(output.stdout, b"kept\n");
        let dead = Enter::new().namespace(open(Namespace::User)).namespace(open(Namespace::Pid));
        let error = Command::new("true").enter(dead).spawn().unwrap_err();
        is_at(&error, Step::Clone, libc::ENOMEM);
    });
    for &kind in Namespace::ALL {
        Pinned::open(format!("/run/{kind}")).unwrap().unpin().unwrap();
    }
    assert_eq!(fs::read_dir("/run").unwrap().count(), 0);
}

fn a_pin_ends_with_its_value_or_stays() {
    own_mounts();
    let before = kernel::census();
    drop(uts().pin("/run/dropped").unwrap());
    uts().pin("/run/unpinned").unwrap().unpin().unwrap();
    assert_eq!(fs::read_dir("/run").unwrap().count(), 0);
    assert_eq!(kernel::census(), before);
    uts().pin("/run/kept").unwrap().keep();
    assert_eq!(mounts_at("/run/kept"), 1);
    // A relative path is looked up once.
    std::env::set_current_dir("/run").unwrap();
    let taken_over = Pinned::open("kept").unwrap();
    assert_eq!(*taken_over.namespace(), uts());
    std::env::set_current_dir("/").unwrap();
    drop(taken_over);
    assert!(!fs::exists("/run/kept").unwrap());
    // A file that somebody else made is left.
    fs::write("/run/theirs", "text").unwrap();
    stage::bind("/proc/self/ns/uts", "/run/theirs");
    Pinned::open("/run/theirs").unwrap().unpin().unwrap();
    assert_eq!(fs::read("/run/theirs").unwrap(), b"text");
}

fn the_newest_call_is_taken_and_the_old_one_will_do() {
    own_mounts();
    let pin = || uts().pin("/run/x").and_then(Pinned::unpin);
    in_fork(|| {
        refuse(libc::SYS_mount, libc::ENOSYS);
        pin().unwrap();
    });
    for errno in [libc::ENOSYS, libc::EPERM] {
        for call in [libc::SYS_open_tree, libc::SYS_move_mount] {
            in_fork(|| {
                refuse(call, errno);
                pin().unwrap();
            });
            in_fork(|| {
                refuse(call, errno);
                refuse(libc::SYS_mount, libc::EPERM);
                expect(&pin().unwrap_err(), Step::Pin, libc::EPERM, "CAP_SYS_ADMIN");
                assert!(!fs::exists("/run/x").unwrap());
            });
        }
    }
}

fn what_is_there_is_not_replaced() {
    own_mounts();
    fs::write("/run/text", "text").unwrap();
    fs::write("/run/empty", "").unwrap();
    fs::create_dir("/run/dir").unwrap();
    symlink("/run/text", "/run/link").unwrap();
    symlink("/run/nothing", "/run/dangling").unwrap();
    fifo("/run/fifo");
    bare("/run/linked");
    fs::hard_link("/run/linked", "/run/linked too").unwrap();
    uts().pin("/run/pinned").unwrap().keep();
    let names = ["text", "empty", "dir", "link", "dangling", "fifo", "linked", "pinned"];
    let look = || names.map(|name| fs::symlink_metadata(format!("/run/{name}")).unwrap().ino());
    let before = look();
    for name in names {
        let error = uts().pin(format!("/run/{name}")).unwrap_err();
        expect(&error, Step::CreatePinTarget, libc::EEXIST, "nothing is covered");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(error.to_string().contains("a namespace is pinned"), name == "pinned");
        assert!(name == "pinned" || mounts_at(&format!("/run/{name}")) == 0);
        if name != "pinned" {
            let error = Pinned::open(format!("/run/{name}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotANamespace, "{error:#}");
        }
    }
    assert_eq!(look(), before);
    assert!(!fs::exists("/run/nothing").unwrap());
    Pinned::open("/run/pinned").unwrap().unpin().unwrap();
    for path in ["/", "..", "/run/.."] {
        assert_eq!(uts().pin(path).unwrap_err().kind(), ErrorKind::InvalidInput, "{path}");
    }
    let missing = uts().pin("/run/no/such").unwrap_err();
    expect(&missing, Step::OpenPinDir, libc::ENOENT, "no such directory");
    let missing = Pinned::open("/run/nothing").unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

fn another_user_s_file_is_not_used() {
    own_mounts();
    bare("/run/theirs");
    std::os::unix::fs::chown("/run/theirs", Some(12_345), None).unwrap();
    let error = uts().pin("/run/theirs").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("another user's"), "{error:#}");
    assert_eq!(fs::metadata("/run/theirs").unwrap().uid(), 12_345);
}

fn what_was_mounted_over_it_is_left_alone() {
    own_mounts();
    let pinned = uts().pin("/run/x").unwrap();
    stage::bind("/proc/self/ns/ipc", "/run/x");
    let error = pinned.unpin().unwrap_err();
    is_of(&error, Step::Unpin, ErrorKind::NotANamespace);
    assert!(error.to_string().contains("mounted over it"), "{error:#}");
    assert_eq!(mounts_at("/run/x"), 2);
    stage::unmount("/run/x");
    let pinned = Pinned::open("/run/x").unwrap();
    assert_eq!(*pinned.namespace(), uts());
    stage::unmount("/run/x");
    let error = pinned.unpin().unwrap_err();
    assert!(error.to_string().contains("not mounted any more"), "{error:#}");
    fs::remove_file("/run/x").unwrap();
}

fn there_are_no_loops_of_mount_namespaces() {
    own_mounts();
    let own = NsFd::current(Namespace::Mount).unwrap();
    let child = inhabitant();
    expect(&own.pin("/run/x").unwrap_err(), Step::Pin, libc::ELOOP, "stayed in an older one");
    in_fork(|| {
        refuse(libc::SYS_open_tree, libc::ENOSYS);
        expect(&own.pin("/run/x").unwrap_err(), Step::Pin, libc::EINVAL, "stayed in an older one");
    });
    // An older one.
    in_fork(|| {
        Unshare::new(NamespaceSet::MOUNT).apply().unwrap();
        expect(&own.pin("/run/x").unwrap_err(), Step::Pin, libc::ELOOP, "older");
    });
    assert!(!fs::exists("/run/x").unwrap());
    child.namespace(Namespace::Mount).unwrap().pin("/run/x").unwrap().unpin().unwrap();
}

fn where_mounts_propagate_no_mount_namespace_is_pinned() {
    own_mounts();
    stage::share("/run");
    fs::create_dir("/run/peer").unwrap();
    stage::bind("/run", "/run/peer");
    let child = inhabitant();
    let mounts = child.namespace(Namespace::Mount).unwrap();
    expect(&mounts.pin("/run/x").unwrap_err(), Step::Pin, libc::EINVAL, "PinDir::create");
    assert!(!fs::exists("/run/x").unwrap());
    // Others appear at the peer, and go from there.
    let pinned = child.namespace(Namespace::Net).unwrap().pin("/run/net").unwrap();
    assert_eq!((mounts_at("/run/net"), mounts_at("/run/peer/net")), (1, 1));
    pinned.unpin().unwrap();
    assert_eq!((mounts_at("/run/net"), mounts_at("/run/peer/net")), (0, 0));
}

fn who_is_inside_cannot_pin() {
    own_mounts();
    in_fork(|| {
        Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
        let user = NsFd::current(Namespace::User).unwrap();
        let error = user.pin("/run/x").unwrap_err();
        expect(&error, Step::Pin, libc::EPERM, "process that stayed outside");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(!fs::exists("/run/x").unwrap());
        // With mounts of its own it can.
        Unshare::new(NamespaceSet::MOUNT).apply().unwrap();
        user.pin("/run/x").unwrap().unpin().unwrap();
    });
}

fn a_pin_belongs_to_its_mount_namespace() {
    own_mounts();
    fs::create_dir("/run/dir").unwrap();
    uts().pin("/run/dir/x").unwrap().keep();
    in_fork(|| {
        let pinned = Pinned::open("/run/dir/x").unwrap();
        Unshare::new(NamespaceSet::MOUNT).apply().unwrap();
        // The value remembers where it was made.
        expect(&pinned.unpin().unwrap_err(), Step::Unpin, libc::EINVAL, "another mount namespace");
    });
    assert_eq!(mounts_at("/run/dir/x"), 1);
    Pinned::open("/run/dir/x").unwrap().unpin().unwrap();
}

fn a_pin_needs_no_proc_but_its_end_does() {
    own_mounts();
    let uts = uts();
    stage::tmpfs("/proc");
    let pinned = uts.pin("/run/x").unwrap();
    let error = pinned.unpin().unwrap_err();
    stage::unmount("/proc");
    assert_eq!(error.kind(), ErrorKind::UntrustedProc, "{error:#}");
    assert_eq!(mounts_at("/run/x"), 1);
    Pinned::open("/run/x").unwrap().unpin().unwrap();
}

/// What the owner of the directory can do from a mount namespace in which the file is no mount point.
fn from_outside(work: impl Fn() -> std::io::Result<()>) {
    let outcome = races::at_once(1, || {
        stage::new(libc::CLONE_NEWNS);
        stage::private();
        stage::unmount("/run/dir/x");
        u8::from(work().is_err())
    });
    assert_eq!(outcome, [0]);
}

fn a_mount_point_that_was_renamed_is_found() {
    own_mounts();
    fs::create_dir("/run/dir").unwrap();
    for taken_over in [false, true] {
        for dropped in [false, true] {
            let mut pinned = uts().pin("/run/dir/x").unwrap();
            if taken_over {
                pinned.keep();
                pinned = Pinned::open("/run/dir/x").unwrap();
            }
            from_outside(|| fs::rename("/run/dir/x", "/run/dir/moved"));
            assert_eq!(mounts_at("/run/dir/moved"), 1);
            if dropped {
                drop(pinned);
            } else {
                pinned.unpin().unwrap();
            }
            assert_eq!(mounts_at("/run/dir/moved"), 0, "{taken_over} {dropped}");
            // It is theirs by now.
            fs::remove_file("/run/dir/moved").unwrap();
        }
    }
    // The old way to mount.
    in_fork(|| {
        refuse(libc::SYS_open_tree, libc::ENOSYS);
        let pinned = uts().pin("/run/dir/x").unwrap();
        from_outside(|| fs::rename("/run/dir/x", "/run/dir/moved"));
        pinned.unpin().unwrap();
        assert_eq!(mounts_at("/run/dir/moved"), 0);
    });
}

fn what_was_put_in_its_place_is_left_alone() {
    own_mounts();
    fs::create_dir("/run/dir").unwrap();
    let pinned = uts().pin("/run/dir/x").unwrap();
    from_outside(|| fs::rename("/run/dir/x", "/run/dir/moved"));
    // The same namespace again, and a file that is being mounted on.
    uts().pin("/run/dir/x").unwrap().keep();
    pinned.unpin().unwrap();
    assert_eq!((mounts_at("/run/dir/x"), mounts_at("/run/dir/moved")), (1, 0));
    // What is mounted over it stays, and it beneath.
    let pinned = Pinned::open("/run/dir/x").unwrap();
    from_outside(|| fs::rename("/run/dir/x", "/run/dir/again"));
    stage::bind("/proc/self/ns/ipc", "/run/dir/again");
    let error = pinned.unpin().unwrap_err();
    is_of(&error, Step::Unpin, ErrorKind::NotANamespace);
    assert!(error.to_string().contains("mounted over it"), "{error:#}");
    assert_eq!(mounts_at("/run/dir/again"), 2);
}

/// The kernel unmounts it everywhere.
fn a_mount_point_that_was_removed_is_gone() {
    own_mounts();
    fs::create_dir("/run/dir").unwrap();
    let pinned = uts().pin("/run/dir/x").unwrap();
    from_outside(|| fs::remove_file("/run/dir/x"));
    expect(&pinned.unpin().unwrap_err(), Step::Unpin, libc::ENOENT, "nothing is pinned");
    let pinned = uts().pin("/run/dir/x").unwrap();
    from_outside(|| fs::remove_file("/run/dir/x"));
    uts().pin("/run/dir/x").unwrap().keep();
    let error = pinned.unpin().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotANamespace, "{error:#}");
    assert!(error.to_string().contains("not mounted any more"), "{error:#}");
    assert_eq!(mounts_at("/run/dir/x"), 1);
}

fn a_failed_pin_leaves_nothing() {
    own_mounts();
    let before = kernel::census();
    for (call, errno) in [
        (libc::SYS_flock, libc::ENOLCK),
        (libc::SYS_open_tree, libc::EMFILE),
        (libc::SYS_move_mount, libc::ENOSPC),
    ] {
        in_fork(|| {
            refuse(call, errno);
            let error = uts().pin("/run/x").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno), "{error:#}");
            assert!(!fs::exists("/run/x").unwrap(), "{error:#}");
            if errno == libc::ENOSPC {
                // A real one takes seconds: the limit is 100 000 mounts.
                expect(&error, Step::Pin, errno, "fs.mount-max");
                assert_eq!(error.kind(), ErrorKind::LimitReached);
            }
        });
    }
    assert_eq!(kernel::census(), before);
}

fn where_nothing_may_be_written_nothing_is_pinned() {
    own_mounts();
    for path in ["/etc/x", "/x"] {
        let error = uts().pin(path).unwrap_err();
        expect(&error, Step::CreatePinTarget, libc::EACCES, "may not be written to");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }
    let error = PinDir::create("/etc/x").unwrap_err();
    expect(&error, Step::CreatePinDir, libc::EACCES, "around it");
}
