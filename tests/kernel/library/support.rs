//! What the crate says of the machine, against what the kernel does.

use std::fs;
use std::path::Path;
use std::thread;

use linux_namespaces::{
    Availability, Cause, Command, Error, ErrorKind, Interface, Namespace, NamespaceSet, Step,
    Support, Unshare,
};

use crate::files::c_string;
use crate::harness::cases;
use crate::kernel::{self, Call, Limit, census, dumpable, forbid, ns, refuse, request, status};
use crate::machine::Need::{
    Clone3, NamespaceLimits, Ordinary, PidfdNamespaces, Root, UniqueIds, UserNamespaces,
};
use crate::machine::is_root;
use crate::program::{is_at, is_of, sh, text};
use crate::stage;

cases! {
    every_kind_can_be_made [UserNamespaces],
    a_probe_changes_nothing [UserNamespaces],
    a_probe_among_threads [UserNamespaces],
    interfaces_that_a_call_shows [PidfdNamespaces, UniqueIds, Clone3],
    interfaces_that_a_filter_hides [UserNamespaces],
    clone_flags_are_asked_without_a_child [],
    a_limit_is_named_with_its_value [UserNamespaces, NamespaceLimits],
    a_limit_on_user_namespaces [UserNamespaces, NamespaceLimits],
    a_limit_of_the_kind_concerned_only [UserNamespaces, NamespaceLimits],
    a_missing_capability_and_where [Ordinary],
    a_nested_user_namespace [UserNamespaces],
    a_name_that_is_not_one_s_own [Ordinary],
    thirty_two_levels [UserNamespaces],
    an_unmapped_user [UserNamespaces],
    threads_are_counted [UserNamespaces],
    a_process_that_is_not_dumpable [Ordinary, UserNamespaces],
    a_filter_on_unshare [UserNamespaces],
    a_filter_on_clone [UserNamespaces],
    a_filter_on_the_map [UserNamespaces],
    a_filter_that_kills [UserNamespaces],
    a_filter_that_kills_for_new_calls [UserNamespaces],
    a_process_without_descriptors [UserNamespaces, PidfdNamespaces],
    a_namespace_without_rights [UserNamespaces],
    a_chroot [Root, UserNamespaces, PidfdNamespaces],
    a_sysctl_of_debian [UserNamespaces],
    a_sysctl_of_ubuntu [UserNamespaces],
    a_pending_pid_namespace_survives [UserNamespaces],
    a_kernel_without_a_kind [UserNamespaces],
}

fn probe() -> Support {
    Support::probe().unwrap_or_else(|error| panic!("{error:#}"))
}

fn denied(support: &Support, kind: Namespace) -> &Error {
    match support.availability(kind) {
        Availability::Denied(error) => error,
        other => panic!("{kind}: {other:?}"),
    }
}

/// The error says so in its explanation and on one line.
#[track_caller]
fn says(error: &Error, is_cause: impl Fn(&Cause) -> bool, words: &str) {
    let causes = error.causes();
    let cause = causes.iter().find(|it| is_cause(it)).unwrap_or_else(|| panic!("{causes:?}"));
    assert!(cause.to_string().contains(words), "{cause}");
    assert!(!cause.remedy().is_empty());
    let explanation = error.explain().unwrap();
    assert!(explanation.contains(&format!("here: {}", causes[0])), "{explanation}");
    assert!(explanation.contains(words), "{explanation}");
    assert!(format!("{error:#}").contains(words), "{error:#}");
}

/// Uid 0 in a new user namespace, where limits may be set.
fn be_root_inside() {
    Unshare::new(NamespaceSet::USER | NamespaceSet::MOUNT).map_root().apply().unwrap();
}

fn every_kind_can_be_made() {
    let support = probe();
    assert_eq!(support.available(), NamespaceSet::all());
    for &kind in Namespace::ALL {
        let alone = matches!(support.availability(kind), Availability::Available);
        assert_eq!(alone, is_root() || kind == Namespace::User, "{kind}");
    }
    let missing = |cause: &Cause| matches!(cause, Cause::MissingCapability { .. });
    assert_eq!(support.causes().iter().any(missing), !is_root());
}

