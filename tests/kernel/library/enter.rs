//! `Enter`, `EnterGuard` and `NsFd::enter`.

use std::path::PathBuf;

use linux_namespaces::{
    Command, Enter, ErrorKind, Namespace, NamespaceSet, NsFd, PidFd, Step, Unshare, uts,
};

use crate::files::c_string;
use crate::fork::{self, in_fork};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{PidfdNamespaces, Root, UserNamespaces};
use crate::program::{Held, is_of, sleeper};
use crate::stage;

cases! {
    each_kind_is_entered_by_handle_and_by_process [Root],
    a_user_namespace_and_what_it_owns_in_any_order [UserNamespaces],
    a_stay_ends_where_it_began [Root],
    a_stay_ends_in_a_chroot [Root, PidfdNamespaces],
    a_stay_ends_with_a_panic [Root],
    stays_are_nested [Root],
    a_mount_namespace_is_entered_beside_other_threads [Root],
    a_way_back_that_is_refused_is_told [UserNamespaces],
    there_is_no_stay_in_a_user_namespace [UserNamespaces],
    work_runs_inside_on_another_thread [Root],
    a_panic_of_the_work_comes_back [],
    what_threads_cannot_enter_is_told [UserNamespaces],
    the_time_namespace_of_the_children_is_entered [UserNamespaces],
    a_guest_in_the_memory_is_waited_for [UserNamespaces],
    nonsense_is_refused [UserNamespaces],
    a_process_that_ended_cannot_be_entered [UserNamespaces],
    what_is_refused_half_way_is_undone [UserNamespaces],
    no_other_flag_gets_through [],
    a_socket_made_inside_stays_inside [Root],
}

/// A program whose UTS namespace has a name.
fn named(set: NamespaceSet) -> Held {
    Held::of(sleeper().unshare(set).hostname("inside".parse().unwrap()))
}

/// Which file of /proc/thread-self/ns tells what setns(2) of a kind changed.
fn changed_by(kind: Namespace) -> &'static str {
    if kind == Namespace::Pid { "pid_for_children" } else { kind.name() }
}

fn each_kind_is_entered_by_handle_and_by_process() {
    let all_but_user = NamespaceSet::all() - NamespaceSet::USER;
    let held = Held::new(all_but_user);
    for kind in all_but_user.kinds() {
        let inside = kernel::ns(held.id(), kind.name());
        let before = kernel::all_ns();
        held.namespace(kind).unwrap().scoped().unwrap().leave().unwrap();
        assert_eq!(kernel::all_ns(), before, "{kind}");
        let stay = held.enter(kind.into()).scoped().unwrap();
        assert_eq!(kernel::ns("thread-self", changed_by(kind)), inside);
        stay.leave().unwrap();
        assert_eq!(kernel::all_ns(), before, "{kind}");
    }
    held.enter(all_but_user).apply().unwrap();
    for kind in all_but_user.kinds() {
        let now = kernel::ns("thread-self", changed_by(kind));
        assert_eq!(now, kernel::ns(held.id(), kind.name()), "{kind}");
    }
}

fn a_user_namespace_and_what_it_owns_in_any_order() {
    let kinds = [Namespace::Uts, Namespace::User, Namespace::Net, Namespace::Ipc];
    let held = Held::new(kinds.into_iter().collect());
    for start in 0..kinds.len() {
        // One attempt a process, since there is no way back.
        in_fork(|| {
            let mut kinds = kinds;
            kinds.rotate_left(start);
            let enter = kinds
                .iter()
                .fold(Enter::new(), |all, kind| all.namespace(held.namespace(*kind).unwrap()));
            enter.apply().unwrap();
            for kind in kinds {
                let name = kind.name();
                assert_eq!(kernel::ns("thread-self", name), kernel::ns(held.id(), name));
            }
        });
    }
}

