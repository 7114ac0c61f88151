//! Which way a spawn goes: a table, of what is known about the command and this machine.

#![forbid(unsafe_code)]

use crate::namespace::NamespaceSet;
use crate::plan::{CopyReason, Memory};
use crate::process_state::PendingNamespaces;

const TIME: NamespaceSet = NamespaceSet::TIME;

/// All that the way depends on.
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// New namespaces of the child.
    pub(super) new: NamespaceSet,
    /// Namespaces that it enters.
    pub(super) enters: NamespaceSet,
    /// Those of this thread that only its children are in.
    pub(super) pending: PendingNamespaces,
    /// Whether clocks of a new time namespace are set.
    pub(super) sets_clocks: bool,
    pub(super) has_init: bool,
    /// Whether the last step is the caller's code, and not exec.
    pub(super) ends_in_code: bool,
    pub(super) has_pre_exec: bool,
    /// Whether the child changes its ids before exec.
    pub(super) changes_ids: bool,
    /// What this machine can do.
    pub(super) can_share_memory: bool,
    pub(super) has_clone3: bool,
    /// Whether exec enters a pending time namespace; of interest only if the [way depends on it](Self::depends_on_exec).
    pub(super) exec_enters_time: bool,
}

/// Which way a spawn goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) memory: Memory,
    /// Whether processes inside could look into a child's memory, so that it is marked undumpable.
    pub(super) sets_undumpable: bool,
    /// Whether another process, which enters or makes namespaces, makes the child.
    pub(super) has_intermediate: bool,
    /// Whether that process makes the time namespace, so that the child is born in it.
    pub(super) intermediate_makes_time: bool,
    /// Whether the child shares the memory of the process that makes it.
    pub(super) shares_with_intermediate: bool,
    /// Whether exec brings the program into its time namespace.
    pub(super) enters_time_by_exec: bool,
}

impl Facts {
    fn execs(&self) -> bool {
        !self.has_init && !self.ends_in_code
    }

    /// Whether a time namespace is made before the child: its clocks are set from outside, and `clone(2)` cannot make it.
    fn makes_time_first(&self) -> bool {
        self.sets_clocks || (self.new.contains(TIME) && !self.has_clone3)
    }

    /// Whether it matters that exec enters a time namespace, which takes a process to find out.
    pub(super) fn depends_on_exec(&self) -> bool {
        (self.makes_time_first() || self.pending.time) && self.execs() && !self.pending.new_pid
    }

