//! This process: its number, group and session, and its end.

use super::Result;
use super::args::{arg, fd, get};
use super::syscall::syscall;

pub(crate) fn getpid() -> u32 {
    get(libc::SYS_getpid)
}

pub(crate) fn gettid() -> u32 {
    get(libc::SYS_gettid)
}

pub(crate) fn getppid() -> u32 {
    get(libc::SYS_getppid)
}

pub(crate) fn setsid() -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_setsid, []) }.map(drop)
}

/// `setpgid(0, group)`.
pub(crate) fn setpgid(group: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_setpgid, [0, arg(group)]) }.map(drop)
}

/// This process's group; 0 if it is one outside of its pid namespace.
pub(crate) fn getpgrp() -> i32 {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_getpgid, [0]) }.map_or(0, fd)
}

pub(crate) fn is_session_leader() -> bool {
    // SAFETY: no pointers.
    let session = unsafe { syscall(libc::SYS_getsid, [0]) };
    session == Ok(getpid() as usize)
}

/// `exit_group(2)`: nothing of libc or Rust runs at this end.
pub(crate) fn exit(status: i32) -> ! {
    loop {
        // SAFETY: no pointers.
        let _ = unsafe { syscall(libc::SYS_exit_group, [arg(status)]) };
    }
}