fn a_stay_ends_where_it_began() {
    let held = named(NamespaceSet::all() - NamespaceSet::USER - NamespaceSet::TIME);
    std::env::set_current_dir("/proc/sys").unwrap();
    let before = kernel::all_ns();
    let set = NamespaceSet::MOUNT | NamespaceSet::UTS | NamespaceSet::NET | NamespaceSet::PID;
    let stay = held.enter(set).scoped().unwrap();
    assert_eq!(uts::hostname().unwrap().to_string(), "inside");
    assert_eq!(std::env::current_dir().unwrap(), PathBuf::from("/"));
    drop(stay);
    assert_eq!(kernel::all_ns(), before);
    assert_eq!(std::env::current_dir().unwrap(), PathBuf::from("/proc/sys"));
}

/// Without a `/proc`, which older kernels cannot do without.
fn a_stay_ends_in_a_chroot() {
    let held = Held::new(NamespaceSet::MOUNT);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("proc")).unwrap();
    std::fs::create_dir(dir.path().join("here")).unwrap();
    let uts = held.namespace(Namespace::Mount).unwrap();
    // SAFETY: this process alone.
    unsafe {
        let path = c_string(dir.path());
        assert_eq!((libc::chroot(path.as_ptr()), libc::chdir(c"/here".as_ptr())), (0, 0));
    }
    uts.scoped().unwrap().leave().unwrap();
    assert_eq!(std::env::current_dir().unwrap(), PathBuf::from("/here"));
    assert!(!std::path::Path::new("/etc").exists());
    // Out of the chroot again, through a namespace's root, so that the directory can be removed.
    uts.enter().unwrap();
}

fn a_stay_ends_with_a_panic() {
    let held = Held::new(NamespaceSet::UTS);
    let uts = held.namespace(Namespace::Uts).unwrap();
    let before = kernel::all_ns();
    let panic = std::panic::catch_unwind(|| {
        let _stay = uts.scoped().unwrap();
        assert_ne!(kernel::all_ns(), before);
        std::panic::panic_any(7);
    });
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&7));
    assert_eq!(kernel::all_ns(), before);
}

fn stays_are_nested() {
    let (one, other) = (Held::new(NamespaceSet::UTS), Held::new(NamespaceSet::UTS));
    let before = kernel::all_ns();
    let outer = one.namespace(Namespace::Uts).unwrap().scoped().unwrap();
    let between = kernel::all_ns();
    other.namespace(Namespace::Uts).unwrap().scoped().unwrap().leave().unwrap();
    assert_eq!(kernel::all_ns(), between);
    outer.leave().unwrap();
    assert_eq!(kernel::all_ns(), before);
}

fn a_mount_namespace_is_entered_beside_other_threads() {
    let held = Held::new(NamespaceSet::MOUNT);
    let mount = held.namespace(Namespace::Mount).unwrap();
    std::env::set_current_dir("/proc/sys").unwrap();
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            mount.enter().unwrap();
            (kernel::ns("thread-self", "mnt"), std::env::current_dir().unwrap())
        });
        let expected = (kernel::ns(held.id(), "mnt"), PathBuf::from("/"));
        assert_eq!(inside.join().unwrap(), expected);
    });
    assert_eq!(std::env::current_dir().unwrap(), PathBuf::from("/proc/sys"));
}

fn a_way_back_that_is_refused_is_told() {
    // Root of a user namespace, but still in the machine's UTS namespace, which it does not own.
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    let held = Held::new(NamespaceSet::UTS);
    let uts = held.namespace(Namespace::Uts).unwrap();
    let inside = kernel::ns(held.id(), "uts");
    let error = uts.scoped().unwrap().leave().unwrap_err();
    is_of(&error, Step::Leave, ErrorKind::NotRestored);
    assert!(error.explain().unwrap().contains("use run()"));
    assert_eq!(kernel::ns("thread-self", "uts"), inside);
    // Here the way in is the way back, so each stay is on a thread of its own.
    let dropped = std::thread::spawn(move || {
        let held = Held::new(NamespaceSet::NET);
        let stay = held.namespace(Namespace::Net).unwrap().scoped().unwrap();
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(stay)));
        panic.is_err()
    });
    assert!(dropped.join().unwrap(), "a stay that cannot end does not end unnoticed");
}

