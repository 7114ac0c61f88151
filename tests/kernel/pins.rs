//! The table "When is a namespace destroyed?" of the manual, row by row: alive until its last holder is
//! gone, and gone after that. The oracle is a file handle, which Linux 6.18 opens as long as anything
//! refers to the namespace.

use std::any::Any;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use linux_namespaces::{
    Child, Command, ErrorKind, Holder, Namespace, NamespaceSet, NsFd, NsHandle, Stdio, Unshare,
};

use crate::harness::cases;
use crate::machine::Need::{HandlesOfAll, Program, Root};
use crate::stage;

cases! {"pins":
    a_member [Root, HandlesOfAll],
    an_open_file [Root, HandlesOfAll],
    a_mounted_file [Root, HandlesOfAll],
    a_zombie [Root, HandlesOfAll],
    a_pidfd [Root, HandlesOfAll],
    a_thread_whose_children_go_there [Root, HandlesOfAll],
    a_namespace_inside [Root, HandlesOfAll, Program("unshare")],
    an_owned_namespace [Root, HandlesOfAll],
    a_file_that_a_member_opened [Root, HandlesOfAll],
    a_socket [Root, HandlesOfAll],
    a_mounted_proc [Root, HandlesOfAll],
}

/// What keeps it, in whatever form; given back by a drop.
type Pin = Box<dyn Any>;

