//! The steps inside the new namespaces that need no order.

#![forbid(unsafe_code)]

use std::env;
use std::path::Path;

use crate::error::{Error, Result};
use crate::mounts::{Propagation, c_path};
use crate::namespace::NamespaceSet;
use crate::plan::mounts::{MountRights, compile};
use crate::plan::op::Op;
use crate::plan::setup::Setup;

impl Setup {
    /// The steps inside that need no order. Files are made as root's where the caller has no id.
    pub(crate) fn ops(&self, rights: MountRights) -> Result<Vec<Op>> {
        let mut ops = Vec::new();
        let propagation = self.namespaces.contains(NamespaceSet::MOUNT).then_some(self.propagation);
        let propagation = propagation.filter(|propagation| propagation.flag().is_some());
        // The kernel changes no root whose mounts are shared.
        let is_late = self.rootfs.is_some() && propagation == Some(Propagation::Shared);
        let first = if is_late { Some(Propagation::Private) } else { propagation };
        ops.extend(first.map(Op::SetPropagation));
        let mounts = compile(self, rights)?;
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
}
