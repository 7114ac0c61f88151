//! Existing namespaces for the children of std's `Command`.

#![allow(unsafe_code, reason = "std's pre_exec is unsafe")]

use std::os::unix::process::CommandExt as _;
use std::process;

use crate::enter::Enter;
use crate::error::{Error, Result};
use crate::namespace::NamespaceSet;
use crate::setup::join::join_all;
use crate::sys;

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
    /// Which of them the calling thread is in already, and so are left out, is seen now. A working
    /// directory, uid and gid set on the command are changed to before. The child is a copy of this process, which
    /// std makes at a cost that grows with its memory; nobody inside the namespaces can look into
    /// the copy.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a pid namespace: only children of the
    /// program would be inside; use [`Command`](crate::Command). The rest as of
    /// [`Enter::apply`]. What is refused in the child comes back from the spawn as an
    /// [`io::Error`](std::io::Error).
    ///
    /// # Privileges
    ///
    /// As of [`Enter::apply`].
    fn enter(&mut self, enter: &Enter) -> Result<&mut Self>;
}

impl CommandExt for process::Command {
    fn enter(&mut self, enter: &Enter) -> Result<&mut Self> {
        // std replaces 0 to 2 before it calls us.
        let joins = enter.joins()?.above_stdio()?;
        if joins.set().contains(NamespaceSet::PID) {
            return Err(Error::invalid(
                "std's Command cannot start a program inside another pid namespace: use this crate's",
            ));
        }
        let work = move || {
            if joins.set().contains(NamespaceSet::USER) {
                // What lives in there must not read the copy of our memory before exec.
                sys::process::set_dumpable(false)?;
            }
            join_all(&joins.targets).map_err(|refused| refused.errno.into())
        };
        // SAFETY: the work makes system calls on data that was made ready, and nothing else.
        unsafe { self.pre_exec(work) };
        Ok(self)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::process::Command {}
}
