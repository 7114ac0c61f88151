//! `lsns(8)`: the namespaces that can be seen, with the options and the output of util-linux; and why one
//! of them is alive.
//!
//! ```sh
//! cargo run --example lsns                                  # all of them, below their processes' parents
//! cargo run --example lsns -- --tree --type user            # which user namespace lies in which
//! cargo run --example lsns -- --holders 4026532180          # what keeps this one alive
//! ```
//!
//! Where the original differs:
//!
//! - All that [`discover`] finds is listed: also what only a thread, an open file, a bind mount in any mount
//!   namespace, or another namespace holds.
//! - What could not be looked at is told on the standard error.
//! - Without a process, UID and USER are of who made the user namespace that owns it, instead of 0.
//! - A mount that covers another one is not taken for it.

mod columns;
mod filter;
mod holders;
mod listing;
mod options;
mod table;
mod tree;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use linux_namespaces::{Discovery, Gap, NsId, discover};

use columns::Column;
use listing::Listing;
use options::{Options, Tree};
use table::{Look, Table};
use tree::Forest;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let options = match Options::of_args(std::env::args_os()) {
        Ok(options) => options,
        Err(help) => {
            help.print().ok();
            return ExitCode::from(u8::from(help.use_stderr()));
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lsns: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if options.list_columns {
        return print(&table::list_columns());
    }
    let columns = options.columns()?;
    let all = discover()?;
    let find = |ino| holders::find(&all, ino).ok_or_else(|| format!("not found namespace: {ino}"));
    if let Some(ino) = options.holders {
        print(&holders::tell(&all, find(ino)?)?)?;
        tell_gaps(&all);
        return Ok(());
    }
    let listing = match options.namespace {
        Some(ino) => Listing::of_processes(&all, options, find(ino)?)?,
        None => Listing::of_namespaces(&all, options)?,
    };
    print(&text(&listing, columns, options))?;
    tell_gaps(&all);
    Ok(())
}

fn text(listing: &Listing<'_>, columns: Vec<Column>, options: &Options) -> String {
    let cells = |line| columns.iter().map(|column| listing.cell(line, *column)).collect();
    let table = Table {
        lines: listing.lines.iter().map(cells).collect(),
        forest: Forest::new(listing.lines.iter().map(|line| line.parent).collect()),
        tree: options.tree().map(|tree| match tree {
            Tree::Process => Column::Command,
            Tree::Parent | Tree::Owner => Column::Ns,
        }),
        columns,
    };
    if options.json {
        return table.json();
    }
    if options.raw {
        return table.raw(!options.noheadings);
    }
    let width = terminal_width().filter(|_| !options.notruncate);
    table.human(&Look { headings: !options.noheadings, width, separator: options.separator() })
}

/// Of the terminal that we print to, if it is one.
fn terminal_width() -> Option<usize> {
    let output = std::io::stdout();
    if !output.is_terminal() {
        return None;
    }
    let told = terminal_size::terminal_size_of(&output).map(|(width, _)| width.0.into());
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    told.filter(|width| *width > 0).or_else(said).or(Some(80))
}

/// A namespace by kind and number.
fn named(all: &Discovery, id: NsId) -> String {
    match all.get(id) {
        Some(found) => format!("{}:[{}]", found.kind(), id.ino),
        None => format!("namespace {}", id.ino),
    }
}

/// On one line: a sort of which there are several is counted.
fn tell_gaps(all: &Discovery) {
    let mut sorts: BTreeMap<&str, Vec<&Gap>> = BTreeMap::new();
    for gap in all.gaps() {
        let sort = match gap {
            Gap::Process { .. } => "processes",
            Gap::Fds { .. } => "processes' descriptors",
            Gap::Mounts { .. } => "namespaces' mounts",
            Gap::CoveredMount { .. } => "covered mounts",
            Gap::Namespace { .. } => "namespaces' owners and parents",
            _ => "",
        };
        sorts.entry(sort).or_default().push(gap);
    }
    let tell = |(sort, gaps): (&str, Vec<&Gap>)| match gaps.as_slice() {
        several @ [_, _, ..] if !sort.is_empty() => vec![format!("{} {sort}", several.len())],
        few => few.iter().map(ToString::to_string).collect(),
    };
    let told: Vec<_> = sorts.into_iter().flat_map(tell).collect();
    if !told.is_empty() {
        eprintln!("lsns: could not look at {}", told.join(", "));
    }
}

/// Whoever reads may have read enough.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        answer => Ok(answer?),
    }
}
