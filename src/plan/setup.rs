//! The options that `Unshare` and `Command` have in common.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::hostname::Hostname;
use crate::id_map::{IdMap, Setgroups};
use crate::mounts::{Mount, Propagation, Rootfs};
use crate::namespace::NamespaceSet;
use crate::plan::op::Op;
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
