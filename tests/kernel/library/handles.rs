//! `NsFd`, `PidFd` and `NsId`.

pub(crate) mod proc;

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use linux_namespaces::{
    Child, Command, Error, ErrorKind, Init, Namespace, NamespaceSet, NsFd, PidFd, Signal, Step,
    Unshare,
};

use crate::files;
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{
    NetworkPairs, Ordinary, PidfdNamespaces, Program, Root, UniqueIds, UserNamespaces,
};
use crate::program::{Held, is_of, sleeper};
use crate::stage;

cases! {
    current_is_of_the_thread_not_of_the_process [UserNamespaces],
    a_process_s_namespaces_are_found_three_ways [UserNamespaces],
    children_s_namespaces_differ_after_unshare [UserNamespaces],
    a_bind_mount_is_opened [Root, UserNamespaces],
    other_files_are_no_namespaces [],
    other_descriptors_are_no_namespaces [],
    other_descriptors_are_no_processes [],
    a_process_that_is_gone_is_told [],
    pidfds_are_equal_for_one_process [],
    a_program_may_be_asked_at_once [Ordinary, UserNamespaces],
    owner_and_parent_are_followed [UserNamespaces],
    pids_are_translated_both_ways [UserNamespaces, PidfdNamespaces],
    identity_is_the_namespace_s [UserNamespaces],
    the_unique_id_is_the_kernel_s [UniqueIds],
    a_namespace_is_found_by_its_id [],
    a_user_namespace_is_found_while_it_owns_something [Root, UserNamespaces, UniqueIds],
    a_network_knows_another_by_a_number [UserNamespaces, Program("ip"), NetworkPairs],
}

fn ino(namespace: &NsFd) -> u64 {
    namespace.id().unwrap().ino
}

/// In other namespaces.
fn other(set: NamespaceSet) -> Held {
    Held::new(set | NamespaceSet::USER)
}

/// What enters a namespace hides its memory, and so does an init, until exec has made another.
fn a_program_may_be_asked_at_once() {
    kernel::stay_on_one_processor();
    let set = NamespaceSet::USER | NamespaceSet::UTS;
    let place = other(set);
    for _ in 0..100 {
        let mut entering = sleeper();
        entering.enter(place.enter(set));
        let mut behind_an_init = sleeper();
        behind_an_init.unshare(set | NamespaceSet::PID).map_root().init(Init::new());
        for mut command in [entering, behind_an_init] {
            let child = Held::of(&mut command);
            let uts = NsFd::of_process(&child.program().unwrap(), Namespace::Uts);
            uts.unwrap_or_else(|error| panic!("{error:#}"));
        }
    }
}

fn current_is_of_the_thread_not_of_the_process() {
    // Alone, this thread may make a user namespace, and so others for single threads later.
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    let leader = kernel::ns("self", "uts");
    std::thread::spawn(move || {
        stage::new(libc::CLONE_NEWUTS);
        // More than once: the first look at /proc is another one than those that follow.
        for _ in 0..3 {
            let own = ino(&NsFd::current(Namespace::Uts).unwrap());
            assert_eq!(own, kernel::ns("thread-self", "uts"));
            assert_ne!(own, leader);
        }
        let of_process = NsFd::of_pid(std::process::id(), Namespace::Uts).unwrap();
        assert_eq!(ino(&of_process), leader);
    })
    .join()
    .unwrap();
    assert_eq!(ino(&NsFd::current(Namespace::Uts).unwrap()), leader);
}

fn a_process_s_namespaces_are_found_three_ways() {
    let child = other(NamespaceSet::all());
    for &kind in Namespace::ALL {
        let expected = kernel::ns(child.id(), kind.name());
        for found in [
            NsFd::of_pid(child.id(), kind),
            NsFd::of_process(child.pidfd(), kind),
            NsFd::open(format!("/proc/{}/ns/{kind}", child.id())),
        ] {
            let found = found.unwrap();
            assert_eq!((ino(&found), found.kind()), (expected, kind));
        }
        let children = NsFd::for_children_of(child.pidfd(), kind).unwrap();
        assert_eq!(ino(&children), expected);
    }
}

