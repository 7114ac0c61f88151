//! The command line: util-linux's options, and which namespaces they choose.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Parser;
use linux_namespaces::{Enter, ErrorKind, Namespace, NamespaceSet, NsFd};

use crate::target::Target;
use crate::{Result, is_foreign};

#[derive(Debug, Parser)]
#[command(
    name = "nsenter",
    version,
    args_override_self = true,
    infer_long_args = true,
    about = "Runs a program in the namespaces of other processes"
)]
pub(crate) struct Options {
    /// Enter all namespaces of the target
    #[arg(short, long)]
    all: bool,
    /// Target process to take namespaces and contexts from, with the inode number of its pidfd to be sure
    #[arg(short, long, value_name = "PID[:INODE]")]
    pub(crate) target: Option<String>,
    /// Enter a mount namespace: the target's, or that of a file
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    mount: Option<OsString>,
    /// Enter a UTS namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    uts: Option<OsString>,
    /// Enter an IPC namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    ipc: Option<OsString>,
    /// Enter a network namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    net: Option<OsString>,
    /// Enter the network namespace of a socket that the target has open under this number
    #[arg(short = 'N', long, value_name = "FD")]
    net_socket: Option<RawFd>,
    /// Enter a pid namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pid: Option<OsString>,
    /// Enter a cgroup namespace
    #[arg(short = 'C', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    cgroup: Option<OsString>,
    /// Enter a user namespace
    #[arg(short = 'U', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    user: Option<OsString>,
    /// Enter the parent of that user namespace, or the owner of the first other namespace
    #[arg(long)]
    user_parent: bool,
    /// Enter a time namespace
    #[arg(short = 'T', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    time: Option<OsString>,
    /// Uid of the program, as its user namespace has it; or the target's
    #[arg(short = 'S', long, value_name = "UID|follow")]
    pub(crate) setuid: Option<Id>,
    /// Gid of the program, which gets no other groups; or the target's
    #[arg(short = 'G', long, value_name = "GID|follow")]
    pub(crate) setgid: Option<Id>,
    /// Leave uid, gid and groups alone in a user namespace
    #[arg(long)]
    pub(crate) preserve_credentials: bool,
    /// Leave the capabilities in a user namespace to the program, whatever its uid
    #[arg(long)]
    pub(crate) keep_caps: bool,
    /// Root directory: the target's, or one outside
    #[arg(short, long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) root: Option<OsString>,
    /// Working directory: the target's, or one outside
    #[arg(short, long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) wd: Option<OsString>,
    /// Working directory, as seen inside
    #[arg(
        short = 'W',
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with = "wd"
    )]
    pub(crate) wdns: Option<OsString>,
    /// Run with the target's environment
    #[arg(short, long)]
    pub(crate) env: bool,
    /// Run the program in place of this one, so that it stays outside of an entered pid namespace
    #[arg(short = 'F', long)]
    pub(crate) no_fork: bool,
    /// Join the target's cgroup (of version 2)
    #[arg(short = 'c', long)]
    pub(crate) join_cgroup: bool,
    /// Refused: this program knows no SELinux
    #[arg(short = 'Z', long)]
    pub(crate) follow_context: bool,
    /// Print what would be done, and stop
    #[arg(long)]
    pub(crate) plan: bool,
    /// The program and its arguments; without one, $SHELL
    pub(crate) program: Vec<OsString>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Id {
    Number(u32),
    Follow,
}

impl std::str::FromStr for Id {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        if text == "follow" { Ok(Self::Follow) } else { text.parse().map(Self::Number) }
    }
}

/// What is to be entered.
pub(crate) struct Chosen {
    pub(crate) enter: Enter,
    pub(crate) set: NamespaceSet,
    /// A user namespace among them that is not ours.
    pub(crate) enters_user: bool,
}

impl Options {
    pub(crate) fn of_args(
        args: impl IntoIterator<Item = OsString>,
    ) -> std::result::Result<Self, clap::Error> {
        let mut args = args.into_iter();
        let name = args.next();
        Self::try_parse_from(name.into_iter().chain(spell_out(args)))
    }

