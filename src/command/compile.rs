//! From the builder to a plan: every check, every allocation, and no effect.

#![forbid(unsafe_code)]

use super::Command;
use super::route::{Facts, Route};
use crate::error::{Error, Result};
use crate::mounts::c_path;
use crate::namespace::NamespaceSet;
use crate::plan::Plan;
use crate::plan::id_maps::IdMaps;
use crate::plan::joins::Joins;
use crate::plan::mounts::MountRights;
use crate::plan::op::{Lookup, Op};
use crate::process_state;
use crate::support::time_entry;
use crate::sys::clone::can_share_memory;
use crate::sys::features;

/// What the program becomes in an entered user namespace.
#[derive(Debug, Clone, Copy)]
struct EnteredUserNamespace {
    becomes_root: bool,
    /// Whether it is in a new user namespace below, where the ids of the entered one are not mapped any more.
    has_new_below: bool,
}

impl EnteredUserNamespace {
    /// Otherwise it is root already.
    fn becomes_root_late(self) -> bool {
        self.becomes_root && !self.has_new_below
    }
}

impl Command {
    /// What a spawn would do, step by step, without doing it.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, NamespaceSet};
    ///
    /// let plan = Command::new("/bin/true").unshare(NamespaceSet::PID).map_root().plan()?;
    /// assert!(plan.to_string().lines().count() > 4);
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for what no spawn could do: a NUL byte in an
    /// argument or path, an unknown bit in a set, a uid or gid of 4294967295, two namespaces of one kind to enter,
    /// id maps together with an entered user namespace, a new pid namespace together with an entered one;
    /// and what [`Enter::apply`](crate::Enter::apply) answers for namespaces that cannot be looked at.
    pub fn plan(&self) -> Result<Plan> {
        let joins = self.enter.joins()?;
        let last = Op::Exec(self.candidates()?, self.program_lookup(&joins));
        self.compile(joins, last)
    }

    /// The steps into the working directory: what was inherited is looked up again where something may be mounted
    /// over it by now.
    fn return_op(&self, joins: &Joins) -> Result<Option<Op>> {
        let is_absolute = self.current_dir.as_ref().is_some_and(|dir| dir.is_absolute());
        // The root of an entered mount namespace cannot be covered.
        if is_absolute || joins.set().contains(NamespaceSet::MOUNT) {
            return Ok(None);
        }
        self.setup.return_op(self.current_dir_fallback.as_deref())
    }

    /// A plan that enters these and has this last step.
    pub(super) fn compile(&self, joins: Joins, last: Op) -> Result<Plan> {
        let namespaces = self.setup.checked()?;
        let maps = IdMaps::of(&self.setup)?;
        self.check(&joins, namespaces, &maps)?;
        let route = self.route(namespaces, &joins, &last, &maps)?;
        let entered_user = EnteredUserNamespace {
            becomes_root: self.enter.becomes_root(&joins),
            has_new_below: namespaces.contains(NamespaceSet::USER),
        };
        let rights = MountRights {
            as_root: maps.leave_out_caller && self.setup.has_mounts(),
            of_entered_user: joins.set().contains(NamespaceSet::USER),
        };
        let has_other_files = self.has_other_root(&joins) || self.has_other_files();
        let dir_lookup = if has_other_files { Lookup::Inside } else { Lookup::Plain };
        let return_op = self.return_op(&joins)?;
        let init = self.init_op()?;

        let has_joins = !joins.is_empty();
        let enter_ops = self.enter_ops(joins, route.sets_undumpable, entered_user);
        // Before all else, unless that is an init's.
        let session = if init.is_none() { self.session_ops() } else { Vec::new() };
        let (unshared, unshare_ops) = self.unshare_ops(&maps, route.intermediate_makes_time);
        let (intermediate_ops, mut ops): (Vec<Op>, Vec<Op>) = if route.intermediate_makes_time {
            (enter_ops.into_iter().chain(unshare_ops).collect(), session)
        } else if has_joins {
            (enter_ops, session.into_iter().chain(unshare_ops).collect())
        } else {
            (Vec::new(), enter_ops.into_iter().chain(session).chain(unshare_ops).collect())
        };
        ops.extend(self.setup.ops(rights)?);
        ops.extend(return_op);
        self.open_dirs.enter(&mut ops);
        if let Some(init) = init {
            self.become_init(init, entered_user, &mut ops);
        }
        self.program_ops(entered_user, dir_lookup, &mut ops)?;
        ops.push(last);
        Ok(Plan {
            memory: route.memory,
            intermediate_ops,
            shares_with_intermediate: route.shares_with_intermediate,
            namespaces: namespaces - unshared,
            clone_flags: self.clone_flags(route)?,
            set_tid: self.pids()?,
            cgroup: self.cgroup.clone(),
            maps_outside: maps.outside,
            die_with_parent: self.process.kill_on_parent_exit,
            enters_time_by_exec: route.enters_time_by_exec,
            ops,
        })
    }

    /// The steps into existing namespaces.
    fn enter_ops(
        &self,
        joins: Joins,
        sets_undumpable: bool,
        entered_user: EnteredUserNamespace,
    ) -> Vec<Op> {
        let has_joins = !joins.is_empty();
        let mut ops = Vec::new();
        ops.extend(sets_undumpable.then_some(Op::SetDumpable));
        // Inside it may be denied.
        ops.extend(
            (entered_user.becomes_root && self.credentials.groups.is_none())
                .then_some(Op::DropGroups),
        );
        ops.extend(has_joins.then_some(Op::Enter(joins)));
        // To enter a user namespace and to change ids resets the mark to what fs.suid_dumpable says.
        ops.extend((sets_undumpable && has_joins).then_some(Op::SetDumpable));
        if entered_user.becomes_root && entered_user.has_new_below {
            ops.extend([Op::SetGidToRoot, Op::SetUidToRoot, Op::SetDumpable]);
        }
        ops
    }

