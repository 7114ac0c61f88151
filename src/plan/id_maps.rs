//! Who may write which file of a user namespace.

#![forbid(unsafe_code)]

use std::ffi::CString;
use std::path::PathBuf;
use std::{env, fs};

use crate::error::{Error, ErrorKind, Result};
use crate::id_map::{IdMap, Setgroups};
use crate::mounts::c_path;
use crate::plan::op::{IdMapFile, IdMapWrite, MapTool, Op};
use crate::plan::setup::{Map, Setup};
use crate::process_state;
use crate::sub_ids::SubIds;
use crate::sys::{abi, c_library, caps, ids};

/// The writes of a user namespace's files, and who does them.
#[derive(Debug, Default)]
pub(crate) struct IdMaps {
    pub(crate) inside: Vec<IdMapWrite>,
    pub(crate) outside: Vec<IdMapWrite>,
    /// Whether the caller has no ids inside, though root has.
    pub(crate) leave_out_caller: bool,
}

impl Map {
    fn resolve(&self, own: u32, set_aside: fn() -> Result<SubIds>) -> Result<IdMap> {
        match self {
            Self::Root => IdMap::single(0, own),
            Self::Current => IdMap::single(own, own),
            Self::Auto => set_aside()?.to_id_map(own),
            Self::Explicit(map) => Ok(map.clone()),
        }
    }
}

impl IdMaps {
    pub(crate) fn of(setup: &Setup) -> Result<Self> {
        if setup.uid_map.is_none() && setup.gid_map.is_none() && setup.setgroups.is_none() {
            return Ok(Self::default());
        }
        let (uid, gid) = (ids::geteuid(), ids::getegid());
        let uid_map = setup.uid_map.as_ref().map(|map| map.resolve(uid, SubIds::read_subuid));
        let gid_map = setup.gid_map.as_ref().map(|map| map.resolve(gid, SubIds::read_subgid));
        let (uid_map, gid_map) = (uid_map.transpose()?, gid_map.transpose()?);
        let only = |map: &Option<IdMap>, id| map.as_ref().is_none_or(|map| map.maps_only(id));
        let leave_out =
            |map: &Option<IdMap>, id| map.as_ref().is_some_and(|map| map.leaves_out(id));
        let leave_out_caller = leave_out(&uid_map, uid) && leave_out(&gid_map, gid);
        // The kernel lets a process map its own ids from inside, its gid only without setgroups(2).
        let own_uid = only(&uid_map, uid);
        let own_gid = only(&gid_map, gid) && setup.setgroups != Some(Setgroups::Allow);
        let inside = own_uid && (own_gid || gid_map.is_none());
        // From outside it takes a capability, or else a program that has it.
        let uid_tool = !own_uid && !caps::has(abi::CAP_SETUID);
        let gid_free = !inside && caps::has(abi::CAP_SETGID);
        let gid_tool = !only(&gid_map, gid) && !gid_free;

        let must_deny = gid_map.is_some() && own_gid && (inside || !gid_free);
        let setgroups = setup.setgroups.or(must_deny.then_some(Setgroups::Deny));
        let mut writes: Vec<IdMapWrite> =
            setgroups.into_iter().map(IdMapWrite::setgroups).collect();
        let maps = [
            (IdMapFile::Uid, uid_map, uid_tool.then_some("newuidmap")),
            (IdMapFile::Gid, gid_map, gid_tool.then_some("newgidmap")),
        ];
        for (file, map, tool) in maps {
            if let Some(map) = map {
                let tool = tool.map(|name| find(name, &map, file)).transpose()?;
                writes.push(IdMapWrite { file, text: map.to_string(), tool });
            }
        }
        let (inside, outside) = if inside { (writes, Vec::new()) } else { (Vec::new(), writes) };
        Ok(Self { inside, outside, leave_out_caller })
    }

    /// The steps to take before any other inside the new namespaces, as privileges come from them.
    pub(crate) fn ops(&self) -> Vec<Op> {
        let mut ops: Vec<Op> = self.inside.iter().cloned().map(Op::WriteIdMap).collect();
        if !self.outside.is_empty() {
            ops.push(Op::WaitForIdMaps);
        }
        ops
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inside.is_empty() && self.outside.is_empty()
    }
}

/// The program that may write the map, with its arguments.
fn find(name: &str, map: &IdMap, file: IdMapFile) -> Result<MapTool> {
    if process_state::is_in_other_root() {
        return Err(Error::invalid(format!(
            "this thread is in another root, whose {name} must not run with the privileges of this process: write \
             the map from a thread that is in the root of the process"
        )));
    }
    // It runs with our privileges, so that a caller who has less must not choose it.
    let path = if c_library::is_secure() { None } else { env::var_os("PATH") }.unwrap_or_default();
    let is_file = |path: &PathBuf| fs::metadata(path).is_ok_and(|about| about.is_file());
    // Also where an ordinary user's PATH does not lead.
    let usual = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = env::split_paths(&path).filter(|dir| dir.is_absolute()).chain(usual);
    let Some(path) = found.map(|dir| dir.join(name)).find(is_file) else {
        let message = format!(
            "{name}, which writes this map for a user without CAP_SETUID or CAP_SETGID, is not on this \
             machine: Debian, Ubuntu and Arch have it in \"uidmap\" or \"shadow\", Fedora in shadow-utils"
        );
        return Err(Error::new(ErrorKind::NotFound, message).at_step(file.step()));
    };
    let number = |id: u32| CString::new(id.to_string()).unwrap_or_default();
    let args = map
        .extents()
        .iter()
        .flat_map(|extent| [extent.inside, extent.outside, extent.count].map(number));
    Ok(MapTool { path: c_path(&path)?, args: args.collect() })
}
