//! What a process does for its children as a whole, and for those it adopts.

use super::file;
use super::in_root;
use super::process::{self, Ended, RawFd, arg};
use super::syscall::syscall;
use super::{Errno, Result};

/// A child that ended, was stopped or was continued. `None`: none did. `ECHILD`: there is no child.
pub(crate) fn next_change() -> Result<Option<(i32, Ended)>> {
    let options = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG;
    process::waitid(libc::P_ALL, 0, options)
}

/// Whether there is a child, ended or not.
pub(crate) fn are_there() -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    process::waitid(libc::P_ALL, 0, options) != Err(Errno::CHILD)
}

/// Whether this child has ended. It stays to be waited for.
pub(crate) fn has_ended(child: i32) -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    matches!(process::waitid(libc::P_PID, child, options), Ok(Some(_)))
}

/// `kill(2)`: a process, a negative number for a group, -1 for all.
pub(crate) fn kill(whom: i32, signal: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_kill, [arg(whom), arg(signal)]) }.map(drop)
}

/// Sends this process a signal.
pub(crate) fn signal_self(signal: i32) -> Result<()> {
    let own = process::getpid() as usize;
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_kill, [own, arg(signal)]) }.map(drop)
}

/// `PR_SET_CHILD_SUBREAPER`: whether orphans among the descendants become children of this process.
pub(crate) fn set_subreaper(is_one: bool) -> Result<()> {
    let words = [arg(libc::PR_SET_CHILD_SUBREAPER), is_one.into(), 0, 0, 0];
    // SAFETY: the option takes a number.
    unsafe { syscall(libc::SYS_prctl, words) }.map(drop)
}

pub(crate) fn is_subreaper() -> Result<bool> {
    let mut answer = 0;
    process::ask(libc::PR_GET_CHILD_SUBREAPER, &mut answer).map(|()| answer != 0)
}

/// Calls `each` with the children of this thread, as the kernel lists them below the root of `/proc`. Some
/// may be missing while others end. Linux with `CONFIG_PROC_CHILDREN`.
pub(crate) fn for_each(proc: RawFd, mut each: impl FnMut(i32)) -> Result<()> {
    let list = in_root::open_on_same_mount(proc, c"thread-self/children", libc::O_RDONLY)?;
    let mut number = 0_i32;
    let mut buffer = [0; 512];
    loop {
        match file::read(list.raw(), &mut buffer) {
            Err(Errno::INTR) => {}
            Ok(length) if length > 0 => {
                for &byte in buffer.iter().take(length) {
                    if byte.is_ascii_digit() {
                        number = number.wrapping_mul(10).wrapping_add((byte - b'0').into());
                    } else if number > 0 {
                        each(number);
                        number = 0;
                    }
                }
            }
            answer => return answer.map(drop),
        }
    }
}
