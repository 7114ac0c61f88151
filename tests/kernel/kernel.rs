//! The oracle: what the kernel says of this thread and of others, read without the crate.

use std::fs;
use std::os::unix::fs::MetadataExt;

use linux_namespaces::{Namespace, NamespaceSet};

/// The inode number of a task's namespace; `task` is a pid, `self` or `thread-self`.
pub(crate) fn ns(task: impl std::fmt::Display, name: &str) -> u64 {
    let path = format!("/proc/{task}/ns/{name}");
    fs::metadata(&path).unwrap_or_else(|error| panic!("{path}: {error}")).ino()
}

/// Which namespaces of two tasks differ.
pub(crate) fn different(one: &str, other: &str) -> NamespaceSet {
    Namespace::ALL
        .into_iter()
        .filter(|kind| ns(one, kind.name()) != ns(other, kind.name()))
        .collect()
}

/// All namespaces of the calling thread, with those for its children.
pub(crate) fn all_ns() -> Vec<(String, u64)> {
    let mut all: Vec<_> = fs::read_dir("/proc/thread-self/ns")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| {
            (
                name.clone(),
                fs::metadata(format!("/proc/thread-self/ns/{name}")).map_or(0, |it| it.ino()),
            )
        })
        .collect();
    all.sort();
    all
}

/// A line of /proc/thread-self/status.
pub(crate) fn status(field: &str) -> String {
    let text = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in status")).trim().to_owned()
}

pub(crate) fn dumpable() -> i32 {
    // SAFETY: asks for a number.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }
}

/// What a failed call must not have changed in this thread and process.
pub(crate) fn census() -> Vec<String> {
    let mut all = vec![
        format!("mask {}", status("SigBlk")),
        format!("ignored {}", status("SigIgn")),
        format!("caught {}", status("SigCgt")),
        format!("threads {}", status("Threads")),
        format!("ids {} {}", status("Uid"), status("Gid")),
        format!("caps {} {}", status("CapEff"), status("CapPrm")),
        format!("dumpable {}", dumpable()),
        format!("cwd {:?}", std::env::current_dir()),
        format!("namespaces {:?}", all_ns()),
        format!("mounts {}", fs::read_to_string("/proc/thread-self/mountinfo").unwrap()),
        format!("descriptors {:?}", crate::harness::descriptors()),
    ];
    let mut status = 0;
    // SAFETY: waits for nothing.
    let left = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
    all.push(format!("children {left}"));
    all
}

/// Makes a system call answer an error number from here on, in this process and its children.
pub(crate) fn refuse(call: libc::c_long, errno: i32) {
    let instructions = [
        // The number of the call.
        bpf(0x20, 0, 0, 0),
        bpf(0x15, 0, 1, call as u32),
        bpf(0x06, 0, 0, 0x0005_0000 | errno.cast_unsigned()),
        bpf(0x06, 0, 0, 0x7fff_0000),
    ];
    let program = libc::sock_fprog { len: 4, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the program lives through the calls, and changes this process alone.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
    }
}

fn bpf(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}
