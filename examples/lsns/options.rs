//! The command line.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Parser;
use linux_namespaces::Namespace;

use crate::columns::Column;
use crate::filter::Filter;

#[derive(Debug, Parser)]
#[command(
    name = "lsns",
    version,
    args_override_self = true,
    infer_long_args = true,
    about = "List system namespaces"
)]
pub(crate) struct Options {
    /// Use JSON output format
    #[arg(short = 'J', long, conflicts_with = "raw")]
    pub(crate) json: bool,
    /// Use list format output
    #[arg(short, long, conflicts_with = "tree")]
    list: bool,
    /// Don't print headings
    #[arg(short, long)]
    pub(crate) noheadings: bool,
    /// Define which output columns to use; with a + in front, which ones to add
    #[arg(short, long, value_name = "LIST")]
    output: Option<String>,
    /// Output all columns
    #[arg(long)]
    output_all: bool,
    /// Namespaces without processes
    #[arg(short = 'P', long, conflicts_with = "task")]
    pub(crate) persistent: bool,
    /// The namespaces that a process is in
    #[arg(short = 'p', long, value_name = "PID", conflicts_with = "namespace")]
    pub(crate) task: Option<u32>,
    /// Namespaces of which this is true: 'USER != "root" and NPROCS > 1'
    #[arg(short = 'Q', long, value_name = "EXPR")]
    pub(crate) filter: Option<Filter>,
    /// Use the raw output format
    #[arg(short, long)]
    pub(crate) raw: bool,
    /// Don't truncate text in columns
    #[arg(short = 'u', long)]
    pub(crate) notruncate: bool,
    /// Don't use multi-line representation
    #[arg(short = 'W', long)]
    nowrap: bool,
    /// Namespace type (mnt, net, ipc, user, pid, uts, cgroup, time); may be given more than once
    #[arg(short, long = "type", value_name = "NAME", action = clap::ArgAction::Append)]
    types: Vec<Namespace>,
    /// Use tree format (parent, owner, or process)
    #[arg(short = 'T', long, value_name = "REL", num_args = 0..=1, require_equals = true, default_missing_value = "owner")]
    tree: Option<Tree>,
    /// List the columns
    #[arg(short = 'H', long)]
    pub(crate) list_columns: bool,
    /// Tell why a namespace is alive: what holds it
    #[arg(long, value_name = "NAMESPACE", conflicts_with_all = ["namespace", "task"])]
    pub(crate) holders: Option<u64>,
    /// Only the processes in this namespace, which is an inode number
    pub(crate) namespace: Option<u64>,
}

/// Which lines are shown below others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tree {
    Parent,
    Owner,
    Process,
}

impl Options {
    pub(crate) fn of_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(args.into_iter().flat_map(spell_out))
    }

    pub(crate) fn has_kind(&self, kind: Namespace) -> bool {
        self.types.is_empty() || self.types.contains(&kind)
    }

    pub(crate) fn columns(&self) -> Result<Vec<Column>, String> {
        let chosen = if self.output_all {
            Column::ALL.to_vec()
        } else if self.namespace.is_some() {
            vec![Column::Pid, Column::Ppid, Column::User, Column::Command]
        } else {
            use Column::{Command, Netnsid, Nprocs, Ns, Nsfs, Pid, Type, User};
            let mut all = vec![Ns, Type, Nprocs, Pid, User];
            if self.types.contains(&Namespace::Net) {
                all.extend([Netnsid, Nsfs]);
            }
            all.push(Command);
            all
        };
        match &self.output {
            Some(list) => Column::of_list(list, chosen),
            None => Ok(chosen),
        }
    }

    /// That of processes unless a list is asked for, or all columns.
    pub(crate) fn tree(&self) -> Option<Tree> {
        let is_list = self.list || (self.output_all && self.namespace.is_none());
        self.tree.or((!is_list).then_some(Tree::Process))
    }

    /// Between several mount points.
    pub(crate) fn separator(&self) -> char {
        if self.nowrap || self.raw { ',' } else { '\n' }
    }
}

/// `-Tparent` becomes `--tree=parent`, also behind other letters.
fn spell_out(arg: OsString) -> Vec<OsString> {
    let bytes = arg.as_bytes();
    let with_value = bytes.iter().position(|letter| b"TopQt".contains(letter));
    match with_value {
        Some(at) if is_cluster(bytes) && bytes[at] == b'T' && at + 1 < bytes.len() => {
            let relation = bytes[at + 1..].strip_prefix(b"=").unwrap_or(&bytes[at + 1..]);
            let tree = OsString::from_vec([b"--tree=", relation].concat());
            let before = OsString::from_vec(bytes[..at].to_vec());
            if at > 1 { vec![before, tree] } else { vec![tree] }
        }
        _ => vec![arg],
    }
}

/// Short options in one word.
fn is_cluster(word: &[u8]) -> bool {
    word.len() > 1 && word[0] == b'-' && word[1] != b'-'
}
