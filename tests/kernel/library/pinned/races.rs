//! Several processes at one place, and those that are killed there.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use linux_namespaces::{ErrorKind, Pinned};

use super::{bare, uts};
use crate::fork::{self, Fork};
use crate::harness::cases;
use crate::kernel::{forbid, supervised};
use crate::machine::Need::UserNamespaces;
use crate::sandbox::own_mounts;
use crate::stage::mounts_at;

cases! {
    what_was_left_in_the_middle_is_used [UserNamespaces],
    who_comes_second_is_told [UserNamespaces],
    one_of_many_wins [UserNamespaces],
}

/// What a process leaves that is killed when it makes this call.
pub(super) fn killed_at(call: libc::c_long, work: fn()) {
    let fork = Fork::start(|| {
        forbid(call);
        work();
        0
    });
    assert_eq!(libc::WTERMSIG(fork.wait()), libc::SIGSYS);
}

fn what_was_left_in_the_middle_is_used() {
    own_mounts();
    for call in [libc::SYS_flock, libc::SYS_open_tree, libc::SYS_move_mount] {
        killed_at(call, || drop(uts().pin("/run/x")));
        let left = fs::metadata("/run/x").unwrap();
        assert_eq!((left.permissions().mode() & 0o7777, left.len()), (0, 0));
        assert_eq!(mounts_at("/run/x"), 0);
        uts().pin("/run/x").unwrap().unpin().unwrap();
        assert!(!fs::exists("/run/x").unwrap());
    }
    // In the middle of the removal.
    killed_at(libc::SYS_unlinkat, || drop(uts().pin("/run/x")));
    assert!(fs::exists("/run/x").unwrap() && mounts_at("/run/x") == 0);
    uts().pin("/run/x").unwrap().unpin().unwrap();
}

fn who_comes_second_is_told() {
    own_mounts();
    // While the first is at work: also on what somebody left.
    for left in [false, true] {
        if left {
            bare("/run/x");
        }
        let second = |_| {
            let error = uts().pin("/run/x").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            assert!(error.to_string().contains("another process is at work"), "{error:#}");
            true
        };
        let pinned = supervised(libc::SYS_move_mount, second, || uts().pin("/run/x").unwrap());
        pinned.unpin().unwrap();
    }
    // Who finds the file bare, since it is about to be removed, lets it go.
    let pinned = uts().pin("/run/x").unwrap();
    let second = |_| {
        assert_eq!(mounts_at("/run/x"), 0);
        assert_eq!(uts().pin("/run/x").unwrap_err().kind(), ErrorKind::AlreadyExists);
        true
    };
    supervised(libc::SYS_unlinkat, second, || pinned.unpin().unwrap());
    assert!(!fs::exists("/run/x").unwrap());
}

/// Forks that do this at the same time. How each of them ended.
pub(super) fn at_once(count: usize, work: impl Fn() -> u8) -> Vec<u8> {
    let (ready, go) = std::io::pipe().unwrap();
    let forked = |_| {
        Fork::start(|| {
            fork::close(&go);
            (&ready).read_exact(&mut [0]).ok();
            work().into()
        })
    };
    let forks: Vec<_> = (0..count).map(forked).collect();
    drop(go);
    let code = |fork: Fork| {
        let status = fork.wait();
        assert!(libc::WIFEXITED(status), "{status:#x}");
        libc::WEXITSTATUS(status) as u8
    };
    forks.into_iter().map(code).collect()
}

fn one_of_many_wins() {
    own_mounts();
    for round in 0..40 {
        if round % 2 == 1 {
            bare("/run/x");
        }
        let outcomes = at_once(4, || match uts().pin("/run/x") {
            Ok(pinned) => {
                pinned.keep();
                0
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => 1,
            Err(error) => {
                eprintln!("{error:#}");
                2
            }
        });
        assert_eq!(outcomes.iter().filter(|&&outcome| outcome == 0).count(), 1, "{outcomes:?}");
        assert!(!outcomes.contains(&2), "{outcomes:?}");
        assert_eq!(mounts_at("/run/x"), 1);
        Pinned::open("/run/x").unwrap().unpin().unwrap();
    }
    // Those who pin and those who unpin: nobody's mount or file is lost.
    for _ in 0..10 {
        let outcomes = at_once(4, || {
            let mut done = 0;
            for _ in 0..20 {
                if let Ok(pinned) = uts().pin("/run/x") {
                    done += u8::from(mounts_at("/run/x") == 1 && pinned.unpin().is_ok());
                } else {
                    done += 1;
                }
            }
            done
        });
        assert_eq!(outcomes, [20; 4]);
        assert!(!fs::exists("/run/x").unwrap());
    }
}
