//! Every namespace that this process can see, and what keeps it alive.

#![forbid(unsafe_code)]

mod descriptors;
mod gap;
mod holder;
mod kernel_lists;
mod members;
mod mounts;
mod namespace_info;
mod open;
mod process_info;
mod processes;
mod recheck;
mod sight;
mod survey;
mod text;

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result, Step};
use crate::namespace::Namespace;
use crate::ns_fd::NsId;
use crate::sys::Errno;

pub use gap::Gap;
pub use holder::{Holder, Holders};
pub use namespace_info::NamespaceInfo;
pub use process_info::ProcessInfo;

use survey::Survey;

/// All namespaces that this process can see, of all kinds.
///
/// They are found through the processes and threads in them and those whose children will be, through open
/// files of processes, through bind mounts in every mount namespace that a process is in, and through the
/// namespaces that they own or lie around: also one without any process. Where the kernel lists
/// namespaces by itself (mount namespaces since Linux 6.12, all since 6.19, for root), what it lists too.
///
/// This is a look at what changes all the time. It takes some 50 microseconds for each process, and
/// what is told of a process or a mount was so when it was looked at. No process is taken for
/// another that got its number: each is looked at through one open directory, which ends with it. Nor is
/// a namespace taken for an earlier one of its number: in the end a process that was first in it has to be there
/// still, or is no longer told.
///
/// The example `lsns` prints all that is found here: `cargo run --example lsns`.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Namespace, NsFd, discover};
///
/// let all = discover()?;
/// let mine = all.get(NsFd::current(Namespace::Uts)?.id()?).expect("I am in it");
/// println!("{} processes, first {:?}", mine.pids().count(), mine.pids().next());
/// for gap in all.gaps() {
///     println!("not seen: {gap}");
/// }
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # Errors
///
/// [`UntrustedProc`](crate::ErrorKind::UntrustedProc) if `/proc` cannot be believed;
/// [`LimitReached`](crate::ErrorKind::LimitReached) without a few descriptors to work with. What
/// may not be looked into is no error but a [`Gap`].
///
/// # Privileges
///
/// None. Processes of others take `PTRACE_MODE_READ_FSCREDS` (`ptrace(2)`), so an ordinary user sees the
/// namespaces of their own processes.
///
/// # Limits
///
/// A namespace that only a socket or a pidfd holds is not found, and before Linux 6.19 none that only a file
/// on its way over a socket holds; nor are mounts in a mount namespace that no process is in, or outside of the root
/// directory of all processes in there, nor a pid namespace without processes that only a mounted proc holds.
///
/// In mount namespaces of others no file system is queried except nsfs and proc, so that one whose server does not
/// respond (FUSE) blocks nobody. Before Linux 5.12 it does if it contains a directory above a mounted namespace or proc.
///
/// # References
///
/// [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html),
/// [proc(5)](https://man7.org/linux/man-pages/man5/proc.5.html),
/// [lsns(8)](https://man7.org/linux/man-pages/man8/lsns.8.html)
#[doc(alias = "lsns")]
pub fn discover() -> Result<Discovery> {
    Discovery::look(true)
}

/// What [`discover`] found.
#[derive(Debug, Clone)]
pub struct Discovery {
    found: Vec<NamespaceInfo>,
    by_id: HashMap<NsId, usize>,
    gaps: Vec<Gap>,
    /// The number of this process, as its `/proc` counts.
    me: u32,
}

impl Discovery {
    /// Does the same as [`discover`], but does not read the file descriptors of processes, which take a third of the
    /// time. A namespace that only an open file holds is not found.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Discovery, Holder};
    ///
    /// let all = Discovery::without_fds()?;
    /// let mut holders = all.namespaces().flat_map(|found| found.holders());
    /// assert!(!holders.any(|holder| matches!(holder, Holder::Fd { .. })));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`discover`].
    pub fn without_fds() -> Result<Self> {
        Self::look(false)
    }

    /// Lists the namespaces by `listns(2)`, without reading any process, open file or mount: a few microseconds for
    /// each namespace, however many processes there are. The only holders found are
    /// [`Holder::ChildNamespace`] and [`Holder::OwnedNamespace`]. [`open`](Self::open) opens the namespaces.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Discovery, ErrorKind};
    ///
    /// match Discovery::from_listns() {
    ///     Ok(all) => println!("{} namespaces", all.namespaces().len()),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::ErrorKind::Unsupported) before Linux 6.19; otherwise the same as for
    /// [`discover`].
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_ADMIN` in the initial user namespace, to see all. Other callers see their own namespaces, and those
    /// that belong to a user namespace in which they have the capability.
    #[doc(alias = "listns")]
    pub fn from_listns() -> Result<Self> {
        let mut survey = Survey::new()?;
        // They are about processes.
        survey.gaps.clear();
        kernel_lists::all(&mut survey).map_err(|errno| match errno {
            Errno::NOSYS => Error::new(
                ErrorKind::Unsupported,
                "this kernel does not list namespaces: Linux 6.19 does",
            ),
            _ => Error::os(Step::QueryNamespace, errno),
        })?;
        Ok(survey.finish())
    }

    fn look(at_descriptors: bool) -> Result<Self> {
        let mut survey = Survey::new()?;
        let pids = processes::walk(&mut survey)?;
        let bound = mounts::walk(&mut survey)?;
        if at_descriptors {
            descriptors::walk(&mut survey, &pids, &bound)?;
        }
        recheck::walk(&mut survey)?;
        kernel_lists::walk(&mut survey)?;
        Ok(survey.finish())
    }

    /// All namespaces that were found, in the order of their inode numbers.
    pub fn namespaces(&self) -> core::slice::Iter<'_, NamespaceInfo> {
        self.found.iter()
    }

    /// The namespace with this id, if it was found.
    #[must_use]
    pub fn get(&self, id: NsId) -> Option<&NamespaceInfo> {
        self.by_id.get(&id).map(|index| &self.found[*index])
    }

    /// What could not be looked into, so that namespaces and holders may be missing.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
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
}

impl<'a> IntoIterator for &'a Discovery {
    type Item = &'a NamespaceInfo;
    type IntoIter = core::slice::Iter<'a, NamespaceInfo>;

    fn into_iter(self) -> Self::IntoIter {
        self.namespaces()
    }
}