fn a_probe_changes_nothing() {
    // What the first look opens for good, it opens here.
    probe();
    let before = census();
    probe();
    assert_eq!(census(), before);
    assert_eq!(dumpable(), 1);
}

fn a_probe_among_threads() {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| probe().available())).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), NamespaceSet::all());
        }
    });
    // A joined thread may not have left the kernel yet; the harness counts descriptors and children.
}

fn interfaces_that_a_call_shows() {
    let support = probe();
    for &interface in Interface::ALL {
        // Only what these two calls prove; all older ones are in every mainline kernel that has them.
        let newest_known = (6, 18);
        if interface.since() <= newest_known && interface != Interface::ExecEntersTime {
            assert!(support.has(interface), "{interface}");
        }
    }
    // SAFETY: an unknown number, or no request at the address.
    let answer = unsafe { libc::syscall(470, 0, 0, 0, 0) };
    assert_eq!(answer, -1);
    let unknown = std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS);
    assert_eq!(support.has(Interface::ListNs), !unknown);
}

fn interfaces_that_a_filter_hides() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        assert!(probe().has(Interface::Clone3) || errno == libc::EPERM);
        refuse(libc::SYS_clone3, errno);
        let support = probe();
        for interface in [
            Interface::Clone3,
            Interface::CloneIntoCgroup,
            Interface::CloneAutoreap,
            Interface::CloneEmptyMountNamespace,
        ] {
            assert!(!support.has(interface), "{interface}");
        }
        assert_eq!(support.available(), NamespaceSet::all());
        assert!(support.causes().contains(&Cause::SeccompFilter));
    }
    refuse(457, libc::ENOSYS);
    refuse(Call::with(libc::SYS_ioctl, 1, request(0x8008_b70d)), libc::ENOTTY);
    let support = probe();
    assert!(!support.has(Interface::Statmount));
    assert!(!support.has(Interface::UniqueIds));
}

/// What the kernel answers when all else about the call is right.
fn clone_flags_are_asked_without_a_child() {
    let support = probe();
    let mut args = [0_u64; 11];
    for (interface, flags, signal) in [
        (Interface::CloneAutoreap, 1 << 34, 0),
        (Interface::CloneNoNewPrivs, 1 << 35, libc::SIGCHLD as u64),
    ] {
        (args[0], args[4]) = (flags, signal);
        // SAFETY: a clone_args; the child ends at once, and is waited for.
        let known = unsafe {
            let pid = libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args));
            if pid == 0 {
                libc::_exit(0);
            }
            if pid > 0 && signal != 0 {
                libc::waitpid(pid as i32, std::ptr::null_mut(), 0);
            }
            // The other is not for anybody to wait for.
            while pid > 0 && libc::kill(pid as i32, 0) == 0 {
                thread::yield_now();
            }
            pid > 0
        };
        assert_eq!(support.has(interface), known, "{interface}");
    }
}

fn a_limit_is_named_with_its_value() {
    be_root_inside();
    fs::write("/proc/sys/user/max_uts_namespaces", "0").unwrap();
    let support = probe();
    assert_eq!(support.available(), NamespaceSet::all() - NamespaceSet::UTS);
    let error = denied(&support, Namespace::Uts);
    let refused = (error.step(), error.raw_os_error(), error.kind());
    assert_eq!(refused, (Some(Step::Unshare), Some(libc::ENOSPC), ErrorKind::LimitReached));
    let limit = |it: &Cause| matches!(it, Cause::Limit { kind: Namespace::Uts, value: 0, .. });
    says(error, limit, "user.max_uts_namespaces=0");
    assert!(support.causes().iter().any(limit));

    let own = Unshare::new(NamespaceSet::UTS).apply().unwrap_err();
    says(&own, limit, "user.max_uts_namespaces=0");
    let spawned = Command::new("true").hostname("x".parse().unwrap()).spawn().unwrap_err();
    says(&spawned, limit, "user.max_uts_namespaces=0");
    // It tells the value of now.
    fs::write("/proc/sys/user/max_uts_namespaces", "1").unwrap();
    assert!(spawned.explain().unwrap().contains("user.max_uts_namespaces=1"));
}

