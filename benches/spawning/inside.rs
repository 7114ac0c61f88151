//! What a child does in its new namespaces, the same for all that compete: it maps its own ids to
//! root, and makes its mounts private. System calls only, for it runs between clone and exec.

use std::ffi::{CStr, CString};
use std::ptr;

use linux_namespaces::NamespaceSet;

/// Made ready in the parent.
pub(crate) struct Inside {
    maps: Vec<(&'static CStr, CString)>,
    private_mounts: bool,
}

impl Inside {
    pub(crate) fn new(set: NamespaceSet) -> Self {
        // SAFETY: asks for a number.
        let uid = unsafe { libc::geteuid() };
        // SAFETY: asks for a number.
        let gid = unsafe { libc::getegid() };
        let text = |text: String| CString::new(text).unwrap();
        let maps = vec![
            (c"/proc/self/setgroups", text("deny".to_owned())),
            (c"/proc/self/uid_map", text(format!("0 {uid} 1"))),
            (c"/proc/self/gid_map", text(format!("0 {gid} 1"))),
        ];
        Self {
            maps: if set.contains(NamespaceSet::USER) { maps } else { Vec::new() },
            private_mounts: set.contains(NamespaceSet::MOUNT),
        }
    }

    /// The same without the id maps.
    pub(crate) fn mounts_only(set: NamespaceSet) -> Self {
        Self { maps: Vec::new(), private_mounts: set.contains(NamespaceSet::MOUNT) }
    }

    /// Whether all of it was done.
    pub(crate) fn set_up(&self) -> bool {
        self.maps.iter().all(|(path, text)| write(path, text))
            && (!self.private_mounts || make_mounts_private())
    }
}

fn write(path: &CStr, text: &CStr) -> bool {
    // SAFETY: a C string; no mode is read without O_CREAT.
    let file = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    let length = text.count_bytes();
    // SAFETY: the kernel reads as many bytes as the string has.
    let written = unsafe { libc::write(file, text.as_ptr().cast(), length) };
    // SAFETY: the descriptor was opened above and is used by nobody else.
    unsafe { libc::close(file) };
    usize::try_from(written) == Ok(length)
}

fn make_mounts_private() -> bool {
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: a C string; a change of propagation reads no source, type or data.
    let answer =
        unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null()) };
    answer == 0
}
