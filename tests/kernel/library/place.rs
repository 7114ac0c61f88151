//! Where a program stands and what it keeps: `root_dir_fd`, `current_dir_fd`, `keep_caps`; `exec`; and the
//! handles that lead to other processes' descriptors and sockets.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use linux_namespaces::{
    Cause, Command, Enter, ErrorKind, Namespace, NamespaceSet, NsFd, PidFd, Step, Unshare,
};

use crate::files::set_mode;
use crate::fork::{Fork, in_fork};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{CopyDescriptors, Ordinary, OtherIds, Program, Root, UserNamespaces};
use crate::program::{Held, is_at, is_of, rest, sh, sleeper, text};

cases! {
    a_root_directory_is_entered [UserNamespaces],
    directories_may_have_any_number [UserNamespaces],
    a_directory_outside_of_the_mount_namespace [Root],
    a_working_directory_needs_no_right_of_the_new_ids [Root, OtherIds],
    what_is_no_directory_is_told [UserNamespaces],
    a_chroot_takes_a_privilege [Ordinary, UserNamespaces],
    capabilities_are_kept_over_exec [UserNamespaces, Program("unshare")],
    capabilities_are_kept_over_a_change_of_ids [Root, OtherIds],
    a_program_takes_this_one_s_place [UserNamespaces],
    what_exec_cannot_do_is_told [],
    one_refused_among_several_is_named [UserNamespaces],
    a_descriptor_is_copied [CopyDescriptors],
    a_descriptor_that_cannot_be_copied_is_told [CopyDescriptors],
    a_socket_tells_its_network_namespace [UserNamespaces],
    what_is_no_socket_is_told [],
}

fn open(path: &str) -> File {
    File::open(path).unwrap()
}

fn a_root_directory_is_entered() {
    let before = kernel::census();
    let root = fs::metadata("/").unwrap().ino();
    let seen = text(sh("pwd; stat -Lc %i /").map_root().root_dir_fd(open("/")));
    assert_eq!(seen, format!("/\n{root}"));
    // The program's path is looked for in there; a working directory too.
    let error = sh("true").map_root().root_dir_fd(open("/proc")).spawn().unwrap_err();
    is_of(&error, Step::Exec, ErrorKind::NotFound);
    let error = Command::new("/bin/true")
        .map_root()
        .root_dir_fd(open("/proc"))
        .current_dir("/usr")
        .spawn()
        .unwrap_err();
    is_of(&error, Step::ChangeDirectory, ErrorKind::NotFound);
    // Outside of the root one can stand, and what is relative starts there.
    let mut command = Command::new("../bin/pwd");
    let error = command
        .map_root()
        .root_dir_fd(open("/proc"))
        .current_dir_fd(open("/usr"))
        .current_dir("lib")
        .spawn()
        .unwrap_err();
    drop(command);
    // Found, and without its interpreter, which is looked for below the new root.
    is_of(&error, Step::Exec, ErrorKind::NotFound);
    assert_eq!(kernel::census(), before);
}

fn directories_may_have_any_number() {
    // 0, 1 and 2 are replaced in the child, and none of them means none.
    for number in 0..3 {
        let place = File::open("/usr").unwrap();
        // SAFETY: this process alone: a standard stream is lent to the trial and comes back.
        let (kept, place) = unsafe {
            let kept = libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3);
            libc::dup2(place.as_raw_fd(), number);
            (OwnedFd::from_raw_fd(kept), OwnedFd::from_raw_fd(number))
        };
        let mut command = sh("pwd");
        let seen = text(command.current_dir_fd(place));
        drop(command);
        // SAFETY: as above.
        unsafe { libc::dup2(kept.as_raw_fd(), number) };
        assert_eq!(seen, "/usr", "{number}");
    }
}

fn a_directory_outside_of_the_mount_namespace() {
    let shelter = tempfile::tempdir().unwrap();
    fs::write(shelter.path().join("file"), "outside").unwrap();
    let inside = || File::open(shelter.path()).unwrap();
    let mut command = sh("cat file; ls /tmp | wc -l");
    command.unshare(NamespaceSet::MOUNT).current_dir_fd(inside());
    assert!(text(&mut command).starts_with("outside"));
    let held = Held::new(NamespaceSet::MOUNT);
    let mut command = sh("cat file");
    command.enter(held.enter_all()).current_dir_fd(inside());
    assert_eq!(text(&mut command), "outside");
    // The root of the namespace that was left is not that of the one that was entered.
    let mut command = sh("stat -Lc %i /proc/self/ns/mnt");
    command.enter(held.enter_all()).root_dir_fd(open("/"));
    assert_eq!(text(&mut command), kernel::ns(held.id(), "mnt").to_string());
}

fn a_working_directory_needs_no_right_of_the_new_ids() {
    let private = tempfile::tempdir().unwrap();
    let path = private.path();
    set_mode(path, 0o700);
    let mut command = sh("true");
    command.uid(65534).gid(65534).current_dir_fd(File::open(path).unwrap());
    assert!(command.status().unwrap().success());
    let error = sh("true").uid(65534).current_dir(path).spawn().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EACCES));
}