fn children_s_namespaces_differ_after_unshare() {
    Unshare::new(NamespaceSet::PID | NamespaceSet::TIME).map_root().apply().unwrap();
    // The first process makes the pid namespace visible to kernels before 7.1.
    let _first = Held::of(&mut sleeper());
    for (kind, file) in
        [(Namespace::Pid, "pid_for_children"), (Namespace::Time, "time_for_children")]
    {
        let children = NsFd::for_children(kind).unwrap();
        assert_eq!((ino(&children), children.kind()), (kernel::ns("thread-self", file), kind));
        assert_ne!(children, NsFd::current(kind).unwrap());
    }
}

fn a_bind_mount_is_opened() {
    // In a mount namespace of our own, so that nothing is left on the machine.
    Unshare::new(NamespaceSet::MOUNT).apply().unwrap();
    let child = other(NamespaceSet::NET);
    let file = tempfile::NamedTempFile::new().unwrap();
    stage::bind(format!("/proc/{}/ns/net", child.id()), file.path());
    let inside = kernel::ns(child.id(), "net");
    drop(child);
    let found = NsFd::open(file.path()).unwrap();
    assert_eq!((ino(&found), found.kind()), (inside, Namespace::Net));
    stage::unmount(file.path());
}

fn kind_of<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn other_files_are_no_namespaces() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    files::fifo(&fifo);
    let others = ["/etc/passwd", "/", "/dev/null", "/proc/self/status", fifo.to_str().unwrap()];
    for file in others {
        let error = NsFd::open(file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotANamespace, "{file}");
        assert_eq!(error.path(), Some(Path::new(file)));
    }
    assert_eq!(kind_of(NsFd::open("/no/such/file")), ErrorKind::NotFound);
    assert_eq!(kind_of(NsFd::open("/etc/passwd/x")), ErrorKind::NotFound);
}

fn other_descriptors_are_no_namespaces() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let others: [OwnedFd; 5] = [
        File::open("/etc/passwd").unwrap().into(),
        kernel::open_path("/proc/self/ns/net", 0),
        reader.into(),
        socket.into(),
        PidFd::current().unwrap().into(),
    ];
    for fd in others {
        let number = fd.as_raw_fd();
        assert_eq!(kind_of(NsFd::try_from(fd)), ErrorKind::NotANamespace);
        // SAFETY: asks about a number.
        assert_eq!(unsafe { libc::fcntl(number, libc::F_GETFD) }, -1, "it was not closed");
    }
    let file: OwnedFd = File::open("/proc/self/ns/ipc").unwrap().into();
    assert_eq!(NsFd::try_from(file).unwrap().kind(), Namespace::Ipc);
}

fn other_descriptors_are_no_processes() {
    let others: [OwnedFd; 3] = [
        File::open("/proc/self").unwrap().into(),
        File::open("/proc/self/ns/net").unwrap().into(),
        File::open("/dev/null").unwrap().into(),
    ];
    for fd in others {
        assert_eq!(kind_of(PidFd::try_from(fd)), ErrorKind::InvalidInput);
    }
    let pid_fd: OwnedFd = PidFd::current().unwrap().into();
    assert_eq!(PidFd::try_from(pid_fd).unwrap().pid().unwrap(), Some(std::process::id()));
}

