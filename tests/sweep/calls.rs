//! The system calls that the crate makes: what they are called, what of their arguments tells one from
//! another, and what the kernel or a filter may answer.

use std::fmt::Write;
use std::fs;

use libc::{
    E2BIG, EACCES, EAGAIN, EBUSY, EEXIST, EINTR, EINVAL, EIO, ELOOP, EMFILE, ENFILE, ENODEV,
    ENOENT, ENOMEM, ENOSPC, ENOSYS, ENOTDIR, ENOTTY, EOPNOTSUPP, EPERM, EROFS, ESRCH, ETXTBSY,
    EUSERS, EXDEV,
};

use crate::trace::{self, Entry};

/// How arguments are shown.
#[derive(Clone, Copy)]
enum Shown {
    Path(usize),
    Number(usize),
    /// What is behind a descriptor.
    File(usize),
}
use Shown::{File, Number, Path};

struct Row {
    number: libc::c_long,
    name: &'static str,
    shown: &'static [Shown],
    errnos: &'static [i32],
}

const fn row(
    number: libc::c_long,
    name: &'static str,
    shown: &'static [Shown],
    errnos: &'static [i32],
) -> Row {
    Row { number, name, shown, errnos }
}

/// Never refused: they cannot fail, or they end the process.
const NEVER: &[i32] = &[];
const FILTERED: &[i32] = &[EPERM, ENOSYS];
const OPEN: &[i32] = &[EACCES, ENOENT, EMFILE, ENOMEM, EPERM, ENOSYS];
const LOOK: &[i32] = &[EACCES, ENOENT, ENOMEM, EPERM, ENOSYS];
const IDS: &[i32] = &[EPERM, EINVAL, EAGAIN];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(libc::SYS_capget, "capget", &[], FILTERED),
    row(libc::SYS_capset, "capset", &[], FILTERED),
    row(libc::SYS_chdir, "chdir", &[Path(0)], &[EACCES, ENOENT, EIO, EPERM]),
    row(libc::SYS_chroot, "chroot", &[Path(0)], &[EPERM, ENOMEM, ENOSYS]),
    row(libc::SYS_clock_gettime, "clock_gettime", &[], NEVER),
    row(libc::SYS_clone, "clone", &[], &[EPERM, EAGAIN, ENOMEM, ENOSPC, EINVAL]),
    row(libc::SYS_clone3, "clone3", &[], &[ENOSYS, EPERM, EAGAIN, ENOMEM, ENOSPC, EINVAL, EBUSY, EEXIST]),
    row(libc::SYS_close, "close", &[], &[EIO, EINTR]),
    row(libc::SYS_close_range, "close_range", &[], &[ENOSYS, EPERM, EINVAL, EMFILE]),
    row(libc::SYS_connect, "connect", &[], &[EPERM, ENOENT]),
    row(libc::SYS_dup3, "dup3", &[], &[EBUSY, EMFILE, EPERM]),
    row(libc::SYS_execve, "execve", &[Path(0)], &[ENOENT, EACCES, ENOMEM, EPERM, E2BIG, EAGAIN, EIO, ENOTDIR, ETXTBSY]),
    row(libc::SYS_execveat, "execveat", &[Path(1)], &[ENOENT, EACCES, ENOMEM, EPERM, E2BIG, EAGAIN, EIO, ENOTDIR, ETXTBSY]),
    row(libc::SYS_exit, "exit", &[], NEVER),
    row(libc::SYS_exit_group, "exit_group", &[], NEVER),
    row(libc::SYS_faccessat, "faccessat", &[Path(1)], LOOK),
    row(libc::SYS_faccessat2, "faccessat2", &[Path(1)], LOOK),
    row(libc::SYS_fchdir, "fchdir", &[], &[EACCES, EPERM, EIO]),
    row(libc::SYS_fcntl, "fcntl", &[Number(1)], &[EMFILE, EPERM, EINVAL]),
    row(libc::SYS_flock, "flock", &[], &[EINTR, EAGAIN, ENOMEM, EPERM]),
    row(libc::SYS_fsconfig, "fsconfig", &[Number(1)], &[EINVAL, EPERM, ENOMEM, EBUSY]),
    row(libc::SYS_fsmount, "fsmount", &[], &[EPERM, ENOMEM, EMFILE, EINVAL]),
    row(libc::SYS_fsopen, "fsopen", &[Path(0)], &[ENOSYS, EPERM, ENODEV, ENOMEM, EMFILE]),
    row(libc::SYS_fstat, "fstat", &[], &[EPERM, ENOMEM]),
    row(libc::SYS_fstatfs, "fstatfs", &[], &[EPERM, ENOSYS, ENOMEM]),
    row(libc::SYS_futex, "futex", &[Number(1)], &[EINTR]),
    row(libc::SYS_getdents64, "getdents64", &[], &[EPERM, ENOMEM, ENOENT]),
    row(libc::SYS_getegid, "getegid", &[], NEVER),
    row(libc::SYS_geteuid, "geteuid", &[], NEVER),
    row(libc::SYS_getgid, "getgid", &[], NEVER),
    row(libc::SYS_getpgid, "getpgid", &[], NEVER),
    row(libc::SYS_getpid, "getpid", &[], NEVER),
    row(libc::SYS_getppid, "getppid", &[], NEVER),
    // Asked by std, for its hash maps.
    row(libc::SYS_getrandom, "getrandom", &[], NEVER),
    row(libc::SYS_getsid, "getsid", &[], NEVER),
    row(libc::SYS_gettid, "gettid", &[], NEVER),
    row(libc::SYS_getgroups, "getgroups", &[], NEVER),
    row(libc::SYS_getuid, "getuid", &[], NEVER),
    row(libc::SYS_ioctl, "ioctl", &[Number(1)], &[EPERM, ENOTTY, EINVAL, EMFILE, ENOMEM]),
    row(libc::SYS_kill, "kill", &[], &[EPERM, ESRCH]),
    row(libc::SYS_lseek, "lseek", &[], &[EPERM]),
    row(libc::SYS_madvise, "madvise", &[], &[ENOMEM, EPERM]),
    row(libc::SYS_memfd_create, "memfd_create", &[], &[EMFILE, ENOMEM, ENOSYS, EPERM]),
    row(libc::SYS_mkdirat, "mkdirat", &[Path(1)], &[EACCES, EROFS, ENOSPC, EPERM, EEXIST]),
    row(libc::SYS_mknodat, "mknodat", &[Path(1)], &[EACCES, EROFS, ENOSPC, EPERM]),
    row(libc::SYS_mmap, "mmap", &[], &[ENOMEM, EPERM]),
    row(libc::SYS_mount, "mount", &[Path(1), Number(3)], &[EPERM, EINVAL, ENOMEM, EBUSY, ENOENT]),
    row(libc::SYS_mount_setattr, "mount_setattr", &[Number(0)], &[ENOSYS, EPERM, EINVAL, ENOMEM]),
    row(libc::SYS_move_mount, "move_mount", &[], &[ENOSYS, EPERM, EINVAL, ENOENT, ENOMEM, ELOOP]),
    row(libc::SYS_mprotect, "mprotect", &[], &[ENOMEM, EPERM]),
    // It fails for a part of a mapping alone.
    row(libc::SYS_munmap, "munmap", &[], NEVER),
    row(libc::SYS_name_to_handle_at, "name_to_handle_at", &[], &[EOPNOTSUPP, EPERM, ENOSYS]),
    #[cfg(target_pointer_width = "64")]
    row(libc::SYS_newfstatat, "newfstatat", &[Path(1)], LOOK),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_open, "open", &[Path(0)], OPEN),
    row(libc::SYS_open_by_handle_at, "open_by_handle_at", &[], &[EPERM, libc::ESTALE, EMFILE, ENOSYS]),
    row(libc::SYS_open_tree, "open_tree", &[Path(1)], &[ENOSYS, EPERM, ENOENT, EMFILE, ENOMEM]),
    row(libc::SYS_openat, "openat", &[Path(1)], OPEN),
    row(libc::SYS_openat2, "openat2", &[Path(1)], &[EACCES, ENOENT, EMFILE, ENOMEM, EPERM, ENOSYS, EAGAIN, EXDEV]),
    row(libc::SYS_pidfd_getfd, "pidfd_getfd", &[], &[EPERM, ENOSYS, EMFILE]),
    row(libc::SYS_pidfd_open, "pidfd_open", &[], &[EPERM, ENOSYS, EMFILE, ESRCH]),
    row(libc::SYS_pidfd_send_signal, "pidfd_send_signal", &[], &[EPERM, ENOSYS, ESRCH]),
    row(libc::SYS_pipe2, "pipe2", &[], &[EMFILE, ENFILE, EPERM]),
    row(libc::SYS_pivot_root, "pivot_root", &[], &[EPERM, EINVAL, ENOSYS]),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_poll, "poll", &[], &[EINTR, ENOMEM, EPERM]),
    row(libc::SYS_ppoll, "ppoll", &[], &[EINTR, ENOMEM, EPERM]),
    row(libc::SYS_preadv, "preadv", &[], &[EPERM, EIO, ENOMEM]),
    // Asked by std for the working directory.
    row(libc::SYS_getcwd, "getcwd", &[], &[ENOENT, EPERM]),
    row(libc::SYS_prctl, "prctl", &[Number(0)], &[EPERM, EINVAL]),
    row(libc::SYS_read, "read", &[File(0)], &[EINTR, EIO, EPERM, ESRCH]),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_readlink, "readlink", &[Path(0)], LOOK),
    row(libc::SYS_readlinkat, "readlinkat", &[Path(1)], LOOK),
    row(libc::SYS_rseq, "rseq", &[], FILTERED),
    row(libc::SYS_rt_sigaction, "rt_sigaction", &[Number(0)], FILTERED),
    row(libc::SYS_rt_sigprocmask, "rt_sigprocmask", &[], NEVER),
    row(libc::SYS_recvmsg, "recvmsg", &[], &[EPERM, ENOMEM, EMFILE]),
    row(libc::SYS_rt_sigreturn, "rt_sigreturn", &[], NEVER),
    row(libc::SYS_rt_sigtimedwait, "rt_sigtimedwait", &[], &[EINTR, EPERM]),
    row(libc::SYS_sched_getaffinity, "sched_getaffinity", &[], FILTERED),
    row(libc::SYS_sched_yield, "sched_yield", &[], NEVER),
    row(libc::SYS_sendmsg, "sendmsg", &[], &[EPERM, ENOMEM]),
    row(libc::SYS_set_robust_list, "set_robust_list", &[], FILTERED),
    row(libc::SYS_setdomainname, "setdomainname", &[], FILTERED),
    row(libc::SYS_setfsgid, "setfsgid", &[], FILTERED),
    row(libc::SYS_setfsuid, "setfsuid", &[], FILTERED),
    row(libc::SYS_setgroups, "setgroups", &[], &[EPERM, EINVAL, ENOMEM]),
    row(libc::SYS_sethostname, "sethostname", &[], FILTERED),
    row(libc::SYS_setns, "setns", &[Number(1)], &[EPERM, EINVAL, ENOMEM, ENOSYS, ESRCH, EUSERS]),
    row(libc::SYS_setpgid, "setpgid", &[], &[EPERM, EACCES, ESRCH]),
    row(libc::SYS_setresgid, "setresgid", &[], IDS),
    row(libc::SYS_setresuid, "setresuid", &[], IDS),
    row(libc::SYS_setsid, "setsid", &[], FILTERED),
    row(libc::SYS_sigaltstack, "sigaltstack", &[], FILTERED),
    row(libc::SYS_signalfd4, "signalfd4", &[], &[EMFILE, ENOMEM, ENOSYS, EPERM]),
    row(libc::SYS_socket, "socket", &[], &[EACCES, EMFILE, ENOMEM, EPERM]),
    row(libc::SYS_socketpair, "socketpair", &[], &[EACCES, EMFILE, ENOMEM, EPERM]),
    row(libc::SYS_statfs, "statfs", &[Path(0)], LOOK),
    row(libc::SYS_statx, "statx", &[Path(1)], LOOK),
    row(libc::SYS_symlinkat, "symlinkat", &[Path(0)], &[EACCES, EROFS, ENOSPC, EPERM]),
    row(libc::SYS_tgkill, "tgkill", &[], &[EPERM, ESRCH]),
    row(libc::SYS_umask, "umask", &[], FILTERED),
    row(libc::SYS_umount2, "umount2", &[Path(0)], &[EPERM, EINVAL, EBUSY, ENOMEM]),
    row(libc::SYS_uname, "uname", &[], FILTERED),
    row(libc::SYS_unlinkat, "unlinkat", &[Path(1)], &[EACCES, EPERM, EROFS, EIO, ENOENT]),
    row(libc::SYS_unshare, "unshare", &[Number(0)], &[EPERM, EINVAL, ENOMEM, ENOSPC, EUSERS]),
    row(libc::SYS_waitid, "waitid", &[], &[EINTR, EPERM]),
    row(libc::SYS_wait4, "wait4", &[], &[EINTR, EPERM]),
    row(libc::SYS_write, "write", &[File(0)], &[EINTR, EIO, EPERM, EINVAL, ENOSPC]),
    row(457, "statmount", &[], &[ENOSYS, EPERM, ENOMEM]),
    row(458, "listmount", &[], &[ENOSYS, EPERM, ENOMEM]),
    row(467, "open_tree_attr", &[], &[ENOSYS, EPERM, EINVAL]),
    row(470, "listns", &[], &[ENOSYS, EPERM, ENOMEM]),
];

