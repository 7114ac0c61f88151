//! What people use today for the same job, as far as each can do it.

use std::ffi::CString;
use std::os::unix::process::CommandExt;

use linux_namespaces::{Namespace, NamespaceSet};
use nix::sched::CloneFlags;

/// A peer: starts `/bin/true` and waits.
pub type Peer = (&'static str, fn(NamespaceSet));

/// Those that can do the set.
pub fn all(set: NamespaceSet) -> Vec<Peer> {
    let mut peers: Vec<Peer> = vec![("std + pre_exec(unshare)", std_pre_exec)];
    if !set.contains(NamespaceSet::TIME) {
        peers.push(("nix clone", nix_clone));
        if !set.contains(NamespaceSet::CGROUP) {
            peers.push(("the unshare crate", unshare_crate));
        }
    }
    peers
}

/// With this, the program itself is in no new pid or time namespace: only its children would be.
fn std_pre_exec(set: NamespaceSet) {
    let flags = set.bits() as i32;
    let maps = maps(set);
    let mut command = std::process::Command::new("/bin/true");
    unsafe {
        command.pre_exec(move || {
            if libc::unshare(flags) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            write_maps(&maps);
            Ok(())
        });
    }
    assert!(command.status().unwrap().success());
}

fn nix_clone(set: NamespaceSet) {
    let maps = maps(set);
    let argv = [CString::new("/bin/true").unwrap()];
    let env: Vec<CString> = std::env::vars()
        .filter_map(|(key, value)| CString::new(format!("{key}={value}")).ok())
        .collect();
    let mut stack = vec![0; 64 * 1024];
    let work = Box::new(|| {
        write_maps(&maps);
        nix::unistd::execve(&argv[0], &argv, &env).map_or(127, |_| 0)
    });
    let flags = CloneFlags::from_bits_truncate(set.bits() as i32);
    let child = unsafe { nix::sched::clone(work, &mut stack, flags, Some(libc::SIGCHLD)) }.unwrap();
    nix::sys::wait::waitpid(child, None).unwrap();
}

fn unshare_crate(set: NamespaceSet) {
    let kinds: Vec<unshare::Namespace> = set
        .namespaces()
        .filter_map(|kind| match kind {
            Namespace::Ipc => Some(unshare::Namespace::Ipc),
            Namespace::Mount => Some(unshare::Namespace::Mount),
            Namespace::Net => Some(unshare::Namespace::Net),
            Namespace::Pid => Some(unshare::Namespace::Pid),
            Namespace::User => Some(unshare::Namespace::User),
            Namespace::Uts => Some(unshare::Namespace::Uts),
            Namespace::Cgroup | Namespace::Time => None,
        })
        .collect();
    // Its id maps work for root only, so it does without.
    let mut command = unshare::Command::new("/bin/true");
    command.unshare(&kinds);
    command.spawn().unwrap().wait().unwrap();
}

fn maps(set: NamespaceSet) -> Vec<(CString, CString)> {
    if !set.contains(NamespaceSet::USER) {
        return Vec::new();
    }
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ]
    .map(|(file, text)| {
        (CString::new(format!("/proc/self/{file}")).unwrap(), CString::new(text).unwrap())
    })
    .to_vec()
}

/// System calls only: it runs in a forked child.
fn write_maps(maps: &[(CString, CString)]) {
    for (path, text) in maps {
        unsafe {
            let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            libc::write(file, text.as_ptr().cast(), text.as_bytes().len());
            libc::close(file);
        }
    }
}
