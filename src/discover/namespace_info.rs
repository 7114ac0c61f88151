//! What is known of a namespace that was found.

#![forbid(unsafe_code)]

use crate::namespace::Namespace;
use crate::ns_fd::NsId;

use super::Holder;

/// A namespace that [`discover`](super::discover) found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceInfo {
    pub(super) kind: Namespace,
    pub(super) id: NsId,
    pub(super) unique_id: Option<u64>,
    pub(super) owner: Option<NsId>,
    pub(super) parent: Option<NsId>,
    pub(super) owner_uid: Option<u32>,
    pub(super) holders: Vec<Holder>,
    /// Whether the kernel was queried, which happens once.
    pub(super) asked: bool,
}

impl NamespaceInfo {
    /// The kind of the namespace.
    #[must_use]
    pub fn kind(&self) -> Namespace {
        self.kind
    }

    /// Device and inode number, which identify the namespace while it exists.
    #[must_use]
    pub fn id(&self) -> NsId {
        self.id
    }

    /// The id that no other namespace ever has: see [`NsFd::unique_id`](crate::NsFd::unique_id). `None`
    /// before Linux 6.18.
    #[must_use]
    pub fn unique_id(&self) -> Option<u64> {
        self.unique_id
    }

    /// The user namespace that owns it: see [`NsFd::owner`](crate::NsFd::owner). `None` if that lies outside of
    /// this thread's user namespace.
    #[must_use]
    pub fn owner(&self) -> Option<NsId> {
        self.owner
    }

    /// The pid or user namespace around it: see [`NsFd::parent`](crate::NsFd::parent). `None` if that lies
    /// outside of this thread's namespace, if there is none, and for other kinds.
    #[must_use]
    pub fn parent(&self) -> Option<NsId> {
        self.parent
    }

    /// The uid of the creator of a user namespace: see [`NsFd::owner_uid`](crate::NsFd::owner_uid). `None` for
    /// other kinds.
    #[must_use]
    pub fn owner_uid(&self) -> Option<u32> {
        self.owner_uid
    }

    /// The pids of the processes in the namespace, in ascending order.
    ///
    /// A process is in the namespace if its first thread is. `lsns(8)` shows the first of these pids, and how many
    /// there are.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.holders.iter().filter_map(|holder| match holder {
            Holder::Process { pid } => Some(*pid),
            _ => None,
        })
    }

    /// What was found to keep the namespace alive, which is also how it was found. Empty if only the kernel's list
    /// contains it.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }
}
