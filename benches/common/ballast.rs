//! Resident memory in small pages: what a fork has to copy the tables of.

use std::ptr;

/// Held until dropped.
pub struct Ballast {
    at: *mut libc::c_void,
    bytes: usize,
}

impl Ballast {
    /// `None` if the machine has not twice as much memory to spare.
    pub fn new(mebibytes: usize) -> Option<Self> {
        let free = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = free.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kibibytes: usize = line.split_whitespace().next()?.parse().ok()?;
        if kibibytes / 1024 < 2 * mebibytes {
            return None;
        }
        let bytes = mebibytes << 20;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the mapping that was just made.
        unsafe { libc::madvise(at, bytes, libc::MADV_NOHUGEPAGE) };
        for page in (0..bytes).step_by(4096) {
            // SAFETY: inside the mapping.
            unsafe { at.cast::<u8>().add(page).write(1) };
        }
        Some(Self { at, bytes })
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        // SAFETY: the mapping of new.
        unsafe { libc::munmap(self.at, self.bytes) };
    }
}
