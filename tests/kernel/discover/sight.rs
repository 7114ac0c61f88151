//! What a `/proc` does not show is told, and nothing else is.

use linux_namespaces::{Gap, HidePid, Mount, NamespaceSet, Unshare, discover};

use crate::faults::fork::{as_ordinary, in_fork};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{NewProc, OtherIds, Root, UserNamespaces};

cases! {"discover::sight":
    processes_outside_of_the_pid_namespace [UserNamespaces, NewProc],
    hidden_processes_are_told_to_those_who_may_not_trace_them [Root, OtherIds],
    nothing_is_hidden_from_who_owns_the_processes [UserNamespaces, NewProc],
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
    in_fork(|| {
        Unshare::new(NamespaceSet::PID).map_root().apply().unwrap();
        in_fork(|| {
            Unshare::new(NamespaceSet::MOUNT).mount(proc).apply().unwrap();
            work();
        });
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

fn nothing_is_hidden_from_who_owns_the_processes() {
    let proc = Mount::proc("/proc").unwrap().hidepid(HidePid::Invisible);
    with_own_proc(proc, || assert!(!tells(&Gap::HiddenProcesses)));
}
