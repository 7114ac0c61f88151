//! Existing namespaces for the children of std's `Command`.

#![allow(unsafe_code, reason = "std's pre_exec is unsafe")]

use std::os::unix::process::CommandExt as _;

use crate::engine::join::join_all;
use crate::enter::Enter;
use crate::error::{Error, Result};
use crate::namespace::NamespaceSet;
use crate::plan::joins::Joins;
use crate::sys::{self, ids, prctl};

/// Lets [`std::process::Command`] start a program in existing namespaces, and so
/// `tokio::process::Command`, through its `as_std_mut`.
///
/// # Examples
///
/// ```no_run
/// use linux_namespaces::{CommandExt, Enter, NsFd};
///
/// let blue = NsFd::open("/run/netns/blue")?;
/// std::process::Command::new("ip").arg("address").enter(&Enter::new().namespace(blue))?.status()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait CommandExt: sealed::Sealed {
    /// Enters the namespaces in the child, before it runs the program.
    ///
    /// Calling it twice enters both sets. Which namespaces the calling thread is in already, and so are left
    /// out, is determined now. The child is a copy of this process, which std creates at a cost that grows with
    /// its memory; no process inside the namespaces can look into the copy.
    ///
    /// std changes to the working directory, uid and gid that are set on the command *before* it enters. In an
    /// entered user namespace the program then becomes uid 0 and gid 0 of the inside
    /// and drops its supplementary groups where that is allowed, as with
    /// [`Command::enter`](crate::Command::enter), and fails with `EINVAL` for a namespace that maps neither 0 nor the
    /// caller's id. To run it with the ids that are set on the command, or with
    /// the caller's, use [`Enter::preserve_credentials`].
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a pid namespace, of which only children of the
    /// program would be members, and for a mount namespace: std looks the program up by a plain path inside, and
    /// a process that controls those mounts can make the path lead to `/proc/self/exe`, the caller's own binary, which
    /// a program inside could then overwrite (CVE-2019-5736). Use [`Command`](crate::Command) for both.
    /// Two namespaces of one kind in one [`Enter`] are refused as well. The rest as of [`Enter::apply`]. What is refused in the child comes back from the spawn as an
    /// [`io::Error`](std::io::Error).
    ///
    /// # Privileges
    ///
    /// As of [`Enter::apply`].
    fn enter(&mut self, enter: &Enter) -> Result<&mut Self>;
}

impl CommandExt for std::process::Command {
    fn enter(&mut self, enter: &Enter) -> Result<&mut Self> {
        // std replaces 0 to 2 before it calls us.
        let joins = enter.joins()?.above_stdio()?;
        if joins.set().contains(NamespaceSet::PID) {
            return Err(Error::invalid(
                "std's Command cannot start a program inside another pid namespace: use \
                 linux_namespaces::Command",
            ));
        }
        if joins.set().contains(NamespaceSet::MOUNT) {
            return Err(Error::invalid(
                "std's Command would look the program up by a path that the entered mount namespace controls, \
                 and that may lead to /proc/self/exe: use linux_namespaces::Command",
            ));
        }
        let becomes_root = enter.becomes_root(&joins);
        let work = move || enter_in_child(&joins, becomes_root).map_err(Into::into);
        // SAFETY: the work makes system calls on data that was allocated before, and nothing else.
        unsafe { self.pre_exec(work) };
        Ok(self)
    }
}

/// Processes inside must not read the copy of our memory before exec. Entering a user namespace and changing
/// ids reset the mark to what fs.suid_dumpable says, so it is set again after each.
fn enter_in_child(joins: &Joins, becomes_root: bool) -> sys::Result<()> {
    let hide = || {
        let has_user = joins.set().contains(NamespaceSet::USER);
        if has_user { prctl::set_dumpable(false) } else { Ok(()) }
    };
    hide()?;
    if becomes_root {
        // Inside it may be denied.
        ids::drop_groups()?;
    }
    join_all(&joins.targets).map_err(|refused| refused.errno)?;
    hide()?;
    if becomes_root {
        ids::drop_groups()?;
        ids::set_gid_to_root()?;
        ids::set_uid_to_root()?;
        hide()?;
    }
    Ok(())
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::process::Command {}
}