/// As many bytes as the frames of a lookup have.
const FRAMES: u64 = 64 << 10;

fn find(number: libc::c_long) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.number == number)
}

pub(crate) fn name(number: libc::c_long) -> &'static str {
    find(number).map_or("a call without a row", |row| row.name)
}

/// What the call may answer; `None` for one that is not in the table.
pub(crate) fn errnos(number: libc::c_long) -> Option<&'static [i32]> {
    find(number).map(|row| row.errnos)
}

/// No filter lets a process start that may not do these.
pub(crate) fn may_be_filtered(number: libc::c_long) -> bool {
    ![libc::SYS_close, libc::SYS_futex, libc::SYS_execve, libc::SYS_execveat].contains(&number)
}

/// What is done with one number after the other.
pub(crate) fn is_repeated(number: libc::c_long) -> bool {
    [libc::SYS_close, libc::SYS_rt_sigaction].contains(&number)
}

/// The number is free after a close(2), whatever that answers.
pub(crate) fn is_done_in_any_case(number: libc::c_long) -> bool {
    number == libc::SYS_close
}

/// The call and what of its arguments tells it from others.
///
/// What lies in the memory of a process that is not dumpable is looked for in the parent's, from which it was
/// copied. What it has written to its stack since is not there.
pub(crate) fn describe(pid: i32, parent: i32, entry: &Entry) -> String {
    let Some(row) = find(entry.number) else {
        return format!("call {}", entry.number);
    };
    let mut text = row.name.to_owned();
    for shown in row.shown {
        match *shown {
            Path(at) => {
                let read = |pid| trace::read(pid, entry.args[at], 64);
                let bytes = Some(read(pid)).filter(|it| !it.is_empty());
                let is_in_frame = entry.args[at].wrapping_sub(entry.stack) < FRAMES;
                let bytes = bytes.or_else(|| (!is_in_frame).then(|| read(parent)));
                let path = bytes.as_deref().map(|bytes| bytes.split(|&byte| byte == 0).next());
                match path {
                    Some(path) => write!(text, " {:?}", String::from_utf8_lossy(path.unwrap())),
                    None => write!(text, " ?"),
                }
            }
            Number(at) => write!(text, " {:#x}", entry.args[at] as u32),
            File(at) => write!(text, " {}", file(pid, entry.args[at] as u32)),
        }
        .unwrap();
    }
    text
}

