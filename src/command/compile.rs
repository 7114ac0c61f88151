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
struct Inside {
    becomes_root: bool,
    /// Whether it is in a new user namespace below, where the ids of the entered one are not mapped any more.
    is_below: bool,
}

impl Inside {
    /// Otherwise it is root already.
    fn becomes_root_late(self) -> bool {
        self.becomes_root && !self.is_below
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
        let inside = Inside {
            becomes_root: self.enter.becomes_root(&joins),
            is_below: namespaces.contains(NamespaceSet::USER),
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
        let entering = self.entering(joins, route.hides_memory, inside);
        // Before all else, unless that is an init's.
        let session = if init.is_none() { self.session_ops() } else { Vec::new() };
        let (unshared, making) = self.making(&maps, route.by_birth);
        let (before, mut ops): (Vec<Op>, Vec<Op>) = if route.by_birth {
            (entering.into_iter().chain(making).collect(), session)
        } else if has_joins {
            (entering, session.into_iter().chain(making).collect())
        } else {
            (Vec::new(), entering.into_iter().chain(session).chain(making).collect())
        };
        ops.extend(self.setup.ops(rights)?);
        ops.extend(return_op);
        self.place.enter(&mut ops);
        if let Some(init) = init {
            self.become_init(init, inside, &mut ops);
        }
        ops.push(Op::ConnectStdio);
        ops.extend(self.credentials.lock_mounts.then_some(Op::LockMounts));
        self.change_ids(inside, &mut ops);
        if let Some(dir) = &self.current_dir {
            ops.push(Op::ChangeDirectory(c_path(dir)?, dir_lookup));
        }
        // Behind all that creates files.
        ops.extend(self.process.umask.map(Op::SetUmask));
        let flags = [
            (self.credentials.keep_caps, Op::KeepCaps),
            (self.credentials.no_new_privs, Op::NoNewPrivs),
            // Behind every change of ids, which would undo it.
            (self.process.kill_on_parent_exit && self.init.is_none(), Op::DieWithParent),
            (self.process.close_other_fds, Op::CloseFds),
            (self.ignores_children(), Op::IgnoreChildren),
            (true, Op::ResetSignals),
        ];
        ops.extend(flags.into_iter().filter_map(|(wanted, op)| wanted.then_some(op)));
        ops.extend(self.pre_exec.iter().cloned().map(Op::PreExec));
        ops.push(last);
        Ok(Plan {
            memory: route.memory,
            before,
            inner_shares: route.inner_shares,
            namespaces: namespaces - unshared,
            clone_flags: self.clone_flags(route)?,
            set_tid: self.pids()?,
            cgroup: self.cgroup.clone(),
            maps_outside: maps.outside,
            die_with_parent: self.process.kill_on_parent_exit,
            arrives_by_exec: route.arrives_by_exec,
            ops,
        })
    }

    /// The steps into existing namespaces.
    fn entering(&self, joins: Joins, hides_memory: bool, inside: Inside) -> Vec<Op> {
        let has_joins = !joins.is_empty();
        let mut ops = Vec::new();
        ops.extend(hides_memory.then_some(Op::HideMemory));
        // Inside it may be denied.
        ops.extend(
            (inside.becomes_root && self.credentials.groups.is_none()).then_some(Op::DropGroups),
        );
        ops.extend(has_joins.then_some(Op::Enter(joins)));
        // To enter a user namespace and to change ids resets the mark to what fs.suid_dumpable says.
        ops.extend((hides_memory && has_joins).then_some(Op::HideMemory));
        if inside.becomes_root && inside.is_below {
            ops.extend([Op::BecomeRootGroup, Op::BecomeRoot, Op::HideMemory]);
        }
        ops
    }

    /// The steps that make this process the init, and those of its program's process that come first.
    fn become_init(&self, init: Op, inside: Inside, ops: &mut Vec<Op>) {
        if inside.becomes_root_late() {
            ops.extend([Op::DropGroups, Op::BecomeRootGroup, Op::BecomeRoot]);
        }
        ops.extend(self.process.kill_on_parent_exit.then_some(Op::DieWithParent));
        // Not before: the files of an undumpable process belong to root.
        ops.extend([Op::HideMemory, init]);
        ops.extend(self.session_ops());
    }

    fn change_ids(&self, inside: Inside, ops: &mut Vec<Op>) {
        let changes_ids =
            self.credentials.uid.is_some() || self.credentials.gid.is_some() || inside.becomes_root;
        ops.extend((self.credentials.keep_caps && changes_ids).then_some(Op::KeepCapsOverIds));
        let drops_groups = self.credentials.uid.is_some() || inside.becomes_root;
        let drop_groups = drops_groups.then_some(Op::DropGroups);
        ops.extend(self.credentials.groups.clone().map(Op::SetGroups).or(drop_groups));
        let becomes_root = inside.becomes_root_late();
        ops.extend(
            self.credentials.gid.map(Op::SetGid).or(becomes_root.then_some(Op::BecomeRootGroup)),
        );
        ops.extend(self.credentials.uid.map(Op::SetUid).or(becomes_root.then_some(Op::BecomeRoot)));
        // Until exec the memory is a copy of ours, whatever fs.suid_dumpable says.
        ops.extend(changes_ids.then_some(Op::HideMemory));
    }

    fn route(&self, new: NamespaceSet, joins: &Joins, last: &Op, maps: &IdMaps) -> Result<Route> {
        let makes_files_as_root = maps.leave_out_caller && self.setup.has_mounts();
        let mut facts = Facts {
            new,
            enters: joins.set(),
            pending: process_state::pending_namespaces()?,
            sets_clocks: self.setup.time_op().is_some(),
            has_init: self.init.is_some(),
            ends_in_code: matches!(last, Op::Run(_)),
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
    fn making(&self, maps: &IdMaps, by_birth: bool) -> (NamespaceSet, Vec<Op>) {
        let maps = maps.ops();
        let time = NamespaceSet::TIME;
        match self.setup.time_op() {
            clocks if by_birth => {
                let set = time | (self.setup.namespaces & NamespaceSet::USER);
                (set, [Op::Unshare(set)].into_iter().chain(maps).chain(clocks).collect())
            }
            None => (NamespaceSet::empty(), maps),
            Some(clocks) => (time, maps.into_iter().chain([Op::Unshare(time), clocks]).collect()),
        }
    }
}
