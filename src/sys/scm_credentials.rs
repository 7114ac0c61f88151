//! A process that says who it is, over a socket: the kernel adds its pid, as the one who reads it counts.

use core::ptr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::args::{arg, owned};
use super::syscall::syscall;
use super::{Errno, Result};

/// `struct cmsghdr` with a `struct ucred` behind it, as the kernel lays them out.
#[repr(C)]
#[derive(Default)]
struct ControlMessage {
    length: usize,
    level: i32,
    kind: i32,
    pid: i32,
    uid: u32,
    gid: u32,
}

impl ControlMessage {
    const LENGTH: usize = core::mem::offset_of!(Self, gid) + size_of::<u32>();
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

/// Two ends, close-on-exec. What is read from the first one comes with its sender's pid.
pub(crate) fn pair() -> Result<[OwnedFd; 2]> {
    let mut ends = [-1_i32; 2];
    let at = ptr::from_mut(&mut ends).expose_provenance();
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two numbers at the address.
    unsafe { syscall(libc::SYS_socketpair, [arg(libc::AF_UNIX), arg(kind), 0, at]) }?;
    let ends = ends.map(|end| owned(arg(end)));
    let on = 1_i32;
    let at = ptr::from_ref(&on).expose_provenance();
    let first = arg(ends[0].as_raw_fd());
    let words = [first, arg(libc::SOL_SOCKET), arg(libc::SO_PASSCRED), at, size_of::<i32>()];
    // SAFETY: the kernel reads a number at the address.
    unsafe { syscall(libc::SYS_setsockopt, words) }?;
    Ok(ends)
}

/// Sends a byte. Never a signal.
pub(crate) fn send(socket: RawFd) -> Result<()> {
    let sent = with_message(None, |message| {
        // SAFETY: a message of which all parts live.
        unsafe { syscall(libc::SYS_sendmsg, [arg(socket), message, arg(libc::MSG_NOSIGNAL)]) }
    })?;
    if sent == 1 { Ok(()) } else { Err(Errno::PIPE) }
}

/// Waits for a byte: `EPIPE` if nobody can send one any more.
pub(crate) fn receive(socket: RawFd) -> Result<()> {
    loop {
        let received = with_message(None, |message| {
            // SAFETY: a message of which all parts live; the kernel writes no more than their lengths.
            unsafe { syscall(libc::SYS_recvmsg, [arg(socket), message, 0]) }
        });
        match received {
            Ok(1) => return Ok(()),
            Ok(_) => return Err(Errno::PIPE),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The pid of who has sent a byte, if anybody has.
pub(crate) fn sender(socket: RawFd) -> Result<Option<u32>> {
    let mut control = ControlMessage::default();
    let received = with_message(Some(&mut control), |message| {
        // SAFETY: a message of which all parts live; the kernel writes no more than their lengths.
        unsafe { syscall(libc::SYS_recvmsg, [arg(socket), message, arg(libc::MSG_DONTWAIT)]) }
    });
    match received {
        Ok(0) | Err(Errno::AGAIN) => return Ok(None),
        received => received?,
    };
    let is_told = control.length >= ControlMessage::LENGTH
        && (control.level, control.kind) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS);
    // 0 is a process that is not in sight from here.
    match u32::try_from(control.pid) {
        Ok(pid) if is_told && pid > 0 => Ok(Some(pid)),
        _ => Err(Errno::SRCH),
    }
}

fn with_message<T>(control: Option<&mut ControlMessage>, work: impl FnOnce(usize) -> T) -> T {
    let mut byte = 1_u8;
    let mut bytes = IoVec { at: ptr::from_mut(&mut byte).expose_provenance(), length: 1 };
    let control_length = if control.is_some() { size_of::<ControlMessage>() } else { 0 };
    let control = control.map_or(0, |control| ptr::from_mut(control).expose_provenance());
    let mut message = MsgHdr {
        name: 0,
        name_length: 0,
        bytes: ptr::from_mut(&mut bytes).expose_provenance(),
        count: 1,
        control,
        control_length,
        flags: 0,
    };
    work(ptr::from_mut(&mut message).expose_provenance())
}
