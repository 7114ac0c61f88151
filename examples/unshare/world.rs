//! The namespaces, and what they are to be like: the same for a child and for this thread.

use std::path::PathBuf;

use linux_namespaces::{
    Clock, ClockOffset, Command, IdMap, Mount, NamespaceSet, Propagation, Setgroups, Unshare,
};
use nix::unistd::{getegid, geteuid};

use crate::failure::Failure;
use crate::maps;
use crate::options::Options;

/// The namespaces and all that is set up in them.
pub(crate) struct World {
    namespaces: NamespaceSet,
    users: Option<IdMap>,
    groups: Option<IdMap>,
    setgroups: Option<Setgroups>,
    propagation: Propagation,
    proc: Option<Mount>,
    clocks: Vec<(Clock, ClockOffset)>,
}

impl World {
    pub(crate) fn of(options: &Options) -> Result<Self, Failure> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let (user_blocks, group_blocks) = (options.user_blocks(), options.group_blocks());
        let users = maps::map(&maps::USERS, options.user_inside, uid, &user_blocks)?;
        let groups = maps::map(&maps::GROUPS, options.group_inside, gid, &group_blocks)?;
        let one_group = options.group_inside.is_some() && group_blocks.is_empty();
        let setgroups = options.setgroups.or(one_group.then_some(Setgroups::Deny));
        let clocks = [(Clock::Monotonic, options.monotonic), (Clock::Boottime, options.boottime)];
        let clocks = clocks.into_iter().filter_map(|(clock, offset)| Some((clock, offset?)));
        let clocks = clocks.map(|(clock, offset)| Ok((clock, ClockOffset::new(offset, 0)?)));
        Ok(Self {
            namespaces: options.namespaces(),
            users,
            groups,
            setgroups,
            propagation: options.propagation,
            proc: proc_at(options).map(Mount::proc).transpose()?,
            clocks: clocks.collect::<Result<_, Failure>>()?,
        })
    }

    fn has(&self, namespaces: NamespaceSet) -> bool {
        self.namespaces.contains(namespaces)
    }

    /// For a child. Each option would bring its namespace; here only those that were asked for.
    pub(crate) fn make_for(&self, command: &mut Command) {
        command.unshare(self.namespaces);
        if let Some(map) = &self.users {
            command.uid_map(map.clone());
        }
        if let Some(map) = &self.groups {
            command.gid_map(map.clone());
        }
        if let Some(setgroups) = self.setgroups.filter(|_| self.has(NamespaceSet::USER)) {
            command.setgroups(setgroups);
        }
        if self.has(NamespaceSet::MOUNT) {
            command.propagation(self.propagation);
        }
        if let Some(mount) = &self.proc {
            command.mount(mount.clone());
        }
        for (clock, offset) in &self.clocks {
            command.time_offset(*clock, *offset);
        }
    }

    /// For this thread, and all that it starts.
    pub(crate) fn make_here(&self) -> Result<(), linux_namespaces::Error> {
        if self.namespaces.is_empty() {
            return Ok(());
        }
        let mut unshare = Unshare::new(self.namespaces);
        if let Some(map) = &self.users {
            unshare = unshare.uid_map(map.clone());
        }
        if let Some(map) = &self.groups {
            unshare = unshare.gid_map(map.clone());
        }
        if let Some(setgroups) = self.setgroups.filter(|_| self.has(NamespaceSet::USER)) {
            unshare = unshare.setgroups(setgroups);
        }
        if self.has(NamespaceSet::MOUNT) {
            unshare = unshare.propagation(self.propagation);
        }
        if let Some(mount) = &self.proc {
            unshare = unshare.mount(mount.clone());
        }
        for (clock, offset) in &self.clocks {
            unshare = unshare.time_offset(*clock, *offset);
        }
        unshare.apply()
    }
}

/// Where the new proc goes: what is asked for is meant as the program sees it.
fn proc_at(options: &Options) -> Option<PathBuf> {
    let dir = options.mount_proc.as_deref()?;
    Some(match &options.root {
        Some(root) => root.join(dir.strip_prefix("/").unwrap_or(dir)),
        None => dir.to_owned(),
    })
}
