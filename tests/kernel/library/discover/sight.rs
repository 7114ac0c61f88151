//! What a `/proc` does not show is told, and nothing else is.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;

use linux_namespaces::{Gap, HidePid, Mount, NamespaceSet, Unshare, discover};

use crate::fork::{self, Fork, as_ordinary, end_with_parent, in_fork};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{NewProc, OtherIds, Root, UserNamespaces};

cases! {
    processes_outside_of_the_pid_namespace [UserNamespaces, NewProc],
    hidden_processes_are_told_to_those_who_may_not_trace_them [Root, OtherIds],
    who_owns_the_processes_may_miss_others [OtherIds, UserNamespaces, NewProc],
}

fn tells(gap: &Gap) -> bool {
    discover().unwrap().gaps().contains(gap)
}

/// `PROC_PID_INIT_INO` of the kernel.
fn is_first(ino: u64) -> bool {
    ino == 4_026_531_836
}

fn processes_outside_of_the_pid_namespace() {
    // Where the suite runs.
    let all_in_sight = is_first(kernel::ns("self", "pid"));
    assert_eq!(tells(&Gap::OtherPidNamespaces), !all_in_sight);
    in_fork(|| {
        Unshare::new(NamespaceSet::PID).map_root().apply().unwrap();
        // Somewhere else, and the /proc is still that of where it comes from.
        in_fork(|| {
            assert!(!is_first(kernel::ns("self", "pid")));
            assert_eq!(tells(&Gap::OtherPidNamespaces), !all_in_sight);
        });
    });
    with_own_proc(Mount::proc("/proc").unwrap(), || assert!(tells(&Gap::OtherPidNamespaces)));
}

/// In new user, pid and mount namespaces.
fn with_own_proc(proc: Mount, work: impl FnOnce()) {
    in_fork(|| in_own_proc(proc, work));
}

fn in_own_proc(proc: Mount, work: impl FnOnce()) {
    Unshare::new(NamespaceSet::PID).map_root().apply().unwrap();
    in_fork(|| {
        Unshare::new(NamespaceSet::MOUNT).mount(proc).apply().unwrap();
        work();
    });
}

fn hidden_processes_are_told_to_those_who_may_not_trace_them() {
    let proc = Mount::proc("/proc").unwrap();
    for (mount, hides) in [(proc.clone(), false), (proc.hidepid(HidePid::Invisible), true)] {
        in_fork(|| {
            Unshare::new(NamespaceSet::MOUNT).mount(mount).apply().unwrap();
            assert!(!tells(&Gap::HiddenProcesses), "root sees all");
            as_ordinary(|| assert_eq!(tells(&Gap::HiddenProcesses), hides));
            // All capabilities, but over none of these.
            in_fork(|| {
                Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
                assert_eq!(tells(&Gap::HiddenProcesses), hides);
            });
        });
    }
}

/// Joins the pid namespace that the children of a process are in, once it is told to, and leaves a process there.
fn guest_of(process: u32) -> (Fork, PipeWriter, PipeReader) {
    let ((mut told, tell), (answered, answer)) = (pipe().unwrap(), pipe().unwrap());
    let fork = Fork::start(|| {
        end_with_parent();
        told.read_exact(&mut [0]).unwrap();
        let there = File::open(format!("/proc/{process}/ns/pid_for_children")).unwrap();
        // SAFETY: this process alone.
        assert_eq!(unsafe { libc::setns(there.as_raw_fd(), libc::CLONE_NEWPID) }, 0);
        let guest = Fork::start(|| fork::sleep());
        (&answer).write_all(b"x").unwrap();
        guest.wait()
    });
    (fork, tell, answered)
}

/// Somebody from outside may be among them. The group 0 of the machine sees all where `gid` names no other one.
fn who_owns_the_processes_may_miss_others() {
    as_ordinary(|| {
        Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
        let (fork, tell, mut answered) = guest_of(std::process::id());
        let proc = Mount::proc("/proc").unwrap().hidepid(HidePid::Invisible);
        in_own_proc(proc, || {
            (&tell).write_all(b"x").unwrap();
            answered.read_exact(&mut [0]).unwrap();
            // SAFETY: sends nothing.
            assert_eq!(unsafe { libc::kill(2, 0) }, 0);
            assert!(!std::path::Path::new("/proc/2").exists());
            assert!(tells(&Gap::HiddenProcesses));
        });
        // It has waited for the guest.
        fork.wait();
    });
}
