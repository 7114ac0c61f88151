//! Which processes this thread's `/proc` does not even name.

#![forbid(unsafe_code)]

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use crate::mountinfo;
use crate::namespace::Namespace;
use crate::proc_fs::ProcFs;
use crate::sys::{abi, caps};

use super::{Gap, text};

/// `ino` is the number of this thread's pid namespace.
pub(super) fn gaps(proc: &ProcFs, ino: u64, mounts: &[u8]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    if ino != abi::PROC_PID_INIT_INO && !is_the_first(proc) {
        gaps.push(Gap::OtherPidNamespaces);
    }
    if !may_see_all(proc) && is_hiding(proc, mounts) {
        gaps.push(Gap::HiddenProcesses);
    }
    gaps
}

/// Whether `/proc` counts as the first pid namespace does, where process 2 is the father of the kernel's
/// threads, which are nowhere else.
fn is_the_first(proc: &ProcFs) -> bool {
    proc.read_once(proc.as_fd(), "2/stat").is_ok_and(|stat| text::is_kernel_thread(&stat))
}

/// Whether `hidepid` hides nothing from this thread, which may trace all that there are. Who owns a pid namespace may
/// not trace those that joined it from a user namespace around, and does not even see that there are any.
fn may_see_all(proc: &ProcFs) -> bool {
    let first = Some((Namespace::User, abi::PROC_USER_INIT_INO));
    let is_of_first_users = || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let link = proc.read_link(proc.as_fd(), "thread-self/ns/user", &mut buffer);
        link.is_ok_and(|link| text::namespace(link) == first)
    };
    caps::has(abi::CAP_SYS_PTRACE) && is_of_first_users()
}

fn is_hiding(proc: &ProcFs, mounts: &[u8]) -> bool {
    let mount = mountinfo::lines(mounts).find(|mount| mount.id == proc.mount());
    mount.is_some_and(|mount| text::hides_processes(mount.options))
}
