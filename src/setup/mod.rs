//! What to do with new namespaces: one vocabulary of steps, for this thread and for a child.

pub(crate) mod helper;
pub(crate) mod id_maps;
pub(crate) mod join;
pub(crate) mod map_tool;
pub(crate) mod mounts;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod slot;
pub(crate) mod steps;
pub(crate) mod time_entry;

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::diagnosis::has_threads;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::hostname::Hostname;
use crate::id_map::{IdMap, Setgroups};
use crate::mounts::{Mount, Propagation, Rootfs, c_path};
use crate::namespace::{Namespace, NamespaceSet};
use crate::ns_fd::{self, NsFd};
use crate::proc_fs::ProcFs;
use crate::setup::join::refusal;
use crate::setup::map_tool::Log;
use crate::setup::plan::{IdMapWrite, Op};
use crate::setup::run::FALLBACK;
use crate::setup::slot::Slot;
use crate::sys::{self, Errno};
use crate::time_offsets::{Clock, ClockOffset, TimeOffsets};

/// A map of user or group ids, some of which depend on who we are.
#[derive(Debug, Clone)]
pub(crate) enum Map {
    /// 0 inside is the caller's effective id outside.
    Root,
    /// The caller's effective id is the same inside.
    Current,
    /// `Root`, and all ids that were set aside for the user.
    Auto,
    Explicit(IdMap),
}

/// What `Unshare` and `Command` can both be told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    pub(crate) namespaces: NamespaceSet,
    pub(crate) uid_map: Option<Map>,
    pub(crate) gid_map: Option<Map>,
    pub(crate) setgroups: Option<Setgroups>,
    pub(crate) time_offsets: TimeOffsets,
    pub(crate) propagation: Propagation,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) rootfs: Option<Rootfs>,
    pub(crate) hostname: Option<Hostname>,
    pub(crate) domainname: Option<Hostname>,
    pub(crate) loopback: bool,
}

impl Setup {
    pub(crate) fn map_root(&mut self) {
        self.namespaces |= NamespaceSet::USER;
        self.uid_map = Some(Map::Root);
        self.gid_map = Some(Map::Root);
    }

    pub(crate) fn map_current(&mut self) {
        self.namespaces |= NamespaceSet::USER;
        self.uid_map = Some(Map::Current);
        self.gid_map = Some(Map::Current);
    }

    pub(crate) fn map_auto(&mut self) {
        self.namespaces |= NamespaceSet::USER;
        self.uid_map = Some(Map::Auto);
        self.gid_map = Some(Map::Auto);
    }

    pub(crate) fn set_uid_map(&mut self, map: IdMap) {
        self.namespaces |= NamespaceSet::USER;
        self.uid_map = Some(Map::Explicit(map));
    }

    pub(crate) fn set_gid_map(&mut self, map: IdMap) {
        self.namespaces |= NamespaceSet::USER;
        self.gid_map = Some(Map::Explicit(map));
    }

    pub(crate) fn set_setgroups(&mut self, setgroups: Setgroups) {
        self.namespaces |= NamespaceSet::USER;
        self.setgroups = Some(setgroups);
    }

    pub(crate) fn set_time_offset(&mut self, clock: Clock, offset: ClockOffset) {
        self.namespaces |= NamespaceSet::TIME;
        self.time_offsets.set(clock, offset);
    }

    pub(crate) fn set_propagation(&mut self, propagation: Propagation) {
        self.namespaces |= NamespaceSet::MOUNT;
        self.propagation = propagation;
    }

    pub(crate) fn add_mount(&mut self, mount: Mount) {
        self.namespaces |= NamespaceSet::MOUNT;
        self.mounts.push(mount);
    }

    pub(crate) fn set_rootfs(&mut self, rootfs: Rootfs) {
        self.namespaces |= NamespaceSet::MOUNT;
        self.rootfs = Some(rootfs);
    }

    pub(crate) fn set_hostname(&mut self, name: Hostname) {
        self.namespaces |= NamespaceSet::UTS;
        self.hostname = Some(name);
    }

    pub(crate) fn set_domainname(&mut self, name: Hostname) {
        self.namespaces |= NamespaceSet::UTS;
        self.domainname = Some(name);
    }

    pub(crate) fn set_loopback_up(&mut self) {
        self.namespaces |= NamespaceSet::NET;
        self.loopback = true;
    }

    pub(crate) fn time_op(&self) -> Option<Op> {
        let offsets = self.time_offsets;
        (!offsets.is_empty()).then(|| Op::WriteTimeOffsets(offsets.to_string()))
    }

    pub(crate) fn has_mounts(&self) -> bool {
        !self.mounts.is_empty() || self.rootfs.is_some()
    }

    /// The steps inside that need no order. Files are made as root's where the caller has no id.
    pub(crate) fn ops(&self, rights: mounts::MountRights) -> Result<Vec<Op>> {
        let mut ops = Vec::new();
        let propagation = self.namespaces.contains(NamespaceSet::MOUNT).then_some(self.propagation);
        let propagation = propagation.filter(|propagation| propagation.flag().is_some());
        // The kernel changes no root whose mounts are shared.
        let is_late = self.rootfs.is_some() && propagation == Some(Propagation::Shared);
        let first = if is_late { Some(Propagation::Private) } else { propagation };
        ops.extend(first.map(Op::SetPropagation));
        let mounts = mounts::compile(self, rights)?;
        ops.extend(mounts.into_iter().map(|mount| Op::Mount(Box::new(mount))));
        ops.extend(propagation.filter(|_| is_late).map(Op::SetPropagation));
        ops.extend(self.hostname.clone().map(Op::SetHostname));
        ops.extend(self.domainname.clone().map(Op::SetDomainname));
        if self.loopback {
            ops.push(Op::LoopbackUp);
        }
        Ok(ops)
    }

