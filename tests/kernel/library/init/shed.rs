//! What an init gives up beside memory, whichever way the process became one.

use std::fs;
use std::path::{Path, PathBuf};

use super::memory::{born, finished, in_both_ways};
use crate::files::c_string;
use crate::fork::{Fork, wait_for_all};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{Root, UserNamespaces};
use crate::stage;

cases! {
    the_working_directory_is_free [Root, UserNamespaces],
    descriptors_are_closed [Root, UserNamespaces],
    as_much_where_a_filter_forbids_to_unshare [Root],
    capabilities_are_dropped [Root, UserNamespaces],
    no_new_privileges_are_to_be_had [UserNamespaces],
    who_shares_its_directory_or_descriptors_keeps_them [Root],
    names_and_streams_stay_with_finish [Root],
}

/// Mounts a file system and goes there.
fn stand_on_a_mount() {
    let dir = place();
    fs::create_dir_all(&dir).unwrap();
    stage::tmpfs(&dir);
    std::env::set_current_dir(&dir).unwrap();
}

/// The forked processes of a trial have the same.
fn place() -> PathBuf {
    // SAFETY: returns a number.
    let group = unsafe { libc::getpgrp() };
    std::env::temp_dir().join(format!("init-shed-{group}"))
}

fn the_working_directory_is_free() {
    // SAFETY: the trial's own process.
    unsafe { libc::setpgid(0, 0) };
    stage::new(libc::CLONE_NEWNS);
    stage::private();
    let path = c_string(place());
    // Where the init is in the trial's own mount namespace the mount is busy as long as it stands there.
    finished(stand_on_a_mount, |pid| {
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
        // SAFETY: a C string. The program stands there too.
        let busy = unsafe { libc::umount2(path.as_ptr(), 0) };
        assert_eq!(busy, -1);
    });
    // SAFETY: as above.
    assert_eq!(unsafe { libc::umount2(path.as_ptr(), 0) }, 0);
    fs::remove_dir(place()).unwrap();
    born(
        || std::env::set_current_dir("/tmp").unwrap(),
        |pid| assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/")),
    );
}

fn open_some() {
    for _ in 0..3 {
        // Not closed by exec either.
        // SAFETY: a C string.
        assert!(unsafe { libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY) } > 2);
    }
}

fn open_descriptors(pid: u32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut all: Vec<i32> =
        entries.map(|it| it.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    all.sort_unstable();
    all
}

fn descriptors_are_closed() {
    finished(open_some, |pid| assert_eq!(open_descriptors(pid), [0, 1, 2]));
    // In a process of its own, which has them open at its end.
    let fork = Fork::start(|| {
        open_some();
        born(|| (), |pid| assert_eq!(open_descriptors(pid), [0_i32; 0]));
        0
    });
    assert_eq!(fork.wait(), 0);
}

/// As that of a container engine.
fn as_much_where_a_filter_forbids_to_unshare() {
    let begin = || {
        open_some();
        std::env::set_current_dir("/tmp").unwrap();
        kernel::refuse(libc::SYS_unshare, libc::EPERM);
    };
    finished(begin, |pid| {
        kernel::until(|| open_descriptors(pid) == [0, 1, 2]);
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    });
}

fn capabilities_are_dropped() {
    in_both_ways(
        || (),
        |pid| {
            for (set, expected) in
                [("CapEff", 0x20), ("CapPrm", 0x20), ("CapInh", 0), ("CapAmb", 0)]
            {
                let found = u64::from_str_radix(&kernel::status_of(pid, set), 16).unwrap();
                assert_eq!(found, expected, "{set}");
            }
        },
    );
}

fn no_new_privileges_are_to_be_had() {
    in_both_ways(|| (), |pid| kernel::until(|| kernel::status_of(pid, "NoNewPrivs") == "1"));
}

/// Starts a process that has its working directory and descriptors together with this one.
fn share() {
    extern "C" fn stay(parent: *mut libc::c_void) -> libc::c_int {
        // SAFETY: sleeps until its parent has ended, and ends this process alone.
        unsafe {
            let parent = *parent.cast::<libc::pid_t>();
            while libc::getppid() == parent {
                libc::poll(std::ptr::null_mut(), 0, 5);
            }
            libc::_exit(0)
        }
    }
    stand_in(Path::new("/tmp"));
    open_some();
    let stack = Vec::leak(vec![0_u128; 4096]);
    let flags = libc::CLONE_FS | libc::CLONE_FILES;
    let mut own = std::process::id().cast_signed();
    // SAFETY: a copy of the memory, and no signal at its end.
    let pid = unsafe {
        libc::clone(stay, stack.as_mut_ptr_range().end.cast(), flags, (&raw mut own).cast())
    };
    assert!(pid > 0);
}

fn stand_in(dir: &Path) {
    std::env::set_current_dir(dir).unwrap();
}

fn who_shares_its_directory_or_descriptors_keeps_them() {
    finished(share, |pid| {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let guest: u32 = children.split_whitespace().next().unwrap().parse().unwrap();
        assert_eq!(fs::read_link(format!("/proc/{guest}/cwd")).unwrap(), Path::new("/tmp"));
        assert!(open_descriptors(guest).len() > 5);
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
        assert_eq!(open_descriptors(pid), [0, 1, 2]);
    });
    wait_for_all();
}

fn names_and_streams_stay_with_finish() {
    let own = fs::read_to_string("/proc/self/comm").unwrap();
    let streams = |pid: &str| {
        (0..3).map(|it| fs::read_link(format!("/proc/{pid}/fd/{it}")).unwrap()).collect::<Vec<_>>()
    };
    let ours = streams("self");
    finished(
        || {
            // SAFETY: changes this process's own mask for files.
            unsafe { libc::umask(0o27) };
        },
        |pid| {
            assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), own);
            assert_eq!(streams(&pid.to_string()), ours);
            assert_eq!(kernel::status_of(pid, "Umask"), "0027");
        },
    );
}
