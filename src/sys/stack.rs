//! Memory for a child: a stack, and a value that a copy of the memory still shares.

use core::ffi::c_void;
use core::ptr;

use super::Result;
use super::args::arg;
use super::span::Span;
use super::syscall::syscall;

/// A stack with guard pages around, for a child that shares our memory while we go on.
#[derive(Debug)]
pub(crate) struct Stack {
    mapping: *mut c_void,
    mapped: usize,
    bottom: *mut c_void,
    size: usize,
}

// SAFETY: the mapping belongs to this value alone, whichever thread holds it.
unsafe impl Send for Stack {}
// SAFETY: a shared reference gives nothing but addresses.
unsafe impl Sync for Stack {}

impl Stack {
    /// Room for the child's frames, which are small, also when not optimised.
    pub(crate) const SMALL: usize = 64 * 1024;
    /// Room for paths, which are looked up link by link.
    pub(crate) const FOR_PATHS: usize = 256 * 1024;
    /// As much as most programs' first thread has. What is not touched costs nothing.
    pub(crate) const FOR_CALLERS_CODE: usize = 8 * 1024 * 1024;
    /// The largest page size of the architectures we know. The one above keeps the kernel from making one
    /// mapping of the stack and what comes next.
    const GUARD: usize = 64 * 1024;

    pub(crate) fn new(size: usize) -> Result<Self> {
        let mapped = Self::GUARD + size + Self::GUARD;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        let mapping = map(mapped, libc::PROT_NONE, flags)?;
        let bottom = mapping.wrapping_byte_add(Self::GUARD);
        let stack = Self { mapping, mapped, bottom, size };
        let protection = arg(libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: the range is inside the mapping that was just made.
        unsafe { syscall(libc::SYS_mprotect, [bottom.expose_provenance(), size, protection]) }?;
        Ok(stack)
    }

    /// The whole of it, with the guard pages.
    pub(crate) fn span(&self) -> Span {
        let start = self.mapping.addr();
        Span { start, end: start + self.mapped }
    }

    pub(super) fn bottom(&self) -> *mut c_void {
        self.bottom
    }

    /// Writes the value at the upper end; the stack begins below it, aligned as the ABIs ask.
    pub(super) fn place<T>(&self, value: T) -> *mut c_void {
        const { assert!(align_of::<T>() <= 16 && size_of::<T>() <= 4096) };
        let at = self.bottom.wrapping_byte_add(self.size - size_of::<T>().next_multiple_of(16));
        // SAFETY: inside the mapping, aligned to 16, and used by nobody before the child starts.
        unsafe { at.cast::<T>().write(value) };
        at
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        unmap(self.mapping, self.mapped);
    }
}

/// A value in memory that a child with a copy of ours still shares with us.
#[derive(Debug)]
pub(crate) struct SharedBox<T>(*mut T);

// SAFETY: it owns the value as a Box does.
unsafe impl<T: Send> Send for SharedBox<T> {}
// SAFETY: it gives out shared references only.
unsafe impl<T: Sync> Sync for SharedBox<T> {}

impl<T: Sync + 'static> SharedBox<T> {
    /// `T` must have no drop glue and no alignment above a page's: checked when compiled.
    pub(crate) fn new(value: T) -> Result<Self> {
        const { assert!(!core::mem::needs_drop::<T>() && align_of::<T>() <= 4096) };
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let at = map(size_of::<T>(), libc::PROT_READ | libc::PROT_WRITE, flags)?.cast::<T>();
        // SAFETY: the mapping is large enough, aligned to a page and nobody else's.
        unsafe { at.write(value) };
        Ok(Self(at))
    }
}

impl<T> core::ops::Deref for SharedBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mapping lives as long as self and holds a T since new.
        unsafe { &*self.0 }
    }
}

impl<T> Drop for SharedBox<T> {
    fn drop(&mut self) {
        unmap(self.0.cast(), size_of::<T>());
    }
}

/// Also for a child, where its memory may go: then without libc.
#[cfg(all(
    not(linux_namespaces_portable),
    any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")
))]
fn map(size: usize, protection: i32, flags: i32) -> Result<*mut c_void> {
    let words = [0, size, arg(protection), arg(flags), arg(-1), 0];
    // SAFETY: an anonymous mapping at an address that the kernel chooses touches nothing of ours.
    unsafe { syscall(libc::SYS_mmap, words) }.map(ptr::with_exposed_provenance_mut)
}

#[cfg(not(all(
    not(linux_namespaces_portable),
    any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")
)))]
fn map(size: usize, protection: i32, flags: i32) -> Result<*mut c_void> {
    // SAFETY: an anonymous mapping at an address that the kernel chooses touches nothing of ours.
    let at = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        // Only the parent maps, where errno is its own.
        return Err(super::Errno::from_io_error(&std::io::Error::last_os_error())
            .unwrap_or(super::Errno::NOMEM));
    }
    Ok(at)
}

fn unmap(at: *mut c_void, size: usize) {
    // SAFETY: the owner of the mapping is being dropped; it was made with this size.
    unsafe { libc::munmap(at, size) };
}
