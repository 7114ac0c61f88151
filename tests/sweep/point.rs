//! Which call of which process: the same in every run of a scenario.

use std::fmt;

/// What a process is there for, as the flags of its birth tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The caller of the crate.
    Parent,
    /// It shares the table of descriptors and its parent goes on: it writes id maps.
    Helper,
    /// It enters namespaces: made after a pair of sockets, over which its child meets the parent, or with the table of
    /// descriptors of a parent that sleeps.
    Intermediate,
    /// It becomes the program, or an init.
    Child,
    /// Made by an init.
    Program,
    /// Made by the helper, for `newuidmap(1)`.
    Tool,
    Thread,
    /// Its parent was killed before it could tell.
    Stray,
}

impl Kind {
    pub(crate) fn of(parent: Self, flags: u64, has_sockets: bool) -> Self {
        const FILES: u64 = libc::CLONE_FILES as u64;
        // The intermediate process has one of these.
        const OTHERS: u64 = libc::CLONE_VFORK as u64 | 1 << 32;
        if flags & libc::CLONE_THREAD as u64 != 0 {
            return Self::Thread;
        }
        match parent {
            Self::Child => Self::Program,
            Self::Helper => Self::Tool,
            _ if flags & FILES != 0 && flags & OTHERS == 0 => Self::Helper,
            _ if flags & FILES != 0 => Self::Intermediate,
            Self::Parent if has_sockets => Self::Intermediate,
            _ => Self::Child,
        }
    }
}

/// One process of a run: the nth of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Role {
    pub(crate) kind: Kind,
    pub(crate) index: u32,
}

impl Role {
    pub(crate) const PARENT: Self = Self { kind: Kind::Parent, index: 0 };
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{:?}", self.kind).to_lowercase();
        match self.index {
            0 => f.write_str(&name),
            index => write!(f, "{name} {}", index + 1),
        }
    }
}

/// A role's nth call of this number. Not its nth call: whether a lock is slept for differs from run to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) role: Role,
    pub(crate) number: libc::c_long,
    pub(crate) nth: u32,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deed {
    /// The call answers this number and does nothing.
    Refuse(i32),
    /// As [`Refuse`](Self::Refuse), and so do all calls of this number from there on, whoever makes them.
    Filter(i32),
    /// This process is killed.
    Kill(Role),
}
