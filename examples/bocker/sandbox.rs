//! The user and the network namespace of a container, made before its program so that the network is there
//! when that starts, and the ids they know.

use std::fs;

use linux_namespaces::{
    Availability, Command, IdExtent, IdMap, Namespace, NamespaceSet, NsFd, Stdio, SubIds, Support,
};
use nix::unistd::geteuid;

use crate::Result;

#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) user: NsFd,
    pub(crate) net: NsFd,
}

impl Sandbox {
    /// A process holds them until the network is plugged in, as `ip(8)` wants one; from then on the handles do. It
    /// ends with its input, whatever happens to us.
    pub(crate) fn new(plug: impl FnOnce(u32, &NsFd) -> Result<()>) -> Result<Self> {
        let mut keeper = Command::new("cat");
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).unshare(NamespaceSet::NET).loopback_up();
        map_ids(&mut keeper)?;
        let mut keeper = keeper.spawn()?;
        let sandbox = Self {
            user: keeper.namespace(Namespace::User)?,
            net: keeper.namespace(Namespace::Net)?,
        };
        plug(keeper.id(), &sandbox.net)?;
        keeper.kill()?;
        keeper.wait()?;
        Ok(sandbox)
    }
}

/// Gives a command a user namespace in which the caller is root, with as many ids as it may have.
pub(crate) fn map_ids(command: &mut Command) -> Result<()> {
    if SubIds::read_subuid().is_ok() && SubIds::read_subgid().is_ok() {
        command.map_auto();
    } else if geteuid().is_root() {
        map_all_ids(command)?;
    } else {
        command.map_root();
    }
    Ok(())
}

/// Gives a command a mount namespace in which it may mount, and leaves its ids as they are.
pub(crate) fn own_mounts(command: &mut Command) -> Result<()> {
    command.unshare(NamespaceSet::MOUNT);
    match Support::probe()?.availability(Namespace::Mount) {
        Availability::Available => {}
        _ if geteuid().is_root() => map_all_ids(command)?,
        _ => _ = command.map_current_user().keep_caps(),
    }
    Ok(())
}

fn map_all_ids(command: &mut Command) -> Result<()> {
    command.uid_map(all_ids("/proc/self/uid_map")?).gid_map(all_ids("/proc/self/gid_map")?);
    Ok(())
}

/// Every id that this process knows, as the same number.
fn all_ids(own: &str) -> Result<IdMap> {
    let own: IdMap = fs::read_to_string(own)?.parse()?;
    let same = |extent: &IdExtent| IdExtent { outside: extent.inside, ..*extent };
    Ok(IdMap::new(own.extents().iter().map(same))?)
}
