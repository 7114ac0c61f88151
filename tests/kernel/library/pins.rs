//! The table "When is a namespace destroyed?" of the manual, row by row: alive until its last holder is
//! gone, and gone after that. The oracle is the limit that a user namespace sets to how many of a kind there
//! may be: where it is one, there is none besides as long as that one exists.

use std::any::Any;
use std::fs;
use std::io::BufReader;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use linux_namespaces::{Command, Enter, Holder, Namespace, NamespaceSet, NsFd, Stdio, Unshare};

use crate::fork::{self, Fork, wait_for_all};
use crate::harness::cases;
use crate::machine::Need::{NamespaceLimits, NewProc, Program, Root, UserNamespaces};
use crate::program::{Held, next_line, sh};
use crate::stage;

cases! {
    a_member [UserNamespaces, NamespaceLimits],
    an_open_file [UserNamespaces, NamespaceLimits],
    a_mounted_file [Root, UserNamespaces],
    a_zombie [UserNamespaces, NamespaceLimits],
    a_pidfd [UserNamespaces, NamespaceLimits],
    a_thread_whose_children_go_there [Root, UserNamespaces],
    a_namespace_inside [UserNamespaces, NamespaceLimits, Program("unshare")],
    an_owned_namespace [UserNamespaces, NamespaceLimits, Program("unshare")],
    a_file_that_a_member_opened [UserNamespaces, NamespaceLimits],
    a_socket [Root, UserNamespaces],
    a_mounted_proc [UserNamespaces, NewProc, NamespaceLimits, Program("unshare")],
}

/// What keeps it, in whatever form; given back by a drop.
type Pin = Box<dyn Any>;

/// A user namespace in which there may be only so many namespaces of a kind.
struct Room {
    kind: Namespace,
    user: NsFd,
}

impl Room {
    fn new(kind: Namespace, limit: u32) -> Self {
        let user = Held::new(NamespaceSet::USER).namespace(Namespace::User).unwrap();
        let room = Self { kind, user };
        room.limit(limit);
        room
    }

    fn limit(&self, limit: u32) {
        let file = format!("/proc/sys/user/max_{}_namespaces", self.kind);
        assert_eq!(self.inside(|| fs::write(file, limit.to_string()).is_err().into()), 0);
    }

    /// Whether the kernel refuses one more.
    fn is_full(&self) -> bool {
        let answer = self.inside(|| {
            // SAFETY: changes this process alone, which ends.
            match unsafe { libc::unshare(NamespaceSet::from(self.kind).bits().cast_signed()) } {
                0 => 0,
                _ => std::io::Error::last_os_error().raw_os_error().unwrap_or(-1),
            }
        });
        assert!([0, libc::ENOSPC].contains(&answer), "{}: {answer}", self.kind);
        answer != 0
    }

    /// What a process of ours in there answers, as its exit code.
    fn inside(&self, work: impl FnOnce() -> i32) -> i32 {
        let fork = Fork::start(|| {
            // SAFETY: changes this process alone.
            let entered = unsafe { libc::setns(self.user.as_raw_fd(), libc::CLONE_NEWUSER) } == 0;
            if entered { work() } else { 255 }
        });
        libc::WEXITSTATUS(fork.wait())
    }

    /// The trial's own limit ends it if that never is.
    fn wait_until_free(&self) {
        while self.is_full() {
            std::thread::yield_now();
        }
    }

    /// Shows that nothing that ended before now would still be there.
    fn wait_for_the_kernel(kind: Namespace) {
        let other = Self::new(kind, 1);
        drop(other.member());
        other.wait_until_free();
    }

    /// A process in a new namespace of the kind, made in here.
    fn member(&self) -> Held {
        let script = "exec 3</dev/null; echo ready; exec sleep 600";
        self.ready(sh(script).unshare(self.kind.into())).0
    }

    /// A program in here, and what it says when it is ready.
    fn ready(&self, command: &mut Command) -> (Held, String) {
        // It maps no id.
        command
            .enter(Enter::new().namespace(self.user.try_clone().unwrap()).preserve_credentials());
        let mut child = Held::of(command.stdout(Stdio::piped()));
        let line = next_line(&mut BufReader::new(child.stdout.take().unwrap()));
        (child, line.trim().to_owned())
    }
}

/// A namespace of the kind, of which a member, now gone, was the only holder besides the pin, exists for as
/// long as told.
fn is_kept(kind: Namespace, expected: bool, pin: impl FnOnce(&Held) -> Pin) {
    let room = Room::new(kind, 1);
    let child = room.member();
    let pin = pin(&child);
    assert!(room.is_full(), "{kind}");
    drop(child);
    if expected {
        Room::wait_for_the_kernel(kind);
        assert!(room.is_full(), "{kind}");
        drop(pin);
        room.wait_until_free();
    } else {
        room.wait_until_free();
        drop(pin);
    }
}

fn a_member() {
    for &kind in Namespace::ALL {
        is_kept(kind, false, |_| Box::new(()));
    }
}

fn an_open_file() {
    for &kind in Namespace::ALL {
        is_kept(kind, true, |child| Box::new(child.namespace(kind).unwrap()));
    }
}

/// Unmounted by the drop.
struct Mounted(tempfile::TempPath);

impl Drop for Mounted {
    fn drop(&mut self) {
        stage::unmount(&self.0);
    }
}