fn a_process_that_is_gone_is_told() {
    let mut child = Command::new("true").spawn().unwrap();
    let (pid, pid_fd) = (child.id(), child.pidfd().try_clone().unwrap());
    while !pid_fd.has_ended().unwrap() {
        std::thread::yield_now();
    }
    // A zombie.
    let error = NsFd::of_process(&pid_fd, Namespace::Net).unwrap_err();
    is_of(&error, Step::OpenNamespace, ErrorKind::ProcessGone);
    child.wait().unwrap();
    assert_eq!(kind_of(NsFd::of_process(&pid_fd, Namespace::User)), ErrorKind::ProcessGone);
    assert_eq!(kind_of(NsFd::of_pid(pid, Namespace::Net)), ErrorKind::ProcessGone);
    assert_eq!(kind_of(PidFd::open(pid)), ErrorKind::ProcessGone);
    assert_eq!(kind_of(pid_fd.send_signal(Signal::TERM)), ErrorKind::ProcessGone);
    assert_eq!(pid_fd.pid().unwrap(), None);
    for never in [0, u32::MAX] {
        assert_eq!(PidFd::open(never).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
    std::thread::spawn(|| {
        // SAFETY: asks for a number.
        let tid = unsafe { libc::gettid() };
        let error = PidFd::open(u32::try_from(tid).unwrap()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    })
    .join()
    .unwrap();
}

/// `PID_FS_MAGIC`: before Linux 6.9 all pidfds have one inode.
fn pidfds_have_inodes() -> bool {
    let own = PidFd::current().unwrap();
    // SAFETY: fills a structure.
    let kind = unsafe {
        let mut about: libc::statfs = std::mem::zeroed();
        assert_eq!(libc::fstatfs(own.as_raw_fd(), &raw mut about), 0);
        about.f_type
    };
    kind == 0x5049_4446
}

fn pidfds_are_equal_for_one_process() {
    let mut children = [(), ()].map(|()| Command::new("true").spawn().unwrap());
    let own = PidFd::current().unwrap();
    let same = &own;
    assert_eq!(own, *same);
    for child in &children {
        assert_ne!(*child.pidfd(), own);
    }
    let mut all: HashSet<PidFd> = HashSet::new();
    for child in &mut children {
        all.insert(child.pidfd().try_clone().unwrap());
        all.insert(PidFd::open(child.id()).unwrap());
        // Also when there is no process any more.
        child.wait().unwrap();
    }
    let expected = if pidfds_have_inodes() { 2 } else { 4 };
    assert_eq!(all.len(), expected);
    let [one, other] = children.map(Child::into_pidfd);
    assert_ne!(one, other);
    assert_eq!(all.contains(&one), pidfds_have_inodes());
    assert_eq!(one.pid().unwrap(), None);
}

fn owner_and_parent_are_followed() {
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    let mine = NsFd::current(Namespace::User).unwrap();
    let child = other(NamespaceSet::USER | NamespaceSet::UTS | NamespaceSet::PID);
    let theirs = child.namespace(Namespace::User).unwrap();
    assert_eq!(theirs.parent().unwrap(), mine);
    assert_eq!(theirs.owner().unwrap(), mine);
    assert_eq!(child.namespace(Namespace::Uts).unwrap().owner().unwrap(), theirs);
    assert_eq!(theirs.owner_uid().unwrap(), 0, "as uids are called in our user namespace");
    let pid = child.namespace(Namespace::Pid).unwrap();
    assert_eq!(pid.parent().unwrap(), NsFd::current(Namespace::Pid).unwrap());

    // What lies above is not ours to see.
    let error = mine.parent().unwrap_err();
    assert_eq!(
        (error.kind(), error.namespace()),
        (ErrorKind::PermissionDenied, Some(Namespace::User))
    );
    let uts = child.namespace(Namespace::Uts).unwrap();
    assert_eq!(uts.parent().unwrap_err().raw_os_error(), Some(libc::EINVAL));
    assert_eq!(uts.owner_uid().unwrap_err().raw_os_error(), Some(libc::EINVAL));
}

fn pids_are_translated_both_ways() {
    let child = other(NamespaceSet::PID);
    let inside = child.namespace(Namespace::Pid).unwrap();
    assert_eq!(inside.pid_inside(child.id()).unwrap(), 1);
    assert_eq!(inside.pid_outside(1).unwrap(), child.id());
    // Not in there; not at all; in no way.
    assert_eq!(kind_of(inside.pid_inside(std::process::id())), ErrorKind::ProcessGone);
    assert_eq!(kind_of(inside.pid_outside(4_000_000)), ErrorKind::ProcessGone);
    assert_eq!(kind_of(inside.pid_inside(u32::MAX)), ErrorKind::ProcessGone);
    let uts = NsFd::current(Namespace::Uts).unwrap();
    assert_eq!(kind_of(uts.pid_inside(1)), ErrorKind::InvalidInput);
}

fn identity_is_the_namespace_s() {
    let child = other(NamespaceSet::UTS);
    let theirs = child.namespace(Namespace::Uts).unwrap();
    let again = NsFd::open(format!("/proc/{}/ns/uts", child.id())).unwrap();
    let mine = NsFd::current(Namespace::Uts).unwrap();
    assert_eq!(theirs, again);
    assert_eq!(theirs, theirs.try_clone().unwrap());
    assert_ne!(theirs, mine);
    let about = fs::metadata(format!("/proc/{}/ns/uts", child.id())).unwrap();
    assert_eq!((theirs.id().unwrap().dev, theirs.id().unwrap().ino), (about.dev(), about.ino()));
    assert_eq!(HashSet::from([theirs, again, mine]).len(), 2);
}

fn the_unique_id_is_the_kernel_s() {
    for &kind in Namespace::ALL {
        let namespace = NsFd::current(kind).unwrap();
        let mut id = 0_u64;
        // SAFETY: NS_GET_ID writes 8 bytes.
        let got = unsafe {
            libc::ioctl(namespace.as_raw_fd(), kernel::request(0x8008_b70d) as _, &raw mut id)
        };
        assert_eq!((got, namespace.unique_id().unwrap()), (0, Some(id)));
    }
}

fn a_namespace_is_found_by_its_id() {
    let uts = NsFd::current(Namespace::Uts).unwrap();
    let Some(id) = uts.unique_id().unwrap() else {
        assert_eq!(NsFd::by_unique_id(1).unwrap_err().kind(), ErrorKind::Unsupported);
        return;
    };
    match NsFd::by_unique_id(id) {
        Ok(found) => {
            assert_eq!(found, uts);
            assert_eq!(NsFd::by_unique_id(u64::MAX).unwrap_err().kind(), ErrorKind::NotFound);
        }
        // Linux 6.18.
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:#}"),
    }
}

fn a_user_namespace_is_found_while_it_owns_something() {
    let child = other(NamespaceSet::USER | NamespaceSet::UTS);
    let handle = child.namespace(Namespace::User).unwrap().file_handle().unwrap();
    let owned = child.namespace(Namespace::Uts).unwrap();
    drop(child);
    assert_eq!(handle.open().unwrap(), owned.owner().unwrap());
    drop(owned);
    kernel::until(|| handle.open().is_err());
    assert_eq!(handle.open().unwrap_err().kind(), ErrorKind::NotFound);
}

fn a_network_knows_another_by_a_number() {
    Unshare::new(NamespaceSet::NET).map_root().apply().unwrap();
    let children = [other(NamespaceSet::NET), other(NamespaceSet::NET)];
    let [known, unknown] = [0, 1].map(|at| children[at].namespace(Namespace::Net).unwrap());
    assert_eq!(known.netnsid().unwrap(), None);
    let ip = |args: &[&str]| {
        let output = std::process::Command::new("ip").args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let pid = children[0].id().to_string();
    ip(&["link", "add", "one", "type", "veth", "peer", "name", "other", "netns", &pid]);
    let id = known.netnsid().unwrap().unwrap();
    let shown = ip(&["-o", "link", "show", "one"]);
    assert!(shown.contains(&format!("link-netnsid {id}")), "{shown}");
    assert_eq!(unknown.netnsid().unwrap(), None);
    let error = NsFd::current(Namespace::Uts).unwrap().netnsid().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