fn member(kind: Namespace) -> Child {
    let script = "exec 3</dev/null; echo ready; exec sleep 60";
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdout(Stdio::piped()).unshare(kind.into());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{error:#}"));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn handle_of(child: &Child, kind: Namespace) -> NsHandle {
    child.namespace(kind).unwrap().handle().unwrap()
}

fn is_gone(handle: &NsHandle) -> bool {
    match handle.open() {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => panic!("{error:#}"),
    }
}

/// The trial's own limit ends it if that never is.
fn wait_until_gone(handle: &NsHandle) {
    while !is_gone(handle) {
        std::thread::yield_now();
    }
}

/// Whether the pin keeps a namespace of this kind, of which a member, now gone, was the only other holder.
fn keeps(kind: Namespace, pin: impl FnOnce(&Child) -> Pin) -> bool {
    let child = member(kind);
    let handle = handle_of(&child, kind);
    let pin = pin(&child);
    assert!(!is_gone(&handle), "{kind}");
    end(child);
    // One that nothing keeps shows how long the kernel takes.
    let other = member(kind);
    let unkept = handle_of(&other, kind);
    end(other);
    wait_until_gone(&unkept);
    let kept = !is_gone(&handle);
    drop(pin);
    wait_until_gone(&handle);
    kept
}

fn a_member() {
    for kind in Namespace::ALL {
        let child = member(kind);
        let handle = handle_of(&child, kind);
        assert!(!is_gone(&handle), "{kind}");
        end(child);
        // Not at once: another program that looks around may have it open for a moment.
        wait_until_gone(&handle);
    }
}

fn an_open_file() {
    for kind in Namespace::ALL {
        assert!(keeps(kind, |child| Box::new(child.namespace(kind).unwrap())), "{kind}");
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
    for kind in Namespace::ALL.into_iter().filter(|kind| *kind != Namespace::Mount) {
        let pin = |child: &Child| -> Pin {
            let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
            stage::bind(format!("/proc/{}/ns/{kind}", child.id()), &file);
            let path = file.to_path_buf();
            let holders = child.namespace(kind).unwrap().holders().unwrap();
            let is_it = |it: &Holder| matches!(it, Holder::Mount { path: at, .. } if *at == path);
            assert!(holders.iter().any(is_it), "{kind}: {holders:?}");
            Box::new(Mounted(file))
        };
        assert!(keeps(kind, pin), "{kind}");
    }
}

fn a_zombie() {
    for kind in Namespace::ALL {
        let mut child = member(kind);
        let handle = handle_of(&child, kind);
        child.kill().unwrap();
        while !child.pid_fd().has_ended().unwrap() {
            std::thread::yield_now();
        }
        let other = member(kind);
        let unkept = handle_of(&other, kind);
        end(other);
        wait_until_gone(&unkept);
        let kept = !is_gone(&handle);
        assert_eq!(kept, matches!(kind, Namespace::Pid | Namespace::User), "{kind}");
        child.wait().unwrap();
        drop(child);
        wait_until_gone(&handle);
    }
}

fn a_pidfd() {
    for kind in Namespace::ALL {
        let kept = keeps(kind, |child| Box::new(child.pid_fd().try_clone().unwrap()));
        assert_eq!(kept, kind == Namespace::Pid, "{kind}");
    }
}

/// A fork of this process that waits, and is ended and waited for by the drop.
struct Fork(libc::pid_t);

impl Drop for Fork {
    fn drop(&mut self) {
        // SAFETY: a child that nobody has waited for.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

fn a_thread_whose_children_go_there() {
    for kind in [Namespace::Pid, Namespace::Time] {
        let pin = |child: &Child| -> Pin {
            let namespace = child.namespace(kind).unwrap();
            // SAFETY: this process has one thread; the child makes system calls alone.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: as above.
                unsafe {
                    libc::setns(namespace.as_raw_fd(), 0);
                    libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
                    libc::pause();
                    libc::_exit(0)
                }
            }
            let fork = Fork(pid);
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
        assert!(keeps(kind, pin), "{kind}");
    }
}

fn a_namespace_inside() {
    for kind in [Namespace::Pid, Namespace::User] {
        let options = if kind == Namespace::Pid { "-pf --kill-child --mount-proc" } else { "-r" };
        let script = format!("stat -Lc %i /proc/self/ns/{kind}; exec sleep 60");
        let mut command = Command::new("unshare");
        command.args(options.split(' ')).arg("unshare").args(options.split(' '));
        let mut child = command.args(["sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ino: u64 = line.trim().parse().unwrap();
        let all = linux_namespaces::discover().unwrap();
        let inside = all.namespaces().find(|it| it.kind() == kind && it.id().ino == ino).unwrap();
        let kept = NsFd::of_pid(inside.oldest().unwrap(), kind).unwrap();
        let outer = kept.parent().unwrap().handle().unwrap();
        end(child);
        // SAFETY: waits for what the programs in between left; there are no other children.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL) } > 0 {}
        let other = member(kind);
        let unkept = handle_of(&other, kind);
        end(other);
        wait_until_gone(&unkept);
        assert!(!is_gone(&outer), "{kind}");
        drop(kept);
        wait_until_gone(&outer);
    }
}

fn an_owned_namespace() {
    let mut command = Command::new("sleep");
    let child = command.arg("60").unshare(NamespaceSet::UTS).map_root().spawn().unwrap();
    let owner = handle_of(&child, Namespace::User);
    let owned = child.namespace(Namespace::Uts).unwrap();
    let holder = Holder::Owned(owned.id().unwrap());
    let holders = child.namespace(Namespace::User).unwrap().holders().unwrap();
    assert!(holders.iter().any(|it| *it == holder), "{holders:?}");
    end(child);
    let other = member(Namespace::User);
    let unkept = handle_of(&other, Namespace::User);
    end(other);
    wait_until_gone(&unkept);
    assert!(!is_gone(&owner));
    drop(owned);
    wait_until_gone(&owner);
}

fn a_file_that_a_member_opened() {
    for kind in Namespace::ALL {
        let kept = keeps(kind, |child| Box::new(child.pid_fd().copy_fd(3).unwrap()));
        assert_eq!(kept, kind == Namespace::User, "{kind}");
    }
}

fn a_socket() {
    let socket = |child: &Child| -> Pin {
        let net = child.namespace(Namespace::Net).unwrap();
        Box::new(net.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap())
    };
    assert!(keeps(Namespace::Net, socket));
}

fn a_mounted_proc() {
    // The mount namespace outlives the pid namespace's only process.
    let mut command = Command::new("sleep");
    command.arg("60").unshare(NamespaceSet::PID).map_root();
    command.mount(linux_namespaces::Mount::proc("/proc").unwrap());
    let child = command.spawn().unwrap();
    let pid = handle_of(&child, Namespace::Pid);
    let mounts = child.namespace(Namespace::Mount).unwrap();
    let holders = child.namespace(Namespace::Pid).unwrap().holders().unwrap();
    assert!(holders.iter().any(|it| matches!(it, Holder::Proc { .. })), "{holders:?}");
    end(child);
    let other = member(Namespace::Pid);
    let unkept = handle_of(&other, Namespace::Pid);
    end(other);
    wait_until_gone(&unkept);
    assert!(!is_gone(&pid));
    drop(mounts);
    wait_until_gone(&pid);
}
