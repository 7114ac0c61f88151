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
use crate::init::shed::NewInit;
use crate::mounts::Propagation;
use crate::namespace::NamespaceSet;
use crate::setup::join::Joins;
use crate::setup::mounts::MountOp;
use crate::sys::abi;

/// The caller's code for a child.
pub(crate) type PreExec = Arc<Mutex<dyn FnMut() -> io::Result<()> + Send + Sync>>;

/// The caller's code instead of a program: it answers an exit status.
pub(crate) type Work = Arc<Mutex<dyn FnMut() -> u8 + Send>>;

/// One step with all it needs. Executed by `setup::run` in the order of the plan.
pub(crate) enum Op {
    /// So that nobody inside what is entered can look in.
    HideMemory,
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
    AwaitIdMaps,
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
    GoTo(Arc<OwnedFd>),
    ConnectStdio,
    /// So that the change of ids does not take the capabilities.
    KeepCapsOverIds,
    SetGroups(Vec<u32>),
    /// What std does for a change of uid: groups of the old user go, where that is allowed.
    DropGroups,
    SetGid(u32),
    SetUid(u32),
    /// Gid 0 of an entered user namespace, or the present one if only that is mapped.
    BecomeRootGroup,
    /// Uid 0 of an entered user namespace, or the present one if only that is mapped.
    BecomeRoot,
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
    DieWithParent,
    CloseFds,
    /// As the caller does, whose children the kernel waits for.
    IgnoreChildren,
    ResetSignals,
    PreExec(PreExec),
    /// Candidates, tried in order.
    Exec(Vec<CString>, Lookup),
    Run(Work),
}

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

    fn line_outside(&self) -> String {
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
            Self::HideMemory => Step::SetDumpable,
            Self::Enter(_) => Step::Enter,
            Self::Unshare(_) => Step::Unshare,
            Self::BecomeInit(_) => Step::BecomeInit,
            Self::NewSession => Step::NewSession,
            Self::TakeTerminal | Self::TakeForeground => Step::TakeTerminal,
            Self::SetProcessGroup(_) => Step::SetProcessGroup,
            Self::WriteIdMap(write) => write.file.step(),
            Self::AwaitIdMaps => Step::WriteUidMap,
            Self::WriteTimeOffsets(_) => Step::WriteTimeOffsets,
            Self::SetPropagation(_) => Step::SetPropagation,
            Self::Mount(op) => op.step(0),
            Self::SetHostname(_) => Step::SetHostname,
            Self::SetDomainname(_) => Step::SetDomainname,
            Self::LoopbackUp => Step::LoopbackUp,
            Self::ConnectStdio => Step::ConnectStdio,
            Self::SetGroups(_) | Self::DropGroups => Step::SetGroups,
            Self::SetGid(_) | Self::BecomeRootGroup => Step::SetGid,
            Self::SetUid(_) | Self::BecomeRoot => Step::SetUid,
            Self::ChangeRoot(_) => Step::ChangeRoot,
            Self::KeepCapsOverIds | Self::KeepCaps => Step::KeepCaps,
            Self::GoTo(_) | Self::ChangeDirectory(..) | Self::ReturnToDirectory { .. } => {
                Step::ChangeDirectory
            }
            Self::LockMounts => Step::LockMounts,
            Self::NoNewPrivs => Step::NoNewPrivs,
            Self::DieWithParent => Step::SetParentDeathSignal,
            Self::CloseFds => Step::CloseFds,
            Self::IgnoreChildren | Self::ResetSignals => Step::ResetSignals,
            Self::PreExec(_) => Step::PreExec,
            Self::Exec(..) => Step::Exec,
            Self::Run(_) => Step::SpawnFn,
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
                | Self::AwaitIdMaps
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
            Self::IgnoreChildren => f.write_str(": SIGCHLD is ignored"),
            Self::SetProcessGroup(group) => write!(f, ": {group}"),
            Self::WriteIdMap(write) => write!(f, ": {}", one_line(&write.text)),
            Self::WriteTimeOffsets(text) => write!(f, ": {}", one_line(text)),
            Self::SetPropagation(propagation) => write!(f, ": {propagation}"),
            Self::Mount(op) => write!(f, "{op}"),
            Self::SetHostname(name) | Self::SetDomainname(name) => write!(f, ": {name}"),
            Self::SetGroups(groups) => write!(f, ": {groups:?}"),
            Self::DropGroups => f.write_str(": none, where that is allowed"),
            Self::SetGid(id) | Self::SetUid(id) => write!(f, ": {id}"),
            Self::BecomeRootGroup | Self::BecomeRoot => f.write_str(": 0, if it is mapped"),
            Self::ChangeRoot(dir) | Self::GoTo(dir) => {
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

/// Everything that a spawn will do, in order. Nothing of it has happened yet.
///
/// Made by [`Command::plan`](crate::Command::plan). Prints one numbered line for each step.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Command, NamespaceSet, Step};
///
/// let plan = Command::new("true").unshare(NamespaceSet::USER).map_root().plan()?;
/// assert!(plan.steps().any(|step| step == Step::WriteUidMap));
/// println!("{plan}");
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
#[derive(Debug)]
pub struct Plan {
    /// Why the child gets a copy of the memory; `None` if it shares ours.
    pub(crate) copy: Option<&'static str>,
    /// What an intermediate process does before it makes the child; nothing if there is none.
    pub(crate) before: Vec<Op>,
    /// Whether the child shares the memory of an intermediate process.
    pub(crate) inner_shares: bool,
    /// Made together with the child.
    pub(crate) namespaces: NamespaceSet,
    /// What else clone3 is asked for: the flags that it alone has, pids, a cgroup.
    pub(crate) clone_flags: u64,
    pub(crate) set_tid: Vec<i32>,
    pub(crate) cgroup: Option<Arc<OwnedFd>>,
    /// Written by a helper outside the new user namespace.
    pub(crate) maps_outside: Vec<IdMapWrite>,
    pub(crate) die_with_parent: bool,
    /// Whether it is exec that enters the program's time namespace.
    pub(crate) arrives_by_exec: bool,
    /// What the child does.
    pub(crate) ops: Vec<Op>,
}

impl Plan {
    /// The steps, in order, those of the parent included.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        let helper = (!self.maps_outside.is_empty()).then_some(Step::StartIdMapHelper);
        let of = |op: &Op| match op {
            Op::AwaitIdMaps => self.maps_outside.iter().map(|write| write.file.step()).collect(),
            op => vec![op.step()],
        };
        let before: Vec<Step> = self.before.iter().flat_map(of).collect();
        let own: Vec<Step> = self.ops.iter().flat_map(of).collect();
        helper.into_iter().chain(before).chain([Step::Clone]).chain(own)
    }

    /// What happens at a number of the slot: the steps of both processes in order, and between them the
    /// clone, which is `None`.
    pub(crate) fn op(&self, number: usize) -> Option<&Op> {
        match number.checked_sub(self.before.len()) {
            None => self.before.get(number),
            Some(0) => None,
            Some(number) => self.ops.get(number - 1),
        }
    }

    /// Whether paths are looked up in the child that take room on its stack.
    pub(crate) fn looks_inside(&self) -> bool {
        let is_inside = |op: &Op| {
            matches!(
                op,
                Op::Exec(_, Lookup::Inside)
                    | Op::ChangeDirectory(_, Lookup::Inside)
                    | Op::ReturnToDirectory { .. }
            )
        };
        self.ops.iter().any(is_inside)
    }

    /// Whether the caller's code runs instead of a program.
    pub(crate) fn has_no_exec(&self) -> bool {
        matches!(self.ops.last(), Some(Op::Run(_)))
    }

    /// Whether there is code of the caller's, beside or instead of a program.
    pub(crate) fn has_own_code(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::Run(_) | Op::PreExec(_)))
    }

    pub(crate) fn has_init(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::BecomeInit(_)))
    }

    /// Whether the child goes on in its copy of our memory, so that we do not wait for its exec or end.
    pub(crate) fn goes_on(&self) -> bool {
        self.has_no_exec() || self.has_init()
    }

    pub(crate) fn all_ops(&self) -> impl Iterator<Item = &Op> + Clone {
        self.before.iter().chain(&self.ops)
    }

    fn clone_line(&self) -> String {
        let new = if self.namespaces.is_empty() {
            "in no new namespace".to_owned()
        } else {
            format!("in new namespaces: {}", self.namespaces)
        };
        let memory = self.copy.map_or("sharing the parent's memory until exec".to_owned(), |why| {
            format!("with a copy of the parent's memory, since {why}")
        });
        let mut line = format!("{} {new}; {memory}", Step::Clone);
        if self.cgroup.is_some() {
            line.push_str("; in a cgroup of its own");
        }
        if !self.set_tid.is_empty() {
            line.push_str(&format!("; with pids {:?} from the inside out", self.set_tid));
        }
        let has = |flag| self.clone_flags & flag != 0;
        let flags = [
            (abi::CLONE_EMPTY_MNTNS, "; without any mount"),
            (abi::CLONE_AUTOREAP, "; leaving no zombie"),
            (abi::CLONE_PIDFD_AUTOKILL, "; to be killed with its handle"),
        ];
        let told = flags.into_iter().filter_map(|(flag, text)| has(flag).then_some(text));
        line.extend(told);
        line
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |op: &Op| match op {
            Op::AwaitIdMaps => self.maps_outside.iter().map(IdMapWrite::line_outside).collect(),
            op => vec![op.to_string()],
        };
        let mut lines = Vec::new();
        if !self.maps_outside.is_empty() {
            lines.push(Step::StartIdMapHelper.to_string());
        }
        lines.extend(self.before.iter().flat_map(of));
        lines.push(self.clone_line());
        lines.extend(self.ops.iter().flat_map(of));
        for (number, line) in (1..).zip(&lines) {
            writeln!(f, "{number:2}. {line}")?;
        }
        Ok(())
    }
}
