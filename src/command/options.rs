//! What std's builder does not have: namespaces, and what else becomes of the program.

#![forbid(unsafe_code)]

use super::Command;
use crate::enter::Enter;
use crate::hostname::Hostname;
use crate::id_map::{IdMap, Setgroups};
use crate::mounts::{Mount, Propagation, Rootfs};
use crate::namespace::NamespaceSet;
use crate::time_offsets::{Clock, ClockOffset};

/// Namespaces.
impl Command {
    /// Makes new namespaces of these kinds for the program, in addition to those named before.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, NamespaceSet};
    ///
    /// let mut command = Command::new("true");
    /// command.unshare(NamespaceSet::USER).unshare(NamespaceSet::NET | NamespaceSet::IPC);
    /// assert!(command.plan()?.to_string().contains("ipc,net,user"));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn unshare(&mut self, namespaces: NamespaceSet) -> &mut Self {
        self.setup.namespaces |= namespaces;
        self
    }

    /// Enters these namespaces first, in addition to those of earlier calls; new namespaces are created inside
    /// them.
    ///
    /// In an entered user namespace the program becomes uid 0 and gid 0 of the inside, as far as the namespace
    /// maps them, and drops its supplementary groups, where the caller or the namespace allows that:
    /// `setgroups(2)` is called before and after entering. So a program that root starts there cannot use root's
    /// rights over files outside. [`uid`](Self::uid), [`gid`](Self::gid) and [`groups`](Self::groups) set others;
    /// [`Enter::preserve_credentials`] keeps the caller's. Where the namespace does not map 0 the program keeps the caller's id if
    /// that is mapped; if neither is, the spawn fails, since processes inside could take over a program that has an id
    /// of outside. An [init](Self::init) becomes root of the inside in any case, unless the ids are kept.
    ///
    /// In an entered pid namespace, wait for the child before you wait for the PID 1 there, which cannot end
    /// before that.
    ///
    /// The child gets a copy of the memory where what lives in the namespaces could look into it: for
    /// a user or pid namespace. Nor can they trace it before it runs the program, unless `fs.suid_dumpable` is 1,
    /// which is not the default: then the kernel makes the child traceable in the moment in which it enters another
    /// user's namespace, and a process inside that tries often enough reads the copy.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Enter, NamespaceSet, PidFd};
    ///
    /// // those of a process; here this one, so that nothing is left to enter
    /// let all = Enter::new().process(PidFd::current()?, NamespaceSet::all());
    /// assert!(Command::new("true").enter(all).status()?.success());
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The plan returns [`InvalidInput`](crate::ErrorKind::InvalidInput) for two namespaces of one kind, in one
    /// call or in several. The spawn returns `EINVAL` at [`Step::SetUid`](crate::Step::SetUid) or
    /// [`Step::SetGid`](crate::Step::SetGid) for a user namespace that maps neither 0 nor the caller's id.
    ///
    /// # Privileges
    ///
    /// As of [`Enter::apply`].
    pub fn enter(&mut self, enter: Enter) -> &mut Self {
        self.enter.extend(enter);
        self
    }

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

    /// The propagation of the mounts of a new mount namespace: private, unless set here.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, NamespaceSet, Propagation};
    ///
    /// let mut command = Command::new("true");
    /// command.unshare(NamespaceSet::USER).propagation(Propagation::Slave);
    /// assert!(command.plan()?.to_string().contains("mounts: slave"));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn propagation(&mut self, propagation: Propagation) -> &mut Self {
        self.setup.set_propagation(propagation);
        self
    }

    /// Mounts something in a new mount namespace. In the order of the calls.
    pub fn mount(&mut self, mount: Mount) -> &mut Self {
        self.setup.add_mount(mount);
        self
    }

    /// The root of a new mount namespace, with the [mounts](Self::mount) of this command below it, and nothing
    /// else of the machine's files. The program is looked for in there, and starts in `/` unless
    /// [`current_dir`](Self::current_dir) says otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Rootfs};
    ///
    /// let mut command = Command::new("/bin/pwd");
    /// match command.map_root().rootfs(Rootfs::dir("/")?.read_only()).output() {
    ///     Ok(output) => assert_eq!(output.stdout, b"/\n"),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The plan answers [`InvalidInput`](crate::ErrorKind::InvalidInput) together with
    /// [`root_dir_fd`](Self::root_dir_fd) and [`current_dir_fd`](Self::current_dir_fd): a directory that was opened
    /// outside would lead out.
    #[doc(alias = "pivot_root")]
    pub fn rootfs(&mut self, rootfs: Rootfs) -> &mut Self {
        self.setup.set_rootfs(rootfs);
        self
    }

    /// The hostname of a new UTS namespace.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let plan = Command::new("true").hostname("builder".parse()?).plan()?;
    /// assert!(plan.to_string().contains("new namespaces: uts"));   // never the machine's own
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn hostname(&mut self, name: Hostname) -> &mut Self {
        self.setup.set_hostname(name);
        self
    }

    /// The NIS domain name of a new UTS namespace.
    pub fn domainname(&mut self, name: Hostname) -> &mut Self {
        self.setup.set_domainname(name);
        self
    }

    /// Sets a clock of a new time namespace. Where exec does not move the program into it, before Linux
    /// 6.2, the child gets a copy of the memory and is born there.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Clock, ClockOffset, Command};
    /// use std::time::Duration;
    ///
    /// // as if the machine had been up for a week longer
    /// let week = ClockOffset::ahead(Duration::from_secs(7 * 86_400))?;
    /// match Command::new("cat").arg("/proc/uptime").map_root().time_offset(Clock::Boottime, week).output() {
    ///     Ok(output) => assert!(output.stdout.split(|&byte| byte == b'.').next().unwrap().len() >= 6),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_TIME` in the user namespace that owns the time namespace: none with a new one.
    pub fn time_offset(&mut self, clock: Clock, offset: ClockOffset) -> &mut Self {
        self.setup.set_time_offset(clock, offset);
        self
    }

    /// Brings up `lo` in a new network namespace, which has it down.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let mut command = Command::new("true");
    /// command.map_root().loopback_up();
    /// assert!(command.plan()?.to_string().contains("net,user"));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn loopback_up(&mut self) -> &mut Self {
        self.setup.set_loopback_up();
        self
    }
}

