//! What to do, as data: everything allocated, nothing done yet.

pub(crate) mod id_maps;
pub(crate) mod setup_ops;
pub(crate) mod joins;
pub(crate) mod mounts;
pub(crate) mod op;
pub(crate) mod setup;
pub(crate) mod stream;

use core::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::error::Step;
use crate::namespace::NamespaceSet;
use crate::plan::op::{IdMapWrite, Lookup, Op};
use crate::sys::abi;

/// What memory a child has until exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// This process's.
    Shared,
    Copy(CopyReason),
}

/// Why a child cannot share this process's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyReason {
    Architecture,
    CallersCode,
    Init,
    EnteredNamespaces,
    TimeNamespace,
    Ids,
}

impl fmt::Display for CopyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Architecture => "this architecture has no other way",
            Self::CallersCode => "the caller's code must not write into it",
            Self::Init => "an init outlives the spawn",
            Self::EnteredNamespaces => "what lives in the entered namespaces could read it",
            Self::TimeNamespace => "a time namespace lets none in that share it",
            Self::Ids => "a change of ids would make the parent undumpable",
        })
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
    pub(crate) memory: Memory,
    /// What an intermediate process does before it makes the child; nothing if there is none.
    pub(crate) intermediate_ops: Vec<Op>,
    /// Whether the child shares the memory of an intermediate process.
    pub(crate) shares_with_intermediate: bool,
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
    pub(crate) enters_time_by_exec: bool,
    /// What the child does.
    pub(crate) ops: Vec<Op>,
}

impl Plan {
    /// The steps, in order, those of the parent included.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        let helper = (!self.maps_outside.is_empty()).then_some(Step::StartIdMapHelper);
        let of = |op: &Op| match op {
            Op::WaitForIdMaps => self.maps_outside.iter().map(|write| write.file.step()).collect(),
            op => vec![op.step()],
        };
        let intermediate: Vec<Step> = self.intermediate_ops.iter().flat_map(of).collect();
        let own: Vec<Step> = self.ops.iter().flat_map(of).collect();
        helper.into_iter().chain(intermediate).chain([Step::Clone]).chain(own)
    }

    /// What happens at a number of the slot: the steps of both processes in order, and between them the
    /// clone, which is `None`.
    pub(crate) fn op(&self, number: usize) -> Option<&Op> {
        match number.checked_sub(self.intermediate_ops.len()) {
            None => self.intermediate_ops.get(number),
            Some(0) => None,
            Some(number) => self.ops.get(number - 1),
        }
    }

    /// Whether paths are looked up in the child that take room on its stack.
    pub(crate) fn resolves_inside(&self) -> bool {
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
        matches!(self.ops.last(), Some(Op::SpawnFn(_)))
    }

    /// Whether there is code of the caller's, beside or instead of a program.
    pub(crate) fn has_callers_code(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::SpawnFn(_) | Op::PreExec(_)))
    }

    pub(crate) fn has_init(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::BecomeInit(_)))
    }

    /// Whether the child goes on in its copy of our memory, so that we do not wait for its exec or end.
    pub(crate) fn stays_in_copy(&self) -> bool {
        self.has_no_exec() || self.has_init()
    }

    pub(crate) fn all_ops(&self) -> impl Iterator<Item = &Op> + Clone {
        self.intermediate_ops.iter().chain(&self.ops)
    }

    fn clone_line(&self) -> String {
        let new = if self.namespaces.is_empty() {
            "in no new namespace".to_owned()
        } else {
            format!("in new namespaces: {}", self.namespaces)
        };
        let memory = match self.memory {
            Memory::Shared => "sharing the parent's memory until exec".to_owned(),
            Memory::Copy(why) => format!("with a copy of the parent's memory, since {why}"),
        };
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
            Op::WaitForIdMaps => self.maps_outside.iter().map(IdMapWrite::line_outside).collect(),
            op => vec![op.to_string()],
        };
        let mut lines = Vec::new();
        if !self.maps_outside.is_empty() {
            lines.push(Step::StartIdMapHelper.to_string());
        }
        lines.extend(self.intermediate_ops.iter().flat_map(of));
        lines.push(self.clone_line());
        lines.extend(self.ops.iter().flat_map(of));
        for (number, line) in (1..).zip(&lines) {
            writeln!(f, "{number:2}. {line}")?;
        }
        Ok(())
    }
}