/// The name of a file, or what else it is; `?` where this process may not look.
fn file(pid: i32, number: u32) -> String {
    let Ok(link) = fs::read_link(format!("/proc/{pid}/fd/{number}")) else {
        return "?".to_owned();
    };
    match link.file_name().filter(|_| link.is_absolute()) {
        Some(name) => format!("{name:?}"),
        // As pipe:[12345].
        None => link.to_string_lossy().split(':').next().unwrap_or_default().to_owned(),
    }
}

/// The flags of a process that is about to be made.
pub(crate) fn clone_flags(pid: i32, entry: &Entry) -> u64 {
    if entry.number == libc::SYS_clone {
        return entry.args[0];
    }
    if entry.number != libc::SYS_clone3 {
        return 0;
    }
    let bytes = trace::read(pid, entry.args[0], 8);
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

/// `EPERM` and the like.
pub(crate) fn errno_name(errno: i32) -> String {
    const NAMES: &[(i32, &str)] = &[
        (E2BIG, "E2BIG"),
        (EACCES, "EACCES"),
        (EAGAIN, "EAGAIN"),
        (EBUSY, "EBUSY"),
        (libc::ECHILD, "ECHILD"),
        (EEXIST, "EEXIST"),
        (EINTR, "EINTR"),
        (EINVAL, "EINVAL"),
        (EIO, "EIO"),
        (ELOOP, "ELOOP"),
        (EMFILE, "EMFILE"),
        (ENFILE, "ENFILE"),
        (ENODEV, "ENODEV"),
        (ENOENT, "ENOENT"),
        (ENOMEM, "ENOMEM"),
        (ENOSPC, "ENOSPC"),
        (ENOSYS, "ENOSYS"),
        (ENOTDIR, "ENOTDIR"),
        (ENOTTY, "ENOTTY"),
        (EOPNOTSUPP, "EOPNOTSUPP"),
        (EPERM, "EPERM"),
        (EROFS, "EROFS"),
        (ESRCH, "ESRCH"),
        (libc::ESTALE, "ESTALE"),
        (ETXTBSY, "ETXTBSY"),
        (EUSERS, "EUSERS"),
        (EXDEV, "EXDEV"),
    ];
    let found = NAMES.iter().find(|(number, _)| *number == errno);
    found.map_or_else(|| format!("error {errno}"), |(_, name)| (*name).to_owned())
}
