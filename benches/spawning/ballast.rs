//! Resident memory in small pages: a fork copies an entry of the page tables for each.

use std::ffi::c_void;
use std::fs;
use std::ptr;

/// Resident until dropped.
pub(crate) struct Ballast {
    at: *mut c_void,
    bytes: usize,
}

impl Ballast {
    /// `None`, and a line that says so, if the machine has not so much memory to spare.
    pub(crate) fn new(mebibytes: usize) -> Option<Self> {
        let available = available_mebibytes();
        // What a copy of the page tables takes, and the rest of the machine.
        if available < mebibytes + mebibytes / 8 + 256 {
            println!("{mebibytes} MiB: left out, {available} MiB of memory are available");
            return None;
        }
        let bytes = mebibytes << 20;
        let (protection, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping where the kernel likes touches nothing that exists.
        let at = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, kind, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED, "mmap of {mebibytes} MiB");
        // SAFETY: the mapping that was just made. A kernel without huge pages refuses, as it may.
        unsafe { libc::madvise(at, bytes, libc::MADV_NOHUGEPAGE) };
        for page in (0..bytes).step_by(4096) {
            let page = at.cast::<u8>().wrapping_add(page);
            // SAFETY: inside the mapping, which is writable and known to nobody else.
            unsafe { page.write(1) };
        }
        Some(Self { at, bytes })
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by new with this size, and nobody refers to it.
        unsafe { libc::munmap(self.at, self.bytes) };
    }
}

fn available_mebibytes() -> usize {
    let about = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = about.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kibibytes.unwrap_or(0) / 1024
}
