//! Namespaces by the id that the kernel never gives twice.

#![forbid(unsafe_code)]

use crate::error::{Error, ErrorKind, Result, Step};
use crate::namespace::Namespace;
use crate::ns_fd::NsFd;
use crate::sys::{Errno, nsfs};

impl NsFd {
    /// Opens the namespace with this [unique id](Self::unique_id), as long as a process is in it, or an open file or
    /// a bind mount keeps it.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{ErrorKind, Namespace, NsFd};
    ///
    /// let uts = NsFd::current(Namespace::Uts)?;
    /// if let Some(id) = uts.unique_id()? {
    ///     match NsFd::by_unique_id(id) {
    ///         Ok(found) => assert_eq!(found, uts),
    ///         Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported), // Linux 6.18
    ///     }
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is none, or none that this process may open: the
    /// kernel does not tell which. [`Unsupported`](crate::ErrorKind::Unsupported) before Linux 6.19.
    ///
    /// # Privileges
    ///
    /// None for one's own namespaces; for others `CAP_SYS_ADMIN` in the initial user namespace, from the
    /// initial pid namespace.
    ///
    /// # Kernel
    ///
    /// Linux 6.19: file handles of nsfs that consist of the id alone.
    ///
    /// # References
    ///
    /// [open_by_handle_at(2)](https://man7.org/linux/man-pages/man2/open_by_handle_at.2.html),
    /// `struct nsfs_file_handle` of `include/uapi/linux/nsfs.h`
    #[doc(alias = "open_by_handle_at")]
    pub fn by_unique_id(id: u64) -> Result<Self> {
        let refused = |errno| Error::os(Step::OpenNamespace, errno).on(format!("of id {id}"));
        match nsfs::open_by_id(id) {
            Ok(fd) => Self::try_from(fd),
            // What a kernel without such handles answers, or the descriptor that stands for their root.
            Err(Errno::BADF | Errno::OPNOTSUPP | Errno::NOSYS) => Err(unsupported(id)),
            // Before Linux 6.18 an ordinary user is refused first.
            Err(Errno::STALE | Errno::PERM) if !knows_ids() => Err(unsupported(id)),
            Err(Errno::STALE) => Err(refused(Errno::STALE).with_kind(ErrorKind::NotFound)),
            Err(errno) => Err(refused(errno)),
        }
    }
}

fn unsupported(id: u64) -> Error {
    let why = "that takes Linux 6.19, and no seccomp filter in its way";
    Error::new(ErrorKind::Unsupported, format!("cannot open the namespace of id {id}: {why}"))
        .at_step(Step::OpenNamespace)
}

/// Linux 6.18 takes handles only whole. One's own namespace can always be opened where the id will do.
fn knows_ids() -> bool {
    let own = NsFd::current(Namespace::Uts).and_then(|uts| uts.unique_id());
    own.is_ok_and(|id| id.is_some_and(|id| nsfs::open_by_id(id).is_ok()))
}