/// What else becomes of the program.
impl Command {
    /// Starts the program in a new session, without a controlling terminal: it cannot push
    /// characters into the parent's.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let status = Command::new("sh").args(["-c", "! test -t 0 || ! : >/dev/tty"]).new_session().status()?;
    /// assert!(status.success());
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    #[doc(alias = "setsid")]
    pub fn new_session(&mut self) -> &mut Self {
        self.new_session = true;
        self
    }

    /// Kills the program when its parent ends: when the thread that spawned it does.
    ///
    /// A program that gains privileges by exec sheds this.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let mut child = Command::new("sleep").arg("60").kill_on_parent_exit().spawn()?;
    /// // would end with this thread, if nothing else ended it
    /// child.kill()?;
    /// child.wait()?;
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// [`PR_SET_PDEATHSIG`](https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html)
    #[doc(alias = "PR_SET_PDEATHSIG")]
    pub fn kill_on_parent_exit(&mut self) -> &mut Self {
        self.kill_on_parent_exit = true;
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
        self.no_new_privs = true;
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
        self.lock_mounts = true;
        self
    }

    /// Gives the program no descriptors but the three standard streams, whatever this process has
    /// open without close-on-exec.
    ///
    /// Code given to [`pre_exec`](Self::pre_exec) still has them all (not on Linux 5.10).
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let output = Command::new("ls").arg("/proc/self/fd").close_other_fds().output()?;
    /// assert_eq!(output.stdout, b"0\n1\n2\n3\n");      // 3 is the directory that ls reads
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    #[doc(alias = "close_range")]
    pub fn close_other_fds(&mut self) -> &mut Self {
        self.close_other_fds = true;
        self
    }
}
