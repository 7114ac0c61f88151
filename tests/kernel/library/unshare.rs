//! `Unshare`.

use std::fs;

use linux_namespaces::{
    Command, Error, ErrorKind, Mount, Namespace, NamespaceSet, NsFd, Propagation, Stdio, Step,
    Unshare, uts,
};

use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{Ordinary, OtherIds, Root, UserNamespaces};
use crate::program::{is_at, is_of, sh, text};
use crate::stage;

cases! {
    each_kind_changes_for_this_thread_alone [Root],
    all_kinds_at_once_with_a_user_namespace [UserNamespaces],
    ids_are_mapped_from_inside [UserNamespaces],
    ids_are_mapped_from_outside [Root, UserNamespaces, OtherIds],
    a_map_that_is_refused_is_told [UserNamespaces],
    names_change_inside_only [UserNamespaces],
    the_loopback_interface_comes_up [UserNamespaces],
    mounts_are_private_unless_asked_otherwise [Root],
    a_new_proc_shows_the_new_pid_namespace [UserNamespaces],
    threads_are_told_what_they_cannot_do [UserNamespaces],
    an_empty_set_is_refused [],
    mounts_that_would_reach_the_machine_are_refused [],
    what_fails_later_is_undone [Root],
    what_fails_later_in_a_user_namespace_is_told [UserNamespaces],
    privileges_are_told [Ordinary],
    a_second_pid_namespace_is_refused [UserNamespaces],
}

fn each_kind_changes_for_this_thread_alone() {
    for kind in Namespace::ALL.iter().copied().filter(|kind| *kind != Namespace::User) {
        let before = kernel::all_ns();
        // Another thread changes, this one does not.
        let changed = std::thread::spawn(move || {
            Unshare::new(kind.into()).apply().unwrap();
            kernel::all_ns()
        });
        let changed = changed.join().unwrap();
        assert_eq!(kernel::all_ns(), before, "{kind}");
        // In a new pid or time namespace only children are.
        let expected = match kind {
            Namespace::Pid => "pid_for_children",
            Namespace::Time => "time_for_children",
            _ => kind.name(),
        };
        let differs: Vec<_> =
            before.iter().zip(&changed).filter(|(one, other)| one != other).collect();
        assert!(matches!(differs[..], [(one, _)] if one.0 == expected), "{kind}: {differs:?}");
    }
}

fn all_kinds_at_once_with_a_user_namespace() {
    let before = kernel::all_ns();
    Unshare::new(NamespaceSet::all())
        .map_root()
        .apply()
        .unwrap_or_else(|error| panic!("{error:#}"));
    let same: Vec<_> =
        before.iter().zip(kernel::all_ns()).filter(|(one, now)| *one == now).collect();
    let names: Vec<_> = same.iter().map(|(one, _)| one.0.as_str()).collect();
    assert_eq!(names, ["pid", "time"]);
}

fn read(path: &str) -> Vec<String> {
    fs::read_to_string(path).unwrap().split_whitespace().map(str::to_owned).collect()
}

fn ids_are_mapped_from_inside() {
    let (uid, gid) = kernel::ids();
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    assert_eq!(read("/proc/self/uid_map"), ["0", &uid.to_string(), "1"]);
    assert_eq!(read("/proc/self/gid_map"), ["0", &gid.to_string(), "1"]);
    assert_eq!(read("/proc/self/setgroups"), ["deny"]);
    assert_eq!(kernel::ids(), (0, 0));
}

fn ids_are_mapped_from_outside() {
    let map = stage::id_map(&[(0, 100_000, 1000), (1000, 0, 1)]);
    let unshare = Unshare::new(NamespaceSet::USER | NamespaceSet::PID | NamespaceSet::UTS);
    unshare.uid_map(map.clone()).gid_map(map).hostname("mapped".parse().unwrap()).apply().unwrap();
    assert_eq!(read("/proc/self/uid_map"), ["0", "100000", "1000", "1000", "0", "1"]);
    assert_eq!(read("/proc/self/gid_map"), ["0", "100000", "1000", "1000", "0", "1"]);
    assert_eq!(read("/proc/self/setgroups"), ["allow"]);
    assert_eq!(uts::hostname().unwrap().to_string(), "mapped");
    // The helper was not the first process of the new pid namespace.
    assert_eq!(text(&mut sh("echo $$")), "1");
}

