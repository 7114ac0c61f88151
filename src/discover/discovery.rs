//! What was found.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::{Gap, Holder, NamespaceInfo};
use crate::namespace::Namespace;
use crate::ns_fd::NsId;

/// What [`discover`](super::discover) found.
#[derive(Debug, Clone)]
pub struct Discovery {
    pub(super) found: Vec<NamespaceInfo>,
    pub(super) by_id: HashMap<NsId, usize>,
    pub(super) gaps: Vec<Gap>,
    /// The number of this process, as its `/proc` counts.
    pub(super) me: u32,
}

impl Discovery {
    /// All namespaces that were found, in the order of their inode numbers.
    pub fn namespaces(&self) -> core::slice::Iter<'_, NamespaceInfo> {
        self.found.iter()
    }

    /// The namespace with this id, if it was found.
    #[must_use]
    pub fn get(&self, id: NsId) -> Option<&NamespaceInfo> {
        self.by_id.get(&id).map(|index| &self.found[*index])
    }

    /// The tops of the trees that a kind of namespace forms: those that lie in no other one of the kind, or
    /// in one that this process cannot see. Of kinds that do not nest, all.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Discovery, NamespaceInfo, Namespace, discover};
    ///
    /// fn print(all: &Discovery, one: &NamespaceInfo, depth: usize) {
    ///     println!("{:depth$}user:[{}]", "", one.id().ino);
    ///     all.children(one).for_each(|child| print(all, child, depth + 2));
    /// }
    /// let all = discover()?;
    /// all.roots(Namespace::User).for_each(|root| print(&all, root, 0));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn roots(&self, kind: Namespace) -> impl Iterator<Item = &NamespaceInfo> {
        self.found.iter().filter(move |it| it.kind() == kind && it.parent().is_none())
    }

    /// The pid or user namespaces that lie directly in this one.
    pub fn children<'a>(
        &'a self,
        of: &'a NamespaceInfo,
    ) -> impl Iterator<Item = &'a NamespaceInfo> {
        of.holders().iter().filter_map(|holder| match holder {
            Holder::ChildNamespace { id } => self.get(*id),
            _ => None,
        })
    }

    /// The namespaces of other kinds that this user namespace owns.
    pub fn owned<'a>(&'a self, by: &'a NamespaceInfo) -> impl Iterator<Item = &'a NamespaceInfo> {
        by.holders().iter().filter_map(|holder| match holder {
            Holder::OwnedNamespace { id } => self.get(*id),
            _ => None,
        })
    }

    /// What could not be looked into, so that namespaces and holders may be missing.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }
}

impl<'a> IntoIterator for &'a Discovery {
    type Item = &'a NamespaceInfo;
    type IntoIter = core::slice::Iter<'a, NamespaceInfo>;

    fn into_iter(self) -> Self::IntoIter {
        self.namespaces()
    }
}
