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
    SetUmask(u32),
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
    /// The step, and what its line in a plan says beyond that.
    fn row(&self) -> (Step, String) {
        let plain = |step| (step, String::new());
        match self {
            Self::SetDumpable => plain(Step::SetDumpable),
            Self::Enter(joins) => (Step::Enter, format!(": {}", joins.set())),
            Self::Unshare(set) => (Step::Unshare, format!(": {set}")),
            Self::BecomeInit(_) => {
                (Step::BecomeInit, ", and make the process that goes on from here".to_owned())
            }
            Self::NewSession => plain(Step::NewSession),
            Self::TakeTerminal => (Step::TakeTerminal, ", where it is nobody's".to_owned()),
            Self::TakeForeground => {
                let how = ", with a process group of its own, where it is ours";
                (Step::TakeTerminal, how.to_owned())
            }
            Self::SetProcessGroup(group) => (Step::SetProcessGroup, format!(": {group}")),
            Self::WriteIdMap(write) => (write.file.step(), format!(": {}", one_line(&write.text))),
            Self::WaitForIdMaps => plain(Step::WriteUidMap),
            Self::WriteTimeOffsets(text) => {
                (Step::WriteTimeOffsets, format!(": {}", one_line(text)))
            }
            Self::SetPropagation(propagation) => (Step::SetPropagation, format!(": {propagation}")),
            Self::Mount(op) => (op.step(0), op.to_string()),
            Self::SetHostname(name) => (Step::SetHostname, format!(": {name}")),
            Self::SetDomainname(name) => (Step::SetDomainname, format!(": {name}")),
            Self::LoopbackUp => plain(Step::LoopbackUp),
            Self::ChangeRoot(dir) => {
                (Step::ChangeRoot, format!(": descriptor {}", dir.as_raw_fd()))
            }
            Self::Fchdir(dir) => {
                (Step::ChangeDirectory, format!(": descriptor {}", dir.as_raw_fd()))
            }
            Self::ConnectStdio => plain(Step::ConnectStdio),
            Self::KeepCapsOverIds => (Step::KeepCaps, " when the ids change".to_owned()),
            Self::SetGroups(groups) => (Step::SetGroups, format!(": {groups:?}")),
            Self::DropGroups => (Step::SetGroups, ": none, where that is allowed".to_owned()),
            Self::SetGid(id) => (Step::SetGid, format!(": {id}")),
            Self::SetUid(id) => (Step::SetUid, format!(": {id}")),
            Self::SetGidToRoot => (Step::SetGid, ": 0, if it is mapped".to_owned()),
            Self::SetUidToRoot => (Step::SetUid, ": 0, if it is mapped".to_owned()),
            Self::ChangeDirectory(path, _) => (Step::ChangeDirectory, format!(": {path:?}")),
            Self::ReturnToDirectory { path, fallback } => {
                let path = path.iter().map(|path| format!(": {path:?}"));
                let fallback = fallback.iter().map(|path| format!(", or else {path:?}"));
                let paths: String = path.chain(fallback).collect();
                (Step::ChangeDirectory, format!(" again, as it is by now{paths}"))
            }
            Self::SetUmask(mask) => (Step::SetUmask, format!(": {mask:03o}")),
            Self::LockMounts => plain(Step::LockMounts),
            Self::KeepCaps => plain(Step::KeepCaps),
            Self::NoNewPrivs => plain(Step::NoNewPrivs),
            Self::SetParentDeathSignal => plain(Step::SetParentDeathSignal),
            Self::CloseFds => plain(Step::CloseFds),
            Self::IgnoreSigchld => (Step::ResetSignals, ": SIGCHLD is ignored".to_owned()),
            Self::ResetSignals => plain(Step::ResetSignals),
            Self::PreExec(_) => plain(Step::PreExec),
            Self::Exec(candidates, _) => {
                let which = match &candidates[..] {
                    [one] => format!(": {one:?}"),
                    [first, others @ ..] => {
                        format!(": {first:?} or {} other places in PATH", others.len())
                    }
                    [] => String::new(),
                };
                (Step::Exec, which)
            }
            Self::SpawnFn(_) => plain(Step::SpawnFn),
        }
    }

    pub(crate) fn step(&self) -> Step {
        self.row().0
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
        let (step, what) = self.row();
        write!(f, "{step}{what}")
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
