//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use linux_namespaces::{Namespace, NamespaceSet, Propagation, Setgroups, Signal};
use nix::unistd::{Group, User, getegid, geteuid};

use crate::failure::Failure;
use crate::maps::Block;

#[derive(Debug, Parser)]
#[command(
    name = "unshare",
    version,
    about = "Run a program with some namespaces unshared from the parent"
)]
#[command(args_override_self = true, infer_long_args = true)]
pub(crate) struct Options {
    /// Unshare the mount namespace, and keep it at a file
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    mount: Option<OsString>,
    /// Unshare the UTS namespace (hostname etc), and keep it at a file
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    uts: Option<OsString>,
    /// Unshare the IPC namespace, and keep it at a file
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    ipc: Option<OsString>,
    /// Unshare the network namespace, and keep it at a file
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    net: Option<OsString>,
    /// Unshare the pid namespace, and keep it at a file
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pid: Option<OsString>,
    /// Unshare the user namespace, and keep it at a file
    #[arg(short = 'U', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    user: Option<OsString>,
    /// Unshare the cgroup namespace, and keep it at a file
    #[arg(short = 'C', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    cgroup: Option<OsString>,
    /// Unshare the time namespace, and keep it at a file
    #[arg(short = 'T', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    time: Option<OsString>,

    /// Mount a proc file system first (implies --mount)
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "/proc")]
    pub(crate) mount_proc: Option<PathBuf>,
    /// Refused: binfmt_misc cannot be mounted
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    mount_binfmt: Option<OsString>,
    /// Refused: binfmt_misc cannot be mounted
    #[arg(short, long, value_name = "STRING")]
    load_interp: Option<OsString>,
    /// What becomes of the mounts: private, shared, slave or unchanged
    #[arg(long, value_name = "WORD", value_parser = propagation, default_value = "private")]
    pub(crate) propagation: Propagation,
    /// Run the program with this root directory
    #[arg(short = 'R', long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Change the working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) wd: Option<PathBuf>,

    /// The user id in the new namespace
    #[arg(short = 'S', long, value_name = "UID")]
    pub(crate) setuid: Option<u32>,
    /// The group id in the new namespace; drops supplementary groups
    #[arg(short = 'G', long, value_name = "GID")]
    pub(crate) setgid: Option<u32>,
    /// Map the current user to this one (implies --user)
    #[arg(long, value_name = "UID|NAME", value_parser = user)]
    map_user: Option<u32>,
    /// Map the current group to this one (implies --user)
    #[arg(long, value_name = "GID|NAME", value_parser = group)]
    map_group: Option<u32>,
    /// Map the current user and group to root (implies --user)
    #[arg(short = 'r', long)]
    map_root_user: bool,
    /// Map the current user and group to themselves (implies --user)
    #[arg(short = 'c', long)]
    map_current_user: bool,
    /// Map the users and groups that are set aside to those from 0 on (implies --user)
    #[arg(long)]
    map_auto: bool,
    /// Map the users and groups that are set aside to themselves (implies --user)
    #[arg(long)]
    map_subids: bool,
    /// Map a block of users (implies --user)
    #[arg(long, value_name = "INSIDE:OUTSIDE:COUNT|auto|subids|all")]
    map_users: Vec<Block>,
    /// Map a block of groups (implies --user)
    #[arg(long, value_name = "INSIDE:OUTSIDE:COUNT|auto|subids|all")]
    map_groups: Vec<Block>,
    /// Refused: the namespace cannot be given to another user
    #[arg(long, value_name = "UID:GID")]
    owner: Option<OsString>,

    /// Run the program as a child. With --pid it is PID 1, which no signal ends that it does not handle,
    /// but SIGKILL
    #[arg(short, long)]
    fork: bool,
    /// Send the child this signal when we end: SIGKILL if none is named (implies --fork)
    #[arg(long, value_name = "SIGNAL", num_args = 0..=1, require_equals = true, default_missing_value = "KILL", value_parser = signal)]
    pub(crate) kill_child: Option<Signal>,
    /// Forward SIGTERM and SIGINT to the child (implies --fork). With --pid an init is PID 1, and the
    /// program pid 2, so that they end it
    #[arg(long)]
    pub(crate) forward_signals: bool,

    /// Allow or deny setgroups(2) in the user namespace
    #[arg(long, value_name = "allow|deny", value_parser = setgroups)]
    pub(crate) setgroups: Option<Setgroups>,
    /// Leave the capabilities of the user namespace to the program
    #[arg(long)]
    pub(crate) keep_caps: bool,
    /// The offset of the monotonic clock, in seconds
    #[arg(long, value_name = "OFFSET", allow_negative_numbers = true)]
    pub(crate) monotonic: Option<i64>,
    /// The offset of the boottime clock, in seconds
    #[arg(long, value_name = "OFFSET", allow_negative_numbers = true)]
    pub(crate) boottime: Option<i64>,
    /// Start with an empty environment
    #[arg(long)]
    pub(crate) clear_env: bool,
    /// Start with these variables alone
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) whitelist_env: Vec<OsString>,

    /// The program and its arguments: a shell, if none is named
    #[arg(trailing_var_arg = true)]
    pub(crate) program: Vec<OsString>,

    /// What the current user is inside, by the last of several options that say so.
    #[arg(skip)]
    pub(crate) user_inside: Option<u32>,
    #[arg(skip)]
    pub(crate) group_inside: Option<u32>,
}

