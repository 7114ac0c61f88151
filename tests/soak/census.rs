//! What must not grow.

use core::fmt;
use std::fs;
use std::thread;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Census {
    descriptors: usize,
    mappings: usize,
    children: usize,
    resident_kib: usize,
}

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
            resident_kib: status("VmRSS"),
        }
    }

    pub(crate) fn compare(&self, now: &Self) {
        assert_eq!(now.descriptors, self.descriptors, "descriptors");
        assert_eq!(now.children, self.children, "children, of which some may be zombies");
        assert!(now.mappings <= self.mappings + SLACK_MAPPINGS, "{now}, and there were: {self}");
        assert!(now.resident_kib <= self.resident_kib + SLACK_KIB, "{now}, and there were: {self}");
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptors, mappings, children, resident_kib } = self;
        write!(f, "{descriptors} descriptors, {mappings} mappings, ")?;
        write!(f, "{children} children, {resident_kib} KiB resident")
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
