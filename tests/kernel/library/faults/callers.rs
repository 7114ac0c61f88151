//! Callers that are not what a spawn likes best: without standard streams, deaf to SIGCHLD, not
//! dumpable.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use linux_namespaces::{Command, Stdio, Step};

use super::calls::outside_maps;
use crate::engine::{ALL, Engine, FRESH, available};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{OtherIds, PidfdNamespaces, Root, UserNamespaces};
use crate::machine::is_root;
use crate::program::{is_at, refused};

cases! {
    one_without_standard_streams [],
    one_without_standard_streams_who_maps_ids [UserNamespaces],
    one_without_standard_streams_who_has_ids_mapped [Root, UserNamespaces, OtherIds],
    one_who_ignores_sigchld [],
    one_who_wants_no_zombies [],
    one_who_is_not_dumpable [],
}

/// Standard streams that are closed until this is dropped.
struct Closed(Vec<(i32, OwnedFd)>);

impl Closed {
    fn new(streams: impl Iterator<Item = i32>) -> Self {
        let kept = streams.map(|stream| {
            // SAFETY: a new descriptor; nobody in this process uses the old one meanwhile.
            unsafe {
                let copy = libc::fcntl(stream, libc::F_DUPFD_CLOEXEC, 100);
                libc::close(stream);
                (stream, OwnedFd::from_raw_fd(copy))
            }
        });
        Self(kept.collect())
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        for (stream, copy) in &self.0 {
            // SAFETY: the number is free, as it was left.
            unsafe { libc::dup2(copy.as_raw_fd(), *stream) };
        }
    }
}

/// Does `work` with each choice of 0, 1 and 2 closed.
fn with_closed_streams(work: impl Fn(&dyn Fn(i32) -> bool)) {
    for closed in 0..8 {
        let is_closed = |stream: i32| closed & (1 << stream) != 0;
        in_fork(|| {
            let _closed = Closed::new((0..3).filter(|&stream| is_closed(stream)));
            work(&is_closed);
        });
    }
}

/// The program gets what it is given, and where it inherits nothing it has nothing.
fn has_its_streams(make: impl Fn() -> Command, is_closed: &dyn Fn(i32) -> bool) {
    let mut piped = make();
    let mut child = piped.args(["-c", "read line; echo $line; echo $line >&2"]);
    child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap_or_else(|error| panic!("{error:#}"));
    child.stdin.take().unwrap().write_all(b"through\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!((output.stdout, output.stderr), (b"through\n".to_vec(), b"through\n".to_vec()));

    for given in 0..3 {
        let mut inheriting = make();
        inheriting.args([
            "-c",
            "for at in 0 1 2; do test -e /proc/self/fd/$at; status=$status$?; done; exit $status",
        ]);
        inheriting.stdin(Stdio::inherit());
        match given {
            0 => inheriting.stdin(Stdio::null()),
            1 => inheriting.stdout(Stdio::null()),
            _ => inheriting.stderr(Stdio::null()),
        };
        let has = |stream| stream == given || !is_closed(stream);
        let expected = (0..3).map(|at| if has(at) { "0" } else { "1" }).collect::<String>();
        let code = inheriting.status().unwrap_or_else(|error| panic!("{error:#}")).code();
        assert_eq!(code, Some(expected.parse().unwrap()), "given {given}");
    }
}

fn one_without_standard_streams() {
    for engine in available(ALL) {
        with_closed_streams(|is_closed| {
            let place = engine.place();
            let make = || {
                let mut command = Command::new("sh");
                engine.choose(&mut command, place.as_ref());
                command.kill_on_parent_exit();
                command
            };
            has_its_streams(make, is_closed);
            let error = refused(&mut Command::new("/no/such/program"));
            assert_eq!(error.step(), Some(Step::Exec));
        });
    }
}

fn chosen(engine: Engine, option: impl Fn(&mut Command)) -> impl Fn() -> Command {
    move || {
        let mut command = Command::new("sh");
        option(&mut command);
        engine.choose(&mut command, None);
        command
    }
}

fn one_without_standard_streams_who_maps_ids() {
    for engine in available(FRESH) {
        let make = chosen(engine, |command| {
            command.map_root().loopback_up();
        });
        with_closed_streams(|is_closed| has_its_streams(&make, is_closed));
    }
}

fn one_without_standard_streams_who_has_ids_mapped() {
    for engine in available(FRESH) {
        let make = chosen(engine, outside_maps);
        with_closed_streams(|is_closed| has_its_streams(&make, is_closed));
    }
}

/// The status where the kernel keeps one, from Linux 6.15 on; or else an error that says why not.
fn knows_the_end(engine: Engine) {
    let place = engine.place();
    let mut command = Command::new("sh");
    command.args(["-c", "exit 3"]);
    engine.choose(&mut command, place.as_ref());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{error:#}"));
    match child.wait() {
        Ok(status) => assert_eq!(status.code(), Some(3)),
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
            assert!(error.explain().unwrap().contains("SIGCHLD is ignored"), "{error:?}");
        }
    }
    assert!(child.pidfd().has_ended().unwrap());
    let mut missing = Command::new("/no/such/program");
    engine.choose(&mut missing, place.as_ref());
    let error = refused(&mut missing);
    is_at(&error, Step::Exec, libc::ENOENT);
}

fn one_who_ignores_sigchld() {
    for engine in available(ALL) {
        in_fork(|| {
            // SAFETY: this process alone.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            knows_the_end(engine);
            let ignored = 1_u64 << (libc::SIGCHLD - 1);
            let now = u64::from_str_radix(&kernel::status("SigIgn"), 16).unwrap();
            assert_eq!(now & ignored, ignored, "the caller's choice is the caller's");
        });
    }
}

fn one_who_wants_no_zombies() {
    for engine in available(ALL) {
        in_fork(|| {
            // SAFETY: all zero bytes are the default action, which gets one flag; this process alone.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_flags = libc::SA_NOCLDWAIT;
                assert_eq!(
                    libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()),
                    0
                );
            }
            knows_the_end(engine);
        });
    }
}

/// `/proc` gives the files of such a process to root, so that it cannot map its own ids; nor, where pidfds
/// tell nothing, ask for the namespaces that it is to enter.
fn one_who_is_not_dumpable() {
    let may_ask = is_root() || PidfdNamespaces.missing().is_none();
    for engine in available(if may_ask { ALL } else { FRESH }) {
        in_fork(|| {
            let place = engine.place();
            // SAFETY: this process alone.
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
            let mut command = Command::new("sh");
            command.args(["-c", "echo here"]).stdout(Stdio::piped());
            engine.choose(&mut command, place.as_ref());
            let mut child = command.spawn().unwrap_or_else(|error| panic!("{error:#}"));
            let mut text = String::new();
            child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
            assert!(child.wait().unwrap().success());
            assert_eq!(text, "here\n");
            assert_eq!(kernel::dumpable(), 0);
        });
    }
}
