//! From the builder to a plan: every check, every allocation, and no effect.

#![forbid(unsafe_code)]

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::Command;
use crate::error::{Error, Result};
use crate::mounts::c_path;
use crate::namespace::NamespaceSet;
use crate::ns_fd;
use crate::process_state;
use crate::setup::id_maps::IdMaps;
use crate::setup::join::Joins;
use crate::setup::mounts::MountRights;
use crate::setup::plan::{Lookup, Op, Plan};
use crate::setup::time_entry;
use crate::sys::abi;
use crate::sys::clone::can_share_memory;
use crate::sys::features;
use crate::sys::process;

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

    /// Whether the program's root is laid out by somebody else.
    pub(super) fn has_other_root(&self, joins: &Joins) -> bool {
        self.setup.rootfs.is_some()
            || process_state::is_in_other_root()
            || self.place.has_root()
            || joins.set().contains(NamespaceSet::MOUNT)
    }

    /// Below mounts and in open directories.
    fn has_other_files(&self) -> bool {
        self.setup.has_mounts() || self.place.is_open()
    }

    /// Among other files, too, unless the caller has named an open file by proc.
    fn program_lookup(&self, joins: &Joins) -> Lookup {
        let is_inside = self.has_other_root(joins)
            || (self.has_other_files() && !names_open_file(self.program.as_bytes()));
        if is_inside { Lookup::Inside } else { Lookup::Plain }
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
        self.check_numbers()?;
        let maps = IdMaps::of(&self.setup)?;
        if !maps.is_empty() && joins.set().contains(NamespaceSet::USER) {
            return Err(Error::invalid(
                "id maps for a new user namespace inside an entered one: enter it first, then spawn",
            ));
        }
        if joins.set().contains(NamespaceSet::PID) && namespaces.contains(NamespaceSet::PID) {
            return Err(Error::invalid(
                "a new pid namespace inside an entered one: the kernel makes it only for a process \
                 that is inside; start one there that makes it",
            ));
        }
        if self.setup.rootfs.is_some() && self.place.is_open() {
            return Err(Error::invalid(
                "a root of its own together with an open directory, which would lead out of it",
            ));
        }
        if self.setup.has_mounts() && self.place.is_open() {
            return Err(Error::invalid(
                "mounts together with an open directory: it was opened in the caller's mount namespace, where \
                 they are not, so that the program would see what they cover; use Rootfs or current_dir",
            ));
        }
        let elsewhere = ns_fd::children_are_elsewhere()?;
        let company = joins.set().intersects(NamespaceSet::USER | NamespaceSet::PID);
        let hide = company || elsewhere.entered;
        let of_entered_user = joins.set().contains(NamespaceSet::USER);
        // Before Linux 6.2 only a birth leads into a time namespace, and none that shares memory.
        let has_clocks = self.setup.time_op().is_some();
        // clone(2) cannot make the namespace, so that the child would have to.
        let is_hidden = namespaces.contains(NamespaceSet::TIME) && !features::clone3();
        let has_init = self.init.is_some();
        let execs = !has_init && !matches!(last, Op::Run(_));
        let in_both = joins.set().intersection(namespaces).contains(NamespaceSet::TIME);
        let needs_birth = in_both
            || (has_clocks || is_hidden || elsewhere.clocks)
                && (!execs || elsewhere.new || !time_entry::exec_enters_time_namespace());
        let by_birth = needs_birth && (has_clocks || is_hidden);
        let has_code = !self.pre_exec.is_empty() || matches!(last, Op::Run(_));
        let as_root = maps.leave_out_caller && self.setup.has_mounts();
        let becomes_root = self.enter.becomes_root(&joins);
        let other_ids = as_root || (!has_init && self.uid.or(self.gid).is_some());
        let copy = why_copy(&joins, has_code, has_init, hide, needs_birth, other_ids);

        let return_op = self.return_op(&joins)?;
        let has_other_files = self.has_other_root(&joins) || self.has_other_files();
        let dir_lookup = if has_other_files { Lookup::Inside } else { Lookup::Plain };
        let has_joins = !joins.is_empty();
        let mut entering = Vec::new();
        entering.extend(hide.then_some(Op::HideMemory));
        // Inside it may be denied.
        entering.extend((becomes_root && self.groups.is_none()).then_some(Op::DropGroups));
        entering.extend(has_joins.then_some(Op::Enter(joins)));
        // To enter a user namespace and to change ids resets the mark to what fs.suid_dumpable says.
        entering.extend((hide && has_joins).then_some(Op::HideMemory));
        if becomes_root && namespaces.contains(NamespaceSet::USER) {
            // In the new user namespace below the ids of the entered one are not mapped any more.
            entering.extend([Op::BecomeRootGroup, Op::BecomeRoot, Op::HideMemory]);
        }
        let init = self.init_op()?;
        // Before all else, unless that is an init's.
        let session = if init.is_none() { self.session_ops() } else { Vec::new() };
        let (unshared, making) = self.making(&maps, by_birth);
        let (before, mut ops): (Vec<Op>, Vec<Op>) = if by_birth {
            (entering.into_iter().chain(making).collect(), session)
        } else if has_joins {
            (entering, session.into_iter().chain(making).collect())
        } else {
            (Vec::new(), entering.into_iter().chain(session).chain(making).collect())
        };
        let clone_flags = self.clone_flags();
        if !before.is_empty() && clone_flags & abi::CLONE_AUTOREAP != 0 {
            return Err(Error::invalid(
                "a child made by an intermediate process, which enters namespaces or sets clocks, cannot \
                 be reaped or killed by the kernel for us: it is not ours from the start",
            ));
        }
        if !before.is_empty() && elsewhere.new {
            return Err(Error::invalid(
                "this thread's next child is to be PID 1 of a new pid namespace, which the process \
                 that enters other namespaces must not be: spawn from another thread",
            ));
        }
        ops.extend(self.setup.ops(MountRights { as_root, of_entered_user })?);
        ops.extend(return_op);
        self.place.enter(&mut ops);
        if let Some(init) = init {
            if becomes_root && !namespaces.contains(NamespaceSet::USER) {
                ops.extend([Op::DropGroups, Op::BecomeRootGroup, Op::BecomeRoot]);
            }
            ops.extend(self.kill_on_parent_exit.then_some(Op::DieWithParent));
            // Not before: the files of an undumpable process belong to root.
            ops.extend([Op::HideMemory, init]);
            ops.extend(self.session_ops());
        }
        ops.push(Op::ConnectStdio);
        ops.extend(self.lock_mounts.then_some(Op::LockMounts));
        let changes_ids = self.uid.is_some() || self.gid.is_some() || becomes_root;
        if self.place.keep_caps && changes_ids {
            ops.push(Op::KeepCapsOverIds);
        }
        match &self.groups {
            Some(groups) => ops.push(Op::SetGroups(groups.clone())),
            None => {
                ops.extend((self.uid.is_some() || becomes_root).then_some(Op::DropGroups));
            }
        }
        // In a new user namespace below, where no id is mapped, it is root of the entered one already.
        let becomes_root = becomes_root && !namespaces.contains(NamespaceSet::USER);
        let root_group = becomes_root.then_some(Op::BecomeRootGroup);
        ops.extend(self.gid.map(Op::SetGid).or(root_group));
        ops.extend(self.uid.map(Op::SetUid).or(becomes_root.then_some(Op::BecomeRoot)));
        // The memory of an init is its program's until exec.
        ops.extend((changes_ids && (hide || has_init)).then_some(Op::HideMemory));
        if let Some(dir) = &self.current_dir {
            ops.push(Op::ChangeDirectory(c_path(dir)?, dir_lookup));
        }
        let flags = [
            (self.place.keep_caps, Op::KeepCaps),
            (self.no_new_privs, Op::NoNewPrivs),
            // Behind every change of ids, which would undo it.
            (self.kill_on_parent_exit && self.init.is_none(), Op::DieWithParent),
            (self.close_other_fds, Op::CloseFds),
            (self.ignores_children(), Op::IgnoreChildren),
            (true, Op::ResetSignals),
        ];
        ops.extend(flags.into_iter().filter_map(|(wanted, op)| wanted.then_some(op)));
        ops.extend(self.pre_exec.iter().cloned().map(Op::PreExec));
        ops.push(last);
        Ok(Plan {
            copy,
            before,
            inner_shares: can_share_memory() && !needs_birth && !has_code && !has_init,
            namespaces: namespaces - unshared,
            clone_flags,
            set_tid: self.pids()?,
            cgroup: self.cgroup.clone(),
            maps_outside: maps.outside,
            die_with_parent: self.kill_on_parent_exit,
            arrives_by_exec: execs
                && !needs_birth
                && (namespaces.contains(NamespaceSet::TIME) || elsewhere.clocks),
            ops,
        })
    }

    /// To the kernel an id of -1 means "leave it as it is": the program would keep the caller's.
    fn check_numbers(&self) -> Result<()> {
        let groups = self.groups.iter().flatten().map(|&id| ("groups", id));
        let ids = [("uid", self.uid), ("gid", self.gid)];
        let ids = ids.into_iter().filter_map(|(name, id)| Some((name, id?)));
        if let Some((name, id)) = ids.chain(groups).find(|&(_, id)| id == u32::MAX) {
            return Err(Error::invalid(format!(
                "{name}: {id} is not an id (it is -1, which means \"unchanged\" to the kernel); use 0 to \
                 4294967294, or do not call {name} to keep the caller's"
            )));
        }
        match self.process_group {
            Some(group) if group < 0 => Err(Error::invalid(format!(
                "process_group: {group} is not a process group; use 0 for a new one, or the pid of its leader"
            ))),
            _ => Ok(()),
        }
    }

    fn pids(&self) -> Result<Vec<i32>> {
        let number = |&pid: &u32| match i32::try_from(pid) {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(Error::invalid(format!("{pid} is no pid: they go from 1 to 4194304"))),
        };
        self.set_tid.iter().map(number).collect()
    }

    fn clone_flags(&self) -> u64 {
        let mut flags = 0;
        if self.auto_reap {
            flags |= abi::CLONE_AUTOREAP;
        }
        if self.kill_on_drop {
            flags |= abi::CLONE_AUTOREAP | abi::CLONE_PIDFD_AUTOKILL;
            if self.no_new_privs {
                // Who has no privileges may kill so only what can gain none.
                flags |= abi::CLONE_NNP;
            }
        }
        if self.empty_mount_namespace {
            flags |= abi::CLONE_EMPTY_MNTNS;
        }
        flags
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

    /// The paths to try, in order.
    fn candidates(&self) -> Result<Vec<CString>> {
        let program = c_string(&self.program, "program")?;
        if program.is_empty() || program.to_bytes().contains(&b'/') {
            return Ok(vec![program]);
        }
        let set = self.env.get(OsStr::new("PATH"));
        let path = match set {
            Some(path) => path.clone(),
            None if self.env_clear || process::is_secure() => None,
            None => env::var_os("PATH"),
        };
        let path = path.unwrap_or_else(|| OsString::from("/bin:/usr/bin"));
        let in_dir = |dir: &[u8]| {
            // An empty entry is the working directory.
            let dir = if dir.is_empty() { b"." } else { dir };
            let candidate = [dir, b"/", program.to_bytes()].concat();
            c_string(&OsString::from_vec(candidate), "path")
        };
        path.as_bytes().split(|&byte| byte == b':').map(in_dir).collect()
    }
}

