//! What to do, as data: everything allocated, nothing done yet.

#![forbid(unsafe_code)]

use core::fmt;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};

use crate::error::Step;
use crate::hostname::Hostname;
use crate::id_map::Setgroups;
use crate::init::policy::Policy;
use crate::mounts::Propagation;
use crate::namespace::NamespaceSet;
use crate::plan::joins::Joins;
use crate::plan::mounts::MountOp;
use crate::sys::image::Image;

/// The caller's code for a child.
pub(crate) type PreExec = Arc<Mutex<dyn FnMut() -> io::Result<()> + Send + Sync>>;

/// The caller's code instead of a program: it answers an exit status.
pub(crate) type SpawnFn = Arc<Mutex<dyn FnMut() -> u8 + Send>>;

/// One step with all it needs. Executed by `engine::run` in the order of the plan.
pub(crate) enum Op {
    /// So that nobody inside what is entered can look in.
    SetDumpable,
    Enter(Joins),
    Unshare(NamespaceSet),
    /// Go on as an init; the steps that follow are those of a process that it makes.
    BecomeInit(Box<NewInit>),
    NewSession,
    /// Of the session just made, if it is nobody's.
    TakeTerminal,
    SetProcessGroup(i32),
    /// A process group of its own, in the foreground if the parent's was.
    TakeForeground,
    /// By this process for itself.
    WriteIdMap(IdMapWrite),
    /// By the helper outside: ask, and sleep until it has ended.
    WaitForIdMaps,
    WriteTimeOffsets(String),
    SetPropagation(Propagation),
    /// On the heap, so that steps are cheap to move on a small stack.
    Mount(Box<MountOp>),
    SetHostname(Hostname),
    SetDomainname(Hostname),
    LoopbackUp,
    /// To an open directory, and into it.
    ChangeRoot(Arc<OwnedFd>),
    /// To an open directory.
    Fchdir(Arc<OwnedFd>),
    ConnectStdio,
    /// So that the change of ids does not take the capabilities.
    KeepCapsOverIds,
    SetGroups(Vec<u32>),
    /// What std does for a change of uid: groups of the old user go, where that is allowed.
    DropGroups,
    SetGid(u32),
    SetUid(u32),
    /// Gid 0 of an entered user namespace, or the present one if only that is mapped.
    SetGidToRoot,
    /// Uid 0 of an entered user namespace, or the present one if only that is mapped.
    SetUidToRoot,
    ChangeDirectory(CString, Lookup),
    /// To where this process was, as the path leads by now: what was mounted over it is not to be stood beneath.
    ReturnToDirectory {
        path: Option<CString>,
        fallback: Option<CString>,
    },
    /// What could change the mounts, or reach around them.
    LockMounts,
    KeepCaps,
    NoNewPrivs,
    SetParentDeathSignal,
    CloseFds,
    /// As the caller does, whose children the kernel waits for.
    IgnoreSigchld,
    ResetSignals,
    PreExec(PreExec),
    /// Candidates, tried in order.
    Exec(Vec<CString>, Lookup),
    SpawnFn(SpawnFn),
}

/// What the child of a command needs to become an init.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewInit {
    pub(crate) policy: Policy,
    pub(crate) image: Option<Image>,
}

impl NewInit {
    /// For the parent, since the child cannot look for its image.
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, image: Image::own() }
    }
}

/// The detail of a working directory that failed: the fallback.
pub(crate) const FALLBACK: usize = 1;

/// How a path is looked up that somebody else may have laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// As the kernel does it.
    Plain,
    /// Never through a magic link, which would lead to what this process has open.
    Inside,
}

/// One of the three files of a user namespace, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMapWrite {
    pub(crate) file: IdMapFile,
    pub(crate) text: String,
    /// What writes it; `None` for ourselves.
    pub(crate) tool: Option<MapTool>,
}

/// A program that may write a map that we may not, and its arguments behind the pid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MapTool {
    pub(crate) path: CString,
    pub(crate) args: Vec<CString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdMapFile {
    Setgroups,
    Uid,
    Gid,
}

impl IdMapFile {
    pub(crate) const fn step(self) -> Step {
        match self {
            Self::Setgroups => Step::WriteSetgroups,
            Self::Uid => Step::WriteUidMap,
            Self::Gid => Step::WriteGidMap,
        }
    }
}

impl IdMapWrite {
    pub(crate) fn setgroups(word: Setgroups) -> Self {
        Self { file: IdMapFile::Setgroups, text: word.word().to_owned(), tool: None }
    }

    pub(super) fn line_outside(&self) -> String {
        let by = self.tool.as_ref().map(|tool| format!(" by {:?}", tool.path)).unwrap_or_default();
        format!("{} from outside{by}: {}", self.file.step(), one_line(&self.text))
    }
}

/// The steps among these that mount something.
pub(crate) fn mounts_of(ops: &[Op]) -> impl Iterator<Item = &MountOp> {
    ops.iter().filter_map(|op| match op {
        Op::Mount(op) => Some(&**op),
        _ => None,
    })
}

