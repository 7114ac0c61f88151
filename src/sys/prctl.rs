//! `prctl(2)`: what it sets for this process or thread.

use core::ffi::CStr;
use core::ptr;

use super::Result;
use super::args::arg;
use super::syscall::syscall;

/// `PR_SET_NAME`: what `ps` calls this thread.
pub(crate) fn set_name(name: &CStr) -> Result<()> {
    let at = name.as_ptr().expose_provenance();
    // SAFETY: a C string; the kernel reads no more than 16 bytes of it.
    unsafe { syscall(libc::SYS_prctl, [arg(libc::PR_SET_NAME), at, 0, 0, 0]) }.map(drop)
}

/// `PR_SET_PDEATHSIG`: the signal for the end of the thread that made this process; 0 for none.
pub(crate) fn set_parent_death_signal(signal: i32) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal).map(drop)
}

pub(crate) fn parent_death_signal() -> Result<i32> {
    get_int(libc::PR_GET_PDEATHSIG)
}

/// `PR_SET_CHILD_SUBREAPER`: whether orphans among the descendants become children of this process.
pub(crate) fn set_subreaper(is_one: bool) -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, is_one.into()).map(drop)
}

pub(crate) fn is_subreaper() -> Result<bool> {
    get_int(libc::PR_GET_CHILD_SUBREAPER).map(|value| value != 0)
}

pub(crate) fn set_dumpable(dumpable: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into()).map(drop)
}

pub(crate) fn set_no_new_privs() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

pub(crate) fn has_no_new_privs() -> bool {
    prctl(libc::PR_GET_NO_NEW_PRIVS, 0) == Ok(1)
}

/// For options whose argument is a number, or that have none.
pub(super) fn prctl(option: i32, value: i32) -> Result<usize> {
    // SAFETY: these options take no pointer.
    unsafe { syscall(libc::SYS_prctl, [arg(option), arg(value), 0, 0, 0]) }
}

/// For the two options that write a number.
fn get_int(option: i32) -> Result<i32> {
    let mut value = 0;
    let at = ptr::from_mut(&mut value).expose_provenance();
    // SAFETY: the kernel writes an int, or nothing.
    unsafe { syscall(libc::SYS_prctl, [arg(option), at, 0, 0, 0]) }?;
    Ok(value)
}
