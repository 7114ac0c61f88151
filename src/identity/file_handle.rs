//! File handles of namespaces, which can be stored.

#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;
use std::os::fd::AsRawFd;

use crate::error::{Error, ErrorKind, Result, Step};
use crate::namespace::Namespace;
use crate::ns_fd::{NsFd, decimal};
use crate::sys::{Errno, nsfs};

/// A file handle of a namespace, as of `name_to_handle_at(2)`: a value that can be stored as text, and that opens
/// the namespace again while something keeps it alive, and never another one.
///
/// It is valid until the machine restarts. It does not keep the namespace alive.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{ErrorKind, Namespace, NsFd, NsFileHandle};
///
/// let uts = NsFd::current(Namespace::Uts)?;
/// match uts.file_handle() {
///     Ok(handle) => {
///         let text = handle.to_string();                      // "uts:4026531838:27"
///         assert_eq!(text.parse::<NsFileHandle>()?, handle);
/// #       if handle.open().is_err_and(|error| error.kind() == ErrorKind::Unsupported) {
/// #           return Ok(());
/// #       }
///         assert_eq!(handle.open()?, uts);
///     }
///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
/// }
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # Kernel
///
/// Linux 6.18.
///
/// # References
///
/// [open_by_handle_at(2)](https://man7.org/linux/man-pages/man2/open_by_handle_at.2.html),
/// `struct nsfs_file_handle` of `include/uapi/linux/nsfs.h`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias = "name_to_handle_at")]
pub struct NsFileHandle {
    kind: Namespace,
    ino: u32,
    unique_id: u64,
}

impl NsFileHandle {
    /// The kind of the namespace.
    #[must_use]
    pub fn kind(&self) -> Namespace {
        self.kind
    }

    /// The id that no other namespace ever has: see [`NsFd::unique_id`].
    #[must_use]
    pub fn unique_id(&self) -> u64 {
        self.unique_id
    }

    /// Opens the namespace.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if it is gone, or not for this process to open: the kernel
    /// does not tell which. [`Unsupported`](crate::ErrorKind::Unsupported) before Linux 6.18, and where a seccomp
    /// filter refuses the call.
    ///
    /// A pid or user namespace can be found for some 10 to 50 ms after its end, as it is being destroyed.
    /// Since Linux 6.19 one is only found as long as a process is in it, or a file of it open or mounted, or, for
    /// a user namespace, of one that it owns; 6.18 also finds what a socket or a pid namespace inside keeps.
    ///
    /// # Privileges
    ///
    /// None for one's own namespaces; for others `CAP_SYS_ADMIN` in the initial user namespace, from the
    /// initial pid namespace.
    #[doc(alias = "open_by_handle_at")]
    pub fn open(&self) -> Result<NsFd> {
        let refused = |errno, kind| {
            Error::os(Step::OpenNamespace, errno)
                .on(format!("of file handle {self}"))
                .with_kind(kind)
        };
        match nsfs::open_by_handle(self.unique_id, self.kind.flag(), self.ino) {
            Ok(fd) => NsFd::try_from(fd),
            Err(errno @ Errno::STALE) => Err(refused(errno, ErrorKind::NotFound)),
            // Before Linux 6.18 there is no such descriptor, and an ordinary user is refused first.
            Err(errno @ (Errno::BADF | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM)) => {
                Err(refused(errno, ErrorKind::Unsupported))
            }
            Err(errno) => {
                Err(Error::os(Step::OpenNamespace, errno).on(format!("of file handle {self}")))
            }
        }
    }
}

impl NsFd {
    /// The file handle of the namespace, to store it and to open the namespace again.
    ///
    /// # Examples
    ///
    /// See [`NsFileHandle`].
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::ErrorKind::Unsupported) before Linux 6.18.
    pub fn file_handle(&self) -> Result<NsFileHandle> {
        let refused = |errno| Error::os(Step::QueryNamespace, errno).of(self.kind());
        let unique_id = nsfs::get_id(self.as_raw_fd()).map_err(|errno| match errno {
            Errno::NOTTY | Errno::NOSYS => refused(errno).with_kind(ErrorKind::Unsupported),
            _ => refused(errno),
        })?;
        // The kernel keeps it in 32 bits.
        let ino = u32::try_from(self.id()?.ino).map_err(|_| refused(Errno::OVERFLOW))?;
        Ok(NsFileHandle { kind: self.kind(), ino, unique_id })
    }
}

/// `KIND:INODE:UNIQUE-ID`.
impl fmt::Display for NsFileHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.ino, self.unique_id)
    }
}

/// What [`Display`](fmt::Display) prints.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) for anything else, and for inode number or id 0, which the
/// kernel gives to no namespace.
impl FromStr for NsFileHandle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let mut parts = text.split(':');
            let kind = parts.next()?.parse().ok()?;
            let ino = decimal(parts.next()?)?.try_into().ok()?;
            let unique_id = decimal(parts.next()?)?;
            // 0 is no id, and as inode number it means "any" to the kernel.
            let is_real = ino != 0 && unique_id != 0;
            (is_real && parts.next().is_none()).then_some(Self { kind, ino, unique_id })
        };
        parse().ok_or_else(|| {
            Error::invalid(format!("{text:?} is no file handle such as \"uts:4026531838:27\""))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ErrorKind, Namespace, NsFileHandle};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_handle_survives_as_text(kind in 0..8_usize, ino in 1_u32.., unique_id in 1_u64..) {
            let handle = NsFileHandle { kind: Namespace::EACH[kind], ino, unique_id };
            prop_assert_eq!(handle.to_string().parse::<NsFileHandle>().unwrap(), handle);
        }

        #[test]
        fn what_is_understood_is_what_was_printed(
            text in prop_oneof![any::<String>(), "[a-z]{0,7}:[0-9+ -]{0,12}:[0-9]{0,22}[: x]?"],
        ) {
            // But for zeros in front.
            let plain = |text: &str| text.split(':').map(|it| it.trim_start_matches('0').to_owned()).collect::<Vec<_>>();
            match text.parse::<NsFileHandle>() {
                Ok(handle) => prop_assert_eq!(plain(&handle.to_string()), plain(&text)),
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::InvalidInput),
            }
        }
    }

    #[test]
    fn what_is_no_handle_is_refused() {
        for text in [
            "",
            "uts:0:1",
            "uts:1:0",
            "::",
            "uts",
            "uts:1",
            "uts:1:",
            "uts::1",
            ":1:1",
            "uts:1:1:",
            "uts:1:1:1",
            "UTS:1:1",
            "tty:1:1",
            "uts:+1:1",
            "uts:-1:1",
            "uts:1:+1",
            " uts:1:1",
            "uts:1:1\n",
            "uts:0x1:1",
            "uts:١:1",
            "uts:4294967296:1",
            "uts:1:18446744073709551616",
        ] {
            let error = text.parse::<NsFileHandle>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        let handle = NsFileHandle { kind: Namespace::Uts, ino: u32::MAX, unique_id: u64::MAX };
        assert_eq!("uts:4294967295:18446744073709551615".parse::<NsFileHandle>().unwrap(), handle);
    }
}