/// `/proc/self/exe`, `/proc/self/fd/7` and the like: what the path leads to is the last magic link's, so that no link of
/// anybody else is followed.
fn names_open_file(path: &[u8]) -> bool {
    let names: Vec<_> = path.split(|&byte| byte == b'/').collect();
    match names[..] {
        [b"", b"proc", process, b"exe"] | [b"", b"proc", process, b"fd", _] => process != b"..",
        _ => false,
    }
}

/// Why the child cannot share our memory.
fn why_copy(
    joins: &Joins,
    has_code: bool,
    has_init: bool,
    hide: bool,
    needs_birth: bool,
    other_ids: bool,
) -> Option<&'static str> {
    if !can_share_memory() {
        Some("this architecture has no other way")
    } else if has_code {
        Some("the caller's code must not write into it")
    } else if has_init {
        Some("an init outlives the spawn")
    } else if hide {
        Some("what lives in the entered namespaces could read it")
    } else if joins.set().contains(NamespaceSet::TIME) || needs_birth {
        Some("a time namespace lets none in that share it")
    } else if other_ids {
        Some("a change of ids would make the parent undumpable")
    } else {
        None
    }
}

fn c_string(text: &OsStr, what: &str) -> Result<CString> {
    CString::new(text.as_bytes())
        .map_err(|_| Error::invalid(format!("the {what} {text:?} has a NUL byte")))
}
