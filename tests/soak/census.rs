//! What must not grow.

use core::fmt;
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// The system's allocator, which does not tell how much is in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: passed on to the system's. What is left out does it by these.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Census {
    descriptors: usize,
    mappings: usize,
    children: usize,
    allocated: usize,
    resident_kib: usize,
}

/// For what is made once, as a cached answer of the kernel's.
const SLACK: usize = 1024;

/// For the allocator, which keeps what threads freed where it pleases.
const SLACK_KIB: usize = 8 * 1024;
/// As above. A stack that is left is two of them.
const SLACK_MAPPINGS: usize = 40;

impl Census {
    /// Of a process with one thread, once the others have left.
    pub(crate) fn take() -> Self {
        // Joined is not gone.
        while status("Threads") != 1 {
            thread::yield_now();
        }
        Self {
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            mappings: fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
            children: children(),
            allocated: IN_USE.load(Relaxed),
            resident_kib: status("VmRSS"),
        }
    }

    pub(crate) fn compare(&self, now: &Self) {
        assert_eq!(now.descriptors, self.descriptors, "descriptors");
        assert_eq!(now.children, self.children, "children, of which some may be zombies");
        assert!(now.allocated <= self.allocated + SLACK, "{now}, and there were: {self}");
        assert!(now.mappings <= self.mappings + SLACK_MAPPINGS, "{now}, and there were: {self}");
        assert!(now.resident_kib <= self.resident_kib + SLACK_KIB, "{now}, and there were: {self}");
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptors, mappings, children, allocated, resident_kib } = self;
        write!(f, "{descriptors} descriptors, {mappings} mappings, {children} children, ")?;
        write!(f, "{allocated} bytes allocated, {resident_kib} KiB resident")
    }
}

fn status(field: &str) -> usize {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Zombies, too: of whichever parent thread, and whether or not they send a signal at their end.
fn children() -> usize {
    let own = std::process::id().to_string();
    let is_ours = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned();
        (parent == own).then_some(())
    };
    let names = fs::read_dir("/proc").unwrap().flatten();
    names.filter(|entry| entry.file_name().to_str().and_then(is_ours).is_some()).count()
}
