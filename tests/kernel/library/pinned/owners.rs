//! What the owner of a directory can do about the pins in it.

use std::fs::{self, File};
use std::thread;

use linux_namespaces::{ErrorKind, PinDir, Pinned};

use super::{from_outside, uts};
use crate::files::set_mode;
use crate::fork::{self, Fork, in_fork};
use crate::harness::cases;
use crate::kernel::{refuse, supervised, until};
use crate::library::hostile::fuse::{Server, Silent, in_time};
use crate::library::hostile::keep_capabilities;
use crate::machine::Need::{CachedLookups, Fuse, OtherIds, Root, UserNamespaces};
use crate::machine::fuse_device;
use crate::sandbox::own_mounts;
use crate::stage::{self, mounts_at};

cases! {
    a_pin_ends_where_nobody_may_search [UserNamespaces],
    a_pin_ends_whatever_has_its_name [Root, Fuse],
    a_pin_ends_in_a_directory_that_does_not_respond [Root, Fuse, CachedLookups],
    a_directory_is_listed_whatever_is_mounted_in_it [Root, Fuse],
    a_name_that_becomes_another_file_is_not_opened [Root, Fuse],
    a_file_that_becomes_another_user_s_is_not_left [Root, OtherIds],
}

const CAP_SYS_ADMIN: u32 = 1 << 21;

/// How a pin ends: the last one on an older kernel, or where a filter blocks the call.
const ENDS: [fn(Pinned); 3] = [drop, unpin, |pinned| {
    refuse(libc::SYS_openat2, libc::ENOSYS);
    unpin(pinned);
}];

fn unpin(pinned: Pinned) {
    pinned.unpin().unwrap_or_else(|error| panic!("{error:#}"));
}

fn a_pin_ends_where_nobody_may_search() {
    own_mounts();
    fs::create_dir("/run/dir").unwrap();
    for end in ENDS {
        in_fork(|| {
            let pinned = uts().pin("/run/dir/x").unwrap();
            set_mode("/run/dir", 0);
            keep_capabilities(CAP_SYS_ADMIN);
            fs::metadata("/run/dir/x").unwrap_err();
            end(pinned);
        });
        assert_eq!(mounts_at("/run/dir/x"), 0);
        set_mode("/run/dir", 0o755);
        // It could not be reached.
        fs::remove_file("/run/dir/x").unwrap();
    }
}

fn a_pin_ends_whatever_has_its_name() {
    own_mounts();
    fs::create_dir("/run/dir").unwrap();
    for (rights, end) in Silent::RIGHTS.iter().flat_map(|it| ENDS.map(|end| (it, end))) {
        in_time(|| {
            let pinned = uts().pin("/run/dir/x").unwrap();
            from_outside(|| fs::rename("/run/dir/x", "/run/dir/moved"));
            File::create("/run/dir/x").unwrap();
            let _silent = Silent::over("/run/dir/x", rights);
            end(pinned);
        });
        assert_eq!(mounts_at("/run/dir/moved"), 0, "{rights}");
        stage::unmount("/run/dir/x");
        for name in ["x", "moved"] {
            fs::remove_file(format!("/run/dir/{name}")).unwrap();
        }
    }
}

fn a_pin_ends_in_a_directory_that_does_not_respond() {
    own_mounts();
    fs::create_dir("/run/fuse").unwrap();
    let (_dir, device) = fuse_device().unwrap();
    let server = Server::new(&device, "/run/fuse", Silent::RIGHTS[0]);
    stage::bind("/proc/self/ns/uts", "/run/fuse/one/file");
    // The server is to end first, whatever happens.
    let user = Fork::start(|| {
        let pinned = Pinned::open("/run/fuse/one/file").unwrap();
        server.stop();
        drop(pinned);
        0
    })
    .leave();
    until(|| mounts_at("/run/fuse/one/file") == 0);
    // The file below is another matter.
    drop(server);
    assert_eq!(fork::wait(user), 0);
}

fn a_directory_is_listed_whatever_is_mounted_in_it() {
    own_mounts();
    let dir = PinDir::create("/run/dir").unwrap();
    dir.pin("blue", &uts()).unwrap().keep();
    for (name, rights) in ["file", "dir"].into_iter().zip(Silent::RIGHTS) {
        let path = format!("/run/dir/{name}");
        if name == "dir" {
            fs::create_dir(&path).unwrap();
        } else {
            File::create(&path).unwrap();
        }
        in_time(|| {
            let _silent = Silent::over(&path, rights);
            let listed = dir.list().unwrap();
            assert_eq!(listed.len(), 1, "{listed:?}");
            assert_eq!(listed[0].0, "blue");
            for error in [
                dir.get(name).unwrap_err(),
                dir.remove(name).unwrap_err(),
                Pinned::open(&path).unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::NotANamespace, "{error:#}");
            }
            let error = dir.pin(name, &uts()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:#}");
        });
        stage::unmount(&path);
    }
}

/// By its owner, after it was found to be a pin.
fn a_name_that_becomes_another_file_is_not_opened() {
    own_mounts();
    fs::create_dir("/run/dir").unwrap();
    in_time(|| {
        uts().pin("/run/dir/x").unwrap().keep();
        let dir = PinDir::open("/run/dir").unwrap();
        let (mut opened, mut silent) = (0, None);
        let second_is_other = |_| {
            opened += 1;
            if opened == 2 {
                from_outside(|| fs::rename("/run/dir/x", "/run/dir/moved"));
                File::create("/run/dir/x").unwrap();
                silent = Some(Silent::over("/run/dir/x", Silent::RIGHTS[0]));
            }
            true
        };
        // The filter stays with the thread.
        let get = || supervised(libc::SYS_openat, second_is_other, || dir.get("x"));
        let found = thread::scope(|scope| scope.spawn(get).join().unwrap());
        assert!(silent.is_some());
        assert_eq!(found.unwrap(), uts());
    });
}

/// As on a file system of the network that gives everything to nobody.
fn a_file_that_becomes_another_user_s_is_not_left() {
    own_mounts();
    fs::create_dir("/run/dir").unwrap();
    set_mode("/run/dir", 0o777);
    in_fork(|| {
        // SAFETY: changes this process alone.
        unsafe { libc::setfsuid(12_345) };
        let error = uts().pin("/run/dir/x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:#}");
        assert!(error.to_string().contains("belong to another user"), "{error:#}");
    });
    assert_eq!(fs::read_dir("/run/dir").unwrap().count(), 0);
}