fn there_is_no_stay_in_a_user_namespace() {
    let held = Held::new(NamespaceSet::USER);
    let error = held.namespace(Namespace::User).unwrap().scoped().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(kernel::different("self", &std::process::id().to_string()), NamespaceSet::empty());
}

fn work_runs_inside_on_another_thread() {
    let held = named(NamespaceSet::UTS | NamespaceSet::MOUNT);
    let before = kernel::all_ns();
    let words = String::from("borrowed");
    let seen = held
        .enter(NamespaceSet::UTS | NamespaceSet::MOUNT)
        .run(|| {
            (uts::hostname().unwrap().to_string(), words.as_str(), kernel::ns("thread-self", "mnt"))
        })
        .unwrap();
    assert_eq!(seen, ("inside".to_owned(), "borrowed", kernel::ns(held.id(), "mnt")));
    assert_eq!(held.namespace(Namespace::Uts).unwrap().run(|| 3).unwrap(), 3);
    assert_eq!(kernel::all_ns(), before);
    kernel::until_alone();
}

fn a_panic_of_the_work_comes_back() {
    let mine = NsFd::current(Namespace::Uts).unwrap();
    let work = || mine.run(|| std::panic::panic_any("from the work"));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"from the work"));
}

fn what_threads_cannot_enter_is_told() {
    let held = Held::new(NamespaceSet::USER | NamespaceSet::TIME);
    for kind in [Namespace::User, Namespace::Time] {
        let error = held.namespace(kind).unwrap().run(|| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Multithreaded, "{kind}");
    }
    let user = held.namespace(Namespace::User).unwrap();
    let both = held.enter(NamespaceSet::USER | NamespaceSet::TIME);
    std::thread::spawn(move || {
        let before = kernel::all_ns();
        for error in [user.enter().unwrap_err(), both.apply().unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Multithreaded);
            assert!(error.explain().unwrap().contains("threads"), "{error:#}");
        }
        assert_eq!(kernel::all_ns(), before);
    })
    .join()
    .unwrap();
}

/// As exec is for a moment after it woke us.
fn a_guest_in_the_memory_is_waited_for() {
    let held = Held::new(NamespaceSet::USER | NamespaceSet::TIME);
    held.enter(NamespaceSet::USER).apply().unwrap();
    let guest = kernel::guest_in_this_memory();
    held.enter(NamespaceSet::TIME).apply().unwrap();
    assert_eq!(
        NsFd::for_children(Namespace::Time).unwrap(),
        held.namespace(Namespace::Time).unwrap()
    );
    fork::wait(guest);
}

fn the_time_namespace_of_the_children_is_entered() {
    let new = NamespaceSet::USER | NamespaceSet::TIME;
    let other = Held::new(new).namespace(Namespace::Time).unwrap();
    Unshare::new(new).map_root().apply().unwrap();
    let before = (kernel::ns("self", "time"), kernel::ns("self", "time_for_children"));
    assert_ne!(before.0, before.1);
    let now = || (kernel::ns("self", "time"), kernel::ns("self", "time_for_children"));
    let error = other.scoped().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:#}");
    assert_eq!(now(), before);
    // setns(2) moves the thread, too, in contrast to unshare(2).
    NsFd::for_children(Namespace::Time).unwrap().enter().unwrap();
    assert_eq!(now(), (before.1, before.1));
    Unshare::new(NamespaceSet::TIME).apply().unwrap();
    let waiting = NsFd::for_children(Namespace::Time).unwrap();
    Enter::new().namespace(waiting).apply().unwrap();
    let after = now();
    assert_eq!(after.0, after.1);
    assert_ne!(after.0, before.1);
}

