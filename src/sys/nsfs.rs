//! ioctl(2) on namespace files and on pidfds.

use core::ptr;
use std::os::fd::{OwnedFd, RawFd};

use rustix::ioctl::Opcode;

use super::args::{arg, owned};
use super::syscall::syscall;
use super::{Result, abi};

/// An ioctl that answers a new, close-on-exec descriptor: [`abi::NS_GET_USERNS`],
/// [`abi::NS_GET_PARENT`], the `PIDFD_GET_*_NAMESPACE`, and on a socket [`abi::SIOCGSKNS`].
pub(crate) fn get_fd(file: RawFd, number: Opcode) -> Result<OwnedFd> {
    // SAFETY: these ioctls take no argument.
    unsafe { syscall(libc::SYS_ioctl, [arg(file), number as usize, 0]) }.map(owned)
}

/// `NS_GET_NSTYPE`: the `CLONE_NEW*` flag of a namespace's kind. Linux 4.11.
#[expect(clippy::cast_possible_truncation, reason = "the flags have 32 bits")]
pub(crate) fn get_type(file: RawFd) -> Result<u32> {
    // SAFETY: the ioctl takes no argument.
    unsafe { syscall(libc::SYS_ioctl, [arg(file), abi::NS_GET_NSTYPE as usize, 0]) }
        .map(|flag| flag as u32)
}

/// `NS_GET_OWNER_UID`. Linux 4.11.
pub(crate) fn get_owner_uid(file: RawFd) -> Result<u32> {
    let mut uid = 0_u32;
    let at = ptr::from_mut(&mut uid).expose_provenance();
    // SAFETY: the kernel writes one uid_t.
    unsafe { syscall(libc::SYS_ioctl, [arg(file), abi::NS_GET_OWNER_UID as usize, at]) }?;
    Ok(uid)
}

/// `NS_GET_ID`. Linux 6.18.
pub(crate) fn get_id(file: RawFd) -> Result<u64> {
    let mut id = 0_u64;
    let at = ptr::from_mut(&mut id).expose_provenance();
    // SAFETY: the ioctl number says that the kernel writes 8 bytes.
    unsafe { syscall(libc::SYS_ioctl, [arg(file), abi::NS_GET_ID as usize, at]) }?;
    Ok(id)
}

/// [`open_by_handle`] of a handle that consists of a namespace's unique id. Linux 6.19.
pub(crate) fn open_by_id(id: u64) -> Result<OwnedFd> {
    open_by_handle(id, 0, 0)
}

/// `open_by_handle_at(2)` of a namespace's unique id, `CLONE_NEW*` flag and inode number. Linux 6.18.
pub(crate) fn open_by_handle(id: u64, namespace_kind: u32, inode: u32) -> Result<OwnedFd> {
    let kind = abi::FILEID_NSFS;
    let mut handle = abi::NsfsHandle { bytes: 16, kind, id: [0; 2], namespace_kind, inode };
    // The handle is not aligned to 8.
    let words = id.to_ne_bytes();
    for (word, half) in handle.id.iter_mut().zip(words.chunks_exact(4)) {
        *word = u32::from_ne_bytes([half[0], half[1], half[2], half[3]]);
    }
    let at = ptr::from_ref(&handle).expose_provenance();
    let flags = arg(libc::O_RDONLY | libc::O_CLOEXEC);
    // SAFETY: a file_handle with as many bytes as it says.
    let answer =
        unsafe { syscall(libc::SYS_open_by_handle_at, [arg(abi::FD_NSFS_ROOT), at, flags]) };
    answer.map(owned)
}

/// `listns(2)`: the unique ids of namespaces, from the one after `last` on; how many. Linux 6.19.
pub(crate) fn list(last: u64, ids: &mut [u64]) -> Result<usize> {
    let request = abi::NsIdReq { size: abi::NS_ID_REQ_SIZE, last, ..abi::NsIdReq::default() };
    let request = ptr::from_ref(&request).expose_provenance();
    let at = ids.as_mut_ptr().expose_provenance();
    // SAFETY: a request of the size that it tells, and room for as many ids as told.
    unsafe { syscall(abi::SYS_LISTNS, [request, at, ids.len(), 0]) }
}

/// `NS_GET_PID_FROM_PIDNS` and `NS_GET_PID_IN_PIDNS`, which take and answer a pid by value.
#[expect(clippy::cast_possible_truncation, reason = "pids have 32 bits")]
pub(crate) fn translate_pid(file: RawFd, number: Opcode, pid: u32) -> Result<u32> {
    // SAFETY: the argument is a number, no pointer.
    unsafe { syscall(libc::SYS_ioctl, [arg(file), number as usize, pid as usize]) }
        .map(|pid| pid as u32)
}