fn a_limit_on_user_namespaces() {
    be_root_inside();
    fs::write("/proc/sys/user/max_user_namespaces", "0").unwrap();
    let support = probe();
    let limit = |it: &Cause| matches!(it, Cause::Limit { kind: Namespace::User, value: 0, .. });
    says(denied(&support, Namespace::User), limit, "user.max_user_namespaces=0");
    assert!(matches!(support.availability(Namespace::Net), Availability::Available));
    let spawned = Command::new("true").map_root().spawn().unwrap_err();
    says(&spawned, limit, "user.max_user_namespaces=0");
}

fn a_limit_of_the_kind_concerned_only() {
    be_root_inside();
    for kind in ["uts", "net"] {
        fs::write(format!("/proc/sys/user/max_{kind}_namespaces"), "0").unwrap();
    }
    let set = NamespaceSet::UTS | NamespaceSet::IPC;
    let error = Unshare::new(set).apply().unwrap_err();
    let explanation = error.explain().unwrap();
    assert!(explanation.contains("user.max_uts_namespaces=0"), "{explanation}");
    assert!(explanation.contains("user.max_ipc_namespaces="), "{explanation}");
    assert!(!explanation.contains("net"), "{explanation}");
}

fn a_missing_capability_and_where() {
    let error = Unshare::new(NamespaceSet::NET).apply().unwrap_err();
    let user_namespace = ns("thread-self", "user");
    let cause = |it: &Cause| matches!(it, Cause::MissingCapability { user_namespace: it, .. } if *it == user_namespace);
    says(&error, cause, "CAP_SYS_ADMIN is missing in user namespace");
    says(&error, cause, &user_namespace.to_string());
    let spawned = Command::new("true").unshare(NamespaceSet::NET).spawn().unwrap_err();
    says(&spawned, cause, "CAP_SYS_ADMIN");
}

fn a_nested_user_namespace() {
    let uts = linux_namespaces::NsFd::current(Namespace::Uts).unwrap();
    be_root_inside();
    let user_namespace = ns("thread-self", "user");
    let error = uts.enter().unwrap_err();
    let cause = |it: &Cause| matches!(it, Cause::NestedUserNamespace { user_namespace: it, .. } if *it == user_namespace);
    says(&error, cause, "is not the initial one");
    assert!(probe().causes().iter().any(cause));
}

fn a_name_that_is_not_one_s_own() {
    let error = linux_namespaces::uts::set_hostname(&"x".parse().unwrap()).unwrap_err();
    let user_namespace = ns("thread-self", "user");
    let cause = |it: &Cause| matches!(it, Cause::MissingCapability { user_namespace: it, .. } if *it == user_namespace);
    says(&error, cause, "CAP_SYS_ADMIN is missing");
}

fn thirty_two_levels() {
    let inner = || Unshare::new(NamespaceSet::USER).map_root().apply();
    let error = (0..40).find_map(|_| inner().err()).unwrap();
    let refused = (error.step(), error.raw_os_error());
    assert_eq!(refused, (Some(Step::Unshare), Some(libc::ENOSPC)));
    let nesting = |it: &Cause| matches!(it, Cause::Nesting { kind: Namespace::User, .. });
    says(&error, nesting, "inside of others, and the limit is 32");
    let support = probe();
    says(denied(&support, Namespace::User), nesting, "the limit is 32");
    assert!(matches!(support.availability(Namespace::Uts), Availability::Available));
}

fn an_unmapped_user() {
    Unshare::new(NamespaceSet::USER).apply().unwrap();
    let support = probe();
    let error = denied(&support, Namespace::User);
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    let (uid, _) = kernel::ids();
    let unmapped = |it: &Cause| matches!(it, Cause::UnmappedUid { uid: it, .. } if *it == uid);
    says(error, unmapped, "not mapped here");
    // All capabilities are there, so the others can be made.
    assert!(matches!(support.availability(Namespace::Uts), Availability::Available));
}

