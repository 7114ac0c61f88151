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
use crate::mounts::{Mount, Propagation};
use crate::namespace::NamespaceSet;
use crate::setup::join::Joins;

/// The caller's code for a child.
pub(crate) type PreExec = Arc<Mutex<dyn FnMut() -> io::Result<()> + Send + Sync>>;

/// One step with all it needs. Executed by `setup::run` in the order of the plan.
pub(crate) enum Op {
    Unshare(NamespaceSet),
    NewSession,
    SetProcessGroup(i32),
    /// By this process for itself.
    WriteIdMap(IdMapWrite),
    /// By the helper outside: ask, and sleep until it has ended.
    AwaitIdMaps,
    SetPropagation(Propagation),
    Mount(Mount),
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
    ChangeDirectory(CString),
    KeepCaps,
    NoNewPrivs,
    DieWithParent,
    CloseFds,
    ResetSignals,
    PreExec(PreExec),
    /// Candidates, tried in order.
    Exec(Vec<CString>),
}

/// One of the three files of a user namespace, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMapWrite {
    pub(crate) file: IdMapFile,
    pub(crate) text: String,
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
        Self { file: IdMapFile::Setgroups, text: word.word().to_owned() }
    }
}

impl Op {
    pub(crate) fn step(&self) -> Step {
        match self {
            Self::Unshare(_) => Step::Unshare,
            Self::NewSession => Step::NewSession,
            Self::SetProcessGroup(_) => Step::SetProcessGroup,
            Self::WriteIdMap(write) => write.file.step(),
            Self::AwaitIdMaps => Step::WriteUidMap,
            Self::SetPropagation(_) => Step::SetPropagation,
            Self::Mount(_) => Step::Mount,
            Self::SetHostname(_) => Step::SetHostname,
            Self::SetDomainname(_) => Step::SetDomainname,
            Self::LoopbackUp => Step::LoopbackUp,
            Self::ConnectStdio => Step::ConnectStdio,
            Self::SetGroups(_) | Self::DropGroups => Step::SetGroups,
            Self::SetGid(_) => Step::SetGid,
            Self::SetUid(_) => Step::SetUid,
            Self::ChangeRoot(_) => Step::ChangeRoot,
            Self::KeepCapsOverIds | Self::KeepCaps => Step::KeepCaps,
            Self::GoTo(_) | Self::ChangeDirectory(_) => Step::ChangeDirectory,
            Self::NoNewPrivs => Step::NoNewPrivs,
            Self::DieWithParent => Step::DieWithParent,
            Self::CloseFds => Step::CloseFds,
            Self::ResetSignals => Step::ResetSignals,
            Self::PreExec(_) => Step::PreExec,
            Self::Exec(_) => Step::Exec,
        }
    }
}

/// The step, and on what.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(self, Self::AwaitIdMaps) {
            return f.write_str("wait for the id maps from outside");
        }
        write!(f, "{}", self.step())?;
        match self {
            Self::Unshare(set) => write!(f, ": {set}"),
            Self::SetProcessGroup(group) => write!(f, ": {group}"),
            Self::WriteIdMap(write) => write!(f, ": {}", write.text.trim_end().replace('\n', ", ")),
            Self::SetPropagation(propagation) => write!(f, ": {propagation}"),
            Self::Mount(mount) => write!(f, " proc on {:?}", mount.target),
            Self::SetHostname(name) | Self::SetDomainname(name) => write!(f, ": {name}"),
            Self::SetGroups(groups) => write!(f, ": {groups:?}"),
            Self::DropGroups => f.write_str(": none, where that is allowed"),
            Self::SetGid(id) | Self::SetUid(id) => write!(f, ": {id}"),
            Self::ChangeRoot(dir) | Self::GoTo(dir) => {
                write!(f, ": descriptor {}", dir.as_raw_fd())
            }
            Self::KeepCapsOverIds => f.write_str(" when the ids change"),
            Self::ChangeDirectory(path) => write!(f, ": {path:?}"),
            Self::Exec(candidates) => match &candidates[..] {
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
    pub(crate) joins: Joins,
    /// Whether what is entered could look into the child.
    pub(crate) hide: bool,
    /// Made together with the child.
    pub(crate) namespaces: NamespaceSet,
    /// Written by a helper outside the new user namespace.
    pub(crate) maps_outside: Vec<IdMapWrite>,
    /// Whether the child writes its own maps.
    pub(crate) maps_inside: bool,
    pub(crate) die_with_parent: bool,
    pub(crate) ops: Vec<Op>,
}

impl Plan {
    /// The steps, in order, those of the parent included.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        let helper = (!self.maps_outside.is_empty()).then_some(Step::StartIdMapHelper);
        let hide = self.hide.then_some(Step::HideMemory);
        let enter = (!self.joins.is_empty()).then_some(Step::Enter);
        let maps = self.maps_outside.iter().map(|write| write.file.step());
        let own = self.ops.iter().filter(|op| !matches!(op, Op::AwaitIdMaps)).map(Op::step);
        let before = helper.into_iter().chain(hide).chain(enter);
        before.chain([Step::Clone]).chain(maps).chain(own)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        if !self.maps_outside.is_empty() {
            lines.push(Step::StartIdMapHelper.to_string());
        }
        if self.hide {
            lines.push(Step::HideMemory.to_string());
        }
        if !self.joins.is_empty() {
            lines.push(format!("{}: {}", Step::Enter, self.joins.set()));
        }
        let new = if self.namespaces.is_empty() {
            "in no new namespace".to_owned()
        } else {
            format!("in new namespaces: {}", self.namespaces)
        };
        let memory = self.copy.map_or("sharing the parent's memory until exec".to_owned(), |why| {
            format!("with a copy of the parent's memory, since {why}")
        });
        lines.push(format!("{} {new}; {memory}", Step::Clone));
        for write in &self.maps_outside {
            let text = write.text.trim_end().replace('\n', ", ");
            lines.push(format!("{} from outside: {text}", write.file.step()));
        }
        let own = self.ops.iter().filter(|op| !matches!(op, Op::AwaitIdMaps));
        lines.extend(own.map(Op::to_string));
        for (number, line) in (1..).zip(&lines) {
            writeln!(f, "{number:2}. {line}")?;
        }
        Ok(())
    }
}
