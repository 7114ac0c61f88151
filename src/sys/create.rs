//! New files, and the permissions that they get.

use core::ffi::CStr;
use std::os::fd::RawFd;

use super::Result;
use super::args::arg;
use super::file::umask;
use super::syscall::syscall;

/// Creates things with exactly the given permissions.
pub(crate) fn without_umask<T>(create: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = umask(0)?;
    let created = create();
    umask(before)?;
    created
}

/// `mkdirat(2)`.
pub(crate) fn mkdir(dir: RawFd, name: &CStr, mode: u32) -> Result<()> {
    let name = name.as_ptr().expose_provenance();
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_mkdirat, [arg(dir), name, mode as usize]) }.map(drop)
}

/// `mknodat(2)`: an empty file.
pub(crate) fn mknod(dir: RawFd, name: &CStr) -> Result<()> {
    let name = name.as_ptr().expose_provenance();
    let mode = (libc::S_IFREG | 0o644) as usize;
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_mknodat, [arg(dir), name, mode, 0]) }.map(drop)
}

/// `symlinkat(2)`.
pub(crate) fn symlink(dir: RawFd, name: &CStr, text: &CStr) -> Result<()> {
    let [name, text] = [name, text].map(|text| text.as_ptr().expose_provenance());
    // SAFETY: C strings.
    unsafe { syscall(libc::SYS_symlinkat, [text, arg(dir), name]) }.map(drop)
}
