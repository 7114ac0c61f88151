//! The ids of a new user namespace.

#![forbid(unsafe_code)]

use super::Command;
use crate::id_map::{IdMap, Setgroups};

/// User and group ids of a new user namespace.
impl Command {
    /// Makes the caller's user and group root in a new user namespace: uid 0 inside is the effective
    /// uid outside, and no other id exists there. Denies `setgroups(2)`, as the kernel demands.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// match Command::new("id").arg("-u").map_root().output() {
    ///     Ok(output) => assert_eq!(output.stdout, b"0\n"),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn map_root(&mut self) -> &mut Self {
        self.setup.map_root();
        self
    }

    /// Leaves the caller's user and group what they are, in a new user namespace that knows no other
    /// id. Denies `setgroups(2)`, as the kernel demands.
    ///
    /// A program that is not root has no capabilities in there after exec.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let mine = Command::new("id").arg("-u").output()?.stdout;
    /// match Command::new("id").arg("-u").map_current_user().output() {
    ///     Ok(output) => assert_eq!(output.stdout, mine),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn map_current_user(&mut self) -> &mut Self {
        self.setup.map_current();
        self
    }

    /// Makes the caller root in a new user namespace, as [`map_root`](Self::map_root), and gives it the ids
    /// 1, 2, 3, ... as well: all that `/etc/subuid` and `/etc/subgid` set aside for the user.
    ///
    /// A process with `CAP_SETUID` and `CAP_SETGID` writes such a map itself; for another one
    /// `newuidmap(1)` and `newgidmap(1)` do, which have to be installed: in an absolute directory of this
    /// process's `PATH`, or in `/usr/bin`, `/bin`, `/usr/sbin` or `/sbin`. A set-user-ID program looks in the
    /// latter only.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, ErrorKind};
    ///
    /// let mut command = Command::new("cat");
    /// match command.arg("/proc/self/uid_map").map_auto().status() {
    ///     Ok(status) => assert!(status.success()),
    ///     // for many users nothing is set aside
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    #[doc(alias = "newuidmap")]
    #[doc(alias = "newgidmap")]
    pub fn map_auto(&mut self) -> &mut Self {
        self.setup.map_auto();
        self
    }

    /// The user ids of a new user namespace.
    ///
    /// The program keeps the caller's id. If the map does not contain that, it has no capabilities, and
    /// files still treat it as the caller: add `.uid(0).gid(0).groups([])` to be root inside.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, ErrorKind, IdExtent, IdMap};
    ///
    /// let map = IdMap::new([IdExtent { inside: 0, outside: 100_000, count: 65_536 }])?;
    /// let mut command = Command::new("true");
    /// command.uid_map(map.clone()).gid_map(map).uid(0).gid(0).groups([]);
    /// match command.status() {
    ///     Ok(status) => assert!(status.success()),
    ///     // an ordinary user has no such ids to give
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Privileges
    ///
    /// `CAP_SETUID`, for a map of more than the caller's own id; without it `newuidmap(1)` is asked, which
    /// maps what `/etc/subuid` grants. Uid 0 of outside takes `CAP_SETFCAP`, also for
    /// [`map_root`](Self::map_root) (Linux 5.12, and 5.10 with later fixes).
    pub fn uid_map(&mut self, map: IdMap) -> &mut Self {
        self.setup.set_uid_map(map);
        self
    }

    /// The group ids of a new user namespace.
    ///
    /// # Privileges
    ///
    /// `CAP_SETGID`, for a map of more than the caller's own id; without it `newgidmap(1)` is asked.
    pub fn gid_map(&mut self, map: IdMap) -> &mut Self {
        self.setup.set_gid_map(map);
        self
    }

    /// Whether `setgroups(2)` may be called in a new user namespace. Without this it is denied where
    /// the kernel demands it for the gid map, and left as it is otherwise.
    pub fn setgroups(&mut self, setgroups: Setgroups) -> &mut Self {
        self.setup.set_setgroups(setgroups);
        self
    }
}
