//! What trials set up with raw calls: mounts, and kernels that are older than this one.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use super::kernel::{Call, refuse, request};

fn text(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap()
}

fn mount(source: &CString, target: impl AsRef<Path>, kind: Option<&CString>, flags: libc::c_ulong) {
    let target = text(target);
    let kind = kind.map_or(ptr::null(), |kind| kind.as_ptr());
    // SAFETY: C strings, or null for the kind of a bind mount; no data.
    let answer = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, ptr::null()) };
    assert_eq!(answer, 0, "{target:?}: {}", std::io::Error::last_os_error());
}

/// Keeps what is mounted from here on in this mount namespace.
pub(crate) fn private() {
    mount(&text("none"), "/", None, libc::MS_REC | libc::MS_PRIVATE);
}

/// A bind mount, with what is below it.
pub(crate) fn bind(source: impl AsRef<Path>, target: impl AsRef<Path>) {
    mount(&text(source), target, None, libc::MS_BIND | libc::MS_REC);
}

pub(crate) fn tmpfs(target: impl AsRef<Path>) {
    tmpfs_with(target, 0);
}

pub(crate) fn tmpfs_with(target: impl AsRef<Path>, flags: libc::c_ulong) {
    let kind = text("tmpfs");
    mount(&kind, target, Some(&kind), flags);
}

pub(crate) fn unmount(target: impl AsRef<Path>) {
    let target = text(target);
    // SAFETY: a C string.
    let answer = unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    assert_eq!(answer, 0, "{target:?}: {}", std::io::Error::last_os_error());
}

/// Linux before 6.11: pidfds cannot be asked for namespaces.
pub(crate) fn refuse_pidfd_namespaces() {
    for number in 0xff01..=0xff0a {
        refuse(Call::with(libc::SYS_ioctl, 1, request(number)), libc::ENOTTY);
    }
}

/// `setns(2)` of one kind is refused.
pub(crate) fn refuse_setns(flag: libc::c_int, errno: i32) {
    refuse(Call::with(libc::SYS_setns, 1, flag.cast_unsigned()), errno);
}

/// Makes a mount shared, in a peer group of its own.
pub(crate) fn share(target: impl AsRef<Path>) {
    mount(&text("none"), target, None, libc::MS_SHARED);
}

/// A way back to the root directory of now, for what is to be removed at the end of a trial.
pub(crate) struct Root(std::fs::File);

impl Root {
    pub(crate) fn keep() -> Self {
        Self(std::fs::File::open("/").unwrap())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        use std::os::fd::AsRawFd;
        // SAFETY: this process alone; out of a chroot, as root may.
        unsafe {
            libc::fchdir(self.0.as_raw_fd());
            libc::chroot(c".".as_ptr());
        }
    }
}

/// A new proc, of the pid namespace that this process is in.
pub(crate) fn proc(target: impl AsRef<Path>) {
    private();
    let kind = text("proc");
    mount(&kind, target, Some(&kind), 0);
}