    /// Opens what was named by file, socket or relation; what was named by process alone is left to
    /// one `setns(2)`.
    pub(crate) fn namespaces<'a>(
        &self,
        target: impl Fn() -> std::result::Result<&'a Target, &'static str>,
    ) -> Result<Chosen> {
        let mut opened = Vec::new();
        let mut of_target = NamespaceSet::empty();
        for &kind in Namespace::ALL {
            match self.option(kind) {
                None if self.all && has(target()?, kind)? => of_target |= kind.into(),
                None => {}
                Some(file) if file.is_empty() => of_target |= kind.into(),
                Some(file) => opened.push(open(file, kind)?),
            }
        }
        if let Some(number) = self.net_socket {
            of_target.remove(NamespaceSet::NET);
            opened.retain(|namespace: &NsFd| namespace.kind() != Namespace::Net);
            opened.push(NsFd::of_socket(target()?.process.copy_fd(number)?)?);
        }
        let of_process = |kind| -> Result<NsFd> { Ok(NsFd::of_process(&target()?.process, kind)?) };
        let user = match opened.iter().find(|namespace| namespace.kind() == Namespace::User) {
            Some(user) => Some(user.try_clone()?),
            None if of_target.contains(NamespaceSet::USER) => Some(of_process(Namespace::User)?),
            None => None,
        };
        let user = if self.user_parent {
            let parent = match (user, opened.first(), of_target.kinds().next()) {
                (Some(user), ..) => user.parent()?,
                (None, Some(other), _) => other.owner()?,
                (None, None, Some(kind)) => of_process(kind)?.owner()?,
                (None, None, None) => of_process(Namespace::User)?.parent()?,
            };
            of_target.remove(NamespaceSet::USER);
            opened.retain(|namespace| namespace.kind() != Namespace::User);
            opened.push(parent.try_clone()?);
            Some(parent)
        } else {
            user
        };
        let mut set = of_target;
        let mut enter = Enter::new();
        for namespace in opened {
            set |= NamespaceSet::from(&namespace);
            enter = enter.namespace(namespace);
        }
        if !of_target.is_empty() {
            enter = enter.process(target()?.process.try_clone()?, of_target);
        }
        let enters_user = user.as_ref().map(is_foreign).transpose()?.unwrap_or(false);
        Ok(Chosen { enter, set, enters_user })
    }

    fn option(&self, kind: Namespace) -> Option<&OsStr> {
        match kind {
            Namespace::Cgroup => &self.cgroup,
            Namespace::Ipc => &self.ipc,
            Namespace::Mount => &self.mount,
            Namespace::Net => &self.net,
            Namespace::Pid => &self.pid,
            Namespace::Time => &self.time,
            Namespace::User => &self.user,
            Namespace::Uts => &self.uts,
            _ => &None,
        }
        .as_deref()
    }
}

/// A kernel may have been built without one of the kinds.
fn has(target: &Target, kind: Namespace) -> Result<bool> {
    match NsFd::of_process(&target.process, kind) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn open(file: &OsStr, kind: Namespace) -> Result<NsFd> {
    let namespace = match file.as_bytes().strip_prefix(b":") {
        Some(id) => {
            let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
            NsFd::by_unique_id(id.ok_or_else(|| format!("{file:?} is no id of a namespace"))?)?
        }
        None => NsFd::open(file)?,
    };
    if namespace.kind() != kind {
        let real = namespace.kind();
        return Err(
            format!("{file:?} is a {real} namespace, and a {kind} namespace is asked for").into()
        );
    }
    Ok(namespace)
}

/// Short options as long ones, and "--" before the program: an option with an optional value takes it
/// from the same word (`-n/run/netns/blue`), which clap does not know; and the first word that is no
/// option is the program.
fn spell_out(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args;
    let mut all = Vec::new();
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        if let Some(long) = bytes.strip_prefix(b"--") {
            let is_end = long.is_empty();
            let wants_value = wants_value(long);
            all.push(arg);
            if is_end {
                all.extend(args);
                break;
            }
            all.extend(wants_value.then(|| args.next()).flatten());
        } else if bytes.len() < 2 || bytes[0] != b'-' {
            all.extend(["--".into(), arg]);
            all.extend(args);
            break;
        } else {
            all.extend(spell_out_short(&bytes[1..], &mut args));
        }
    }
    all
}

fn spell_out_short(letters: &[u8], args: &mut dyn Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all = Vec::new();
    for (at, letter) in letters.iter().enumerate() {
        let is_it = |it: &&(u8, &str)| it.0 == *letter;
        let optional = OPTIONAL.iter().find(is_it);
        let Some((_, name)) = optional.or_else(|| REQUIRED.iter().find(is_it)) else {
            all.push(OsString::from_vec(vec![b'-', *letter]));
            continue;
        };
        let rest = &letters[at + 1..];
        let rest = rest.strip_prefix(b"=").unwrap_or(rest);
        let value = match (rest, optional) {
            ([], Some(_)) => None,
            ([], None) => args.next(),
            _ => Some(OsString::from_vec(rest.to_vec())),
        };
        let name = format!("--{name}");
        all.push(value.map_or(name.clone().into(), |value| {
            OsString::from_vec([name.as_bytes(), b"=", value.as_bytes()].concat())
        }));
        break;
    }
    all
}

/// A long name, perhaps shortened, whose value is the next word.
fn wants_value(long: &[u8]) -> bool {
    let is_shorter = |(_, name): &(u8, &str)| name.as_bytes().starts_with(long);
    let other_too = ["net", "w", "wd", "wdn", "wdns"].map(str::as_bytes);
    !other_too.contains(&long) && REQUIRED.iter().any(is_shorter)
}

/// From the same word only.
const OPTIONAL: [(u8, &str); 10] = [
    (b'm', "mount"),
    (b'u', "uts"),
    (b'i', "ipc"),
    (b'n', "net"),
    (b'p', "pid"),
    (b'C', "cgroup"),
    (b'U', "user"),
    (b'T', "time"),
    (b'r', "root"),
    (b'w', "wd"),
];
/// From the same word or the next one.
const REQUIRED: [(u8, &str); 5] =
    [(b't', "target"), (b'N', "net-socket"), (b'S', "setuid"), (b'G', "setgid"), (b'W', "wdns")];
