//! The texts of `/proc`: bytes in, values out.

#![forbid(unsafe_code)]

/// The `Pid:` line of a pidfd's fdinfo: -1 if reaped, 0 if not visible.
pub(super) fn parse_pid(fdinfo: &str) -> Option<u32> {
    let pid = fdinfo.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    pid.trim().parse().ok().filter(|&pid| pid != 0)
}

/// The `NSpid:` line: -1 or 0 alone as above, or a number for each namespace.
pub(super) fn parse_pids(fdinfo: &str) -> Vec<u32> {
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let pids: Option<Vec<u32>> = line.split_whitespace().map(|pid| pid.parse().ok()).collect();
    pids.filter(|pids| !pids.contains(&0)).unwrap_or_default()
}

/// Of a task that was forked, and has come to no exec.
pub(super) const PF_FORKNOEXEC: u32 = 0x40;

/// The flags of a task, from its `/proc/PID/stat`: `7 (any name) S 1 ...`.
pub(crate) fn task_flags(stat: &[u8]) -> Option<u32> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let flags = stat[end..].split(|&byte| byte == b' ').nth(7)?;
    core::str::from_utf8(flags).ok()?.parse().ok()
}

/// Where the command line of a process lies, from its `/proc/PID/stat`.
pub(crate) fn command_line(stat: &[u8]) -> Option<(usize, usize)> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let mut words = core::str::from_utf8(&stat[end..]).ok()?.split_ascii_whitespace().skip(46);
    let (start, end) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    // The kernel writes 0 for what the reader may not know.
    (0 < start && start < end).then_some((start, end))
}

/// The real one of the `Uid:` line.
pub(super) fn parse_uid(status: &[u8]) -> Option<u32> {
    let mut lines = core::str::from_utf8(status).ok()?.lines();
    lines.find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

pub(super) fn parse_first_child(pids: &[u8]) -> Option<u32> {
    let first = pids.split(|&byte| byte == b' ').next()?;
    core::str::from_utf8(first).ok()?.parse().ok()
}

/// As 4026531840 in `mnt:[4026531840]`.
pub(super) fn number_in(link: &[u8]) -> Option<u64> {
    let start = link.iter().position(|&byte| byte == b'[')? + 1;
    core::str::from_utf8(link.get(start..)?.strip_suffix(b"]")?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{parse_first_child, parse_pid, parse_pids};

    #[test]
    fn the_first_child() {
        assert_eq!(parse_first_child(b"31 7 8 "), Some(31));
        assert_eq!(parse_first_child(b""), None);
        assert_eq!(parse_first_child(b"x 7"), None);
    }

    #[test]
    fn pids_are_read_from_fdinfo() {
        assert_eq!(parse_pids("Pid:\t4711\nNSpid:\t4711\t17\t1\n"), [4711, 17, 1]);
        for gone in ["Pid:\t-1\nNSpid:\t-1\n", "Pid:\t0\nNSpid:\t0\n", "Pid:\t0\n", ""] {
            assert_eq!(parse_pids(gone), []);
        }
    }

    #[test]
    fn a_pid_is_read_from_fdinfo() {
        assert_eq!(
            parse_pid("pos:\t0\nflags:\t02000002\nPid:\t4711\nNSpid:\t4711\t1\n"),
            Some(4711)
        );
        assert_eq!(parse_pid("Pid:\t-1\n"), None);
        assert_eq!(parse_pid("Pid:\t0\n"), None);
        assert_eq!(parse_pid("pos:\t0\n"), None);
        assert_eq!(parse_pid(""), None);
    }
}
