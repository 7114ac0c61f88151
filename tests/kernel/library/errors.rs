//! The table of explanations against the kernel: each row that can be provoked is.

use std::error::Error as _;
use std::fs;
use std::io;

use linux_namespaces::{
    Command, Error, ErrorKind, Mount, Namespace, NamespaceSet, NsFd, PidFd, Propagation, Signal,
    Step, Unshare, uts,
};

use crate::files::{self, c_string};
use crate::harness::cases;
use crate::kernel::{Limit, refuse};
use crate::machine::Need::{
    NamespaceLimits, Ordinary, PidfdNamespaces, Program, Root, UserNamespaces,
};
use crate::machine::SHARES_MEMORY;
use crate::program::{Held, is_at};
use crate::stage;

cases! {
    an_error_says_what_and_why_once [],
    an_error_goes_through_io [],
    files_that_cannot_be_opened [],
    processes_that_cannot_be_asked [Ordinary],
    limits_on_namespaces [UserNamespaces, NamespaceLimits],
    limits_on_processes [Ordinary, UserNamespaces],
    limits_on_processes_and_the_id_map_helper [Ordinary, UserNamespaces, Program("newuidmap")],
    limits_on_descriptors [UserNamespaces],
    maps_that_cannot_be_written [UserNamespaces],
    what_an_undumpable_process_cannot_do [Ordinary, UserNamespaces],
    what_takes_a_namespace_of_one_s_own [Ordinary],
    ids_that_are_not_mapped [UserNamespaces],
    programs_that_cannot_be_run [],
    what_a_chroot_cannot_do [Root, UserNamespaces, PidfdNamespaces],
    what_is_filtered [UserNamespaces],
}

/// Each error with its step and number, and a word of its explanation.
fn expect(error: Error, step: Step, errno: i32, kind: ErrorKind, word: &str) {
    let seen = (error.step(), error.raw_os_error(), error.kind());
    assert_eq!(seen, (Some(step), Some(errno), kind), "{error:#}");
    let explanation = error.explain().unwrap_or_else(|| panic!("unexplained: {error:#}"));
    assert!(explanation.contains(word), "{word}: {explanation}");
    assert!(!format!("{error}").contains(&*explanation));
}

fn error_of(command: &mut Command) -> Error {
    command.spawn().unwrap_err()
}

fn an_error_says_what_and_why_once() {
    let error = error_of(Command::new("true").current_dir("/no/such/place"));
    let (what, why) = (error.to_string(), error.source().unwrap().to_string());
    assert_eq!(what, "cannot change the working directory \"/no/such/place\"");
    assert_eq!(why, io::Error::from_raw_os_error(libc::ENOENT).to_string());
    let all = format!("{error:#}");
    assert_eq!(all, format!("{what}: {why}; {}", error.explain().unwrap()));
    assert_eq!(all.matches(&why).count(), 1);
    assert!(error.source().unwrap().source().is_none());
    assert_eq!(size_of::<Error>(), size_of::<usize>());
}

