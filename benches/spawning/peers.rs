//! What people use today, each made ready as far as it can be and then started again and again. A name
//! says what a peer does not do.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;

use linux_namespaces::{Namespace, NamespaceSet};
use nix::sched::CloneFlags;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

use super::inside::Inside;

pub(crate) struct Peer {
    pub(crate) name: String,
    /// Starts `/bin/true` and waits for it.
    pub(crate) run: Box<dyn FnMut()>,
}

/// Those that can do the job for this set.
pub(crate) fn all(set: NamespaceSet) -> Vec<Peer> {
    let nix = if set.contains(NamespaceSet::TIME) { nix_fork(set) } else { nix_clone(set) };
    [Some(std_pre_exec(set)), Some(nix), unshare_crate(set)].into_iter().flatten().collect()
}

/// Who unshares itself is not in its own new pid namespace.
fn named(name: &str, set: NamespaceSet) -> String {
    let outside = if set.contains(NamespaceSet::PID) { ", outside the pid namespace" } else { "" };
    format!("{name}{outside}")
}

fn flags(set: NamespaceSet) -> libc::c_int {
    libc::c_int::try_from(set.bits()).unwrap()
}

fn std_pre_exec(set: NamespaceSet) -> Peer {
    let inside = Inside::new(set);
    let work = move || {
        // SAFETY: no pointers; the forked child has one thread.
        let done = unsafe { libc::unshare(flags(set)) } == 0 && inside.set_up();
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    let mut command = std::process::Command::new("/bin/true");
    // SAFETY: system calls and nothing else; an error made of a number allocates nothing.
    unsafe { command.pre_exec(work) };
    let run = move || assert!(command.status().unwrap().success());
    Peer { name: named("std + pre_exec(unshare)", set), run: Box::new(run) }
}

/// As `CloneFlags` has no time namespace, this is for the other seven.
fn nix_clone(set: NamespaceSet) -> Peer {
    let inside = Inside::new(set);
    let program = Program::new();
    let mut stack = vec![0; 64 * 1024];
    let run = move || {
        let child = Box::new(|| program.exec_if(inside.set_up()));
        let flags = CloneFlags::from_bits_retain(flags(set));
        // SAFETY: the child has a copy of the memory of a process with one thread, where it may
        // allocate, and ends by itself.
        let pid = unsafe { nix::sched::clone(child, &mut stack, flags, Some(libc::SIGCHLD)) };
        wait(pid.unwrap());
    };
    Peer { name: "nix clone".to_owned(), run: Box::new(run) }
}

fn nix_fork(set: NamespaceSet) -> Peer {
    let inside = Inside::new(set);
    let program = Program::new();
    let run = move || {
        // SAFETY: as for clone.
        let fork = unsafe { nix::unistd::fork() }.unwrap();
        let ForkResult::Parent { child } = fork else {
            let unshared = nix::sched::unshare(CloneFlags::from_bits_retain(flags(set)));
            let status = program.exec_if(unshared.is_ok() && inside.set_up());
            // SAFETY: ends the child and runs nothing of the parent's.
            unsafe { libc::_exit(i32::try_from(status).unwrap_or(127)) }
        };
        wait(child);
    };
    Peer { name: named("nix fork + unshare", set), run: Box::new(run) }
}

struct Program {
    argv: [CString; 1],
    env: Vec<CString>,
}

impl Program {
    fn new() -> Self {
        let pair = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            CString::new([key.into_vec(), value.into_vec()].join(&b'=')).unwrap()
        };
        Self { argv: [c"/bin/true".into()], env: std::env::vars_os().map(pair).collect() }
    }

    /// Comes back only to end the child.
    fn exec_if(&self, is_ready: bool) -> isize {
        if is_ready {
            let _ = nix::unistd::execve(&self.argv[0], &self.argv, &self.env);
        }
        127
    }
}

fn wait(child: Pid) {
    assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
}

/// It writes id maps from the parent, without the word to deny `setgroups(2)`, so that only root can
/// have a gid map.
fn unshare_crate(set: NamespaceSet) -> Option<Peer> {
    let kinds: Option<Vec<unshare::Namespace>> = set.kinds().map(of_unshare_crate).collect();
    let mut command = unshare::Command::new("/bin/true");
    command.unshare(&kinds?);
    // SAFETY: asks for a number.
    let uid = unsafe { libc::geteuid() };
    // SAFETY: asks for a number.
    let gid = unsafe { libc::getegid() };
    let mut name = "the unshare crate".to_owned();
    if set.contains(NamespaceSet::USER) {
        if uid == 0 {
            let uids = unshare::UidMap { inside_uid: 0, outside_uid: uid, count: 1 };
            let gids = unshare::GidMap { inside_gid: 0, outside_gid: gid, count: 1 };
            command.set_id_maps(vec![uids], vec![gids]);
        } else {
            name.push_str(", without id maps");
        }
    }
    let inside = Inside::mounts_only(set);
    let work = move || if inside.set_up() { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: system calls and nothing else; an error made of a number allocates nothing.
    unsafe { command.pre_exec(work) };
    Some(Peer { name, run: Box::new(move || assert!(command.status().unwrap().success())) })
}

fn of_unshare_crate(kind: Namespace) -> Option<unshare::Namespace> {
    match kind {
        Namespace::Cgroup => Some(unshare::Namespace::Cgroup),
        Namespace::Ipc => Some(unshare::Namespace::Ipc),
        Namespace::Mount => Some(unshare::Namespace::Mount),
        Namespace::Net => Some(unshare::Namespace::Net),
        Namespace::Pid => Some(unshare::Namespace::Pid),
        Namespace::User => Some(unshare::Namespace::User),
        Namespace::Uts => Some(unshare::Namespace::Uts),
        _ => None,
    }
}
