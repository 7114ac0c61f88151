//! New and existing namespaces, and their settings.

#![forbid(unsafe_code)]

use super::Command;
use crate::enter::Enter;
use crate::hostname::Hostname;
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
}
