//! What cannot be asked for, or not together.

#![forbid(unsafe_code)]

use super::Command;
use super::route::Route;
use crate::error::{Error, Result};
use crate::namespace::NamespaceSet;
use crate::plan::id_maps::IdMaps;
use crate::plan::joins::Joins;
use crate::sys::abi;

impl Command {
    pub(super) fn check(&self, joins: &Joins, new: NamespaceSet, maps: &IdMaps) -> Result<()> {
        self.check_numbers()?;
        let enters = joins.set();
        if !maps.is_empty() && enters.contains(NamespaceSet::USER) {
            return Err(Error::invalid(
                "id maps for a new user namespace inside an entered one: enter it first, then spawn",
            ));
        }
        if (enters & new).contains(NamespaceSet::PID) {
            return Err(Error::invalid(
                "a new pid namespace inside an entered one: the kernel makes it only for a process \
                 that is inside; start one there that makes it",
            ));
        }
        if self.setup.rootfs.is_some() && self.open_dirs.is_open() {
            return Err(Error::invalid(
                "a root of its own together with an open directory, which would lead out of it",
            ));
        }
        if self.setup.has_mounts() && self.open_dirs.is_open() {
            return Err(Error::invalid(
                "mounts together with an open directory: it was opened in the caller's mount namespace, where \
                 they are not, so that the program would see what they cover; use Rootfs or current_dir",
            ));
        }
        Ok(())
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

    pub(super) fn pids(&self) -> Result<Vec<i32>> {
        let number = |&pid: &u32| match i32::try_from(pid) {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(Error::invalid(format!("{pid} is no pid: they go from 1 to 4194304"))),
        };
        self.set_tid.iter().map(number).collect()
    }

    /// The flags of `clone3` that `clone` has not.
    pub(super) fn clone_flags(&self, route: Route) -> Result<u64> {
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
        if route.has_intermediate && flags & abi::CLONE_AUTOREAP != 0 {
            return Err(Error::invalid(
                "a child made by an intermediate process, which enters namespaces or sets clocks, cannot \
                 be reaped or killed by the kernel for us: it is not ours from the start",
            ));
        }
        Ok(flags)
    }
}
