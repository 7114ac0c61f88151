//! What was found so far. Each namespace is opened and asked once, whoever leads to it.

#![forbid(unsafe_code)]

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::RawDir;

use crate::error::{AtStep, Result, Step};
use crate::namespace::Namespace;
use crate::ns_fd::{NsId, inode_on};
use crate::proc_fs::ProcFs;
use crate::process_state;
use crate::sys::file::cached_statx;
use crate::sys::{self, Errno, abi, nsfs};

use super::{Discovery, Gap, Holder, NamespaceInfo, text, visibility};

pub(super) struct Scan {
    pub(super) proc: ProcFs,
    pub(super) found: Vec<NamespaceInfo>,
    pub(super) gaps: Vec<Gap>,
    index: HashMap<(Namespace, u64), usize>,
    /// The device number of nsfs.
    device: u64,
    me: u32,
}

impl Scan {
    pub(super) fn new() -> Result<Self> {
        let mut proc = ProcFs::open()?;
        let mounts = proc.read(proc.as_fd(), "thread-self/mountinfo").at_step(Step::ReadProc)?;
        proc.check_covers(&mounts, process_state::is_in_other_root());
        let own = proc.namespace("thread-self", "pid")?;
        let about = rustix::fs::fstat(&own).at_step(Step::QueryNamespace)?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let me = proc.read_link(proc.as_fd(), "self", &mut buffer).ok();
        let me = me.and_then(text::number).unwrap_or_default();
        let gaps = visibility::gaps(&proc, about.st_ino, &mounts);
        let (found, index) = (Vec::new(), HashMap::new());
        Ok(Self { proc, found, gaps, index, device: about.st_dev, me })
    }

    pub(super) fn id(&self, ino: u64) -> NsId {
        NsId { dev: self.device, ino }
    }

