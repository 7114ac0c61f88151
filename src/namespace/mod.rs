//! The eight kinds of namespace, and sets of them.

#![forbid(unsafe_code)]

mod parse;

use core::fmt;
use core::ops::BitOr;

use crate::sys::abi;

/// One kind of namespace.
///
/// # Examples
///
/// ```
/// use linux_namespaces::Namespace;
///
/// assert_eq!(Namespace::Mount.name(), "mnt");
/// assert_eq!("uts".parse::<Namespace>()?, Namespace::Uts);
/// assert_eq!(Namespace::ALL.len(), 8);
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Namespace {
    /// Which directory looks like the root of the cgroup hierarchy: `cgroup_namespaces(7)`.
    #[doc(alias = "CLONE_NEWCGROUP")]
    Cgroup,
    /// System V IPC objects and POSIX message queues: `ipc_namespaces(7)`.
    #[doc(alias = "CLONE_NEWIPC")]
    Ipc,
    /// The tree of mounts: `mount_namespaces(7)`.
    #[doc(alias = "CLONE_NEWNS")]
    Mount,
    /// Network devices, addresses, routes, sockets, firewall: `network_namespaces(7)`.
    #[doc(alias = "CLONE_NEWNET")]
    Net,
    /// Process numbers: `pid_namespaces(7)`. A process never changes its own; only its children are
    /// born elsewhere.
    #[doc(alias = "CLONE_NEWPID")]
    Pid,
    /// Offsets of the monotonic and boot-time clocks: `time_namespaces(7)`.
    #[doc(alias = "CLONE_NEWTIME")]
    Time,
    /// User and group ids, and the capabilities that count for everything that the namespace owns:
    /// `user_namespaces(7)`.
    #[doc(alias = "CLONE_NEWUSER")]
    User,
    /// Hostname and NIS domain name: `uts_namespaces(7)`.
    #[doc(alias = "CLONE_NEWUTS")]
    Uts,
}

impl Namespace {
    /// All kinds, in the order of their names.
    pub const ALL: &'static [Self] = &Self::EACH;

    /// As an array, whose length is known.
    pub(crate) const EACH: [Self; 8] = [
        Self::Cgroup,
        Self::Ipc,
        Self::Mount,
        Self::Net,
        Self::Pid,
        Self::Time,
        Self::User,
        Self::Uts,
    ];

    /// The name of its file in `/proc/PID/ns`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Mount => "mnt",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::Time => "time",
            Self::User => "user",
            Self::Uts => "uts",
        }
    }

    /// The first kernel version, as major and minor number, in which namespaces of this kind could
    /// be made as they are made today.
    ///
    /// All of them precede Linux 5.10, the oldest that this crate supports; a kernel may still have
    /// been built without one.
    #[must_use]
    pub const fn since(self) -> (u32, u32) {
        match self {
            Self::Mount => (2, 4),
            Self::Ipc | Self::Net | Self::Pid | Self::Uts => (2, 6),
            Self::User => (3, 8),
            Self::Cgroup => (4, 6),
            Self::Time => (5, 6),
        }
    }

    /// The `CLONE_NEW*` flag.
    pub(crate) const fn flag(self) -> u32 {
        // In the order of the kinds: a table, since sets are searched on the way into every stay.
        const FLAGS: [u32; 8] = [
            abi::CLONE_NEWCGROUP,
            abi::CLONE_NEWIPC,
            abi::CLONE_NEWNS,
            abi::CLONE_NEWNET,
            abi::CLONE_NEWPID,
            abi::CLONE_NEWTIME,
            abi::CLONE_NEWUSER,
            abi::CLONE_NEWUTS,
        ];
        FLAGS[self as usize]
    }

    /// The kind that `NS_GET_NSTYPE` answers as a flag.
    pub(crate) fn from_flag(flag: u32) -> Option<Self> {
        Self::EACH.into_iter().find(|kind| kind.flag() == flag)
    }

    const fn set(self) -> NamespaceSet {
        NamespaceSet::from_bits_retain(self.flag())
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

// Before the macro: the documentation shows methods in this order.
impl NamespaceSet {
    /// The kinds in the set, in the order of their names.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Namespace, NamespaceSet};
    ///
    /// let set = NamespaceSet::USER | NamespaceSet::MOUNT;
    /// assert!(set.kinds().eq([Namespace::Mount, Namespace::User]));
    /// ```
    pub fn kinds(self) -> impl Iterator<Item = Namespace> {
        Namespace::EACH.into_iter().filter(move |kind| self.contains(kind.set()))
    }
}

bitflags::bitflags! {
    /// A set of kinds of namespace, of the [`bitflags`](https://docs.rs/bitflags/2) crate. Its bits are the kernel's
    /// `CLONE_NEW*` flags.
    ///
    /// # Unknown bits
    ///
    /// [`from_bits`](Self::from_bits) returns `None` for a bit that is no constant of this type, and
    /// [`from_bits_truncate`](Self::from_bits_truncate) drops it. [`from_bits_retain`](Self::from_bits_retain) keeps
    /// it, but it never reaches the kernel: [`Command`](crate::Command), [`Unshare`](crate::Unshare) and
    /// [`Enter`](crate::Enter) refuse the set with [`InvalidInput`](crate::ErrorKind::InvalidInput), so that no other
    /// flag of `clone(2)`, for example `CLONE_FILES`, takes effect by way of a set. [`kinds`](Self::kinds) passes over
    /// such a bit. It prints as a hexadecimal number, which does not parse.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::NamespaceSet;
    ///
    /// let set: NamespaceSet = "user,mnt,pid".parse()?;
    /// assert_eq!(set, NamespaceSet::USER | NamespaceSet::MOUNT | NamespaceSet::PID);
    /// assert_eq!(set.to_string(), "mnt,pid,user");
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
    pub struct NamespaceSet: u32 {
        /// [`Namespace::Cgroup`]
        const CGROUP = abi::CLONE_NEWCGROUP;
        /// [`Namespace::Ipc`]
        const IPC = abi::CLONE_NEWIPC;
        /// [`Namespace::Mount`]
        const MOUNT = abi::CLONE_NEWNS;
        /// [`Namespace::Net`]
        const NET = abi::CLONE_NEWNET;
        /// [`Namespace::Pid`]
        const PID = abi::CLONE_NEWPID;
        /// [`Namespace::Time`]
        const TIME = abi::CLONE_NEWTIME;
        /// [`Namespace::User`]
        const USER = abi::CLONE_NEWUSER;
        /// [`Namespace::Uts`]
        const UTS = abi::CLONE_NEWUTS;
    }
}

impl fmt::Display for NamespaceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for kind in self.kinds() {
            write!(f, "{separator}{kind}")?;
            separator = ",";
        }
        match self.bits() & !abi::NAMESPACE_FLAGS {
            0 => Ok(()),
            unknown => write!(f, "{separator}{unknown:#x}"),
        }
    }
}

impl From<Namespace> for NamespaceSet {
    fn from(kind: Namespace) -> Self {
        kind.set()
    }
}

impl FromIterator<Namespace> for NamespaceSet {
    fn from_iter<I: IntoIterator<Item = Namespace>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::empty(), |set, kind| set | kind.set())
    }
}

impl BitOr for Namespace {
    type Output = NamespaceSet;

    fn bitor(self, other: Self) -> NamespaceSet {
        self.set() | other.set()
    }
}