fn what_is_no_directory_is_told() {
    let before = kernel::census();
    for file in ["/etc/passwd", "/dev/null"] {
        let error = sh("true").map_root().root_dir_fd(open(file)).spawn().unwrap_err();
        is_at(&error, Step::ChangeRoot, libc::ENOTDIR);
        assert!(error.explain().unwrap().contains("no directory"));
        let error = sh("true").current_dir_fd(open(file)).spawn().unwrap_err();
        is_at(&error, Step::ChangeDirectory, libc::ENOTDIR);
    }
    assert_eq!(kernel::census(), before);
}

fn a_chroot_takes_a_privilege() {
    let before = kernel::census();
    let error = sh("true").root_dir_fd(open("/")).spawn().unwrap_err();
    is_of(&error, Step::ChangeRoot, ErrorKind::PermissionDenied);
    assert!(error.explain().unwrap().contains("CAP_SYS_CHROOT"));
    // Root's, which may be held, though not be searched.
    if fs::read_dir("/root").is_err() {
        let held = kernel::open_path("/root", 0);
        let error = sh("true").map_root().root_dir_fd(held).spawn().unwrap_err();
        is_at(&error, Step::ChangeRoot, libc::EACCES);
        assert!(error.explain().unwrap().contains("searched"));
    }
    assert_eq!(kernel::census(), before);
}

/// Whether the program has capabilities, which are the same in three sets.
fn has_capabilities(command: &mut Command) -> bool {
    let text = text(command);
    let sets = kernel::fields(&text, &["CapPrm", "CapEff", "CapAmb"]);
    assert!(sets.len() == 3 && sets.iter().all(|set| *set == sets[0]), "{text}");
    sets[0] != "0".repeat(16)
}

fn capabilities_are_kept_over_exec() {
    let before = kernel::census();
    // Without a map the program is nobody there.
    let mut command = sh("cat /proc/self/status");
    command.unshare(NamespaceSet::USER);
    assert!(!has_capabilities(&mut command));
    assert!(has_capabilities(command.keep_caps()));
    assert!(has_capabilities(command.no_new_privs()));
    // They are good for something.
    let mut command = sh("unshare --uts true 2>/dev/null");
    assert!(!command.unshare(NamespaceSet::USER).status().unwrap().success());
    assert!(command.keep_caps().status().unwrap().success());
    assert_eq!(kernel::census(), before);
}

fn capabilities_are_kept_over_a_change_of_ids() {
    let before = kernel::census();
    let mut command = sh("cat /proc/self/status");
    command.uid(1234).gid(1234);
    assert!(!has_capabilities(&mut command));
    assert!(has_capabilities(command.keep_caps()));
    // The securebit SECBIT_NO_CAP_AMBIENT_RAISE, of this process alone.
    // SAFETY: the option takes a number.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, 1 << 6) }, 0);
    let error = command.spawn().unwrap_err();
    is_of(&error, Step::KeepCaps, ErrorKind::PermissionDenied);
    assert!(error.explain().unwrap().contains("securebits"));
    assert_eq!(kernel::census(), before);
}

/// What a program prints that a forked process became.
fn exec(command: &mut Command) -> (i32, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    let fork = Fork::start(|| {
        let error = command.stdout(OwnedFd::from(writer)).exec();
        if error.step() == Some(Step::Exec) { 100 } else { 101 }
    });
    let text = rest(reader).replace(&fork.pid().to_string(), "SELF");
    (fork.wait(), text)
}

fn a_program_takes_this_one_s_place() {
    let mut command = sleeper();
    command.unshare(NamespaceSet::PID).map_root().hostname("inside".parse().unwrap());
    let held = Held::of(&mut command);
    let enter = || held.enter(NamespaceSet::USER | NamespaceSet::UTS | NamespaceSet::PID);
    let here = kernel::ns("self", "pid");
    let there = kernel::ns(held.id(), "pid");
    let mut command = sh("echo $$; uname -n; pwd; echo $WORD; stat -Lc %i /proc/$$/ns/pid; \
                          stat -Lc %i /proc/$$/ns/pid_for_children 2>/dev/null; exec cat /proc/self/status");
    command.enter(enter()).current_dir_fd(open("/usr")).env("WORD", "word");
    let (status, text) = exec(&mut command);
    assert_eq!(status, 0, "{text}");
    let expected = format!("SELF\ninside\n/usr\nword\n{here}\n{there}\n");
    assert!(text.starts_with(&expected), "{text}");
    assert_eq!(kernel::fields(&text, &["SigBlk"]), ["0000000000000000"]);
    // Not found inside, and not entered.
    assert_eq!(exec(Command::new("/no/such/program").enter(enter())), (100 << 8, String::new()));
    let net = NsFd::of_pid(std::process::id(), Namespace::Net).unwrap();
    assert_eq!(exec(sh("echo no").enter(Enter::new().namespace(net))).0, 0);
}

