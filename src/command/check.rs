//! What cannot be asked for, or not together.

#![forbid(unsafe_code)]

use super::Command;
use crate::error::{Error, Result};
use crate::namespace::NamespaceSet;
use crate::plan::id_maps::IdMaps;
use crate::plan::joins::Joins;

impl Command {
    pub(super) fn check(&self, joins: &Joins, new: NamespaceSet, maps: &IdMaps) -> Result<()> {
        self.credentials.check()?;
        self.process.check()?;
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
}
