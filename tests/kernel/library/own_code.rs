//! The caller's own code in the child, instead of a program.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;

use linux_namespaces::{Command, ErrorKind, Namespace, NamespaceSet, Stdio, Step};

use crate::engine::{ALL, available};
use crate::harness::cases;
use crate::kernel;
use crate::library::faults::calls::outside_maps;
use crate::machine::Need::{OtherIds, Root, UserNamespaces};
use crate::program::{is_at, is_of};

cases! {
    it_runs_while_the_caller_goes_on [],
    it_is_inside [UserNamespaces],
    its_ids_may_be_mapped_from_outside [Root, UserNamespaces, OtherIds],
    other_descriptors_are_closed_on_request [],
    signals_have_their_default_action [],
    its_streams_stay_where_the_caller_has_none [UserNamespaces],
    a_panic_ends_it [],
    what_fails_before_is_told [],
    a_child_killed_before_is_told [],
}

fn it_runs_while_the_caller_goes_on() {
    for engine in available(ALL) {
        let place = engine.place();
        let before = kernel::census();
        let mut command = Command::new("code");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(place) = &place {
            engine.choose(&mut command, Some(place));
        }
        let work = || {
            // This process has one thread, so the child may do anything.
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
            std::io::stdout().write_all(line.as_bytes()).unwrap();
            7
        };
        // SAFETY: as above.
        let mut child =
            unsafe { command.spawn_fn(work) }.unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(child.try_wait().unwrap(), None);
        child.stdin.take().unwrap().write_all(b"through\n").unwrap();
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "through\n", "{engine:?}");
        assert_eq!(child.wait().unwrap().code(), Some(7), "{engine:?}");
        drop((child, command));
        assert_eq!(kernel::census(), before, "{engine:?}");
    }
}

fn it_is_inside() {
    let mut command = Command::new("code");
    command.unshare(NamespaceSet::all()).map_root().hostname("inner".parse().unwrap());
    let work = || {
        let name = linux_namespaces::uts::hostname().unwrap().to_string();
        // SAFETY: asks for numbers.
        let (pid, uid) = unsafe { (libc::getpid(), libc::getuid()) };
        u8::from((pid, uid, name.as_str()) == (1, 0, "inner"))
    };
    // SAFETY: this process has one thread.
    let mut child = unsafe { command.spawn_fn(work) }.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(kernel::dumpable(), 1);
}

fn its_ids_may_be_mapped_from_outside() {
    let mut command = Command::new("code");
    outside_maps(&mut command);
    command.stdin(Stdio::piped());
    let work = || {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        0
    };
    // SAFETY: this process has one thread.
    let mut child = unsafe { command.spawn_fn(work) }.unwrap_or_else(|error| panic!("{error:#}"));
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", child.id())).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "11", "3"]);
    assert_ne!(
        child.namespace(Namespace::User).unwrap().id().unwrap().ino,
        kernel::ns("self", "user")
    );
    assert!(child.wait().unwrap().success());
}

fn other_descriptors_are_closed_on_request() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let number = reader.as_raw_fd();
    let work = move || {
        // SAFETY: asks whether it is open.
        let is_open = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
        u8::from(is_open(number)) + 2 * u8::from((3..256).any(is_open))
    };
    for (close, expected) in [(false, 3), (true, 0)] {
        let mut command = Command::new("code");
        if close {
            command.close_other_fds();
        }
        // SAFETY: system calls on numbers.
        let mut child = unsafe { command.spawn_fn(work) }.unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(expected));
    }
}

fn signals_have_their_default_action() {
    extern "C" fn survive(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = survive;
    // SAFETY: the handler does nothing.
    unsafe {
        libc::signal(libc::SIGUSR1, handler as libc::sighandler_t);
        libc::signal(libc::SIGUSR2, libc::SIG_IGN);
    }
    let by_signal = || {
        for engine in available(ALL) {
            let place = engine.place();
            let mut command = Command::new("code");
            if let Some(place) = &place {
                engine.choose(&mut command, Some(place));
            }
            // SAFETY: it sends itself signals.
            let work = || unsafe {
                libc::kill(libc::getpid(), libc::SIGUSR2);
                libc::kill(libc::getpid(), libc::SIGUSR1);
                0
            };
            // SAFETY: as above.
            let mut child =
                unsafe { command.spawn_fn(work) }.unwrap_or_else(|error| panic!("{error:#}"));
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGUSR1), "{engine:?}");
        }
    };
    by_signal();
    kernel::refuse(libc::SYS_clone3, libc::ENOSYS);
    by_signal();
}

fn its_streams_stay_where_the_caller_has_none() {
    // SAFETY: this process's own.
    unsafe { libc::close(0) };
    let mut command = Command::new("code");
    command.stdin(Stdio::null()).map_root();
    // SAFETY: asks whether it is open.
    let work = || unsafe { u8::from(libc::fcntl(0, libc::F_GETFD) >= 0) };
    // SAFETY: as above.
    let mut child = unsafe { command.spawn_fn(work) }.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

fn a_panic_ends_it() {
    std::panic::set_hook(Box::new(|_| {}));
    // SAFETY: this process has one thread.
    let mut child = unsafe { Command::new("code").spawn_fn(|| panic!("in the child")) }.unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(101));
}

fn what_fails_before_is_told() {
    let before = kernel::census();
    let mut command = Command::new("code");
    command.current_dir("/no/such/directory");
    // SAFETY: it does not run.
    let error = unsafe { command.spawn_fn(|| 0) }.unwrap_err();
    is_at(&error, Step::ChangeDirectory, libc::ENOENT);
    assert_eq!(kernel::census(), before);
}

fn a_child_killed_before_is_told() {
    let before = kernel::census();
    let mut command = Command::new("code");
    let kill = || {
        // SAFETY: this process alone.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        Ok(())
    };
    // SAFETY: two system calls.
    unsafe { command.pre_exec(kill) };
    // SAFETY: it does not run.
    let error = unsafe { command.spawn_fn(|| 0) }.unwrap_err();
    is_of(&error, Step::PreExec, ErrorKind::ChildDied);
    assert_eq!(kernel::census(), before);
}