fn nonsense_is_refused() {
    let held = Held::new(NamespaceSet::USER | NamespaceSet::UTS);
    let before = kernel::all_ns();
    let twice = held.enter(NamespaceSet::UTS).namespace(held.namespace(Namespace::Uts).unwrap());
    for enter in [held.enter(NamespaceSet::empty()), twice] {
        assert_eq!(enter.apply().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(enter.scoped().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(enter.run(|| ()).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(kernel::all_ns(), before);
    // Nothing named is nothing to do.
    Enter::new().apply().unwrap();
}

fn a_process_that_ended_cannot_be_entered() {
    let mut child = Held::new(NamespaceSet::USER | NamespaceSet::UTS);
    let process = child.enter(NamespaceSet::USER | NamespaceSet::UTS);
    child.kill().unwrap();
    while !child.pidfd().has_ended().unwrap() {
        std::thread::yield_now();
    }
    assert_eq!(process.apply().unwrap_err().kind(), ErrorKind::ProcessGone);
    child.wait().unwrap();
    assert_eq!(process.apply().unwrap_err().kind(), ErrorKind::ProcessGone);
}

fn what_is_refused_half_way_is_undone() {
    // Ours to leave and to come back to, owned by our own user namespace.
    Unshare::new(NamespaceSet::USER | NamespaceSet::UTS).map_root().apply().unwrap();
    let held = Held::new(NamespaceSet::UTS);
    // It stands for one that may not be entered; nor could we come back to our own pid namespace.
    let stranger = Held::new(NamespaceSet::USER | NamespaceSet::PID);
    let pid = stranger.namespace(Namespace::Pid).unwrap();
    drop(stranger);
    stage::refuse_setns(libc::CLONE_NEWPID, libc::EPERM);
    let before = kernel::all_ns();
    let both = Enter::new().namespace(held.namespace(Namespace::Uts).unwrap()).namespace(pid);
    let error = both.apply().unwrap_err();
    assert_eq!(
        (error.kind(), error.namespace()),
        (ErrorKind::PermissionDenied, Some(Namespace::Pid))
    );
    // Back where we were, although one of the two had been entered.
    assert_eq!(
        kernel::ns("thread-self", "uts"),
        before.iter().find(|(name, _)| name == "uts").unwrap().1
    );
    assert_eq!(both.scoped().unwrap_err().namespace(), Some(Namespace::Pid));
    assert_eq!(kernel::all_ns(), before);
}

fn no_other_flag_gets_through() {
    let unknown = [libc::CLONE_FILES, libc::CLONE_FS, libc::CLONE_VM, libc::CLONE_THREAD, 1];
    for flag in unknown {
        let set = NamespaceSet::from_bits_retain(flag as u32);
        for set in [set, set | NamespaceSet::UTS] {
            let errors = [
                Unshare::new(set).apply().unwrap_err(),
                Command::new("true").unshare(set).spawn().unwrap_err(),
                Enter::new().process(PidFd::current().unwrap(), set).apply().unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.to_string().contains("no namespace"), "{error}");
            }
        }
    }
    // The table of descriptors is still one.
    let before = crate::harness::descriptors().len();
    let file = std::thread::spawn(|| std::fs::File::open("/dev/null").unwrap()).join().unwrap();
    assert_eq!(crate::harness::descriptors().len(), before + 1);
    drop(file);
}

fn a_socket_made_inside_stays_inside() {
    let child = Held::of(sleeper().loopback_up());
    let net = child.namespace(Namespace::Net).unwrap();
    let listener = net.run(|| std::net::TcpListener::bind("127.0.0.1:0")).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    // From outside nobody is there; from inside we are, with a socket held outside.
    assert!(std::net::TcpStream::connect(address).is_err());
    let client = net.run(|| std::net::TcpStream::connect(address)).unwrap().unwrap();
    assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
}