    /// The place of a namespace in what was found.
    pub(super) fn entry(&mut self, kind: Namespace, ino: u64) -> usize {
        let id = self.id(ino);
        match self.index.entry((kind, ino)) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                self.found.push(NamespaceInfo {
                    kind,
                    id,
                    unique_id: None,
                    owner: None,
                    parent: None,
                    owner_uid: None,
                    holders: Vec::new(),
                    asked: false,
                });
                *entry.insert(self.found.len() - 1)
            }
        }
    }

    /// Notes what holds a namespace. Answers its place.
    pub(super) fn add(&mut self, kind: Namespace, ino: u64, holder: Holder) -> usize {
        let index = self.entry(kind, ino);
        self.found[index].holders.push(holder);
        index
    }

    /// The number of the namespace whose file this is; `None` for any other file.
    pub(super) fn number_of(&self, file: impl AsFd) -> Option<u64> {
        inode_on(self.device, &cached_statx(file).ok()?)
    }

    /// Asks the namespace that a link in `dir`, which is a directory `ns`, leads to, unless it was asked. It is another one by now
    /// where the numbers differ.
    pub(super) fn ask_link(
        &mut self,
        index: usize,
        dir: BorrowedFd<'_>,
        name: &str,
    ) -> sys::Result<()> {
        if self.found[index].asked {
            return Ok(());
        }
        match self.proc.namespace_in(dir, name) {
            Ok(file) if self.number_of(&file) == Some(self.found[index].id.ino) => {
                self.ask(index, &file)
            }
            Ok(_) => Ok(()),
            Err(errno) => unless_exhausted(errno),
        }
    }

    /// As [`open_place`].
    pub(super) fn open_place(&self, place: &OwnedFd) -> sys::Result<Option<Opened>> {
        open_place(&self.proc, self.device, place)
    }

    /// Unique id, owner and parent; and those of the owner and the parent, if these are new.
    pub(super) fn ask(&mut self, index: usize, file: &OwnedFd) -> sys::Result<()> {
        if self.found[index].asked {
            return Ok(());
        }
        let NamespaceInfo { kind, id, .. } = self.found[index];
        self.found[index].asked = true;
        self.found[index].unique_id = nsfs::get_id(file.as_raw_fd()).ok();
        let owner = self.relative(file, abi::NS_GET_USERNS, Namespace::User)?;
        self.found[index].owner = owner.map(|owner| self.found[owner].id);
        // The owner of a user namespace is its parent.
        let parent = match kind {
            Namespace::User => owner,
            Namespace::Pid => self.relative(file, abi::NS_GET_PARENT, kind)?,
            _ => None,
        };
        self.found[index].parent = parent.map(|parent| self.found[parent].id);
        if let Some(parent) = parent {
            self.found[parent].holders.push(Holder::ChildNamespace { id });
        }
        if kind == Namespace::User {
            self.found[index].owner_uid = nsfs::get_owner_uid(file.as_raw_fd()).ok();
        } else if let Some(owner) = owner {
            self.found[owner].holders.push(Holder::OwnedNamespace { id });
        }
        Ok(())
    }

    /// Takes these holders from a namespace, and what was asked by way of them.
    pub(super) fn forget(&mut self, index: usize, holders: &[usize]) {
        let found = &mut self.found[index];
        for at in holders.iter().rev() {
            found.holders.remove(*at);
        }
        found.asked = false;
        (found.unique_id, found.owner, found.parent, found.owner_uid) = (None, None, None, None);
    }

    /// What an ioctl on a namespace leads to; `None` if that lies outside of our own.
    fn relative(
        &mut self,
        file: &OwnedFd,
        number: rustix::ioctl::Opcode,
        kind: Namespace,
    ) -> sys::Result<Option<usize>> {
        let relative = match nsfs::get_fd(file.as_raw_fd(), number) {
            Ok(relative) => relative,
            Err(errno) => return unless_exhausted(errno).map(|()| None),
        };
        let Some(ino) = self.number_of(&relative) else {
            return Ok(None);
        };
        let index = self.entry(kind, ino);
        self.ask(index, &relative)?;
        Ok(Some(index))
    }

    pub(super) fn finish(mut self) -> Discovery {
        drop_ended(&mut self.found);
        let unasked = self.found.iter().filter(|found| !found.asked);
        self.gaps.extend(unasked.map(|found| Gap::Namespace { id: found.id }));
        self.found.sort_by_key(|found| found.id);
        let numbered = self.found.iter().enumerate();
        let by_id = numbered.map(|(index, found)| (found.id, index)).collect();
        Discovery { found: self.found, by_id, gaps: self.gaps, me: self.me }
    }
}

/// A number is one namespace's at a time: what had it earlier in the walk has ended, and with a user or pid
/// namespace all that it owned or contained.
fn drop_ended(found: &mut Vec<NamespaceInfo>) {
    loop {
        let now: HashMap<NsId, (Namespace, Option<NsId>, Option<NsId>)> =
            found.iter().map(|it| (it.id, (it.kind, it.owner, it.parent))).collect();
        let is = |id: NsId, kind| now.get(&id).is_some_and(|it| it.0 == kind);
        let before = found.len();
        found.retain(|it| {
            is(it.id, it.kind)
                && it.owner.is_none_or(|owner| is(owner, Namespace::User))
                && it.parent.is_none_or(|parent| is(parent, it.kind))
        });
        if found.len() == before {
            for it in found {
                let (own, kind) = (Some(it.id), it.kind);
                let mut seen = HashSet::new();
                it.holders.retain(|holder| match holder {
                    Holder::ChildNamespace { id } => {
                        let is_child = now.get(id).is_some_and(|it| it.0 == kind && it.2 == own);
                        is_child && seen.insert(*id)
                    }
                    Holder::OwnedNamespace { id } => {
                        now.get(id).is_some_and(|it| it.1 == own) && seen.insert(*id)
                    }
                    _ => true,
                });
            }
            return;
        }
    }
}

