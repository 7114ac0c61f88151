//! A descriptor that one process hands to another, over a socket that both have.

use core::ptr;
use std::os::fd::{OwnedFd, RawFd};

use super::args::{arg, owned};
use super::syscall::syscall;
use super::{Errno, Result};

/// `struct cmsghdr` with one descriptor behind it, as the kernel lays it out.
#[repr(C)]
struct ControlMessage {
    length: usize,
    level: i32,
    kind: i32,
    file: i32,
}

impl ControlMessage {
    const LENGTH: usize = core::mem::offset_of!(Self, file) + size_of::<i32>();
}

/// `struct iovec`.
#[repr(C)]
struct IoVec {
    at: usize,
    length: usize,
}

/// The kernel's `struct user_msghdr`.
#[repr(C)]
struct MsgHdr {
    name: usize,
    name_length: i32,
    bytes: usize,
    count: usize,
    control: usize,
    control_length: usize,
    flags: u32,
}

/// Two ends, close-on-exec.
pub(crate) fn pair() -> Result<[OwnedFd; 2]> {
    let mut ends = [-1_i32; 2];
    let at = ptr::from_mut(&mut ends).expose_provenance();
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two numbers at the address.
    unsafe { syscall(libc::SYS_socketpair, [arg(libc::AF_UNIX), arg(kind), 0, at]) }?;
    Ok(ends.map(|end| owned(arg(end))))
}

/// Sends a copy of a descriptor. Never a signal.
pub(crate) fn send(socket: RawFd, file: RawFd) -> Result<()> {
    let mut control = ControlMessage {
        length: ControlMessage::LENGTH,
        level: libc::SOL_SOCKET,
        kind: libc::SCM_RIGHTS,
        file,
    };
    with_message(&mut control, |message| {
        // SAFETY: a message of which all parts live.
        unsafe { syscall(libc::SYS_sendmsg, [arg(socket), message, arg(libc::MSG_NOSIGNAL)]) }
    })
    .map(drop)
}

/// What was sent, if anything was. `EMFILE` if it was lost for want of a number.
pub(crate) fn receive(socket: RawFd) -> Result<Option<OwnedFd>> {
    let mut control = ControlMessage { length: 0, level: 0, kind: 0, file: -1 };
    let flags = arg(libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC);
    let received = with_message(&mut control, |message| {
        // SAFETY: a message of which all parts live; the kernel writes no more than their lengths.
        unsafe { syscall(libc::SYS_recvmsg, [arg(socket), message, flags]) }
    });
    match received {
        // The other end was closed without a word.
        Ok(0) | Err(Errno::AGAIN) => Ok(None),
        Ok(_) if control.length >= ControlMessage::LENGTH && control.kind == libc::SCM_RIGHTS => {
            Ok(Some(owned(arg(control.file))))
        }
        Ok(_) => Err(Errno::MFILE),
        Err(errno) => Err(errno),
    }
}

fn with_message<T>(control: &mut ControlMessage, work: impl FnOnce(usize) -> T) -> T {
    let mut byte = 1_u8;
    let mut bytes = IoVec { at: ptr::from_mut(&mut byte).expose_provenance(), length: 1 };
    let mut message = MsgHdr {
        name: 0,
        name_length: 0,
        bytes: ptr::from_mut(&mut bytes).expose_provenance(),
        count: 1,
        control: ptr::from_mut(control).expose_provenance(),
        control_length: size_of::<ControlMessage>(),
        flags: 0,
    };
    work(ptr::from_mut(&mut message).expose_provenance())
}