    /// The step back to the working directory, which something may be mounted over. With a root of its own the new
    /// root is the working directory.
    pub(crate) fn return_op(&self, fallback: Option<&Path>) -> Result<Option<Op>> {
        if !self.has_mounts() || self.rootfs.is_some() {
            return Ok(None);
        }
        if let Some(dir) = fallback.filter(|dir| !dir.is_absolute()) {
            return Err(Error::invalid(format!(
                "current_dir_fallback must be an absolute path, not {dir:?}: a relative one would start from the \
                 directory that a mount may cover"
            )));
        }
        let path = env::current_dir().ok();
        if path.is_none() && fallback.is_none() {
            return Err(Error::invalid(
                "the working directory has no path any more, and so cannot be looked up again after the mounts: \
                 set another one, or a fallback",
            ));
        }
        Ok(Some(Op::ReturnToDirectory {
            path: path.as_deref().map(c_path).transpose()?,
            fallback: fallback.map(c_path).transpose()?,
        }))
    }

    pub(crate) fn checked(&self) -> Result<NamespaceSet> {
        // A new user namespace keeps mounts in: what it copies is a slave of what is outside.
        let passes = matches!(self.propagation, Propagation::Shared | Propagation::Unchanged);
        if passes && self.has_mounts() && !self.namespaces.contains(NamespaceSet::USER) {
            let propagation = self.propagation;
            return Err(Error::invalid(format!(
                "with propagation {propagation} the new mounts would cover the machine's own, too"
            )));
        }
        self.namespaces.checked()
    }
}

/// What a failed step means to the caller.
pub(crate) fn failure_of(
    op: Option<&Op>,
    maps_outside: &[IdMapWrite],
    log: &Log,
    slot: &Slot,
    errno: Errno,
) -> Error {
    let detail = slot.detail();
    if let (Some(Op::AwaitIdMaps), map_tool::REFUSED, Some(write)) =
        (op, errno, maps_outside.get(detail))
    {
        return log.refusal(write);
    }
    let Some(op) = op else {
        return Error::os(Step::Clone, errno);
    };
    let step = match op {
        Op::Enter(joins) => return refusal(Step::Enter, &joins.targets, detail, errno),
        Op::AwaitIdMaps => maps_outside.get(detail).map_or(op.step(), |write| write.file.step()),
        _ => op.step_at(detail),
    };
    let error = Error::os(step, errno);
    let path = match op {
        Op::Mount(op) => return op.refusal(error, step),
        Op::ChangeDirectory(path, _) => path,
        Op::ReturnToDirectory { path, fallback } => {
            let path = if detail == FALLBACK { fallback } else { path };
            let error = error.on("again after the mounts, to");
            return match path {
                Some(path) => error.at(OsStr::from_bytes(path.to_bytes())),
                None => error,
            };
        }
        Op::Exec(candidates, _) => match &candidates[..] {
            [one] => one,
            _ => return error.on("from PATH"),
        },
        _ => return error,
    };
    error.at(OsStr::from_bytes(path.to_bytes()))
}

/// A `/proc` that is needed, or that mounts can make use of where newer calls are hidden.
pub(crate) fn open_proc<'a>(ops: impl Iterator<Item = &'a Op> + Clone) -> Result<Option<ProcFs>> {
    if ops.clone().any(Op::needs_proc) {
        ProcFs::open().map(Some)
    } else if ops.clone().any(|op| matches!(op, Op::Mount(_))) {
        match ProcFs::open() {
            // That would also hit what serves instead, and is a better answer than what is missing then.
            Err(error) if error.errno().is_some_and(sys::is_exhausted) => Err(error),
            proc => Ok(proc.ok()),
        }
    } else {
        Ok(None)
    }
}

/// `EINVAL` for a user namespace has several causes; threads are the one that a caller may not know of.
pub(crate) fn unless_threads(error: Error, set: NamespaceSet) -> Error {
    let user = set.contains(NamespaceSet::USER);
    if user && error.raw_os_error() == Some(libc::EINVAL) && has_threads() {
        return error.of(Namespace::User).with_kind(ErrorKind::Multithreaded);
    }
    error
}

/// The helper must not become PID 1 of a namespace that waits for its first process: it would take
/// the namespace with it when it ends.
pub(crate) fn no_pid_namespace_pending() -> Result<()> {
    let pending = match NsFd::for_children(Namespace::Pid) {
        Ok(namespace) => namespace.id()? != NsFd::current(Namespace::Pid)?.id()?,
        Err(error) if ns_fd::has_no_first_process(&error) => true,
        Err(error) => return Err(error),
    };
    if pending {
        return Err(Error::invalid(
            "this thread's children are born in another pid namespace, where the helper for id maps \
             must not be: make the pid namespace together with the user namespace instead",
        ));
    }
    Ok(())
}
