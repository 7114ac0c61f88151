//! Files and directories that trials make.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

/// A directory that everybody may search, as the root of a user namespace.
pub(crate) fn dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o755);
    dir
}

pub(crate) fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A file with this content and mode.
pub(crate) fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>, mode: u32) {
    fs::write(&path, content).unwrap();
    set_mode(path, mode);
}

/// A program that is a script.
pub(crate) fn script(path: impl AsRef<Path>, text: &str) {
    write(path, text, 0o755);
}

pub(crate) fn fifo(path: impl AsRef<Path>) {
    let path = c_string(path);
    // SAFETY: a C string.
    let made = unsafe { libc::mkfifo(path.as_ptr(), 0o666) };
    assert_eq!(made, 0, "{path:?}: {}", std::io::Error::last_os_error());
}

pub(crate) fn c_string(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap()
}