    /// The steps that make this process the init, and those of its program's process that come first.
    fn become_init(&self, init: Op, entered_user: EnteredUserNamespace, ops: &mut Vec<Op>) {
        if entered_user.becomes_root_late() {
            ops.extend([Op::DropGroups, Op::SetGidToRoot, Op::SetUidToRoot]);
        }
        ops.extend(self.process.kill_on_parent_exit.then_some(Op::SetParentDeathSignal));
        // Not before: the files of an undumpable process belong to root.
        ops.extend([Op::SetDumpable, init]);
        ops.extend(self.session_ops());
    }

    /// The steps that lead to the program, when the namespaces are as it will find them.
    fn program_ops(
        &self,
        entered_user: EnteredUserNamespace,
        dir_lookup: Lookup,
        ops: &mut Vec<Op>,
    ) -> Result<()> {
        ops.push(Op::ConnectStdio);
        ops.extend(self.credentials.lock_mounts.then_some(Op::LockMounts));
        self.change_ids(entered_user, ops);
        if let Some(dir) = &self.current_dir {
            ops.push(Op::ChangeDirectory(c_path(dir)?, dir_lookup));
        }
        // Behind all that creates files.
        ops.extend(self.process.umask.map(Op::SetUmask));
        let flags = [
            (self.credentials.keep_caps, Op::KeepCaps),
            (self.credentials.no_new_privs, Op::NoNewPrivs),
            // Behind every change of ids, which would undo it.
            (self.process.kill_on_parent_exit && self.init.is_none(), Op::SetParentDeathSignal),
            (self.process.close_other_fds, Op::CloseFds),
            (self.ignores_children(), Op::IgnoreSigchld),
            (true, Op::ResetSignals),
        ];
        ops.extend(flags.into_iter().filter_map(|(wanted, op)| wanted.then_some(op)));
        ops.extend(self.pre_exec.iter().cloned().map(Op::PreExec));
        Ok(())
    }

    fn change_ids(&self, entered_user: EnteredUserNamespace, ops: &mut Vec<Op>) {
        let changes_ids = self.credentials.uid.is_some()
            || self.credentials.gid.is_some()
            || entered_user.becomes_root;
        ops.extend((self.credentials.keep_caps && changes_ids).then_some(Op::KeepCapsOverIds));
        let drops_groups = self.credentials.uid.is_some() || entered_user.becomes_root;
        let drop_groups = drops_groups.then_some(Op::DropGroups);
        ops.extend(self.credentials.groups.clone().map(Op::SetGroups).or(drop_groups));
        let becomes_root = entered_user.becomes_root_late();
        ops.extend(
            self.credentials.gid.map(Op::SetGid).or(becomes_root.then_some(Op::SetGidToRoot)),
        );
        ops.extend(
            self.credentials.uid.map(Op::SetUid).or(becomes_root.then_some(Op::SetUidToRoot)),
        );
        // Until exec the memory is a copy of ours, whatever fs.suid_dumpable says.
        ops.extend(changes_ids.then_some(Op::SetDumpable));
    }

    fn route(&self, new: NamespaceSet, joins: &Joins, last: &Op, maps: &IdMaps) -> Result<Route> {
        let makes_files_as_root = maps.leave_out_caller && self.setup.has_mounts();
        let mut facts = Facts {
            new,
            enters: joins.set(),
            pending: process_state::pending_namespaces()?,
            sets_clocks: self.setup.time_op().is_some(),
            has_init: self.init.is_some(),
            ends_in_code: matches!(last, Op::SpawnFn(_)),
            has_pre_exec: !self.pre_exec.is_empty(),
            changes_ids: makes_files_as_root
                || (self.init.is_none() && self.credentials.uid.or(self.credentials.gid).is_some()),
            can_share_memory: can_share_memory(),
            has_clone3: !new.contains(NamespaceSet::TIME) || features::clone3(),
            exec_enters_time: false,
        };
        facts.exec_enters_time =
            facts.depends_on_exec() && time_entry::exec_enters_time_namespace();
        let route = facts.route();
        if route.has_intermediate && facts.pending.new_pid {
            return Err(Error::invalid(
                "this thread's next child is to be PID 1 of a new pid namespace, which the process \
                 that enters other namespaces must not be: spawn from another thread",
            ));
        }
        Ok(route)
    }

    /// What makes the namespaces fit to be used, and those among them that it makes itself, as clocks can
    /// be set only from outside: by a process whose children will be in them.
    fn unshare_ops(&self, maps: &IdMaps, intermediate_makes_time: bool) -> (NamespaceSet, Vec<Op>) {
        let maps = maps.ops();
        let time = NamespaceSet::TIME;
        match self.setup.time_op() {
            clocks if intermediate_makes_time => {
                let set = time | (self.setup.namespaces & NamespaceSet::USER);
                (set, [Op::Unshare(set)].into_iter().chain(maps).chain(clocks).collect())
            }
            None => (NamespaceSet::empty(), maps),
            Some(clocks) => (time, maps.into_iter().chain([Op::Unshare(time), clocks]).collect()),
        }
    }
}