fn what_exec_cannot_do_is_told() {
    let before = kernel::census();
    let error = Command::new("true").unshare(NamespaceSet::UTS).exec();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("Unshare"), "{error}");
    let error = Command::new("true").kill_on_parent_exit().exec();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = Command::new("true").close_other_fds().exec();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = Command::new("true").arg("a\0b").exec();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(kernel::census(), before);
}

fn one_refused_among_several_is_named() {
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    // Its UTS namespace is owned by the user namespace of now, its network by the one of before.
    let held = Held::new(NamespaceSet::UTS | NamespaceSet::IPC);
    Unshare::new(NamespaceSet::NET).apply().unwrap();
    let before = kernel::census();
    let set = NamespaceSet::UTS | NamespaceSet::NET | NamespaceSet::IPC;
    let mut errors = vec![Command::new("true").enter(held.enter(set)).spawn().unwrap_err()];
    assert_eq!(kernel::census(), before);
    errors.push(Command::new("true").enter(held.enter(set)).exec());
    for error in errors {
        is_of(&error, Step::Enter, ErrorKind::PermissionDenied);
        assert_eq!(error.namespace(), Some(Namespace::Net), "{error:#}");
        assert!(error.to_string().contains("(net)"), "{error}");
    }
}

fn a_descriptor_is_copied() {
    let mut child = std::process::Command::new("sleep");
    let mut child = child.arg("600").stdin(Stdio::piped()).spawn().unwrap();
    let process = PidFd::open(child.id()).unwrap();
    let copy = process.copy_fd(0).unwrap();
    let other = child.stdin.take().unwrap();
    let inode = |fd: std::os::fd::BorrowedFd<'_>| {
        File::from(fd.try_clone_to_owned().unwrap()).metadata().unwrap().ino()
    };
    assert_eq!(inode(copy.as_fd()), inode(other.as_fd()));
    // SAFETY: asks for flags.
    assert_eq!(unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_GETFD) }, libc::FD_CLOEXEC);
    child.kill().unwrap();
    child.wait().unwrap();
    let error = process.copy_fd(0).unwrap_err();
    is_of(&error, Step::CopyFd, ErrorKind::ProcessGone);
}

fn a_descriptor_that_cannot_be_copied_is_told() {
    let before = kernel::census();
    let me = PidFd::current().unwrap();
    for number in [4000, -1, i32::MAX] {
        let error = me.copy_fd(number).unwrap_err();
        is_at(&error, Step::CopyFd, libc::EBADF);
        let told = format!("cannot copy a descriptor of the process (number {number})");
        assert_eq!(error.to_string(), told);
        assert!(error.explain().unwrap().contains("no such descriptor"));
    }
    in_fork(|| {
        kernel::refuse(libc::SYS_pidfd_getfd, libc::EPERM);
        let error = me.copy_fd(0).unwrap_err();
        assert!(error.causes().contains(&Cause::SeccompFilter), "{error:#}");
        assert!(error.explain().unwrap().contains("a seccomp filter is active"), "{error:#}");
    });
    if !crate::machine::is_uid_0() {
        let error = PidFd::open(1).unwrap().copy_fd(0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.explain().unwrap().contains("debugger"), "{error:#}");
    }
    drop(me);
    assert_eq!(kernel::census(), before);
}

fn a_socket_tells_its_network_namespace() {
    let outside = UdpSocket::bind("127.0.0.1:0").unwrap();
    let home = kernel::ns("self", "net");
    Unshare::new(NamespaceSet::NET).map_root().apply().unwrap();
    let inside = UdpSocket::bind("0.0.0.0:0").unwrap();
    let (local, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let here = kernel::ns("self", "net");
    assert_ne!(here, home);
    for net in [NsFd::of_socket(&inside).unwrap(), NsFd::of_socket(&local).unwrap()] {
        assert_eq!((net.kind(), net.id().unwrap().ino), (Namespace::Net, here));
    }
    // The other one is owned by the user namespace that was left.
    let error = NsFd::of_socket(&outside).unwrap_err();
    is_of(&error, Step::OpenNamespace, ErrorKind::PermissionDenied);
    assert_eq!(error.namespace(), Some(Namespace::Net));
    assert!(error.explain().unwrap().contains("CAP_NET_ADMIN"));
}

fn what_is_no_socket_is_told() {
    let before = kernel::census();
    let net = NsFd::current(Namespace::Net).unwrap();
    let (pipe, _writer) = std::io::pipe().unwrap();
    for fd in [net.as_fd(), pipe.as_fd(), open("/dev/null").as_fd(), open("/").as_fd()] {
        assert_eq!(NsFd::of_socket(fd).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    drop((net, pipe, _writer));
    assert_eq!(kernel::census(), before);
}
