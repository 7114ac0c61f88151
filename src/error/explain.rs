//! One table: what the kernel's answer means at each step, and what to do about it.

#![forbid(unsafe_code)]

use crate::error::{ErrorKind, Step};
use crate::namespace::Namespace;
use crate::sys::Errno;

/// A row holds for one kind of namespace, or for any.
type Row = (Step, Option<Namespace>, Errno, &'static str);

const NO_USER_NAMESPACES: &str = "making it needs CAP_SYS_ADMIN, or a user namespace made with it; \
    for a user namespace itself: the process is in a chroot, its ids are not mapped here, a security \
    policy (sysctl kernel.unprivileged_userns_clone, an AppArmor or SELinux rule) or a seccomp filter \
    forbids it";
const LIMIT: &str = "a limit on namespaces is reached: a user.max_*_namespaces sysctl of this user \
    namespace or of one around it, or the depth of 32 nested ones; the kernel frees the place of a \
    dead namespace only some 50 ms after its end";
const DEAD_PID_NAMESPACE: &str = "memory is short, or the pid namespace for this thread's children is \
    dead: its PID 1 has ended, and no process can be made in it any more";
const MEMORY: &str =
    "memory is short: RLIMIT_AS of this process, the limit of a cgroup, or that of the machine";
const PROCESSES: &str = "the limit on processes is reached: RLIMIT_NPROC, pids.max of a cgroup, or \
    kernel.threads-max";
const FILES: &str = "this process has as many descriptors open as RLIMIT_NOFILE allows";
const FILTERED: &str = "the kernel lacks this system call, a seccomp filter blocks it, or a tool that runs \
    this program (valgrind, qemu-user) does not support it";
const CLONE_FILTERED: &str = "a seccomp filter blocks clone(2), or the program runs on valgrind, which does not \
    support CLONE_FILES: id maps that are written from outside and entered user, pid and time namespaces take it";
const ENTER_DENIED: &str = "entering needs CAP_SYS_ADMIN both in the user namespace that owns it and \
    in one's own, and CAP_SYS_CHROOT for a mount namespace; a process's namespaces also need the \
    right to trace it; enter its user namespace in the same call if that gives the right";
const ONE_LINE: &str = "without CAP_SETUID or CAP_SETGID in the parent user namespace the kernel takes \
    one line that maps the caller's own id, and a gid map only with setgroups denied; use map_root(), \
    or run as root; uid 0 of outside takes CAP_SETFCAP, too; if that was the map: a security policy (AppArmor's \
    kernel.apparmor_restrict_unprivileged_userns) lets the namespace be made but gives no rights in it";
const MAP_ACCESS: &str = "the file belongs to another user because the process is not dumpable \
    (PR_SET_DUMPABLE), or /proc is read-only";
const COVERED: &str = "something is mounted over the file in /proc";
const HELPER_DIED: &str = "the helper that writes it was killed";
const MOUNT_DENIED: &str = "it needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace; who \
    is in a newer user namespace needs a new mount namespace, or a process that stayed outside; a Landlock \
    or seccomp rule may forbid mounts, too";
const IN_OTHER_MOUNT_NAMESPACE: &str =
    "the directory lies in another mount namespace than this thread's: do it there";
const LOOP: &str = "a mount namespace cannot be pinned in itself, nor in one that is newer, because such a \
    loop would never end: let a process pin it that stayed in an older one (Linux 6.18 takes some newer ones \
    for older: make it again)";
const LOOP_OR_SHARED: &str = "a mount namespace cannot be pinned in itself, nor in one that is newer, because \
    such a loop would never end: let a process pin it that stayed in an older one; nor in a directory whose \
    mounts propagate to others: make it private, as PinDir::create does; nor in a directory of another mount \
    namespace than this thread's";
const ONLY_FILTERED: &str = "this call cannot fail by itself: a seccomp filter blocks it";
const NOT_MAPPED: &str = "an id is not mapped in this user namespace";

#[rustfmt::skip]
const TABLE: &[Row] = &[
    (Step::OpenNamespace, None, Errno::ACCESS, "opening the namespaces of a process needs the right to trace it: the same user, no setuid program, no more capabilities; root inside a container is not enough"),
    (Step::OpenNamespace, None, Errno::PERM, "the namespace lies outside of this process's own user or pid namespace, or a seccomp filter forbids the call"),
    (Step::OpenNamespace, Some(Namespace::Net), Errno::PERM, "the namespace lies outside of this process's own user or pid namespace; that of a socket needs CAP_NET_ADMIN in the user namespace that owns it; or a seccomp filter forbids the call"),
    (Step::OpenNamespace, None, Errno::SRCH, "the process has ended"),
    (Step::OpenNamespace, None, Errno::NOENT, "no such file, or the kernel has no such kind of namespace; pid_for_children appears with the first child before Linux 7.1"),
    (Step::OpenNamespace, None, Errno::LOOP, "more than 40 links, or links in a circle; in a root that is not the caller's own, also a magic link, as /proc/self/fd/7, or a link to a file of /proc/PID/ns: name that file itself"),
    (Step::OpenNamespace, None, Errno::STALE, "no namespace has this id, or none that this process may open; Linux 6.18 and older do not open any by its id"),
    (Step::OpenProcess, None, Errno::SRCH, "there is no such process in this pid namespace"),
    (Step::OpenProcess, None, Errno::INVAL, "a pid is a positive number, and one of a process, not of a thread"),
    (Step::OpenProcess, None, Errno::NOSYS, FILTERED),
    (Step::CopyFd, None, Errno::BADF, "the process has no such descriptor open"),
    (Step::CopyFd, None, Errno::PERM, "copying a descriptor needs the right to attach to the process as a debugger does: the same user and no more capabilities, or CAP_SYS_PTRACE; a security policy such as Yama, or a seccomp filter such as Docker's, may forbid it"),
    (Step::CopyFd, None, Errno::SRCH, "the process has ended"),
    (Step::CopyFd, None, Errno::NOSYS, FILTERED),
    (Step::QueryNamespace, None, Errno::NOTTY, "this kernel cannot be asked that: the unique id came with Linux 6.18, the translation of pids with 6.11"),
    (Step::QueryNamespace, None, Errno::INVAL, "only a pid or user namespace has a parent, and only a user namespace an owner's uid"),
    (Step::QueryNamespace, None, Errno::PERM, "the answer lies outside of this process's own user or pid namespace"),
    (Step::QueryNamespace, None, Errno::SRCH, "no such process there"),
    (Step::QueryNamespace, None, Errno::NOSYS, FILTERED),
    (Step::Clone, None, Errno::PERM, NO_USER_NAMESPACES),
    (Step::Clone, None, Errno::BADF, "the directory is none of a cgroup of version 2"),
    // Where clone3(2) is not to be had, the child opens its file, which is not there in another directory either.
    (Step::Clone, None, Errno::NOENT, "the cgroup has been removed, or the directory is none of a cgroup of version 2"),
    (Step::Clone, None, Errno::BUSY, "the cgroup hands controllers on to the cgroups below it, so that no process may be in it itself"),
    (Step::Clone, None, Errno::OPNOTSUPP, "the cgroup is threaded, or its domain is invalid: cgroups(7)"),
    (Step::Clone, None, Errno::NODEV, "the cgroup has been removed"),
    (Step::Clone, None, Errno::ACCESS, "moving a process into the cgroup takes write access to its cgroup.procs, and to that of the nearest cgroup above both"),
    (Step::Clone, None, Errno::EXIST, "one of the pids is in use in its pid namespace"),
    (Step::Clone, None, Errno::INVAL, "the kernel was built without one of these kinds of namespace, or more pids were given than there are pid namespaces to have them in, or for a new one another than 1, or the thread's earlier unshare(2) of a time namespace forbids a child that shares memory (before Linux 6.2)"),
    (Step::Clone, None, Errno::NOSPC, LIMIT),
    (Step::Clone, None, Errno::USERS, LIMIT),
    (Step::Clone, None, Errno::AGAIN, PROCESSES),
    (Step::Clone, None, Errno::NOMEM, DEAD_PID_NAMESPACE),
    (Step::Clone, None, Errno::NOSYS, CLONE_FILTERED),
    (Step::Unshare, Some(Namespace::User), Errno::INVAL, "a process with several threads cannot make a user namespace for one of them; use Command, or call this before the first thread"),
    (Step::Unshare, None, Errno::INVAL, "the kernel was built without one of these kinds of namespace, or this thread already has a new pid namespace waiting for its children"),
    (Step::Unshare, None, Errno::PERM, NO_USER_NAMESPACES),
    (Step::Unshare, None, Errno::NOSPC, LIMIT),
    (Step::Unshare, None, Errno::USERS, LIMIT),
    (Step::Unshare, None, Errno::NOSYS, FILTERED),
    (Step::Enter, Some(Namespace::User), Errno::INVAL, "one's own user namespace cannot be entered again, nor can any by a process with several threads; use Command::enter"),
    (Step::Enter, Some(Namespace::Time), Errno::USERS, "a process with several threads cannot enter a time namespace; use Command::enter"),
    (Step::Enter, Some(Namespace::Pid), Errno::INVAL, "only one's own pid namespace or one below it can be entered"),
    (Step::Enter, None, Errno::INVAL, "a user namespace can be entered only if it is not one's own and the process has one thread; a pid namespace only if it is one's own or below it"),
    (Step::Enter, None, Errno::USERS, "a process with several threads cannot enter a time namespace; use Command::enter"),
    (Step::Enter, None, Errno::PERM, ENTER_DENIED),
    (Step::Enter, None, Errno::SRCH, "the process has ended"),
    (Step::Enter, None, Errno::NOSYS, FILTERED),
    (Step::Leave, None, Errno::PERM, "going back needs CAP_SYS_ADMIN in the user namespace that owns the old namespace; a process in a user namespace of its own that kept the machine's namespaces can leave these but not return: use run()"),
    (Step::StartIdMapHelper, None, Errno::AGAIN, PROCESSES),
    (Step::StartIdMapHelper, None, Errno::NOMEM, DEAD_PID_NAMESPACE),
    (Step::StartIdMapHelper, None, Errno::NOSYS, CLONE_FILTERED),
    (Step::WriteSetgroups, None, Errno::PERM, "setgroups can be denied only before the gid map is written, and allowed only where it was not denied before"),
    (Step::WriteSetgroups, None, Errno::ACCESS, MAP_ACCESS),
    (Step::WriteUidMap, None, Errno::PERM, ONE_LINE),
    (Step::WriteUidMap, None, Errno::ACCESS, MAP_ACCESS),
    (Step::WriteUidMap, None, Errno::ROFS, MAP_ACCESS),
    (Step::WriteUidMap, None, Errno::PIPE, HELPER_DIED),
    (Step::WriteGidMap, None, Errno::PIPE, HELPER_DIED),
    (Step::WriteSetgroups, None, Errno::PIPE, HELPER_DIED),
    (Step::WriteGidMap, None, Errno::PERM, ONE_LINE),
    (Step::WriteGidMap, None, Errno::XDEV, COVERED),
    (Step::WriteUidMap, None, Errno::XDEV, COVERED),
    (Step::WriteSetgroups, None, Errno::XDEV, COVERED),
    (Step::WriteGidMap, None, Errno::ACCESS, MAP_ACCESS),
    (Step::WriteTimeOffsets, None, Errno::RANGE, "a clock would show less than 0 or more than 4611686018 seconds in the namespace"),
    (Step::WriteTimeOffsets, None, Errno::ACCESS, "the file belongs to another user because the process is not dumpable (PR_SET_DUMPABLE), or the namespace has had a process already, after which its clocks stay as they are"),
    (Step::WriteTimeOffsets, None, Errno::PERM, "it needs CAP_SYS_TIME in the user namespace that owns the time namespace"),
    (Step::WriteTimeOffsets, None, Errno::XDEV, COVERED),
    (Step::SetPropagation, None, Errno::INVAL, "the root directory is no mount point, as in a chroot"),
    (Step::SetPropagation, None, Errno::PERM, "the mount namespace is owned by a user namespace where CAP_SYS_ADMIN is missing, or a Landlock or seccomp rule forbids mounts"),
    (Step::Mount, None, Errno::PERM, "the user namespace must own the mount namespace, and for proc the pid namespace too (make a new one with it); where parts of the present /proc are covered, as in a container, a new proc is refused; an overlay is root's alone before Linux 5.11"),
    (Step::Mount, None, Errno::NOENT, "the mount point does not exist"),
    (Step::Mount, None, Errno::NOTDIR, "a file is mounted on a file, and a directory on a directory; or a part of the path is no directory"),
    (Step::Mount, None, Errno::LOOP, "a link is in the way that leads round in a circle, or any link where a seccomp filter hides openat2(2)"),
    (Step::Mount, None, Errno::NODEV, "the kernel was built without this file system"),
    (Step::Mount, None, Errno::INVAL, "the file system does not take these options, or as a layer of an overlay: the upper directory has to be on a file system that can be written, has extended attributes and is no overlay itself, on one mount with its work directory; or one lies in the other"),
    (Step::Mount, None, Errno::NOSPC, "the mount namespace has as many mounts as sysctl fs.mount-max allows"),
    (Step::Mount, None, Errno::ROFS, "the upper directory of an overlay cannot be written"),
    (Step::Mount, None, Errno::ACCESS, "a directory may not be searched, or an upper directory not written, by the child's user"),
    (Step::Mount, None, Errno::NOSYS, "the kernel lacks open_tree(2) or fsopen(2), or a seccomp filter hides them; overlays need them, all else can do with mount(2) where /proc is one"),
    (Step::OpenSource, None, Errno::NOENT, "no such file or directory, as seen by the caller, or by the child in its mount namespace: it may have vanished in between"),
    (Step::OpenSource, None, Errno::NOTDIR, "a part of the path is no directory"),
    (Step::OpenSource, None, Errno::ACCESS, "a directory on the way may not be searched"),
    (Step::OpenSource, None, Errno::STALE, "the child found another file there than the caller: it was replaced in between, or an entered mount namespace has another one"),
    (Step::OpenSource, None, Errno::INVAL, "the source lies outside of the mount namespace, or on a mount that may not be bound (MS_UNBINDABLE)"),
    (Step::OpenSource, None, Errno::NOSPC, "the mount namespace has as many mounts as sysctl fs.mount-max allows"),
    (Step::IdmapMount, None, Errno::PERM, "it needs CAP_SYS_ADMIN in the user namespace in which the file system was mounted, and another user namespace than the first one for the owners; and no mount has its owners changed twice"),
    (Step::IdmapMount, None, Errno::INVAL, "the file system cannot have its owners changed (tmpfs can from Linux 6.3 on), or the user namespace has no id maps yet"),
    (Step::IdmapMount, None, Errno::NOSYS, "Linux before 5.12 cannot change the owners in a mount, or a seccomp filter hides the call"),
    (Step::CreateMountPoint, None, Errno::ROFS, "the mount point is missing where nothing can be written: make it before, or put an overlay in between"),
    (Step::CreateMountPoint, None, Errno::ACCESS, "the mount point is missing, and the directory may not be written by the child's user"),
    (Step::CreateMountPoint, None, Errno::NOENT, "a link on the way leads to nothing below the root"),
    (Step::CreateMountPoint, None, Errno::NOTDIR, "a part of the path is no directory"),
    (Step::MakeReadOnly, None, Errno::NOSYS, "Linux before 5.12 does it by way of /proc, which is not to be had here"),
    (Step::CreateFile, None, Errno::NOENT, "the directory for it does not exist"),
    (Step::PivotRoot, None, Errno::INVAL, "the present root is no mount point, as in a chroot, or the machine's first one, as in an initramfs before Linux 7.0, or its mounts are shared: Rootfs::chroot does there"),
    (Step::PivotRoot, None, Errno::PERM, "it needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace, and no seccomp or Landlock rule against it"),
    (Step::Mount, None, Errno::BUSY, "this pid namespace's proc is already mounted there, or a link leads from the mount point to `/`, over which nothing can be mounted"),
    (Step::MakeReadOnly, None, Errno::BUSY, "a link leads from there to `/`: use Rootfs::read_only"),
    (Step::OpenPinDir, None, Errno::NOENT, "there is no such directory"),
    (Step::OpenPinDir, None, Errno::NOTDIR, "there is no such directory, but another file, or a symbolic link, which is not followed"),
    (Step::CreatePinDir, None, Errno::PERM, MOUNT_DENIED),
    (Step::CreatePinDir, None, Errno::NOENT, "the directory around it does not exist"),
    (Step::CreatePinDir, None, Errno::NOTDIR, "there is another file, or a symbolic link, which is not followed"),
    (Step::CreatePinDir, None, Errno::ACCESS, "the directory around it may not be written to"),
    (Step::CreatePinDir, None, Errno::BUSY, "any user who may read the directory can hold its flock(2) until it is a mount point: lslocks(8) shows the process; end that, or remove the directory, so that a new one is made"),
    (Step::CreatePinTarget, None, Errno::EXIST, "nothing is covered or replaced; unpin what is pinned there, remove what else is there, or choose another name"),
    (Step::CreatePinTarget, None, Errno::ACCESS, "the directory may not be written to, or a file was left there that only its owner, with CAP_DAC_OVERRIDE, may open"),
    (Step::CreatePinTarget, None, Errno::ROFS, "the directory lies on a file system that is read-only"),
    (Step::Pin, None, Errno::PERM, MOUNT_DENIED),
    (Step::Pin, None, Errno::INVAL, IN_OTHER_MOUNT_NAMESPACE),
    (Step::Pin, Some(Namespace::Mount), Errno::LOOP, LOOP),
    (Step::Pin, Some(Namespace::Mount), Errno::INVAL, LOOP_OR_SHARED),
    (Step::Pin, None, Errno::NOSPC, "the mount namespace has as many mounts as sysctl fs.mount-max allows"),
    (Step::Unpin, None, Errno::PERM, MOUNT_DENIED),
    (Step::Unpin, None, Errno::INVAL, IN_OTHER_MOUNT_NAMESPACE),
    (Step::Unpin, None, Errno::NOENT, "nothing is pinned there"),
    (Step::SetHostname, None, Errno::PERM, "it needs CAP_SYS_ADMIN in the user namespace that owns the UTS namespace; make a UTS namespace with a user namespace"),
    (Step::SetDomainname, None, Errno::PERM, "it needs CAP_SYS_ADMIN in the user namespace that owns the UTS namespace; make a UTS namespace with a user namespace"),
    (Step::LoopbackUp, None, Errno::PERM, "it needs CAP_NET_ADMIN in the user namespace that owns the network namespace"),
    (Step::LoopbackUp, None, Errno::NODEV, "this network namespace has no interface called lo"),
    (Step::BecomeInit, None, Errno::AGAIN, PROCESSES),
    (Step::NewSession, None, Errno::PERM, "the process already leads a process group"),
    (Step::SetProcessGroup, None, Errno::PERM, "no such process group in this session"),
    (Step::SetGroups, None, Errno::PERM, "it needs CAP_SETGID, a gid map, and setgroups not denied in this user namespace"),
    (Step::SetGroups, None, Errno::INVAL, NOT_MAPPED),
    (Step::SetGid, None, Errno::INVAL, NOT_MAPPED),
    (Step::SetGid, None, Errno::PERM, "it needs CAP_SETGID in this user namespace"),
    (Step::SetUid, None, Errno::INVAL, NOT_MAPPED),
    (Step::SetUid, None, Errno::PERM, "it needs CAP_SETUID in this user namespace"),
    (Step::SetUid, None, Errno::AGAIN, PROCESSES),
    (Step::ChangeRoot, None, Errno::PERM, "it needs CAP_SYS_CHROOT in the child's user namespace"),
    (Step::ChangeRoot, None, Errno::NOTDIR, "the descriptor is of no directory"),
    (Step::ChangeRoot, None, Errno::ACCESS, "the directory may not be searched by the child's user"),
    (Step::KeepCaps, None, Errno::PERM, "the securebits of the process forbid ambient capabilities"),
    (Step::ChangeDirectory, None, Errno::NOENT, "no such directory, as seen by the child in its mount namespace"),
    (Step::ChangeDirectory, None, Errno::NOTDIR, "a part of the path is no directory"),
    (Step::ChangeDirectory, None, Errno::ACCESS, "a directory on the way may not be searched by the child's user"),
    (Step::SetUmask, None, Errno::PERM, ONLY_FILTERED),
    (Step::SetUmask, None, Errno::NOSYS, ONLY_FILTERED),
    (Step::SetParentDeathSignal, None, Errno::SRCH, "the parent had ended already"),
    (Step::CloseFds, None, Errno::NOSYS, FILTERED),
    (Step::Exec, None, Errno::NOENT, "no such program (in PATH, as seen by the child), or the interpreter that its first line or its ELF header names is missing"),
    (Step::Exec, None, Errno::ACCESS, "the file is not executable for the child's user, is no regular file, lies on a noexec mount, or in a directory that may not be searched"),
    (Step::Exec, None, Errno::LOOP, "a link of the root leads to what this process has open (/proc/self/exe, /proc/self/fd), or there are more than 40 links: for the program, the interpreter of its first line, or that of its ELF header"),
    (Step::Exec, None, Errno::OPNOTSUPP, "the TOMOYO of this kernel needs /dev/fd to run a program in another root: mount a proc and Mount::dev, or take a kernel with the fix (5.10.227, 5.15.168, 6.1.113, 6.6.55, 6.12)"),
    (Step::Exec, None, Errno::NOSYS, "a seccomp filter blocks execveat(2), by which a program in another root is run"),
    (Step::Exec, None, Errno::NOTDIR, "a part of the program's path is no directory"),
    (Step::Exec, None, Errno::NOEXEC, "the file is neither a program for this machine nor a script with a #! line; what binfmt_misc runs is refused in a root that is not the caller's"),
    (Step::Exec, None, Errno::TOOBIG, "arguments and environment together exceed the limit, a quarter of RLIMIT_STACK"),
    (Step::Exec, None, Errno::AGAIN, PROCESSES),
    (Step::Exec, None, Errno::TXTBSY, "the file is open for writing"),
    (Step::Exec, None, Errno::PERM, "a security policy, or the tracer of a setuid program, forbids it"),
    (Step::Exec, None, Errno::FAULT, "a tracer that translates paths, such as proot, cannot read the memory of the child: one with an init, or in entered user and pid namespaces, is undumpable until exec"),
    (Step::Wait, None, Errno::CHILD, "another wait in this process took the status; or the kernel reaped the child (SIGCHLD is ignored, or auto_reap was asked for) and does not tell how it ended: before Linux 6.15, or where a filter forbids PIDFD_GET_INFO"),
    (Step::SendSignal, None, Errno::PERM, "the process belongs to another user"),
    (Step::SendSignal, None, Errno::INVAL, "there is no such signal, or the process is not visible from this pid namespace"),
    (Step::SendSignal, None, Errno::NOSYS, FILTERED),
    (Step::StartThread, None, Errno::INVAL, "after unshare(2) or setns(2) of a pid namespace a thread can start no other one; do that elsewhere"),
    (Step::StartThread, None, Errno::AGAIN, "the limit on processes and threads is reached (RLIMIT_NPROC, pids.max of a cgroup, or threads-max), or memory for the stack is short (RLIMIT_AS)"),
];

/// The row for a namespace's kind, or else the row for any.
pub(crate) fn explain(
    step: Step,
    namespace: Option<Namespace>,
    errno: Errno,
) -> Option<&'static str> {
    let row = |kind| TABLE.iter().find(|row| (row.0, row.1, row.2) == (step, kind, errno));
    let found = namespace.and_then(|kind| row(Some(kind))).or_else(|| row(None));
    // Any step may need these.
    found.map(|row| row.3).or(match errno {
        Errno::MFILE => Some(FILES),
        Errno::NOMEM => Some(MEMORY),
        _ => None,
    })
}