fn threads_are_counted() {
    let (stop, wait) = std::sync::mpsc::channel::<()>();
    let other = thread::spawn(move || wait.recv().is_ok());
    let error = Unshare::new(NamespaceSet::USER).apply().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Multithreaded);
    let two = |it: &Cause| matches!(it, Cause::Threads { count: 2, .. });
    says(&error, two, "this process has 2 threads");
    drop(stop);
    other.join().unwrap();
}

fn a_process_that_is_not_dumpable() {
    // SAFETY: this process alone.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    let support = probe();
    let error = denied(&support, Namespace::User);
    is_at(error, Step::WriteSetgroups, libc::EACCES);
    says(error, |it| *it == Cause::Undumpable, "not dumpable");
}

fn a_filter_on_unshare() {
    refuse(libc::SYS_unshare, libc::EPERM);
    assert_eq!(status("Seccomp"), "2");
    let support = probe();
    assert_eq!(support.available(), NamespaceSet::empty());
    for &kind in Namespace::ALL {
        says(
            denied(&support, kind),
            |it| *it == Cause::SeccompFilter,
            "a seccomp filter is active",
        );
    }
}

fn a_filter_on_clone() {
    refuse(libc::SYS_clone3, libc::ENOSYS);
    refuse(libc::SYS_clone, libc::EPERM);
    assert_eq!(Support::probe().unwrap_err().step(), Some(Step::Clone));
    let error = Command::new("true").map_root().spawn().unwrap_err();
    is_at(&error, Step::Clone, libc::EPERM);
    says(&error, |it| *it == Cause::SeccompFilter, "a seccomp filter is active");
}

/// The only files that the throw-away child opens to write.
fn refuse_maps() {
    let mode = libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mode = (mode | libc::O_NOCTTY).cast_unsigned();
    refuse(libc::SYS_openat2, libc::ENOSYS);
    refuse(Call::with(libc::SYS_openat, 2, mode), libc::EPERM);
}

fn a_filter_on_the_map() {
    refuse_maps();
    let support = probe();
    let error = denied(&support, Namespace::User);
    is_at(error, Step::WriteSetgroups, libc::EPERM);
    says(error, |it| *it == Cause::SeccompFilter, "a seccomp filter is active");
    assert_eq!(support.available().is_empty(), !is_root());
}

fn a_filter_that_kills() {
    forbid(libc::SYS_unshare);
    let error = Support::probe().unwrap_err();
    is_of(&error, Step::Unshare, ErrorKind::ChildDied);
    assert!(error.to_string().contains("signal 31"), "{error}");
}

/// As of a service whose filter kills for each call that it does not know.
fn a_filter_that_kills_for_new_calls() {
    let before = probe();
    for call in [libc::SYS_setns, libc::SYS_name_to_handle_at, 457, 470] {
        forbid(call);
    }
    let support = probe();
    let hidden = [
        Interface::SetnsPidFd,
        Interface::NamespaceFileHandles,
        Interface::Statmount,
        Interface::ListNs,
    ];
    for &interface in Interface::ALL {
        let here = before.has(interface) && !hidden.contains(&interface);
        assert_eq!(support.has(interface), here, "{interface}");
    }
    assert_eq!(support.available(), NamespaceSet::all());
}

