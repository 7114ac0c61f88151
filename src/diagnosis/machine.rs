//! What on this machine and of this thread may refuse namespaces: sysctls, limits, filters, capabilities.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxAttributes, StatxFlags};

use super::cause::{APPARMOR, Cause, MOUNT_MAX};
use crate::namespace::{Namespace, NamespaceSet};
use crate::proc_fs::ProcFs;
use crate::process_state::is_in_other_root;
use crate::sys::{abi, ids};

/// Debian's, and of kernels that took it over.
pub(super) fn unprivileged_userns_clone() -> Option<Cause> {
    let value = number("sys/kernel/unprivileged_userns_clone")?;
    (value == 0).then_some(Cause::Sysctl { name: "kernel.unprivileged_userns_clone", value })
}

/// Ubuntu's, which lets the namespace be made, and then refuses all that takes a capability in it.
pub(super) fn apparmor() -> Option<Cause> {
    let value = number("sys/kernel/apparmor_restrict_unprivileged_userns")?;
    (value != 0).then_some(Cause::Sysctl { name: APPARMOR, value })
}

/// What a security policy may forbid, whoever asks.
pub(super) fn policies() -> impl Iterator<Item = Cause> {
    apparmor().into_iter().chain(seccomp_filter())
}

/// With an empty set, which is an unknown one, those that allow none.
pub(super) fn limits(namespaces: NamespaceSet) -> impl Iterator<Item = Cause> {
    let known = !namespaces.is_empty();
    let concerned = if known { namespaces } else { NamespaceSet::all() };
    let limit = |kind| {
        let value = number(&format!("sys/user/max_{kind}_namespaces"))?;
        Some(Cause::Limit { kind, value })
    };
    let all: Vec<_> = concerned.kinds().filter_map(limit).collect();
    all.into_iter().filter(move |cause| known || matches!(cause, Cause::Limit { value: 0, .. }))
}

pub(super) fn mount_max() -> Option<Cause> {
    Some(Cause::Sysctl { name: MOUNT_MAX, value: number("sys/fs/mount-max")? })
}

pub(super) fn chroot() -> Option<Cause> {
    let flags = AtFlags::STATX_DONT_SYNC;
    let about = rustix::fs::statx(CWD, "/", flags, StatxFlags::empty()).ok()?;
    // The kernel tells it from Linux 5.8 on.
    let told = about.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
    let is_root = about.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    (told && !is_root).then_some(Cause::Chroot)
}

pub(super) fn seccomp_filter() -> Option<Cause> {
    (status("Seccomp")? == "2").then_some(Cause::SeccompFilter)
}

/// Whether a filter may kill for a call; also where that cannot be read.
pub(crate) fn may_be_filtered() -> bool {
    status("Seccomp").is_none_or(|mode| mode != "0")
}

pub(super) fn missing_capability() -> Option<Cause> {
    let effective = u64::from_str_radix(&status("CapEff")?, 16).ok()?;
    let has = effective & (1 << abi::CAP_SYS_ADMIN) != 0;
    let user_namespace = user_namespace()?;
    (!has).then_some(Cause::MissingCapability { user_namespace })
}

pub(super) fn nested() -> Option<Cause> {
    let user_namespace = user_namespace()?;
    let nested = user_namespace != abi::PROC_USER_INIT_INO;
    nested.then_some(Cause::NestedUserNamespace { user_namespace })
}

/// What a thread lacks that may not do something to a namespace.
pub(super) fn privileges() -> Option<Cause> {
    missing_capability().or_else(nested)
}

/// Whether the thread is in a user namespace inside of the first one.
pub(crate) fn is_nested() -> bool {
    nested().is_some()
}

pub(super) fn nesting(namespaces: NamespaceSet) -> impl Iterator<Item = Cause> {
    let initial = |kind| match kind {
        Namespace::User => Some(abi::PROC_USER_INIT_INO),
        Namespace::Pid => Some(abi::PROC_PID_INIT_INO),
        _ => None,
    };
    let is_nested = move |&kind: &Namespace| {
        initial(kind).is_some_and(|number| inode(kind).is_some_and(|own| own != number))
    };
    namespaces.kinds().filter(is_nested).map(|kind| Cause::Nesting { kind })
}

fn user_namespace() -> Option<u64> {
    inode(Namespace::User)
}

fn inode(kind: Namespace) -> Option<u64> {
    let proc = ProcFs::open().ok()?;
    let file = proc.namespace("thread-self", kind.name()).ok()?;
    Some(rustix::fs::fstat(file).ok()?.st_ino)
}

pub(super) fn unmapped_uid() -> Option<Cause> {
    let map = read("thread-self/uid_map")?;
    let uid = ids::geteuid();
    (!maps(&map, uid)).then_some(Cause::UnmappedUid { uid })
}

/// Whether an id map has the id on its inside.
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let words: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
        match words[..] {
            [inside, _, count] => (inside..inside + count).contains(&id.into()),
            _ => false,
        }
    })
}

pub(super) fn threads() -> Option<Cause> {
    let count = status("Threads")?.parse().ok()?;
    (count > 1).then_some(Cause::Threads { count })
}

pub(crate) fn has_threads() -> bool {
    threads().is_some()
}

/// The files then belong to root.
pub(super) fn undumpable() -> Option<Cause> {
    let proc = ProcFs::open().ok()?;
    let status = proc.open_below(proc.as_fd(), "thread-self/status", OFlags::PATH).ok()?;
    let owner = rustix::fs::fstat(status).ok()?.st_uid;
    (owner != ids::geteuid()).then_some(Cause::Undumpable)
}

fn status(field: &str) -> Option<String> {
    let text = read("thread-self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Of a setting of the kernel. In the caller's root it is what is there, if it is a file: engines put files of their
/// own over these.
fn number(path: &str) -> Option<u64> {
    if is_in_other_root() {
        return read(path)?.trim().parse().ok();
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(CWD, format!("/proc/{path}"), flags, Mode::empty()).ok()?;
    let mode = rustix::fs::fstat(&file).ok()?.st_mode;
    let mut digits = [0; 24];
    let is_file = FileType::from_raw_mode(mode) == FileType::RegularFile;
    let length = is_file.then(|| rustix::io::read(&file, &mut digits).ok()).flatten()?;
    core::str::from_utf8(&digits[..length]).ok()?.trim().parse().ok()
}

/// The text of a file of `/proc`.
fn read(path: &str) -> Option<String> {
    let proc = ProcFs::open().ok()?;
    String::from_utf8(proc.read(proc.as_fd(), path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_mapped_if_a_line_has_it() {
        assert!(maps("         0          0 4294967295\n", 65534));
        assert!(maps("0 1000 1\n1 100000 65536\n", 65536));
        assert!(!maps("0 1000 1\n", 1000));
        assert!(!maps("", 65534));
    }
}
