//! The steps that a plan, a handle or a builder is made of.

#![forbid(unsafe_code)]

use core::fmt;

/// One thing done, named so that an error can say where it happened.
///
/// A [`Plan`](crate::Plan) is a list of these; every [`Error`](crate::Error) that the kernel caused
/// has one. Prints as what was attempted: "write the uid map".
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Command, Step};
///
/// let error = Command::new("true").current_dir("/no/such/place").spawn().unwrap_err();
/// assert_eq!(error.step(), Some(Step::ChangeDirectory));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Open a namespace file: `open(2)`, `ioctl(2)` on a pidfd.
    OpenNamespace,
    /// Query a namespace: `ioctl_nsfs(2)`, `fstat(2)`.
    QueryNamespace,
    /// Open a handle of a process: `pidfd_open(2)`.
    OpenProcess,
    /// Copy a file descriptor of another process: `pidfd_getfd(2)`.
    CopyFd,
    /// Look into `/proc`.
    ReadProc,
    /// Get ready for the child: pipes, memory, a null device.
    Prepare,
    /// Block all signals, so that no handler of this process runs in the child: `rt_sigprocmask(2)`.
    BlockSignals,
    /// Make the child: `clone3(2)`.
    Clone,
    /// Make new namespaces for this thread: `unshare(2)`.
    Unshare,
    /// Enter existing namespaces: `setns(2)`.
    Enter,
    /// Go back to the namespaces the thread came from: `setns(2)`.
    Leave,
    /// Start the helper that writes id maps from outside the new user namespace.
    StartIdMapHelper,
    /// Read which ids were set aside for the user: `/etc/subuid`, `/etc/subgid`.
    ReadSubIds,
    /// Write `/proc/PID/setgroups`.
    WriteSetgroups,
    /// Write `/proc/PID/uid_map`.
    WriteUidMap,
    /// Write `/proc/PID/gid_map`.
    WriteGidMap,
    /// Write `/proc/PID/timens_offsets`.
    WriteTimeOffsets,
    /// Change the propagation of mounts: `mount(2)`.
    SetPropagation,
    /// Open the source of a mount: by the parent, and again by the child, `open_tree(2)`.
    OpenSource,
    /// Change who the owners of a mount's files are: `mount_setattr(2)`.
    IdmapMount,
    /// Create a mount point that is missing: `mkdirat(2)`, `mknodat(2)`.
    CreateMountPoint,
    /// Mount something: `move_mount(2)`, `fsopen(2)`, `mount(2)`.
    Mount,
    /// Open a directory of pinned namespaces, and read it.
    OpenPinDir,
    /// Create a directory for pinned namespaces, and make it a mount point: `mount(2)`.
    CreatePinDir,
    /// Create the file on which a namespace is to be mounted.
    CreatePinTarget,
    /// Mount a namespace's file: `open_tree(2)`, `move_mount(2)`.
    Pin,
    /// Unmount a namespace's file, and remove the file below: `umount2(2)`.
    Unpin,
    /// Make what is mounted read-only: `mount_setattr(2)`.
    MakeReadOnly,
    /// Create a directory or link on a new file system.
    CreateFile,
    /// Make the new root the root: `pivot_root(2)`.
    PivotRoot,
    /// `sethostname(2)`.
    SetHostname,
    /// `setdomainname(2)`.
    SetDomainname,
    /// Read the names of the UTS namespace: `uname(2)`.
    ReadUtsNames,
    /// Bring the loopback interface up: `netdevice(7)`.
    LoopbackUp,
    /// Start a session: `setsid(2)`.
    NewSession,
    /// Join or make a process group: `setpgid(2)`.
    SetProcessGroup,
    /// Connect standard input, output or error: `dup3(2)`.
    ConnectStdio,
    /// `setgroups(2)`.
    SetGroups,
    /// `setresgid(2)`.
    SetGid,
    /// `setresuid(2)`.
    SetUid,
    /// `chroot(2)`.
    ChangeRoot,
    /// `chdir(2)`, `fchdir(2)`.
    ChangeDirectory,
    /// Set the program's file mode creation mask: `umask(2)`.
    SetUmask,
    /// Give up the capabilities that could change the mounts: `capset(2)`, `PR_CAPBSET_DROP`.
    LockMounts,
    /// Leave capabilities to the program: `PR_SET_KEEPCAPS`, `PR_CAP_AMBIENT`.
    KeepCaps,
    /// `PR_SET_NO_NEW_PRIVS`.
    NoNewPrivs,
    /// `PR_SET_PDEATHSIG`, and the look whether the parent is still there.
    SetParentDeathSignal,
    /// Keep other descriptors from the program: `close_range(2)`.
    CloseFds,
    /// `PR_SET_DUMPABLE`, so that nobody inside an entered namespace can look into the child.
    SetDumpable,
    /// Give the program the caller's signal mask, and the default for `SIGPIPE`, which Rust ignores.
    ResetSignals,
    /// The caller's own code in the child.
    PreExec,
    /// Run the program: `execve(2)`, `execveat(2)`.
    Exec,
    /// Run the caller's code instead of a program.
    SpawnFn,
    /// Be a PID 1 or a subreaper: signals, `PR_SET_CHILD_SUBREAPER`, and the process of the program.
    BecomeInit,
    /// Put the program into the foreground of the terminal: `tcsetpgrp(3)`, `TIOCSCTTY`.
    TakeTerminal,
    /// Wait for a child: `waitid(2)`.
    Wait,
    /// Send a signal: `pidfd_send_signal(2)`.
    SendSignal,
    /// Read what a child wrote.
    ReadOutput,
    /// Start a thread.
    StartThread,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OpenNamespace => "open the namespace file",
            Self::QueryNamespace => "query the namespace",
            Self::OpenProcess => "open the process",
            Self::CopyFd => "copy a descriptor of the process",
            Self::ReadProc => "look into /proc",
            Self::Prepare => "get ready for the child",
            Self::BlockSignals => "block the signals",
            Self::Clone => "make the child process",
            Self::Unshare => "make new namespaces",
            Self::Enter => "enter the namespaces",
            Self::Leave => "go back to the namespaces of before",
            Self::StartIdMapHelper => "start the helper for the id maps",
            Self::ReadSubIds => "read the ids set aside for the user",
            Self::WriteSetgroups => "write the setgroups file",
            Self::WriteUidMap => "write the uid map",
            Self::WriteGidMap => "write the gid map",
            Self::WriteTimeOffsets => "write the offsets of the clocks",
            Self::SetPropagation => "change the propagation of the mounts",
            Self::OpenSource => "open the source of a mount",
            Self::IdmapMount => "change the owners in the mount of",
            Self::CreateMountPoint => "create the mount point",
            Self::Mount => "mount",
            Self::OpenPinDir => "open the directory of pinned namespaces",
            Self::CreatePinDir => "create the directory for pinned namespaces",
            Self::CreatePinTarget => "create the file to pin the namespace at",
            Self::Pin => "pin the namespace",
            Self::Unpin => "unpin the namespace",
            Self::MakeReadOnly => "make read-only",
            Self::CreateFile => "create",
            Self::PivotRoot => "make the new root the root",
            Self::SetHostname => "set the hostname",
            Self::SetDomainname => "set the domain name",
            Self::ReadUtsNames => "read the names of the UTS namespace",
            Self::LoopbackUp => "bring the loopback interface up",
            Self::NewSession => "start a session",
            Self::SetProcessGroup => "set the process group",
            Self::ConnectStdio => "connect the standard streams",
            Self::SetGroups => "set the supplementary groups",
            Self::SetGid => "set the group id",
            Self::SetUid => "set the user id",
            Self::ChangeRoot => "change the root directory",
            Self::ChangeDirectory => "change the working directory",
            Self::SetUmask => "set the umask",
            Self::LockMounts => "lock the mounts",
            Self::KeepCaps => "keep the capabilities",
            Self::NoNewPrivs => "give up new privileges",
            Self::SetParentDeathSignal => "set the parent death signal",
            Self::CloseFds => "close the other descriptors",
            Self::SetDumpable => "hide the child's memory",
            Self::ResetSignals => "reset the signals",
            Self::PreExec => "run the caller's code in the child",
            Self::Exec => "run the program",
            Self::SpawnFn => "run the caller's code instead of a program",
            Self::BecomeInit => "become an init",
            Self::TakeTerminal => "take the terminal",
            Self::Wait => "wait for the child",
            Self::SendSignal => "send the signal",
            Self::ReadOutput => "read the child's output",
            Self::StartThread => "start a thread",
        })
    }
}
