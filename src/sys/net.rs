//! The loopback interface of this thread's network namespace, and a socket to ask it by.

use core::ptr;
use std::os::fd::OwnedFd;

use super::abi::{SIOCGIFFLAGS, SIOCSIFFLAGS};
use super::args::{arg, owned};
use super::file::Fd;
use super::syscall::syscall;
use super::{Errno, Result};

/// `struct ifreq` with the flags in its union, netdevice(7).
#[repr(C)]
struct FlagsRequest {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}
const _: () = assert!(size_of::<FlagsRequest>() == 40);

/// Sets `IFF_UP` on `lo`.
pub(crate) fn loopback_up() -> Result<()> {
    let kind = arg(libc::SOCK_DGRAM | libc::SOCK_CLOEXEC);
    // A local socket takes the device calls as any other does, and needs no protocol to be there.
    // SAFETY: no pointers.
    let socket =
        unsafe { syscall(libc::SYS_socket, [arg(libc::AF_UNIX), kind, 0]) }.map(Fd::new)?;
    raise(socket.raw())
}

fn raise(socket: i32) -> Result<()> {
    let mut request = FlagsRequest { name: [0; 16], flags: 0, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    ioctl(socket, SIOCGIFFLAGS, &mut request)?;
    let up = i16::try_from(libc::IFF_UP).map_err(|_| Errno::INVAL)?;
    request.flags |= up;
    ioctl(socket, SIOCSIFFLAGS, &mut request)
}

fn ioctl(socket: i32, number: usize, request: &mut FlagsRequest) -> Result<()> {
    let at = ptr::from_mut(request).expose_provenance();
    // SAFETY: both numbers read and write one ifreq.
    unsafe { syscall(libc::SYS_ioctl, [arg(socket), number, at]) }.map(drop)
}

/// A socket on which `write(2)` asks the routing part of the kernel: `rtnetlink(7)`.
pub(crate) fn route_socket() -> Result<OwnedFd> {
    let kind = arg(libc::SOCK_RAW | libc::SOCK_CLOEXEC);
    let words = [arg(libc::AF_NETLINK), kind, arg(libc::NETLINK_ROUTE)];
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_socket, words) }.map(owned)
}
