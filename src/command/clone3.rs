//! Options that need `clone3(2)`.

#![forbid(unsafe_code)]

use super::Command;
use super::route::Route;
use crate::error::{Error, Result};
use crate::namespace::NamespaceSet;
use crate::sys::abi;

#[derive(Debug, Default)]
pub(super) struct Clone3 {
    pub(super) set_tid: Vec<u32>,
    auto_reap: bool,
    kill_on_drop: bool,
    empty_mount_namespace: bool,
}

/// Options that need `clone3(2)`, most of them of new kernels.
impl Command {
    /// The program's pids, from the innermost pid namespace outwards; the kernel chooses those that are
    /// not given. This is how a container that was moved to another machine keeps its numbers.
    ///
    /// In a new pid namespace the first is 1. What the program got is told by
    /// [`PidFd::pids`](crate::PidFd::pids).
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, NamespaceSet};
    ///
    /// let mut command = Command::new("true");
    /// command.unshare(NamespaceSet::PID).map_root().set_tid([1, 31_007]);
    /// assert!(command.plan()?.to_string().contains("pids [1, 31007]"));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// From the plan: [`InvalidInput`](crate::ErrorKind::InvalidInput) for 0 and above 2147483647.
    /// From the spawn: [`AlreadyExists`](crate::ErrorKind::AlreadyExists) for a number in use; `EINVAL` for more
    /// numbers than pid namespaces, or another than 1 for a new one;
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied);
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where `clone3(2)` is hidden.
    ///
    /// # Privileges
    ///
    /// `CAP_CHECKPOINT_RESTORE` (from Linux 5.9 on) or `CAP_SYS_ADMIN` in the user namespaces that own
    /// the pid namespaces.
    ///
    /// # References
    ///
    /// `set_tid` in [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html), Linux 5.5
    pub fn set_tid(&mut self, pids: impl Into<Vec<u32>>) -> &mut Self {
        self.clone3.set_tid = pids.into();
        self
    }

    /// Has the kernel reap the program: it never is a zombie, and no wait of this process is needed or
    /// takes notice. [`Child::wait`](crate::Child::wait) still tells how it ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, ErrorKind};
    ///
    /// match Command::new("true").auto_reap().status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),      // before Linux 7.1
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Kernel
    ///
    /// Linux 7.1; before, the spawn fails with [`Unsupported`](crate::ErrorKind::Unsupported). Not for a
    /// program that enters namespaces, nor for an init or code of the caller's with clocks of its own.
    #[doc(alias = "CLONE_AUTOREAP")]
    pub fn auto_reap(&mut self) -> &mut Self {
        self.clone3.auto_reap = true;
        self
    }

    /// Has the kernel kill the program when the [`Child`](crate::Child) is dropped, or this process ends,
    /// however it does. Implies [`auto_reap`](Self::auto_reap).
    ///
    /// Unlike [`kill_on_parent_exit`](Self::kill_on_parent_exit) it is tied to no thread, and the program
    /// cannot shed it. Copies of the handle that others hold count as well.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, ErrorKind};
    ///
    /// let mut command = Command::new("sleep");
    /// match command.arg("60").kill_on_drop().no_new_privs().spawn() {
    ///     Ok(child) => drop(child),      // and with it the sleeper ends
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),      // before Linux 7.1
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Privileges
    ///
    /// [`no_new_privs`](Self::no_new_privs), or `CAP_SYS_ADMIN` in the caller's user namespace.
    ///
    /// # Kernel
    ///
    /// As of [`auto_reap`](Self::auto_reap).
    #[doc(alias = "CLONE_PIDFD_AUTOKILL")]
    pub fn kill_on_drop(&mut self) -> &mut Self {
        self.clone3.kill_on_drop = true;
        self
    }

    /// Makes the new mount namespace without any mount but an empty root, instead of as a copy of the
    /// caller's. There is no program to run in it, unless [`pre_exec`](Self::pre_exec) mounts one.
    ///
    /// # Kernel
    ///
    /// Linux 7.1; before, the spawn fails with [`Unsupported`](crate::ErrorKind::Unsupported).
    #[doc(alias = "CLONE_EMPTY_MNTNS")]
    pub fn empty_mount_namespace(&mut self) -> &mut Self {
        self.setup.namespaces |= NamespaceSet::MOUNT;
        self.clone3.empty_mount_namespace = true;
        self
    }
}

impl Command {
    pub(super) fn pids(&self) -> Result<Vec<i32>> {
        let number = |&pid: &u32| match i32::try_from(pid) {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(Error::invalid(format!("{pid} is no pid: they go from 1 to 4194304"))),
        };
        self.clone3.set_tid.iter().map(number).collect()
    }

    /// The flags of `clone3` that `clone` has not.
    pub(super) fn clone_flags(&self, route: Route) -> Result<u64> {
        let mut flags = 0;
        if self.clone3.auto_reap {
            flags |= abi::CLONE_AUTOREAP;
        }
        if self.clone3.kill_on_drop {
            flags |= abi::CLONE_AUTOREAP | abi::CLONE_PIDFD_AUTOKILL;
            if self.credentials.no_new_privs {
                // Who has no privileges may kill so only what can gain none.
                flags |= abi::CLONE_NNP;
            }
        }
        if self.clone3.empty_mount_namespace {
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
