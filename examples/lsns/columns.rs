//! The columns: names, and how they are printed.

/// One column, by the name that it has in its heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Ns,
    Type,
    Path,
    Nprocs,
    Pid,
    Ppid,
    Command,
    Uid,
    User,
    Netnsid,
    Nsfs,
    Pns,
    Ons,
}
use Column::{Command, Netnsid, Nprocs, Ns, Nsfs, Ons, Path, Pid, Pns, Ppid, Type, Uid, User};

/// Name, a width that it has at least where it is wider than its heading, and what it tells.
type About = (&'static str, usize, &'static str);

impl Column {
    pub(crate) const ALL: [Self; 13] =
        [Ns, Type, Path, Nprocs, Pid, Ppid, Command, Uid, User, Netnsid, Nsfs, Pns, Ons];

    fn about(self) -> About {
        match self {
            Ns => ("NS", 10, "namespace identifier (inode number)"),
            Type => ("TYPE", 5, "kind of namespace"),
            Path => ("PATH", 0, "path to the namespace"),
            Nprocs => ("NPROCS", 5, "number of processes in the namespace"),
            Pid => ("PID", 5, "lowest PID in the namespace"),
            Ppid => ("PPID", 5, "PPID of the PID"),
            Command => ("COMMAND", 0, "command line of the PID"),
            Uid => ("UID", 0, "UID of the PID, or of the creator of the owner"),
            User => ("USER", 0, "username of the UID"),
            Netnsid => ("NETNSID", 0, "namespace ID as used by network subsystem"),
            Nsfs => ("NSFS", 0, "mount points of the namespace in this mount namespace"),
            Pns => ("PNS", 10, "parent namespace identifier (inode number)"),
            Ons => ("ONS", 10, "owner namespace identifier (inode number)"),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.about().0
    }

    pub(crate) fn usual_width(self) -> usize {
        self.about().1
    }

    pub(crate) fn help(self) -> &'static str {
        self.about().2
    }

    /// In JSON and for filters.
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Ns | Nprocs | Pid | Ppid | Uid | Pns | Ons)
    }

    pub(crate) fn is_right(self) -> bool {
        self.is_number() || self == Netnsid
    }

    pub(crate) fn of_name(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|column| column.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| format!("unknown column: {name}"))
    }

    /// `NS,TYPE`, or with a `+` in front what is added to others.
    pub(crate) fn of_list(list: &str, others: Vec<Self>) -> Result<Vec<Self>, String> {
        let (list, mut all) = match list.strip_prefix('+') {
            Some(list) => (list, others),
            None => (list, Vec::new()),
        };
        for name in list.split(',') {
            all.push(Self::of_name(name)?);
        }
        Ok(all)
    }
}