/// Kind and number of a namespace, and its file.
pub(super) type Opened = (Namespace, u64, OwnedFd);

/// Opens a place that may be any file, only if it is a namespace's.
pub(super) fn open_place(
    proc: &ProcFs,
    device: u64,
    place: &OwnedFd,
) -> sys::Result<Option<Opened>> {
    let Some(ino) = cached_statx(place).ok().and_then(|about| inode_on(device, &about)) else {
        return Ok(None);
    };
    let file = proc.reopen(place.as_fd()).map_err(|error| error.errno().unwrap_or(Errno::XDEV))?;
    let kind = nsfs::get_type(file.as_raw_fd()).map(Namespace::from_flag)?;
    Ok(kind.map(|kind| (kind, ino, file)))
}

/// Whether what was looked for is gone, or else may not be seen. That this process has no descriptors or
/// memory left says nothing about it, and is the error.
pub(super) fn is_gone(errno: Errno) -> Result<bool> {
    unless_exhausted(errno).at_step(Step::ReadProc)?;
    Ok(matches!(errno, Errno::NOENT | Errno::SRCH))
}

pub(super) fn unless_exhausted(errno: Errno) -> sys::Result<()> {
    if sys::is_exhausted(errno) { Err(errno) } else { Ok(()) }
}

/// The numbers that are names in a directory of `/proc`.
pub(super) fn numbers(dir: impl AsFd) -> sys::Result<Vec<u32>> {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(dir, &mut buffer);
    let mut numbers = Vec::new();
    while let Some(entry) = entries.next() {
        numbers.extend(text::number(entry?.file_name().to_bytes()));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::{Holder, Namespace, NamespaceInfo, NsId, drop_ended};

    fn id(ino: u64) -> NsId {
        NsId { dev: 4, ino }
    }

    fn found(kind: Namespace, ino: u64, owner: Option<u64>, holders: &[Holder]) -> NamespaceInfo {
        NamespaceInfo {
            kind,
            id: id(ino),
            unique_id: None,
            owner: owner.map(id),
            parent: None,
            owner_uid: None,
            holders: holders.to_vec(),
            asked: true,
        }
    }

    #[test]
    fn a_child_is_one_of_its_parent() {
        let child = Holder::ChildNamespace { id: id(2) };
        let mut all = vec![
            found(Namespace::Pid, 1, None, &[child.clone(), child.clone()]),
            found(Namespace::Pid, 2, None, &[]),
            found(Namespace::Pid, 3, None, std::slice::from_ref(&child)),
        ];
        all[1].parent = Some(id(3));
        drop_ended(&mut all);
        assert_eq!(all[0].holders, []);
        assert_eq!(all[2].holders, [child]);
    }

    #[test]
    fn who_had_a_number_before_has_ended_with_all_that_it_owned() {
        let process = [Holder::Process { pid: 7 }];
        let owns = |ino| Holder::OwnedNamespace { id: id(ino) };
        let mut all = vec![
            found(Namespace::User, 1, None, &[owns(2), owns(4), owns(5), owns(2)]),
            found(Namespace::Uts, 2, Some(1), &process),
            found(Namespace::User, 3, None, &[owns(4)]),
            found(Namespace::Uts, 4, Some(3), &process),
            // These two came to their numbers when others had ended.
            found(Namespace::Ipc, 3, Some(1), &process),
            found(Namespace::Ipc, 2, Some(1), &process),
        ];
        all[0].holders.push(owns(3));
        drop_ended(&mut all);
        let left: Vec<_> = all.iter().map(|it| (it.kind, it.id.ino)).collect();
        let expected = [(Namespace::User, 1), (Namespace::Ipc, 3), (Namespace::Ipc, 2)];
        assert_eq!(left, expected);
        assert_eq!(all[0].holders, [owns(2), owns(3)]);
        assert_eq!(all[1].holders, process);
    }
}
