//! What a process does for its children as a whole, and for those it adopts.

use std::os::fd::RawFd;

use super::wait::Ended;
use super::{Errno, Result, file, in_root, wait};

/// A child that ended, was stopped or was continued. `None`: none did. `ECHILD`: there is no child.
pub(crate) fn next_change() -> Result<Option<(i32, Ended)>> {
    let options = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG;
    wait::waitid(libc::P_ALL, 0, options)
}

/// Whether there is a child, ended or not.
pub(crate) fn are_there() -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    wait::waitid(libc::P_ALL, 0, options) != Err(Errno::CHILD)
}

/// Whether this child has ended. It stays to be waited for.
pub(crate) fn has_ended(child: i32) -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    matches!(wait::waitid(libc::P_PID, child, options), Ok(Some(_)))
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