    pub(super) fn route(&self) -> Route {
        // Before Linux 6.2 only a birth leads into a time namespace, and none that shares memory.
        let by_exec = self.execs() && !self.pending.new_pid && self.exec_enters_time;
        let needs_clone_inside = (self.enters & self.new).contains(TIME)
            || ((self.makes_time_first() || self.pending.time) && !by_exec);
        let intermediate_makes_time = needs_clone_inside && self.makes_time_first();
        let has_code = self.has_pre_exec || self.ends_in_code;
        let sets_undumpable = self.enters.intersects(NamespaceSet::USER | NamespaceSet::PID)
            || self.pending.entered_pid;
        let memory = if !self.can_share_memory {
            Memory::Copy(CopyReason::Architecture)
        } else if has_code {
            Memory::Copy(CopyReason::CallersCode)
        } else if self.has_init {
            Memory::Copy(CopyReason::Init)
        } else if sets_undumpable {
            Memory::Copy(CopyReason::EnteredNamespaces)
        } else if self.enters.contains(TIME) || needs_clone_inside {
            Memory::Copy(CopyReason::TimeNamespace)
        } else if self.changes_ids {
            Memory::Copy(CopyReason::Ids)
        } else {
            Memory::Shared
        };
        Route {
            memory,
            sets_undumpable,
            has_intermediate: intermediate_makes_time || !self.enters.is_empty(),
            intermediate_makes_time,
            shares_with_intermediate: self.can_share_memory
                && !needs_clone_inside
                && !has_code
                && !self.has_init,
            enters_time_by_exec: self.execs()
                && !needs_clone_inside
                && (self.new.contains(TIME) || self.pending.time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Facts = Facts {
        new: NamespaceSet::empty(),
        enters: NamespaceSet::empty(),
        pending: PendingNamespaces { new_pid: false, entered_pid: false, time: false },
        sets_clocks: false,
        has_init: false,
        ends_in_code: false,
        has_pre_exec: false,
        changes_ids: false,
        can_share_memory: true,
        has_clone3: true,
        exec_enters_time: true,
    };

    const NET: NamespaceSet = NamespaceSet::NET;
    const PENDING_TIME: PendingNamespaces = PendingNamespaces { time: true, ..PLAIN.pending };
    const CLOCKS: Facts = Facts { new: TIME, sets_clocks: true, ..PLAIN };

    /// The reason for a copy, and which of these: has an intermediate process, is born in its time namespace, shares
    /// the memory of the process that makes it, arrives there by exec, hides its memory.
    fn row(facts: Facts) -> (Option<CopyReason>, String) {
        let route = facts.route();
        let marks = [
            ('i', route.has_intermediate),
            ('b', route.intermediate_makes_time),
            ('s', route.shares_with_intermediate),
            ('e', route.enters_time_by_exec),
            ('h', route.sets_undumpable),
        ];
        let copy = match route.memory {
            Memory::Shared => None,
            Memory::Copy(why) => Some(why),
        };
        (copy, marks.iter().filter(|(_, is)| *is).map(|(mark, _)| *mark).collect())
    }

    #[test]
    fn every_row_of_the_table() {
        use CopyReason::{Architecture, CallersCode, EnteredNamespaces, Ids, Init, TimeNamespace};
        let entered_pid = PendingNamespaces { entered_pid: true, ..PLAIN.pending };
        let new_pid = PendingNamespaces { new_pid: true, ..PENDING_TIME };
        let all = NamespaceSet::all();
        let rows = [
            (PLAIN, None, "s"),
            (Facts { new: all - TIME, ..PLAIN }, None, "s"),
            (Facts { enters: NET, ..PLAIN }, None, "is"),
            (Facts { enters: NET, new: NET, ..PLAIN }, None, "is"),
            // A copy, and why.
            (Facts { can_share_memory: false, ..PLAIN }, Some(Architecture), ""),
            (Facts { can_share_memory: false, enters: NET, ..PLAIN }, Some(Architecture), "i"),
            (Facts { has_pre_exec: true, ..PLAIN }, Some(CallersCode), ""),
            (Facts { ends_in_code: true, ..PLAIN }, Some(CallersCode), ""),
            (Facts { has_init: true, new: NamespaceSet::PID, ..PLAIN }, Some(Init), ""),
            (Facts { has_init: true, enters: NET, ..PLAIN }, Some(Init), "i"),
            (Facts { has_init: true, ends_in_code: true, ..PLAIN }, Some(CallersCode), ""),
            (Facts { enters: NamespaceSet::USER, ..PLAIN }, Some(EnteredNamespaces), "ish"),
            (Facts { enters: NamespaceSet::PID, ..PLAIN }, Some(EnteredNamespaces), "ish"),
            (Facts { pending: entered_pid, ..PLAIN }, Some(EnteredNamespaces), "sh"),
            (Facts { enters: TIME, ..PLAIN }, Some(TimeNamespace), "is"),
            (Facts { changes_ids: true, ..PLAIN }, Some(Ids), "s"),
            (Facts { changes_ids: true, enters: NET, ..PLAIN }, Some(Ids), "is"),
            // A time namespace, where exec enters it.
            (Facts { new: TIME, ..PLAIN }, None, "se"),
            (CLOCKS, None, "se"),
            (Facts { has_clone3: false, new: TIME, ..PLAIN }, None, "se"),
            (Facts { pending: PENDING_TIME, ..PLAIN }, None, "se"),
            (Facts { enters: NET, ..CLOCKS }, None, "ise"),
            // Where there is no exec, or it does not enter one, or it cannot be found out.
            (Facts { has_init: true, ..CLOCKS }, Some(Init), "ib"),
            (Facts { ends_in_code: true, ..CLOCKS }, Some(CallersCode), "ib"),
            (Facts { exec_enters_time: false, ..CLOCKS }, Some(TimeNamespace), "ib"),
            (Facts { pending: new_pid, ..CLOCKS }, Some(TimeNamespace), "ib"),
            (Facts { pending: new_pid, ..PLAIN }, Some(TimeNamespace), ""),
            (Facts { exec_enters_time: false, new: TIME, ..PLAIN }, None, "se"),
            (
                Facts { exec_enters_time: false, has_clone3: false, new: TIME, ..PLAIN },
                Some(TimeNamespace),
                "ib",
            ),
            (
                Facts { exec_enters_time: false, pending: PENDING_TIME, ..PLAIN },
                Some(TimeNamespace),
                "",
            ),
            // One is entered, and another one made.
            (Facts { enters: TIME, new: TIME, ..PLAIN }, Some(TimeNamespace), "i"),
            (Facts { enters: TIME, ..CLOCKS }, Some(TimeNamespace), "ib"),
        ];
        for (facts, copy, marks) in rows {
            assert_eq!(row(facts), (copy, marks.to_owned()), "{facts:?}");
        }
    }

    #[test]
    fn a_process_is_asked_only_where_it_matters() {
        assert!(CLOCKS.depends_on_exec());
        assert!(Facts { pending: PENDING_TIME, ..PLAIN }.depends_on_exec());
        assert!(!PLAIN.depends_on_exec());
        assert!(!Facts { has_init: true, ..CLOCKS }.depends_on_exec());
        let new_pid = PendingNamespaces { new_pid: true, ..PENDING_TIME };
        assert!(!Facts { pending: new_pid, ..CLOCKS }.depends_on_exec());
    }
}