fn a_map_that_is_refused_is_told() {
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    // The one id of this user namespace is not among them.
    let map = stage::id_map(&[(0, 100_000, 10)]);
    let error = Unshare::new(NamespaceSet::USER).uid_map(map).apply().unwrap_err();
    is_of(&error, Step::WriteUidMap, ErrorKind::NotRestored);
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    assert!(error.explain().unwrap().contains("map_root()"));
}

fn names_change_inside_only() {
    let outside = NsFd::current(Namespace::Uts).unwrap();
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let mut witness = sh("cat; cat /proc/sys/kernel/hostname");
    let mut witness = witness.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    Unshare::new(NamespaceSet::USER)
        .map_root()
        .hostname("host".parse().unwrap())
        .domainname("domain".parse().unwrap())
        .apply()
        .unwrap();
    // SAFETY: all zero bytes are a utsname.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one.
    unsafe { libc::uname(&raw mut names) };
    let text = |field: &[libc::c_char]| -> String {
        field.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8 as char).collect()
    };
    assert_eq!((text(&names.nodename), text(&names.domainname)), ("host".into(), "domain".into()));
    let long = "x".repeat(64);
    uts::set_hostname(&long.parse().unwrap()).unwrap();
    uts::set_domainname(&"".parse().unwrap()).unwrap();
    assert_eq!(uts::hostname().unwrap().to_string(), long);
    assert_eq!(uts::domainname().unwrap().to_string(), "");
    assert_ne!(NsFd::current(Namespace::Uts).unwrap(), outside);
    // Somebody who stayed outside sees the old name.
    witness.stdin.take();
    let output = witness.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), machine);
}

fn the_loopback_interface_comes_up() {
    let up = || {
        std::net::UdpSocket::bind("127.0.0.1:0").and_then(|it| it.connect("127.0.0.1:9")).is_ok()
    };
    Unshare::new(NamespaceSet::USER | NamespaceSet::NET).map_root().apply().unwrap();
    assert!(!up(), "a new network namespace has it down");
    Unshare::new(NamespaceSet::empty()).loopback_up().apply().unwrap();
    assert!(up());
}

