//! User and group ids.

use super::args::get;
use super::syscall::syscall;
use super::{Errno, Result};

/// The calls that take ids of 32 bits: on the oldest architectures the plain names are of 16.
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
mod calls {
    pub(super) use libc::{
        SYS_getegid as GETEGID, SYS_geteuid as GETEUID, SYS_getgroups as GETGROUPS,
        SYS_getuid as GETUID, SYS_setfsgid as SETFSGID, SYS_setfsuid as SETFSUID,
        SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID,
    };
}

#[cfg(any(target_arch = "x86", target_arch = "arm"))]
mod calls {
    pub(super) use libc::{
        SYS_getegid32 as GETEGID, SYS_geteuid32 as GETEUID, SYS_getgroups32 as GETGROUPS,
        SYS_getuid32 as GETUID, SYS_setfsgid32 as SETFSGID, SYS_setfsuid32 as SETFSUID,
        SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID,
    };
}

pub(crate) fn getuid() -> u32 {
    get(calls::GETUID)
}

pub(crate) fn geteuid() -> u32 {
    get(calls::GETEUID)
}

pub(crate) fn getegid() -> u32 {
    get(calls::GETEGID)
}

pub(crate) fn setgroups(groups: &[u32]) -> Result<()> {
    let at = groups.as_ptr().expose_provenance();
    // SAFETY: the kernel reads len ids of 32 bits at the pointer.
    unsafe { syscall(calls::SETGROUPS, [groups.len(), at]) }?;
    // SAFETY: without room the kernel writes none, and says how many there are.
    let count = unsafe { syscall(calls::GETGROUPS, [0, 0]) }?;
    is_so(count == groups.len())
}

/// A filter can answer that a call was done which was not, as those of programs do that play root.
fn is_so(is_so: bool) -> Result<()> {
    if is_so { Ok(()) } else { Err(Errno::PERM) }
}

/// `setresgid(gid, gid, gid)` of this thread alone: libc's would ask threads that do not exist.
pub(crate) fn setgid(gid: u32) -> Result<()> {
    let id = gid as usize;
    // SAFETY: no pointers.
    unsafe { syscall(calls::SETRESGID, [id, id, id]) }?;
    is_so(getegid() == gid)
}

/// `setresuid(uid, uid, uid)` of this thread alone.
pub(crate) fn setuid(uid: u32) -> Result<()> {
    let id = uid as usize;
    // SAFETY: no pointers.
    unsafe { syscall(calls::SETRESUID, [id, id, id]) }?;
    is_so(geteuid() == uid)
}

/// `setgroups(2)` to none; the groups stay where the caller or its user namespace may not change them.
pub(crate) fn drop_groups() -> Result<()> {
    match setgroups(&[]) {
        Err(Errno::PERM) => Ok(()),
        answer => answer,
    }
}

/// Gid 0 of this user namespace. Where 0 is not mapped the gid stays, if it is mapped itself, as of
/// [`set_uid_to_root`].
pub(crate) fn set_gid_to_root() -> Result<()> {
    match setgid(0) {
        Err(Errno::INVAL) => setgid(getegid()),
        answer => answer,
    }
}

/// Uid 0 of this user namespace. Where 0 is not mapped the uid stays, if it is mapped itself.
///
/// `EINVAL` where neither is: the program would keep an id of outside, with all its rights over files, and a process with
/// `CAP_SYS_PTRACE` in the user namespace could take the program over. The kernel shows such an id as 65534; where
/// that is mapped it becomes the id.
pub(crate) fn set_uid_to_root() -> Result<()> {
    match setuid(0) {
        Err(Errno::INVAL) => setuid(geteuid()),
        answer => answer,
    }
}

/// `setfsuid(0)`, `setfsgid(0)`: files are made as root's of this user namespace.
pub(crate) fn set_fs_ids_to_root() -> Result<()> {
    for call in [calls::SETFSGID, calls::SETFSUID] {
        let set = |id: usize| {
            // SAFETY: no pointers.
            unsafe { syscall(call, [id]) }
        };
        set(0)?;
        // It answers what it was before; -1 is no id, and changes nothing.
        if set(u32::MAX as usize)? != 0 {
            return Err(Errno::PERM);
        }
    }
    Ok(())
}
