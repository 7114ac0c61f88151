//! A process that enters other namespaces while somebody is about to enter its own.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::thread;

use linux_namespaces::{Command, NamespaceSet, Stdio};

use crate::files::dir;
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::{ns, supervised, until};
use crate::machine::Need::{Program, Root, UserNamespaces};
use crate::program::{Held, sh};
use crate::stage;

cases! {
    nobody_enters_half_of_a_process_that_moves [Root, UserNamespaces, Program("nsenter")],
    no_link_of_a_process_that_moves_is_followed [Root, UserNamespaces, Program("nsenter")],
}

const SET: NamespaceSet = NamespaceSet::USER.union(NamespaceSet::MOUNT);

/// Says where it is, as [`show`].
const SCRIPT: &str = "readlink /proc/self/ns/user /proc/self/ns/mnt";

/// A process that enters the namespaces of another one when it is sent a line.
struct Mover(Held);

impl Mover {
    fn start(holder: &Held) -> Self {
        let script = "read -r line; exec nsenter --preserve-credentials -U -m -t $0 sleep 600";
        Self(Held::of(sh(script).arg(holder.id().to_string()).stdin(Stdio::piped())))
    }

    fn go(&self, to: &str) {
        writeln!(self.0.stdin.as_ref().unwrap()).unwrap();
        until(|| show(self.0.id()) == to);
    }
}

fn show(pid: u32) -> String {
    format!("user:[{}]\nmnt:[{}]\n", ns(pid, "user"), ns(pid, "mnt"))
}

/// Runs a program in the namespaces of a process that moves at each call that the spawn makes. Passes on what came
/// of it, with where the process was. The caller is in its user namespace, and may be in another mount namespace.
fn at_each_call(
    is_elsewhere: bool,
    program: &str,
    prepare: &str,
    check: impl Fn(Result<String, i32>, [&str; 2]),
) {
    let mut command = sh(&format!("{prepare} echo; exec sleep 600"));
    let mut holder = Held::of(command.stdout(Stdio::piped()).unshare(SET).map_root());
    holder.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let after = show(holder.id());
    let mut met = 0;
    for call in
        [libc::SYS_ioctl, libc::SYS_openat, libc::SYS_openat2, libc::SYS_setns, libc::SYS_clone3]
    {
        for nth in 1.. {
            let mover = Mover::start(&holder);
            let before = show(mover.0.id());
            in_fork(|| {
                if is_elsewhere {
                    stage::new(libc::CLONE_NEWNS);
                    stage::private();
                }
                let mut count = 0;
                let (mover, to) = (&mover, &after);
                let move_on = |_| {
                    count += 1;
                    if count == nth {
                        mover.go(to);
                    }
                    true
                };
                let mut command = Command::new(program);
                command.args(["-c", SCRIPT]).current_dir("/").enter(mover.0.enter(SET));
                // The filter is for the thread, which does not live on.
                let output = thread::scope(|scope| {
                    let spawn = || supervised(call, move_on, || command.output());
                    scope.spawn(spawn).join().unwrap()
                });
                let text = output.map(|it| String::from_utf8(it.stdout).unwrap());
                check(text.map_err(|error| error.raw_os_error().unwrap()), [&before, &after]);
            });
            let moved = show(mover.0.id()) == after;
            drop(mover);
            if !moved {
                break;
            }
            met += 1;
        }
    }
    assert!(met > 5, "only {met} calls were met");
}

fn nobody_enters_half_of_a_process_that_moves() {
    at_each_call(true, "sh", "", |text, [before, after]| {
        let text = text.unwrap();
        assert!([before, after].contains(&&*text), "{text} is neither {before} nor {after}");
    });
}

fn no_link_of_a_process_that_moves_is_followed() {
    let dir = dir();
    let app = dir.path().join("app");
    symlink("/bin/sh", &app).unwrap();
    let (at, app) = (dir.path().display(), app.to_str().unwrap());
    let prepare = format!("mount -t tmpfs none {at}; ln -s /proc/self/exe {app};");
    at_each_call(false, app, &prepare, |outcome, [before, _]| match outcome {
        Ok(text) => assert_eq!(text, before),
        Err(errno) => assert_eq!(errno, libc::ELOOP),
    });
    fs::remove_file(app).unwrap();
}