fn mounts_are_private_unless_asked_otherwise() {
    // A shared mount of our own to be copied.
    Unshare::new(NamespaceSet::MOUNT).apply().unwrap();
    let dir = tempfile::tempdir().unwrap();
    stage::tmpfs(dir.path());
    stage::share(dir.path());
    let tags = || {
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let at = dir.path().to_str().unwrap();
        let line = table.lines().find(|line| line.contains(at)).unwrap().to_owned();
        let tag = line.split(' ').skip(6).take_while(|word| *word != "-");
        tag.map(|word| word.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(tags(), ["shared"]);
    let expected: [(Option<Propagation>, &[&str]); 5] = [
        (None, &[]),
        (Some(Propagation::Private), &[]),
        (Some(Propagation::Slave), &["master"]),
        (Some(Propagation::Shared), &["shared"]),
        (Some(Propagation::Unchanged), &["shared"]),
    ];
    std::thread::scope(|scope| {
        for (propagation, expected) in expected {
            let tags = &tags;
            let inside = scope.spawn(move || {
                let unshare = Unshare::new(NamespaceSet::MOUNT);
                match propagation {
                    None => unshare.apply(),
                    Some(propagation) => unshare.propagation(propagation).apply(),
                }
                .unwrap();
                tags()
            });
            assert_eq!(inside.join().unwrap(), expected, "{propagation:?}");
        }
    });
    stage::unmount(dir.path());
}

fn a_new_proc_shows_the_new_pid_namespace() {
    // This thread is in no new pid namespace itself, so that is what its /proc would show.
    let set = NamespaceSet::USER | NamespaceSet::PID;
    let error =
        Unshare::new(set).map_root().mount(Mount::proc("/proc").unwrap()).apply().unwrap_err();
    is_at(&error, Step::Mount, libc::EPERM);
    assert!(error.explain().unwrap().contains("pid namespace"));
}

fn threads_are_told_what_they_cannot_do() {
    std::thread::spawn(|| {
        let before = kernel::all_ns();
        let error = Unshare::new(NamespaceSet::UTS).map_root().apply().unwrap_err();
        is_of(&error, Step::Unshare, ErrorKind::Multithreaded);
        assert!(error.explain().unwrap().contains("Command"), "{error:#}");
        assert_eq!(kernel::all_ns(), before);
        // But it can have a child do it.
        assert!(Command::new("true").map_root().status().unwrap().success());
    })
    .join()
    .unwrap();
}

fn mounts_that_would_reach_the_machine_are_refused() {
    let proc = || Mount::proc("/proc").unwrap();
    for propagation in [Propagation::Shared, Propagation::Unchanged] {
        let unshare = Unshare::new(NamespaceSet::PID).propagation(propagation).mount(proc());
        assert_eq!(unshare.apply().unwrap_err().kind(), ErrorKind::InvalidInput);
        let mut command = Command::new("true");
        command.unshare(NamespaceSet::PID).propagation(propagation).mount(proc());
        assert_eq!(command.plan().unwrap_err().kind(), ErrorKind::InvalidInput);
        // In a user namespace they stay inside.
        assert!(command.map_root().plan().is_ok());
    }
}

fn an_empty_set_is_refused() {
    let error = Unshare::new(NamespaceSet::empty()).apply().unwrap_err();
    assert_eq!((error.kind(), error.step()), (ErrorKind::InvalidInput, None));
}

fn fails_late(set: NamespaceSet) -> Error {
    let nowhere = Mount::proc("/no/such/directory").unwrap();
    let unshare = Unshare::new(set).hostname("changed".parse().unwrap());
    let unshare = if set.contains(NamespaceSet::USER) { unshare.map_root() } else { unshare };
    unshare.mount(nowhere).apply().unwrap_err()
}

fn what_fails_later_is_undone() {
    std::env::set_current_dir("/proc/sys").unwrap();
    let before = kernel::census();
    let error = fails_late(NamespaceSet::all() - NamespaceSet::USER - NamespaceSet::TIME);
    is_of(&error, Step::Mount, ErrorKind::NotFound);
    assert_eq!(error.path().unwrap().to_str(), Some("/no/such/directory"));
    assert_eq!(kernel::census(), before);
}

fn what_fails_later_in_a_user_namespace_is_told() {
    let error = fails_late(NamespaceSet::USER | NamespaceSet::NET);
    is_of(&error, Step::Mount, ErrorKind::NotRestored);
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
}

fn privileges_are_told() {
    let before = kernel::census();
    for kind in Namespace::ALL.iter().copied().filter(|kind| *kind != Namespace::User) {
        for error in [
            Unshare::new(kind.into()).apply().unwrap_err(),
            Unshare::new(kind.into()).hostname("x".parse().unwrap()).apply().unwrap_err(),
            Command::new("true").unshare(kind.into()).spawn().unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{kind}: {error:#}");
            assert!(error.explain().unwrap().contains("CAP_SYS_ADMIN"));
        }
    }
    for error in [
        uts::set_hostname(&"x".parse().unwrap()).unwrap_err(),
        uts::set_domainname(&"x".parse().unwrap()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.explain().unwrap().contains("UTS namespace"));
    }
    assert_eq!(kernel::census(), before);
}

fn a_second_pid_namespace_is_refused() {
    Unshare::new(NamespaceSet::PID).map_root().apply().unwrap();
    let error = Unshare::new(NamespaceSet::PID).apply().unwrap_err();
    is_at(&error, Step::Unshare, libc::EINVAL);
    assert!(error.explain().unwrap().contains("pid namespace waiting"));
}