fn an_error_goes_through_io() {
    let error = io::Error::from(NsFd::open("/no/such/file").unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let inner = error.downcast::<Error>().unwrap();
    assert_eq!(inner.path().unwrap().to_str(), Some("/no/such/file"));
    let error = io::Error::from(Unshare::new(NamespaceSet::empty()).apply().unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

fn files_that_cannot_be_opened() {
    let missing = NsFd::open("/no/such/file").unwrap_err();
    expect(missing, Step::OpenNamespace, libc::ENOENT, ErrorKind::NotFound, "no such file");
    let thread = PidFd::open(0).unwrap_err();
    expect(thread, Step::OpenProcess, libc::EINVAL, ErrorKind::Os, "positive number");
    let gone = PidFd::open(4_194_303).unwrap_err();
    expect(gone, Step::OpenProcess, libc::ESRCH, ErrorKind::ProcessGone, "no such process");
    let uts = NsFd::current(Namespace::Uts).unwrap();
    let parent = uts.parent().unwrap_err();
    expect(parent, Step::QueryNamespace, libc::EINVAL, ErrorKind::Os, "only a pid or user");
}

fn processes_that_cannot_be_asked() {
    let init = NsFd::of_pid(1, Namespace::Uts).unwrap_err();
    expect(init, Step::OpenNamespace, libc::EACCES, ErrorKind::PermissionDenied, "trace");
    // Not SIGCONT, which any process of one's own session may be sent.
    let kill = PidFd::open(1).unwrap().send_signal(Signal::CHLD).unwrap_err();
    expect(kill, Step::SendSignal, libc::EPERM, ErrorKind::PermissionDenied, "another user");
    let user = NsFd::current(Namespace::User).unwrap().parent().unwrap_err();
    expect(user, Step::QueryNamespace, libc::EPERM, ErrorKind::PermissionDenied, "outside");
}

fn limits_on_namespaces() {
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    fs::write("/proc/sys/user/max_uts_namespaces", "0").unwrap();
    let set = NamespaceSet::UTS;
    let unshare = Unshare::new(set).apply().unwrap_err();
    expect(unshare, Step::Unshare, libc::ENOSPC, ErrorKind::LimitReached, "max_*_namespaces");
    let clone = error_of(Command::new("true").unshare(set));
    expect(clone, Step::Clone, libc::ENOSPC, ErrorKind::LimitReached, "50 ms");
}

fn limits_on_processes() {
    let _limit = Limit::set(libc::RLIMIT_NPROC, 0);
    let clone = error_of(Command::new("true").map_root());
    expect(clone, Step::Clone, libc::EAGAIN, ErrorKind::LimitReached, "RLIMIT_NPROC");
    let thread = NsFd::current(Namespace::Uts).unwrap().run(|| ()).unwrap_err();
    expect(thread, Step::StartThread, libc::EAGAIN, ErrorKind::LimitReached, "RLIMIT_NPROC");
}

fn limits_on_processes_and_the_id_map_helper() {
    let _limit = Limit::set(libc::RLIMIT_NPROC, 0);
    let map = stage::id_map(&[(0, 0, 2)]);
    let helper = error_of(Command::new("true").uid_map(map));
    expect(helper, Step::StartIdMapHelper, libc::EAGAIN, ErrorKind::LimitReached, "RLIMIT_NPROC");
}

fn limits_on_descriptors() {
    let uts = NsFd::current(Namespace::Uts).unwrap();
    let _limit = Limit::free_descriptors(0);
    for (error, step) in [
        (uts.try_clone().unwrap_err(), Step::OpenNamespace),
        (NsFd::open("/proc/self/ns/net").unwrap_err(), Step::OpenNamespace),
        (PidFd::current().unwrap_err(), Step::OpenProcess),
        // Of a child with a copy of the memory a pipe tells.
        (
            error_of(&mut Command::new("/bin/true")),
            if SHARES_MEMORY { Step::Clone } else { Step::Prepare },
        ),
        (Command::new("/bin/true").output().unwrap_err(), Step::Prepare),
    ] {
        expect(error, step, libc::EMFILE, ErrorKind::LimitReached, "RLIMIT_NOFILE");
    }
}

fn maps_that_cannot_be_written() {
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    // With all capabilities in here, but for ids that do not exist here.
    let map = stage::id_map(&[(0, 7, 2)]);
    let uid = error_of(Command::new("true").uid_map(map.clone()));
    expect(uid, Step::WriteUidMap, libc::EPERM, ErrorKind::PermissionDenied, "map_root()");
    let gid = error_of(Command::new("true").gid_map(map));
    expect(gid, Step::WriteGidMap, libc::EPERM, ErrorKind::PermissionDenied, "map_root()");
    // What is denied in one user namespace cannot be allowed in those below it.
    let allow = linux_namespaces::Setgroups::Allow;
    let setgroups = error_of(Command::new("true").setgroups(allow));
    let kind = ErrorKind::PermissionDenied;
    expect(setgroups, Step::WriteSetgroups, libc::EPERM, kind, "denied before");
    let groups = error_of(Command::new("true").groups([0]));
    expect(groups, Step::SetGroups, libc::EPERM, ErrorKind::PermissionDenied, "CAP_SETGID");
}

fn what_an_undumpable_process_cannot_do() {
    // SAFETY: this process alone.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    let map = error_of(Command::new("true").map_root());
    let kind = ErrorKind::PermissionDenied;
    expect(map, Step::WriteSetgroups, libc::EACCES, kind, "PR_SET_DUMPABLE");
}

fn what_takes_a_namespace_of_one_s_own() {
    let denied = ErrorKind::PermissionDenied;
    let (perm, step) = (libc::EPERM, Step::Unshare);
    let net = Unshare::new(NamespaceSet::NET).apply().unwrap_err();
    expect(net, step, perm, denied, "user namespace made with it");
    let clone = error_of(Command::new("true").unshare(NamespaceSet::NET));
    expect(clone, Step::Clone, perm, denied, "user namespace made with it");
    let name = uts::set_hostname(&"x".parse().unwrap()).unwrap_err();
    expect(name, Step::SetHostname, perm, denied, "make a UTS namespace");
    let name = uts::set_domainname(&"x".parse().unwrap()).unwrap_err();
    expect(name, Step::SetDomainname, perm, denied, "make a UTS namespace");
    let uid = error_of(Command::new("true").uid(1));
    expect(uid, Step::SetUid, perm, denied, "CAP_SETUID");
    let gid = error_of(Command::new("true").gid(1));
    expect(gid, Step::SetGid, perm, denied, "CAP_SETGID");
    let other = NsFd::current(Namespace::Uts).unwrap().enter().unwrap_err();
    expect(other, Step::Enter, perm, denied, "CAP_SYS_ADMIN");
    assert!(other_s_proc().explain().unwrap().contains("proc"));
}

/// A new proc takes a pid namespace that the user namespace owns.
fn other_s_proc() -> Error {
    let mut command = Command::new("true");
    let error = error_of(command.map_root().mount(Mount::proc("/proc").unwrap()));
    is_at(&error, Step::Mount, libc::EPERM);
    error
}

fn ids_that_are_not_mapped() {
    let uid = error_of(Command::new("true").map_root().uid(77));
    expect(uid, Step::SetUid, libc::EINVAL, ErrorKind::Os, "not mapped");
    let gid = error_of(Command::new("true").map_root().gid(77));
    expect(gid, Step::SetGid, libc::EINVAL, ErrorKind::Os, "not mapped");
}

fn programs_that_cannot_be_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8], mode: u32| {
        let path = dir.path().join(name);
        files::write(&path, text, mode);
        path
    };
    let (found, denied) = (ErrorKind::NotFound, ErrorKind::PermissionDenied);
    let rows = [
        (file("plain", b"text", 0o644), libc::EACCES, denied, "not executable"),
        (dir.path().to_owned(), libc::EACCES, denied, "no regular file"),
        (file("garbage", b"\0\0\0\0", 0o755), libc::ENOEXEC, ErrorKind::Os, "#! line"),
        (file("script", b"#!/no/such/interpreter\n", 0o755), libc::ENOENT, found, "interpreter"),
        ("/no/such/program".into(), libc::ENOENT, found, "no such program"),
        ("/etc/passwd/x".into(), libc::ENOTDIR, found, "no directory"),
    ];
    for (program, errno, kind, word) in rows {
        let error = error_of(&mut Command::new(&program));
        assert_eq!(error.path(), Some(program.as_path()));
        expect(error, Step::Exec, errno, kind, word);
    }
    let long = "x".repeat(200_000);
    let error = error_of(Command::new("/bin/true").arg(long));
    expect(error, Step::Exec, libc::E2BIG, ErrorKind::Os, "RLIMIT_STACK");
    let place = error_of(Command::new("/bin/true").current_dir("/etc/passwd"));
    expect(place, Step::ChangeDirectory, libc::ENOTDIR, found, "no directory");
}

fn what_a_chroot_cannot_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = c_string(dir.path());
    fs::create_dir(dir.path().join("proc")).unwrap();
    let _back = stage::Root::keep();
    // SAFETY: this process alone.
    assert_eq!(unsafe { (libc::chroot(path.as_ptr()), libc::chdir(c"/".as_ptr())) }, (0, 0));
    let set = NamespaceSet::USER;
    let user = Unshare::new(set).apply().unwrap_err();
    expect(user, Step::Unshare, libc::EPERM, ErrorKind::PermissionDenied, "chroot");
    let mounts = Unshare::new(NamespaceSet::MOUNT).propagation(Propagation::Private);
    let error = mounts.apply().unwrap_err();
    is_at(&error, Step::SetPropagation, libc::EINVAL);
    assert!(error.explain().unwrap().contains("chroot"));
}

fn what_is_filtered() {
    let held = Held::new(NamespaceSet::USER | NamespaceSet::UTS);
    for call in [libc::SYS_unshare, libc::SYS_setns, libc::SYS_close_range, libc::SYS_umask] {
        refuse(call, libc::ENOSYS);
    }
    for (error, step) in [
        (Unshare::new(NamespaceSet::USER).apply().unwrap_err(), Step::Unshare),
        (held.enter_all().apply().unwrap_err(), Step::Enter),
        (error_of(Command::new("true").close_other_fds()), Step::CloseFds),
        (error_of(Command::new("true").umask(0o77)), Step::SetUmask),
    ] {
        expect(error, step, libc::ENOSYS, ErrorKind::Unsupported, "filter");
    }
}
