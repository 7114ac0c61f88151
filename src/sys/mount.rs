//! mount(2).

use core::ffi::CStr;

use super::Result;
use super::syscall::syscall;

/// Changes the propagation of the mount at `target`.
pub(crate) fn set_propagation(target: &CStr, flags: libc::c_ulong) -> Result<()> {
    mount(None, target, None, flags)
}

/// Mounts a new instance of a file system.
pub(crate) fn mount_new(kind: &CStr, target: &CStr, flags: libc::c_ulong) -> Result<()> {
    mount(Some(kind), target, Some(kind), flags)
}

#[expect(clippy::cast_possible_truncation, reason = "c_ulong is as wide as a register")]
fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
) -> Result<()> {
    let text = |text: Option<&CStr>| text.map_or(0, |text| text.as_ptr().expose_provenance());
    let words = [text(source), text(Some(target)), text(kind), flags as usize, 0];
    // SAFETY: C strings or null where mount(2) allows it; no data.
    unsafe { syscall(libc::SYS_mount, words) }.map(drop)
}