fn a_process_without_descriptors() {
    probe();
    for free in 0..8 {
        let _limit = Limit::free_descriptors(free);
        match Support::probe() {
            Ok(support) => {
                assert_eq!(support.available(), NamespaceSet::all());
                assert!(support.has(Interface::PidFdNamespaces));
                return;
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error:#}"),
        }
    }
    panic!("eight descriptors are not enough");
}

/// What AppArmor makes of it: the user namespace is there, its map even, and nothing is allowed inside.
fn a_namespace_without_rights() {
    for &kind in Namespace::ALL {
        let flag = match kind {
            Namespace::Cgroup => libc::CLONE_NEWCGROUP,
            Namespace::Ipc => libc::CLONE_NEWIPC,
            Namespace::Mount => libc::CLONE_NEWNS,
            Namespace::Net => libc::CLONE_NEWNET,
            Namespace::Pid => libc::CLONE_NEWPID,
            Namespace::Time => 0x80,
            Namespace::Uts => libc::CLONE_NEWUTS,
            _ => continue,
        };
        refuse(Call::with(libc::SYS_unshare, 0, flag.cast_unsigned()), libc::EPERM);
    }
    let support = probe();
    assert_eq!(denied(&support, Namespace::User).kind(), ErrorKind::PermissionDenied);
    assert_eq!(support.available(), NamespaceSet::empty());
}

fn a_chroot() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("proc")).unwrap();
    let _back = stage::Root::keep();
    assert!(!probe().causes().contains(&Cause::Chroot));
    let path = c_string(dir.path());
    // SAFETY: this process alone.
    assert_eq!(unsafe { (libc::chroot(path.as_ptr()), libc::chdir(c"/".as_ptr())) }, (0, 0));
    let error = Unshare::new(NamespaceSet::USER).apply().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    says(&error, |it| *it == Cause::Chroot, "in a chroot");
    let spawned = Command::new("true").unshare(NamespaceSet::USER).spawn().unwrap_err();
    says(&spawned, |it| *it == Cause::Chroot, "in a chroot");
    let support = probe();
    assert!(support.causes().contains(&Cause::Chroot));
    says(denied(&support, Namespace::User), |it| *it == Cause::Chroot, "in a chroot");
    assert!(matches!(support.availability(Namespace::Uts), Availability::Available));
}

/// A directory with one sysctl in the place of those of this kernel, which has it not.
fn with_sysctl(name: &str, value: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), value).unwrap();
    be_root_inside();
    stage::bind(dir.path(), "/proc/sys/kernel");
    assert_eq!(fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).unwrap(), value);
    dir
}

fn a_sysctl_of_debian() {
    let _dir = with_sysctl("unprivileged_userns_clone", "0\n");
    // The kernel's answer to those without privileges, there.
    refuse(Call::with(libc::SYS_unshare, 0, libc::CLONE_NEWUSER.cast_unsigned()), libc::EPERM);
    let support = probe();
    let sysctl = |it: &Cause| {
        matches!(it, Cause::Sysctl { name: "kernel.unprivileged_userns_clone", value: 0, .. })
    };
    let words = "kernel.unprivileged_userns_clone=0";
    says(denied(&support, Namespace::User), sysctl, words);
    assert!(support.causes().iter().any(sysctl));
}

fn a_sysctl_of_ubuntu() {
    let _dir = with_sysctl("apparmor_restrict_unprivileged_userns", "1\n");
    refuse_maps();
    let support = probe();
    let error = denied(&support, Namespace::User);
    let sysctl = |it: &Cause| {
        matches!(
            it,
            Cause::Sysctl { name: "kernel.apparmor_restrict_unprivileged_userns", value: 1, .. }
        )
    };
    says(error, sysctl, "kernel.apparmor_restrict_unprivileged_userns=1");
    let spawned = Command::new("true").map_root().spawn().unwrap_err();
    says(&spawned, sysctl, "kernel.apparmor_restrict_unprivileged_userns=1");
}

/// The first process in a new pid namespace is its PID 1: that must not be a throw-away child.
fn a_pending_pid_namespace_survives() {
    Unshare::new(NamespaceSet::USER | NamespaceSet::PID).map_root().apply().unwrap();
    let error = Support::probe().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:#}");
    assert_eq!(text(&mut sh("echo $$")), "1");
}

fn a_kernel_without_a_kind() {
    refuse(Call::with(libc::SYS_unshare, 0, 0x80), libc::EINVAL);
    let support = probe();
    assert!(matches!(support.availability(Namespace::Time), Availability::Missing));
    assert_eq!(support.available(), NamespaceSet::all() - NamespaceSet::TIME);
}