fn a_mounted_file() {
    Unshare::new(NamespaceSet::MOUNT).apply().unwrap();
    stage::private();
    // Which mount namespaces can be mounted here depends on their ids, which Linux 6.18 gives out of order.
    for kind in Namespace::ALL.iter().copied().filter(|kind| *kind != Namespace::Mount) {
        let pin = |child: &Held| -> Pin {
            let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
            stage::bind(format!("/proc/{}/ns/{kind}", child.id()), &file);
            let path = file.to_path_buf();
            let holders = child.namespace(kind).unwrap().holders().unwrap();
            let is_it =
                |it: &Holder| matches!(it, Holder::BindMount { path: at, .. } if *at == path);
            assert!(holders.iter().any(is_it), "{kind}: {holders:?}");
            Box::new(Mounted(file))
        };
        is_kept(kind, true, pin);
    }
}

fn a_zombie() {
    for &kind in Namespace::ALL {
        let room = Room::new(kind, 1);
        let mut child = room.member();
        child.kill().unwrap();
        while !child.pidfd().has_ended().unwrap() {
            std::thread::yield_now();
        }
        if matches!(kind, Namespace::Pid | Namespace::User) {
            Room::wait_for_the_kernel(kind);
            assert!(room.is_full(), "{kind}");
        } else {
            room.wait_until_free();
        }
        child.wait().unwrap();
        drop(child);
        room.wait_until_free();
    }
}

fn a_pidfd() {
    for &kind in Namespace::ALL {
        let pin = |child: &Held| -> Pin { Box::new(child.pidfd().try_clone().unwrap()) };
        is_kept(kind, kind == Namespace::Pid, pin);
    }
}

fn a_thread_whose_children_go_there() {
    for kind in [Namespace::Pid, Namespace::Time] {
        let pin = |child: &Held| -> Pin {
            let namespace = child.namespace(kind).unwrap();
            let fork = Fork::start(|| {
                // SAFETY: this process alone.
                unsafe {
                    libc::setns(namespace.as_raw_fd(), 0);
                    libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
                }
                fork::sleep()
            });
            let pid = fork.pid();
            let file = format!("/proc/{pid}/ns/{kind}_for_children");
            let inside = namespace.id().unwrap().ino;
            let link = format!("{kind}:[{inside}]");
            while fs::read_link(&file).unwrap().to_str() != Some(&link) {
                std::thread::yield_now();
            }
            drop(namespace);
            // Its copy of the descriptor goes after it has moved.
            while fs::read_dir(format!("/proc/{pid}/fd")).unwrap().next().is_some() {
                std::thread::yield_now();
            }
            Box::new(fork)
        };
        is_kept(kind, true, pin);
    }
}

fn a_namespace_inside() {
    for kind in [Namespace::Pid, Namespace::User] {
        let options = if kind == Namespace::Pid { "-pf --kill-child --mount-proc" } else { "-r" };
        let script = format!("stat -Lc %i /proc/self/ns/{kind}; exec sleep 600");
        let room = Room::new(kind, 2);
        let mut command = Command::new("unshare");
        command.args(options.split(' ')).arg("unshare").args(options.split(' '));
        let (child, ino) = room.ready(command.args(["sh", "-c", &script]));
        let ino: u64 = ino.parse().unwrap();
        let all = linux_namespaces::discover().unwrap();
        let inside = all.namespaces().find(|it| it.kind() == kind && it.id().ino == ino).unwrap();
        let kept = NsFd::of_pid(inside.pids().next().unwrap(), kind).unwrap();
        drop(child);
        wait_for_all();
        Room::wait_for_the_kernel(kind);
        assert!(room.is_full(), "{kind}");
        drop(kept);
        room.limit(1);
        room.wait_until_free();
    }
}

fn an_owned_namespace() {
    let room = Room::new(Namespace::User, 1);
    let mut command = Command::new("unshare");
    let (child, _) = room.ready(command.args(["-ru", "sh", "-c", "echo; exec sleep 600"]));
    let owned = child.namespace(Namespace::Uts).unwrap();
    let id = owned.id().unwrap();
    let is_owned = |it: &Holder| matches!(it, Holder::OwnedNamespace { id: it, .. } if *it == id);
    let holders = child.namespace(Namespace::User).unwrap().holders().unwrap();
    assert!(holders.iter().any(is_owned), "{holders:?}");
    drop(child);
    Room::wait_for_the_kernel(Namespace::User);
    assert!(room.is_full());
    drop(owned);
    room.wait_until_free();
}

fn a_file_that_a_member_opened() {
    for &kind in Namespace::ALL {
        let pin = |child: &Held| -> Pin { Box::new(child.pidfd().copy_fd(3).unwrap()) };
        is_kept(kind, kind == Namespace::User, pin);
    }
}

fn a_socket() {
    is_kept(Namespace::Net, true, |child| {
        let net = child.namespace(Namespace::Net).unwrap();
        Box::new(net.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap())
    });
}

fn a_mounted_proc() {
    let room = Room::new(Namespace::Pid, 1);
    let mut command = Command::new("unshare");
    command.args(["-pf", "--kill-child", "--mount-proc", "sh", "-c", "echo; exec sleep 600"]);
    let (child, _) = room.ready(&mut command);
    let pid = NsFd::for_children_of(child.pidfd(), Namespace::Pid).unwrap();
    // The mount namespace outlives the pid namespace's only process.
    let mounts = child.namespace(Namespace::Mount).unwrap();
    let holders = pid.holders().unwrap();
    assert!(holders.iter().any(|it| matches!(it, Holder::ProcMount { .. })), "{holders:?}");
    drop(pid);
    drop(child);
    wait_for_all();
    Room::wait_for_the_kernel(Namespace::Pid);
    assert!(room.is_full());
    drop(mounts);
    room.wait_until_free();
}