impl Op {
    pub(crate) fn step(&self) -> Step {
        match self {
            Self::SetDumpable => Step::SetDumpable,
            Self::Enter(_) => Step::Enter,
            Self::Unshare(_) => Step::Unshare,
            Self::BecomeInit(_) => Step::BecomeInit,
            Self::NewSession => Step::NewSession,
            Self::TakeTerminal | Self::TakeForeground => Step::TakeTerminal,
            Self::SetProcessGroup(_) => Step::SetProcessGroup,
            Self::WriteIdMap(write) => write.file.step(),
            Self::WaitForIdMaps => Step::WriteUidMap,
            Self::WriteTimeOffsets(_) => Step::WriteTimeOffsets,
            Self::SetPropagation(_) => Step::SetPropagation,
            Self::Mount(op) => op.step(0),
            Self::SetHostname(_) => Step::SetHostname,
            Self::SetDomainname(_) => Step::SetDomainname,
            Self::LoopbackUp => Step::LoopbackUp,
            Self::ConnectStdio => Step::ConnectStdio,
            Self::SetGroups(_) | Self::DropGroups => Step::SetGroups,
            Self::SetGid(_) | Self::SetGidToRoot => Step::SetGid,
            Self::SetUid(_) | Self::SetUidToRoot => Step::SetUid,
            Self::ChangeRoot(_) => Step::ChangeRoot,
            Self::KeepCapsOverIds | Self::KeepCaps => Step::KeepCaps,
            Self::Fchdir(_) | Self::ChangeDirectory(..) | Self::ReturnToDirectory { .. } => {
                Step::ChangeDirectory
            }
            Self::LockMounts => Step::LockMounts,
            Self::NoNewPrivs => Step::NoNewPrivs,
            Self::SetParentDeathSignal => Step::SetParentDeathSignal,
            Self::CloseFds => Step::CloseFds,
            Self::IgnoreSigchld | Self::ResetSignals => Step::ResetSignals,
            Self::PreExec(_) => Step::PreExec,
            Self::Exec(..) => Step::Exec,
            Self::SpawnFn(_) => Step::SpawnFn,
        }
    }

    /// With what the slot tells of where in the step it was.
    pub(crate) fn step_at(&self, detail: usize) -> Step {
        match self {
            Self::Mount(op) => op.step(detail),
            op => op.step(),
        }
    }

    /// Whether it writes or reads in `/proc`.
    pub(crate) fn needs_proc(&self) -> bool {
        matches!(
            self,
            Self::WriteIdMap(_)
                | Self::WaitForIdMaps
                | Self::WriteTimeOffsets(_)
                | Self::BecomeInit(_)
        )
    }
}

/// The step, and on what.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.step())?;
        match self {
            Self::Enter(joins) => write!(f, ": {}", joins.set()),
            Self::Unshare(set) => write!(f, ": {set}"),
            Self::BecomeInit(_) => f.write_str(", and make the process that goes on from here"),
            Self::TakeForeground => {
                f.write_str(", with a process group of its own, where it is ours")
            }
            Self::TakeTerminal => f.write_str(", where it is nobody's"),
            Self::IgnoreSigchld => f.write_str(": SIGCHLD is ignored"),
            Self::SetProcessGroup(group) => write!(f, ": {group}"),
            Self::WriteIdMap(write) => write!(f, ": {}", one_line(&write.text)),
            Self::WriteTimeOffsets(text) => write!(f, ": {}", one_line(text)),
            Self::SetPropagation(propagation) => write!(f, ": {propagation}"),
            Self::Mount(op) => write!(f, "{op}"),
            Self::SetHostname(name) | Self::SetDomainname(name) => write!(f, ": {name}"),
            Self::SetGroups(groups) => write!(f, ": {groups:?}"),
            Self::DropGroups => f.write_str(": none, where that is allowed"),
            Self::SetGid(id) | Self::SetUid(id) => write!(f, ": {id}"),
            Self::SetGidToRoot | Self::SetUidToRoot => f.write_str(": 0, if it is mapped"),
            Self::ChangeRoot(dir) | Self::Fchdir(dir) => {
                write!(f, ": descriptor {}", dir.as_raw_fd())
            }
            Self::KeepCapsOverIds => f.write_str(" when the ids change"),
            Self::ChangeDirectory(path, _) => write!(f, ": {path:?}"),
            Self::ReturnToDirectory { path, fallback } => {
                f.write_str(" again, as it is by now")?;
                path.iter().try_for_each(|path| write!(f, ": {path:?}"))?;
                fallback.iter().try_for_each(|path| write!(f, ", or else {path:?}"))
            }
            Self::Exec(candidates, _) => match &candidates[..] {
                [one] => write!(f, ": {one:?}"),
                [first, ..] => {
                    write!(f, ": {first:?} or {} other places in PATH", candidates.len() - 1)
                }
                [] => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn one_line(text: &str) -> String {
    text.trim_end().replace('\n', ", ")
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Op({self})")
    }
}
