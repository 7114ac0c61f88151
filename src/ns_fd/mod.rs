//! A handle that keeps a namespace alive.

#![forbid(unsafe_code)]

mod open;
mod socket;
mod ns_id;

use core::hash::{Hash, Hasher};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use rustix::fs::Statx;
use rustix::ioctl::Opcode;

use crate::error::{AtStep, Error, Result, Step};
use crate::namespace::{Namespace, NamespaceSet};
use crate::sys::{Errno, abi, nsfs, process};

pub use ns_id::NsId;
pub(crate) use ns_id::decimal;
pub(crate) use open::has_no_first_process;

/// A namespace, held by an open file.
///
/// As long as the handle is open the namespace exists, also without any process in it. Two handles
/// are equal if they hold the same namespace. The descriptor is close-on-exec.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Namespace, NsFd};
///
/// let uts = NsFd::current(Namespace::Uts)?;
/// assert_eq!(uts.kind(), Namespace::Uts);
/// assert_eq!(uts, NsFd::of_pid(std::process::id(), Namespace::Uts)?);
/// println!("uts:[{}]", uts.id()?.ino);
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html), "Namespace lifetime";
/// [ioctl_nsfs(2)](https://man7.org/linux/man-pages/man2/ioctl_nsfs.2.html)
#[derive(Debug)]
pub struct NsFd {
    fd: OwnedFd,
    kind: Namespace,
}

/// The device that the files of all namespaces are on.
pub(crate) fn device() -> Result<u64> {
    Ok(NsFd::current(Namespace::Mount)?.id()?.dev)
}

/// The inode number of a file, if it is on that device. Nothing but the device tells whose file system would have to
/// respond to more.
pub(crate) fn inode_on(device: u64, file: &Statx) -> Option<u64> {
    let its = rustix::fs::makedev(file.stx_dev_major, file.stx_dev_minor);
    (its == device).then_some(file.stx_ino)
}

/// What the kernel tells of a namespace.
impl NsFd {
    /// The kind of the namespace.
    #[must_use]
    pub fn kind(&self) -> Namespace {
        self.kind
    }

    /// Device and inode number, which identify the namespace while this handle is held.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Namespace, NsFd};
    /// use std::os::unix::fs::MetadataExt;
    ///
    /// let id = NsFd::current(Namespace::Net)?.id()?;
    /// let file = std::fs::metadata("/proc/thread-self/ns/net")?;
    /// assert_eq!((id.dev, id.ino), (file.dev(), file.ino()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None in practice: `fstat(2)` of an open file fails only where a seccomp filter says so.
    pub fn id(&self) -> Result<NsId> {
        let about = rustix::fs::fstat(&self.fd).at_step(Step::QueryNamespace)?;
        Ok(NsId { dev: about.st_dev, ino: about.st_ino })
    }

    /// The number that the kernel gives to this namespace and never to another one until the machine
    /// restarts. `None` before Linux 6.18.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Namespace, NsFd};
    ///
    /// match NsFd::current(Namespace::Uts)?.unique_id()? {
    ///     Some(id) => println!("namespace {id}, for as long as the machine runs"),
    ///     None => println!("this kernel is older than 6.18"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Only where a seccomp filter refuses the ioctl.
    #[doc(alias = "NS_GET_ID")]
    pub fn unique_id(&self) -> Result<Option<u64>> {
        match nsfs::get_id(self.as_raw_fd()) {
            Ok(id) => Ok(Some(id)),
            Err(Errno::NOTTY | Errno::NOSYS) => Ok(None),
            Err(errno) => Err(self.refused(errno)),
        }
    }