impl Options {
    /// From the arguments behind this program's name.
    pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        let args = ["unshare".into()].into_iter().chain(args);
        let matches = Self::command().try_get_matches_from(args)?;
        let mut options = Self::from_arg_matches(&matches)?;
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        options.user_inside = options.inside(&matches, "map_user", options.map_user, uid);
        options.group_inside = options.inside(&matches, "map_group", options.map_group, gid);
        Ok(options)
    }

    fn inside(
        &self,
        matches: &ArgMatches,
        name: &str,
        chosen: Option<u32>,
        own: u32,
    ) -> Option<u32> {
        let place = |name: &str| {
            let given = matches.value_source(name) == Some(ValueSource::CommandLine);
            given.then(|| matches.indices_of(name).and_then(Iterator::last)).flatten()
        };
        let all = [
            (place("map_root_user"), Some(0)),
            (place("map_current_user"), Some(own)),
            (place(name), chosen),
        ];
        all.into_iter().filter(|(place, _)| place.is_some()).max().and_then(|(_, id)| id)
    }

    pub(crate) fn user_blocks(&self) -> Vec<Block> {
        self.blocks(&self.map_users)
    }

    pub(crate) fn group_blocks(&self) -> Vec<Block> {
        self.blocks(&self.map_groups)
    }

    fn blocks(&self, given: &[Block]) -> Vec<Block> {
        let words = [(self.map_auto, Block::Auto), (self.map_subids, Block::Subids)];
        let words = words.into_iter().filter_map(|(wanted, block)| wanted.then_some(block));
        given.iter().copied().chain(words).collect()
    }

    pub(crate) fn forks(&self) -> bool {
        self.fork || self.kill_child.is_some() || self.forward_signals
    }

    /// Whether the program would be deaf as PID 1, and so gets a PID 1 above it.
    pub(crate) fn has_init(&self) -> bool {
        self.forward_signals && self.pid.is_some()
    }

    pub(crate) fn is_pid_1(&self) -> bool {
        self.pid.is_some() && !self.forward_signals
    }

    /// Whether this program is started once more inside: see there.
    pub(crate) fn starts_twice(&self) -> bool {
        let other_mounts = self.namespaces().contains(NamespaceSet::MOUNT);
        self.has_init() || (self.root.is_some() && other_mounts) || !self.files().is_empty()
    }

    pub(crate) fn replaces_env(&self) -> bool {
        self.clear_env || !self.whitelist_env.is_empty()
    }

    pub(crate) fn keeps_variable(&self, name: &str) -> bool {
        !self.replaces_env() || self.whitelist_env.iter().any(|kept| kept == name)
    }

    pub(crate) fn namespaces(&self) -> NamespaceSet {
        let mut set = NamespaceSet::empty();
        for (kind, kept) in self.kinds() {
            if kept.is_some() {
                set |= NamespaceSet::from(kind);
            }
        }
        if self.mount_proc.is_some() {
            set |= NamespaceSet::MOUNT;
        }
        let maps = self.user_inside.is_some()
            || self.group_inside.is_some()
            || self.map_auto
            || self.map_subids
            || !self.map_users.is_empty()
            || !self.map_groups.is_empty();
        if maps {
            set |= NamespaceSet::USER;
        }
        set
    }

    /// Where namespaces are to be kept.
    pub(crate) fn files(&self) -> Vec<(Namespace, PathBuf)> {
        let named = |(kind, file): (_, &Option<OsString>)| {
            let file = file.as_ref().filter(|file| !file.is_empty())?;
            Some((kind, PathBuf::from(file)))
        };
        self.kinds().into_iter().filter_map(named).collect()
    }

    fn kinds(&self) -> [(Namespace, &Option<OsString>); 8] {
        [
            (Namespace::Mount, &self.mount),
            (Namespace::Uts, &self.uts),
            (Namespace::Ipc, &self.ipc),
            (Namespace::Net, &self.net),
            (Namespace::Pid, &self.pid),
            (Namespace::User, &self.user),
            (Namespace::Cgroup, &self.cgroup),
            (Namespace::Time, &self.time),
        ]
    }

    /// What util-linux has and this crate not yet, and what contradicts itself.
    pub(crate) fn refuse_what_cannot_be(&self) -> Result<(), Failure> {
        let refuse = |message: &str| Err(Failure::new(message));
        let set = self.namespaces();
        if self.mount_binfmt.is_some() || self.load_interp.is_some() {
            return refuse(
                "the library cannot mount binfmt_misc: --mount-binfmt and --load-interp are refused",
            );
        }
        if self.owner.is_some() {
            return refuse(
                "the library cannot make a user namespace for another owner: --owner is refused",
            );
        }
        let clocks = self.monotonic.is_some() || self.boottime.is_some();
        if clocks && !set.contains(NamespaceSet::TIME) {
            return refuse(
                "options --monotonic and --boottime require unsharing of a time namespace (-T)",
            );
        }
        if self.setgroups == Some(Setgroups::Deny) && !set.contains(NamespaceSet::USER) {
            return refuse("--setgroups deny is for a new user namespace (--user)");
        }
        let one_group = self.group_inside.is_some() && self.group_blocks().is_empty();
        if self.setgroups == Some(Setgroups::Allow) && one_group {
            return refuse("options --setgroups=allow and --map-group are mutually exclusive");
        }
        let leaks = matches!(self.propagation, Propagation::Shared | Propagation::Unchanged);
        if self.mount_proc.is_some() && leaks {
            return refuse(
                "the library cannot make one mount private: with --propagation shared or unchanged the \
                 new proc could appear outside as well, so --mount-proc is refused",
            );
        }
        Ok(())
    }
}

fn propagation(word: &str) -> Result<Propagation, String> {
    word.parse().map_err(|_| format!("unsupported propagation mode: {word}"))
}

fn setgroups(word: &str) -> Result<Setgroups, String> {
    word.parse().map_err(|_| format!("unsupported --setgroups argument '{word}'"))
}

fn signal(word: &str) -> Result<Signal, String> {
    word.parse().map_err(|_| format!("unknown signal: {word}"))
}

fn user(word: &str) -> Result<u32, String> {
    let by_name = User::from_name(word).ok().flatten().map(|user| user.uid.as_raw());
    by_name.or_else(|| word.parse().ok()).ok_or_else(|| format!("failed to parse uid '{word}'"))
}

fn group(word: &str) -> Result<u32, String> {
    let by_name = Group::from_name(word).ok().flatten().map(|group| group.gid.as_raw());
    by_name.or_else(|| word.parse().ok()).ok_or_else(|| format!("failed to parse gid '{word}'"))
}
