//! Calls that only find out whether the kernel knows something. Each is made to fail, or asks about
//! this process; none changes anything.

use core::ptr;
use std::os::fd::RawFd;

use super::abi::{self, CloneArgs};
use super::args::arg;
use super::mount::{SYS_MOUNT_SETATTR, SYS_OPEN_TREE};
use super::syscall::syscall;
use super::{Errno, Result};

// The same on all architectures but mips and alpha, where nothing is found. libc has not all of them.
const SYS_STATMOUNT: libc::c_long = 457;
const SYS_OPEN_TREE_ATTR: libc::c_long = 467;

/// An address of the kernel's, where nothing of ours is read or written.
const NOWHERE: usize = usize::MAX - 7;

/// A filter that hides a call answers one of these for it.
fn is_there(answer: Result<usize>) -> bool {
    !matches!(answer, Ok(_) | Err(Errno::NOSYS | Errno::PERM))
}

/// A call of which every argument is wrong.
fn has_call(number: libc::c_long, args: [usize; 5]) -> bool {
    // SAFETY: the callers pass no address but null and NOWHERE: the calls fail before they act.
    is_there(unsafe { syscall(number, args) })
}

pub(crate) fn clone3() -> bool {
    has_call(libc::SYS_clone3, [0; 5])
}

/// Whether clone3(2) knows these flags.
///
/// It answers `EINVAL` for those that it does not know. The others bring it to a pidfd that cannot be
/// stored, or to a cgroup that is none: so there is never a child.
pub(crate) fn clone3_knows(flags: u64, exit_signal: i32) -> bool {
    let args = CloneArgs {
        flags: flags | abi::CLONE_PIDFD | abi::CLONE_INTO_CGROUP,
        pidfd: NOWHERE as u64,
        exit_signal: arg(exit_signal) as u64,
        cgroup: i32::MAX as u64,
        ..CloneArgs::default()
    };
    let words = [ptr::from_ref(&args).expose_provenance(), size_of::<CloneArgs>()];
    // SAFETY: a clone_args of the given size; the call fails before there is a child, whatever the
    // kernel, since no pidfd can be written at that address.
    let answer = unsafe { syscall(libc::SYS_clone3, words) };
    // EPERM: a mount namespace takes privileges, which is asked after the flags were looked at.
    clone3() && matches!(answer, Err(Errno::FAULT | Errno::BADF | Errno::PERM))
}

pub(crate) fn mount_setattr() -> bool {
    has_call(SYS_MOUNT_SETATTR, [arg(-1), 0, 0, 0, 0])
}

pub(crate) fn statmount() -> bool {
    has_call(SYS_STATMOUNT, [0; 5])
}

pub(crate) fn open_tree_attr() -> bool {
    has_call(SYS_OPEN_TREE_ATTR, [arg(-1), 0, 0, 0, 0])
}

pub(crate) fn listns() -> bool {
    has_call(abi::SYS_LISTNS, [0; 5])
}

/// `OPEN_TREE_NAMESPACE`.
pub(crate) fn open_tree_namespace() -> bool {
    const NAMESPACE: usize = 2;
    let ask = |flag| {
        let words = [arg(-1), c"".as_ptr().expose_provenance(), flag | arg(libc::AT_EMPTY_PATH)];
        // SAFETY: a C string; there is no descriptor -1.
        unsafe { syscall(SYS_OPEN_TREE, words) }
    };
    // EPERM: it takes privileges, if it is no filter's answer to whatever is asked.
    ask(0) == Err(Errno::BADF) && matches!(ask(NAMESPACE), Err(Errno::BADF | Errno::PERM))
}

/// Whether the namespace's file has a handle by which it can be opened again.
pub(crate) fn has_handle(namespace: RawFd) -> bool {
    // struct file_handle: the room for the handle, its type, the handle.
    let mut handle = [0_u32; 34];
    handle[0] = 128;
    let mut mount_id = 0_i32;
    let words = [
        arg(namespace),
        c"".as_ptr().expose_provenance(),
        handle.as_mut_ptr().expose_provenance(),
        ptr::from_mut(&mut mount_id).expose_provenance(),
        arg(libc::AT_EMPTY_PATH),
    ];
    // SAFETY: a C string, a file_handle with the room that it tells, an int.
    unsafe { syscall(libc::SYS_name_to_handle_at, words) }.is_ok()
}