const fn is_map(step: Step) -> bool {
    matches!(step, Step::WriteSetgroups | Step::WriteUidMap | Step::WriteGidMap)
}

const fn is_in_proc(step: Step) -> bool {
    is_map(step) || matches!(step, Step::WriteTimeOffsets)
}

pub(super) fn kind(step: Step, errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOENT | Errno::NOTDIR => ErrorKind::NotFound,
        Errno::EXIST => ErrorKind::AlreadyExists,
        Errno::SRCH => ErrorKind::ProcessGone,
        Errno::PERM | Errno::ACCESS => ErrorKind::PermissionDenied,
        Errno::NOSYS | Errno::NOTTY | Errno::OPNOTSUPP => ErrorKind::Unsupported,
        Errno::USERS if step == Step::Enter => ErrorKind::Multithreaded,
        Errno::PIPE if is_map(step) => ErrorKind::ChildDied,
        Errno::XDEV if is_in_proc(step) => ErrorKind::UntrustedProc,
        Errno::NOSPC | Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::USERS => {
            ErrorKind::LimitReached
        }
        _ if step == Step::Leave => ErrorKind::NotRestored,
        _ => ErrorKind::Os,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_stands_twice() {
        for (at, row) in TABLE.iter().enumerate() {
            let key = |row: &Row| (row.0, row.1, row.2);
            assert!(TABLE[at + 1..].iter().all(|other| key(other) != key(row)), "{row:?}");
        }
    }

    #[test]
    fn a_row_of_one_kind_goes_before_the_row_of_all() {
        let user = explain(Step::Unshare, Some(Namespace::User), Errno::INVAL);
        let net = explain(Step::Unshare, Some(Namespace::Net), Errno::INVAL);
        assert_ne!(user, net);
        assert_eq!(net, explain(Step::Unshare, None, Errno::INVAL));
    }
}
