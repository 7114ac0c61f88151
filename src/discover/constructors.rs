//! The ways to find namespaces.

#![forbid(unsafe_code)]

use super::scan::Scan;
use super::{Discovery, descriptors, listns, mounts, processes, recheck};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::sys::Errno;

/// Less than [`discover`](super::discover), in less time.
impl Discovery {
    /// Does the same as [`discover`](super::discover), but does not read the file descriptors of processes, which take a third of the
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
    /// The same as for [`discover`](super::discover).
    pub fn without_fds() -> Result<Self> {
        Self::scan(false)
    }

    /// Lists the namespaces by `listns(2)`, without reading any process, open file or mount: a few microseconds for
    /// each namespace, however many processes there are. The only holders found are
    /// [`Holder::ChildNamespace`](super::Holder::ChildNamespace) and
    /// [`Holder::OwnedNamespace`](super::Holder::OwnedNamespace). [`open`](Self::open) opens the namespaces.
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
    /// [`discover`](super::discover).
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_ADMIN` in the initial user namespace, to see all. Other callers see their own namespaces, and those
    /// that belong to a user namespace in which they have the capability.
    #[doc(alias = "listns")]
    pub fn from_listns() -> Result<Self> {
        let mut scan = Scan::new()?;
        // They are about processes.
        scan.gaps.clear();
        listns::all(&mut scan).map_err(|errno| match errno {
            Errno::NOSYS => Error::new(
                ErrorKind::Unsupported,
                "this kernel does not list namespaces: Linux 6.19 does",
            ),
            _ => Error::os(Step::QueryNamespace, errno),
        })?;
        Ok(scan.finish())
    }

    pub(super) fn scan(at_descriptors: bool) -> Result<Self> {
        let mut scan = Scan::new()?;
        let pids = processes::walk(&mut scan)?;
        let bound = mounts::walk(&mut scan)?;
        if at_descriptors {
            descriptors::walk(&mut scan, &pids, &bound)?;
        }
        recheck::walk(&mut scan)?;
        listns::walk(&mut scan)?;
        Ok(scan.finish())
    }
}
