//! Ids, groups and capabilities of the program.

#![forbid(unsafe_code)]

use super::Command;
use crate::error::{Error, Result};

#[derive(Debug, Default)]
pub(super) struct Credentials {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) groups: Option<Vec<u32>>,
    pub(super) no_new_privs: bool,
    pub(super) lock_mounts: bool,
    pub(super) keep_caps: bool,
}

impl Credentials {
    /// To the kernel an id of -1 means "leave it as it is": the program would keep the caller's.
    pub(super) fn check(&self) -> Result<()> {
        let groups = self.groups.iter().flatten().map(|&id| ("groups", id));
        let ids = [("uid", self.uid), ("gid", self.gid)];
        let ids = ids.into_iter().filter_map(|(name, id)| Some((name, id?)));
        match ids.chain(groups).find(|&(_, id)| id == u32::MAX) {
            Some((name, id)) => Err(Error::invalid(format!(
                "{name}: {id} is not an id (it is -1, which means \"unchanged\" to the kernel); use 0 to \
                 4294967294, or do not call {name} to keep the caller's"
            ))),
            None => Ok(()),
        }
    }
}

/// Credentials of the program.
impl Command {
    /// The program's user id, as seen in its user namespace. The child gets a copy of the memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, ErrorKind};
    ///
    /// match Command::new("id").uid(65534).gid(65534).groups([]).status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The plan returns [`InvalidInput`](crate::ErrorKind::InvalidInput) for 4294967295: to the kernel that is
    /// -1, "leave the id as it is". The spawn returns `EINVAL` for an id that the program's user namespace does
    /// not map.
    ///
    /// # Privileges
    ///
    /// `CAP_SETUID` there, for another id than one's own.
    pub fn uid(&mut self, id: u32) -> &mut Self {
        self.credentials.uid = Some(id);
        self
    }

    /// The program's group id, as [`uid`](Self::uid).
    ///
    /// # Errors
    ///
    /// As of `uid`.
    ///
    /// # Privileges
    ///
    /// `CAP_SETGID` there.
    pub fn gid(&mut self, id: u32) -> &mut Self {
        self.credentials.gid = Some(id);
        self
    }

    /// The program's supplementary groups, instead of the parent's. Without this, a command with a
    /// [`uid`](Self::uid), or inside an [entered](Self::enter) user namespace, has none if it may drop them.
    ///
    /// # Errors
    ///
    /// As of [`uid`](Self::uid).
    ///
    /// # Privileges
    ///
    /// `CAP_SETGID`, and `setgroups(2)` not denied: see [`setgroups`](Self::setgroups).
    pub fn groups(&mut self, groups: impl Into<Vec<u32>>) -> &mut Self {
        self.credentials.groups = Some(groups.into());
        self
    }

    /// Neither the program nor anything it starts can gain privileges by exec: set-user-ID bits and
    /// file capabilities count for nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let output = Command::new("cat").arg("/proc/self/status").no_new_privs().output()?;
    /// assert!(String::from_utf8_lossy(&output.stdout).contains("NoNewPrivs:\t1"));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    #[doc(alias = "PR_SET_NO_NEW_PRIVS")]
    pub fn no_new_privs(&mut self) -> &mut Self {
        self.credentials.no_new_privs = true;
        self
    }

    /// Takes the capabilities from the program, and from all that it starts, by which the mounts of its mount
    /// namespace could be changed or what they hide be reached.
    ///
    /// Without this, root inside a user namespace can undo [`Mount::mask`](crate::Mount::mask),
    /// [`Mount::read_only`](crate::Mount::read_only) and [`Mount::read_only_path`](crate::Mount::read_only_path) by
    /// `umount` and `mount -o remount,rw`: who has `CAP_SYS_ADMIN` over a mount namespace decides what is mounted in
    /// it. With this it has no such capability, and a process that makes a further user namespace gets copies of the mounts
    /// that are locked together.
    ///
    /// The capabilities are `CAP_SYS_ADMIN`, `CAP_DAC_READ_SEARCH` (`open_by_handle_at(2)`), `CAP_MKNOD`,
    /// `CAP_SYS_RAWIO`, `CAP_SYS_MODULE`, `CAP_SYS_PTRACE`, `CAP_SYS_BOOT`, `CAP_BPF` and `CAP_CHECKPOINT_RESTORE`
    /// (`/proc/PID/map_files`). They leave the permitted,
    /// effective, inheritable, ambient and bounding set, so that no exec brings them back. The program can no longer
    /// mount, set the hostname, or enter namespaces; capabilities such as `CAP_NET_ADMIN` and `CAP_CHOWN` stay. The
    /// child does this after all mounts and before it changes its ids; its memory stays shared.
    ///
    /// Without a user namespace the program can still use `/proc/PID/root` of processes that have no more capabilities
    /// than itself, and become their user by `CAP_SETUID`: it sees what they see. Unshare the pid namespace as well,
    /// and mount a new proc.
    ///
    /// This confines nobody who is uid 0 of the initial user namespace: a program that root starts without a user
    /// namespace, or with [`map_root`](Self::map_root) or [`map_auto`](Self::map_auto), which map 0 to root. To the
    /// kernel it owns the settings in every `/proc`, whatever its capabilities. A program that it writes to
    /// `/proc/sys/kernel/core_pattern` is run with all capabilities and outside of all namespaces. It may also open
    /// the block devices that it sees. As root, map ids that are not root's, by [`uid_map`](Self::uid_map) and
    /// [`gid_map`](Self::gid_map).
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "! umount /etc 2>/dev/null && ! mount -o remount,rw /etc 2>/dev/null"]);
    /// command.map_root().mount(Mount::read_only_path("/etc")?).lock_mounts();
    /// if let Ok(status) = command.status() {
    ///     assert!(status.success());
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The spawn fails with [`PermissionDenied`](crate::ErrorKind::PermissionDenied) at
    /// [`Step::LockMounts`](crate::Step::LockMounts) without `CAP_SETPCAP` in the program's user namespace.
    ///
    /// # Privileges
    ///
    /// `CAP_SETPCAP` in the program's user namespace: none with a new one.
    ///
    /// # References
    ///
    /// [capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html),
    /// [mount_namespaces(7)](https://man7.org/linux/man-pages/man7/mount_namespaces.7.html), "Restrictions on
    /// mount namespaces"
    #[doc(alias = "PR_CAPBSET_DROP")]
    pub fn lock_mounts(&mut self) -> &mut Self {
        self.credentials.lock_mounts = true;
        self
    }

    /// Leaves to the program all capabilities that the child has, whatever its uid: they become
    /// inheritable and ambient. Without this a program that is not uid 0's loses them at exec.
    ///
    /// In a user namespace these are capabilities over what that owns; otherwise they are the caller's
    /// own. A program with set-user-ID bits or file capabilities gets no ambient ones.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, NamespaceSet};
    ///
    /// // no id is mapped, so that the program runs as uid 65534, and has no capability without this
    /// let mut command = Command::new("grep");
    /// command.args(["^CapEff:.*[1-9a-f]", "/proc/self/status"]);
    /// match command.unshare(NamespaceSet::USER).keep_caps().output() {
    ///     Ok(output) => assert!(output.status.success()),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `EPERM` at the spawn where the process's securebits forbid ambient capabilities.
    ///
    /// # References
    ///
    /// [capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html), "Ambient"
    #[doc(alias = "PR_CAP_AMBIENT")]
    pub fn keep_caps(&mut self) -> &mut Self {
        self.credentials.keep_caps = true;
        self
    }
}
