//! Capabilities of this thread, and what becomes of them when ids change and at exec.

use core::ptr;

use super::abi::{self, CAP_VERSION_3, CapData, CapHeader};
use super::args::arg;
use super::prctl::prctl;
use super::syscall::syscall;
use super::{Errno, Result};

/// Whether this thread has a capability, in its own user namespace, in force.
pub(crate) fn has(capability: u32) -> bool {
    let word = get().ok().and_then(|data| data.get(capability as usize / 32).copied());
    word.is_some_and(|word| word.effective & (1 << (capability % 32)) != 0)
}

/// `PR_SET_KEEPCAPS`: permitted capabilities outlive a change from uid 0 to another one. Until exec.
pub(crate) fn keep_over_ids() -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, 1).map(drop)
}

/// Makes every permitted capability inheritable and ambient, so that exec leaves it to a program that is
/// not uid 0's. Linux 4.3.
pub(crate) fn keep_over_exec() -> Result<()> {
    let mut data = get()?;
    for half in &mut data {
        half.inheritable = half.permitted;
    }
    set(&data)?;
    for (half, first) in data.iter().zip([0, 32]) {
        for bit in (0..32).filter(|bit| half.permitted & (1 << bit) != 0) {
            raise_ambient(first + bit)?;
        }
    }
    Ok(())
}

/// Those by which mounts can be changed, or what they hide be reached: mount, umount and pivot_root; handles of
/// files (`open_by_handle_at(2)`), what other processes have mapped (`/proc/PID/map_files`) and device nodes of what is
/// mounted; the memory of the machine, of processes and of the kernel.
const OVER_MOUNTS: [u32; 9] = [
    abi::CAP_SYS_ADMIN,
    abi::CAP_DAC_READ_SEARCH,
    abi::CAP_MKNOD,
    abi::CAP_SYS_RAWIO,
    abi::CAP_SYS_MODULE,
    abi::CAP_SYS_PTRACE,
    abi::CAP_SYS_BOOT,
    abi::CAP_BPF,
    abi::CAP_CHECKPOINT_RESTORE,
];

/// Gives these up for good, all of which Linux 5.9 has: also what exec would give to root, or to who runs a set-user-ID program.
pub(crate) fn drop_mount_capabilities() -> Result<()> {
    let mut data = get()?;
    for capability in OVER_MOUNTS {
        let words = [arg(libc::PR_CAPBSET_DROP), capability as usize, 0, 0, 0];
        // SAFETY: the option takes numbers.
        unsafe { syscall(libc::SYS_prctl, words) }?;
        if let Some(half) = data.get_mut(capability as usize / 32) {
            let others = !(1 << (capability % 32));
            half.permitted &= others;
            half.effective &= others;
            half.inheritable &= others;
        }
    }
    // Ambient ones go with those that are permitted.
    set(&data)
}

/// Gives up all capabilities but one of the first 32, and that one too unless this thread has it.
pub(crate) fn keep_only(capability: u32) -> Result<()> {
    let mut data = get()?;
    for (half, kept) in data.iter_mut().zip([1 << (capability % 32), 0]) {
        half.permitted &= kept;
        half.effective = half.permitted;
        half.inheritable = 0;
    }
    set(&data)
}

fn raise_ambient(capability: i32) -> Result<()> {
    let words = [arg(libc::PR_CAP_AMBIENT), arg(libc::PR_CAP_AMBIENT_RAISE), arg(capability), 0, 0];
    // SAFETY: the option takes numbers.
    match unsafe { syscall(libc::SYS_prctl, words) } {
        // A bit that is no capability of this kernel.
        Err(Errno::INVAL) => Ok(()),
        answer => answer.map(drop),
    }
}

const HEADER: CapHeader = CapHeader { version: CAP_VERSION_3, pid: 0 };

/// `capget(2)` of this thread.
fn get() -> Result<[CapData; 2]> {
    let mut header = HEADER;
    let mut data = [CapData::default(); 2];
    let header_at = ptr::from_mut(&mut header).expose_provenance();
    let at = data.as_mut_ptr().expose_provenance();
    // SAFETY: the kernel reads, and for another version writes, one header, and writes two structures.
    unsafe { syscall(libc::SYS_capget, [header_at, at]) }?;
    Ok(data)
}

/// `capset(2)` of this thread.
fn set(data: &[CapData; 2]) -> Result<()> {
    let mut header = HEADER;
    let header_at = ptr::from_mut(&mut header).expose_provenance();
    let at = data.as_ptr().expose_provenance();
    // SAFETY: as above; the structures are only read.
    unsafe { syscall(libc::SYS_capset, [header_at, at]) }.map(drop)
}
