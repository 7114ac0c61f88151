//! The names of this thread's UTS namespace.

use super::Result;
use super::syscall::syscall;

pub(crate) fn sethostname(name: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads len bytes at the pointer.
    unsafe { syscall(libc::SYS_sethostname, [name.as_ptr().expose_provenance(), name.len()]) }
        .map(drop)
}

pub(crate) fn setdomainname(name: &[u8]) -> Result<()> {
    // SAFETY: as above.
    unsafe { syscall(libc::SYS_setdomainname, [name.as_ptr().expose_provenance(), name.len()]) }
        .map(drop)
}

/// `uname(2)`.
pub(crate) fn uname() -> Result<libc::utsname> {
    // SAFETY: all zero bytes are a utsname.
    let mut names: libc::utsname = unsafe { core::mem::zeroed() };
    let at = core::ptr::from_mut(&mut names).expose_provenance();
    // SAFETY: the kernel writes one utsname.
    unsafe { syscall(libc::SYS_uname, [at]) }?;
    Ok(names)
}
