//! The user database. For the parent alone: libc allocates, and may ask a server.

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

/// The name of a user, if it has one.
pub(crate) fn name_of(uid: u32) -> Option<OsString> {
    let mut buffer = vec![0; 1024];
    loop {
        // SAFETY: all zero bytes are a passwd, whose pointers are null.
        let mut entry: libc::passwd = unsafe { core::mem::zeroed() };
        let mut found = ptr::null_mut();
        let (at, length) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: an entry, a buffer of the length told, and a pointer to be set.
        let answer = unsafe { libc::getpwuid_r(uid, &raw mut entry, at, length, &raw mut found) };
        if answer == libc::ERANGE && length < 1 << 20 {
            buffer.resize(2 * length, 0);
            continue;
        }
        if answer != 0 || found.is_null() {
            return None;
        }
        // SAFETY: it was found, so the name is a C string in the buffer.
        let name = unsafe { CStr::from_ptr(entry.pw_name) };
        return Some(OsStr::from_bytes(name.to_bytes()).to_owned());
    }
}
