//! Which lines there are, and what each column of them says.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use linux_namespaces::{Discovery, Holder, Namespace, NamespaceInfo, NsFd, NsId, ProcessInfo};
use nix::unistd::{Uid, User};

use crate::columns::Column;
use crate::options::{Options, Tree};
use crate::{Result, filter};

/// A namespace with its oldest process, or one of its processes.
pub(crate) struct Line<'a> {
    found: &'a NamespaceInfo,
    process: Option<ProcessInfo>,
    /// The line above, in a tree.
    pub(crate) parent: Option<usize>,
}

pub(crate) struct Listing<'a> {
    all: &'a Discovery,
    options: &'a Options,
    /// The mount namespace that we are in.
    mounts: NsId,
    pub(crate) lines: Vec<Line<'a>>,
    by_namespace: HashMap<NsId, usize>,
    by_process: HashMap<u32, usize>,
}

impl<'a> Listing<'a> {
    fn new(all: &'a Discovery, options: &'a Options) -> Result<Self> {
        Ok(Self {
            all,
            options,
            mounts: NsFd::current(Namespace::Mount)?.id()?,
            lines: Vec::new(),
            by_namespace: HashMap::new(),
            by_process: HashMap::new(),
        })
    }

    pub(crate) fn of_namespaces(all: &'a Discovery, options: &'a Options) -> Result<Self> {
        let mut listing = Self::new(all, options)?;
        for found in all.namespaces() {
            let is_in = |pid| found.pids().any(|member| member == pid);
            let is_meant = options.task.is_none_or(is_in)
                && !(options.persistent && found.pids().next().is_some());
            if is_meant {
                listing.namespace(found)?;
            }
        }
        Ok(listing)
    }

    /// Behind those that it is to be shown below.
    fn namespace(&mut self, found: &'a NamespaceInfo) -> Result<()> {
        if !self.options.has_kind(found.kind()) || self.by_namespace.contains_key(&found.id()) {
            return Ok(());
        }
        let above = match self.options.tree() {
            Some(Tree::Owner) => found.owner(),
            Some(Tree::Parent) => found.parent().or(found.owner()),
            _ => None,
        };
        if let Some(above) = above.and_then(|id| self.all.get(id)) {
            self.namespace(above)?;
        }
        let process = oldest(found)?;
        let parent = match self.options.tree() {
            Some(Tree::Owner) => found.owner().and_then(|id| self.by_namespace.get(&id)),
            Some(Tree::Parent) => found.parent().and_then(|id| self.by_namespace.get(&id)),
            Some(Tree::Process) => self.line_of_parent(process.as_ref()),
            None => None,
        };
        self.push(Line { found, parent: parent.copied(), process });
        Ok(())
    }

    pub(crate) fn of_processes(
        all: &'a Discovery,
        options: &'a Options,
        found: &'a NamespaceInfo,
    ) -> Result<Self> {
        let mut listing = Self::new(all, options)?;
        let mut members = HashMap::new();
        for pid in found.pids() {
            members.extend(found.process(pid)?.map(|info| (pid, info)));
        }
        for pid in found.pids() {
            listing.process(found, pid, &mut members);
        }
        Ok(listing)
    }

    /// Behind its parent, if that is in the namespace, too. Each is taken once.
    fn process(
        &mut self,
        found: &'a NamespaceInfo,
        pid: u32,
        members: &mut HashMap<u32, ProcessInfo>,
    ) {
        let Some(info) = members.remove(&pid) else {
            return;
        };
        let mut parent = None;
        if self.options.tree() == Some(Tree::Process) {
            if let Some(above) = info.parent() {
                self.process(found, above, members);
            }
            parent = self.line_of_parent(Some(&info)).copied();
        }
        self.push(Line { found, process: Some(info), parent });
    }

    fn line_of_parent(&self, process: Option<&ProcessInfo>) -> Option<&usize> {
        self.by_process.get(&process?.parent()?)
    }

    fn push(&mut self, line: Line<'a>) {
        if self.is_filtered(&line) {
            return;
        }
        let place = self.lines.len();
        self.by_namespace.insert(line.found.id(), place);
        if let Some(process) = &line.process {
            self.by_process.insert(process.pid(), place);
        }
        self.lines.push(line);
    }

    fn is_filtered(&self, line: &Line<'_>) -> bool {
        let cell = |column| self.cell(line, column);
        self.options.filter.as_ref().is_some_and(|filter: &filter::Filter| !filter.accepts(&cell))
    }

    /// What is printed; nothing where there is nothing to tell.
    pub(crate) fn cell(&self, line: &Line<'_>, column: Column) -> OsString {
        let Line { found, process, .. } = line;
        let process = process.as_ref();
        let ino = |id: Option<NsId>| Some(id.map_or(0, |id| id.ino).to_string());
        let text = match column {
            Column::Ns => Some(found.id().ino.to_string()),
            Column::Type => Some(found.kind().to_string()),
            Column::Path => process.map(|it| format!("/proc/{}/ns/{}", it.pid(), found.kind())),
            Column::Nprocs => Some(found.pids().count().to_string()),
            Column::Pid => process.map(|it| it.pid().to_string()),
            Column::Ppid => process.map(|it| it.parent().unwrap_or(0).to_string()),
            Column::Command => return process.map(command).unwrap_or_default(),
            Column::Uid => self.uid(found, process).map(|uid| uid.to_string()),
            Column::User => self.uid(found, process).map(user_name),
            Column::Netnsid => self.netnsid(found),
            Column::Nsfs => return self.mount_points(found),
            Column::Pns => ino(found.parent()),
            Column::Ons => ino(found.owner()),
        };
        text.unwrap_or_default().into()
    }

    /// Without a process, of who made the user namespace that it is or that owns it.
    fn uid(&self, found: &NamespaceInfo, process: Option<&ProcessInfo>) -> Option<u32> {
        let of_owner =
            || found.owner().and_then(|id| self.all.get(id)).and_then(NamespaceInfo::owner_uid);
        process.map(ProcessInfo::uid).or_else(|| found.owner_uid()).or_else(of_owner)
    }

    fn netnsid(&self, found: &NamespaceInfo) -> Option<String> {
        if found.kind() != Namespace::Net {
            return None;
        }
        let id = self.all.open(found).and_then(|namespace| namespace.netnsid()).ok()?;
        Some(id.map_or("unassigned".to_owned(), |id| id.to_string()))
    }

    fn mount_points(&self, found: &NamespaceInfo) -> OsString {
        let mut points: Vec<Vec<u8>> = Vec::new();
        for holder in found.holders() {
            match holder {
                Holder::BindMount { mount_namespace, path, .. }
                    if *mount_namespace == self.mounts =>
                {
                    // A newline stands between two of them.
                    let parts: Vec<_> =
                        path.as_os_str().as_bytes().split(|it| *it == b'\n').collect();
                    let point = parts.join(&b"\\x0a"[..]);
                    if !points.contains(&point) {
                        points.push(point);
                    }
                }
                _ => {}
            }
        }
        OsString::from_vec(points.join(&(self.options.separator() as u8)))
    }
}

/// Of those that are still there.
pub(crate) fn oldest(found: &NamespaceInfo) -> Result<Option<ProcessInfo>> {
    for pid in found.pids() {
        if let Some(info) = found.process(pid)? {
            return Ok(Some(info));
        }
    }
    Ok(None)
}

pub(crate) fn command(process: &ProcessInfo) -> OsString {
    let words: Vec<_> = process.command_line().iter().map(|word| word.as_bytes()).collect();
    OsString::from_vec(words.join(&b' '))
}

fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}
