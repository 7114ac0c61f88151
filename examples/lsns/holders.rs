//! Why a namespace is alive, for a person.

use std::fmt::Write;

use linux_namespaces::{Discovery, Holder, NamespaceInfo, NsId};

use crate::listing::{command, oldest};
use crate::table::one_line;
use crate::{Result, named};

/// So many of one sort are told one by one.
const FEW: usize = 10;

pub(crate) fn tell(all: &Discovery, found: &NamespaceInfo) -> Result<String> {
    let mut text = format!("{}:[{}]", found.kind(), found.id().ino);
    if let Some(id) = found.unique_id() {
        write!(text, ", unique id {id}")?;
    }
    if let Some(owner) = found.owner() {
        write!(text, ", owned by {}", named(all, owner))?;
    }
    text.push('\n');
    if found.holders().is_empty() {
        text += "Nothing that can be seen from here holds it: perhaps a socket, a pidfd, or a file on its \
                 way over a socket does.\n";
        return Ok(text);
    }
    text += "It is alive because of\n";
    let mut sorts: Vec<(&str, Vec<&Holder>)> = Vec::new();
    for holder in found.holders() {
        let sort = sort_of(holder);
        match sorts.iter_mut().find(|(other, _)| *other == sort) {
            Some((_, holders)) => holders.push(holder),
            None => sorts.push((sort, vec![holder])),
        }
    }
    for (sort, holders) in sorts {
        writeln!(text, "- {sort}:")?;
        for holder in holders.iter().take(FEW) {
            writeln!(text, "    {}", line(all, found, holder)?)?;
        }
        if holders.len() > FEW {
            writeln!(text, "    and {} more", holders.len() - FEW)?;
        }
    }
    Ok(text)
}

/// What ends it, too.
fn sort_of(holder: &Holder) -> &'static str {
    match holder {
        Holder::Process { .. } => "processes in it, until they end",
        Holder::Thread { .. } => "threads in it, of processes elsewhere, until they end or leave",
        Holder::ForChildren { .. } => "threads whose children will be born in it",
        Holder::Fd { .. } => "open files of it, until they are closed",
        Holder::BindMount { .. } => "mounts of its file, until they are unmounted",
        Holder::ProcMount { .. } => "mounted proc file systems that show it",
        Holder::ChildNamespace { .. } => "namespaces inside of it",
        Holder::OwnedNamespace { .. } => "namespaces that it owns",
        _ => "other things",
    }
}

fn line(all: &Discovery, found: &NamespaceInfo, holder: &Holder) -> Result<String> {
    let plain = holder.to_string();
    Ok(match holder {
        Holder::Process { pid, .. } => match found.process(*pid)? {
            Some(info) => format!("{plain}: {}", one_line(&command(&info))),
            None => format!("{plain}, which is gone by now"),
        },
        Holder::ChildNamespace { id, .. } | Holder::OwnedNamespace { id, .. } => {
            match all.get(*id).map(oldest).transpose()?.flatten() {
                Some(info) => {
                    let command = one_line(&command(&info));
                    format!("{}, with process {}: {command}", named(all, *id), info.pid())
                }
                None => named(all, *id),
            }
        }
        _ => plain,
    })
}

/// There may be two of one number on different devices only in theory.
pub(crate) fn find(all: &Discovery, ino: u64) -> Option<&NamespaceInfo> {
    let id = all.namespaces().map(NamespaceInfo::id).find(|id: &NsId| id.ino == ino)?;
    all.get(id)
}