    /// The user namespace that owns this one: whose capabilities count for what it isolates. For a
    /// user namespace, the one it was made in.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Namespace, NsFd};
    ///
    /// match NsFd::current(Namespace::Net)?.owner() {
    ///     Ok(owner) => println!("made by uid {}", owner.owner_uid()?),
    ///     Err(error) => println!("{error:#}"),       // it lies above our own user namespace
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) if that is not this thread's own user
    /// namespace nor below it.
    ///
    /// # References
    ///
    /// `NS_GET_USERNS` of [ioctl_nsfs(2)](https://man7.org/linux/man-pages/man2/ioctl_nsfs.2.html), Linux 4.9
    #[doc(alias = "NS_GET_USERNS")]
    pub fn owner(&self) -> Result<Self> {
        let fd = nsfs::get_fd(self.as_raw_fd(), abi::NS_GET_USERNS);
        Ok(Self { fd: fd.map_err(|errno| self.refused(errno))?, kind: Namespace::User })
    }

    /// The pid or user namespace around this one.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{ErrorKind, Namespace, NsFd};
    ///
    /// let error = NsFd::current(Namespace::Uts)?.parent().unwrap_err();
    /// assert_eq!(error.raw_os_error(), Some(22));      // EINVAL: only pid and user namespaces nest
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `EINVAL` for other kinds, which have no parent;
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) for a parent outside this thread's own
    /// namespace, so also for the initial one, which has none.
    ///
    /// # References
    ///
    /// `NS_GET_PARENT` of [ioctl_nsfs(2)](https://man7.org/linux/man-pages/man2/ioctl_nsfs.2.html), Linux 4.9
    #[doc(alias = "NS_GET_PARENT")]
    pub fn parent(&self) -> Result<Self> {
        let fd = nsfs::get_fd(self.as_raw_fd(), abi::NS_GET_PARENT);
        Ok(Self { fd: fd.map_err(|errno| self.refused(errno))?, kind: self.kind })
    }

    /// The uid, in this thread's user namespace, of the creator of a user namespace; 65534 if that
    /// uid is not mapped here.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Namespace, NsFd};
    ///
    /// println!("made by uid {}", NsFd::current(Namespace::User)?.owner_uid()?);
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `EINVAL` for other kinds.
    ///
    /// # References
    ///
    /// `NS_GET_OWNER_UID` of [ioctl_nsfs(2)](https://man7.org/linux/man-pages/man2/ioctl_nsfs.2.html), Linux 4.11
    #[doc(alias = "NS_GET_OWNER_UID")]
    pub fn owner_uid(&self) -> Result<u32> {
        nsfs::get_owner_uid(self.as_raw_fd()).map_err(|errno| self.refused(errno))
    }

    /// The number in this pid namespace of a process that has number `pid` in the caller's.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{ErrorKind, Namespace, NsFd};
    ///
    /// let here = NsFd::current(Namespace::Pid)?;
    /// match here.pid_inside(std::process::id()) {
    ///     Ok(pid) => assert_eq!(pid, std::process::id()),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProcessGone`](crate::ErrorKind::ProcessGone) if there is no such process, or it is not in this
    /// namespace; [`InvalidInput`](crate::ErrorKind::InvalidInput) if this is no pid namespace;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) before Linux 6.11.
    #[doc(alias = "NS_GET_PID_IN_PIDNS")]
    pub fn pid_inside(&self, pid: u32) -> Result<u32> {
        self.translate(abi::NS_GET_PID_IN_PIDNS, pid)
    }

    /// The number in the caller's pid namespace of a process that has number `pid` in this one.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{ErrorKind, Namespace, NsFd};
    ///
    /// match NsFd::current(Namespace::Pid)?.pid_outside(1) {
    ///     Ok(pid) => assert_eq!(pid, 1),      // here and there are the same
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`pid_inside`](Self::pid_inside).
    #[doc(alias = "NS_GET_PID_FROM_PIDNS")]
    pub fn pid_outside(&self, pid: u32) -> Result<u32> {
        self.translate(abi::NS_GET_PID_FROM_PIDNS, pid)
    }

    /// Another handle of the same namespace.
    ///
    /// # Errors
    ///
    /// [`LimitReached`](crate::ErrorKind::LimitReached) for `EMFILE`.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 0).at_step(Step::OpenNamespace)?;
        Ok(Self { fd, kind: self.kind })
    }

    fn refused(&self, errno: Errno) -> Error {
        Error::os(Step::QueryNamespace, errno).of(self.kind)
    }

    fn translate(&self, number: Opcode, pid: u32) -> Result<u32> {
        if self.kind != Namespace::Pid {
            return Err(Error::invalid(format!("a {} namespace has no pids", self.kind)));
        }
        if i32::try_from(pid).is_err() {
            return Err(self.refused(Errno::SRCH));
        }
        let answer = nsfs::translate_pid(self.as_raw_fd(), number, pid);
        answer.map_err(|errno| match errno {
            Errno::NOTTY if can_translate() => self.refused(Errno::SRCH),
            _ => self.refused(errno),
        })
    }
}

/// Kernels 6.13 to 6.19 answer `ENOTTY` also for a pid that is not there.
fn can_translate() -> bool {
    NsFd::current(Namespace::Pid).is_ok_and(|own| {
        nsfs::translate_pid(own.as_raw_fd(), abi::NS_GET_PID_IN_PIDNS, process::getpid()).is_ok()
    })
}

/// The same namespace, whatever the descriptors.
impl PartialEq for NsFd {
    fn eq(&self, other: &Self) -> bool {
        match (self.id(), other.id()) {
            (Ok(one), Ok(other)) => one == other,
            _ => self.as_raw_fd() == other.as_raw_fd(),
        }
    }
}

impl Eq for NsFd {}

impl Hash for NsFd {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().ok().hash(state);
    }
}

/// It never polls ready; do not close it.
impl AsFd for NsFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for NsFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl IntoRawFd for NsFd {
    fn into_raw_fd(self) -> RawFd {
        self.fd.into_raw_fd()
    }
}

impl From<NsFd> for OwnedFd {
    fn from(namespace: NsFd) -> Self {
        namespace.fd
    }
}

impl From<&NsFd> for NamespaceSet {
    fn from(namespace: &NsFd) -> Self {
        namespace.kind.into()
    }
}
