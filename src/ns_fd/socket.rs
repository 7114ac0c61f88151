//! The network namespace of a socket.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::FileType;

use super::NsFd;
use crate::error::{AtStep, Error, Result, Step};
use crate::namespace::Namespace;
use crate::sys::{abi, file, nsfs};

impl NsFd {
    /// The network namespace that a socket was made in, where it stays whoever holds it.
    ///
    /// With [`PidFd::copy_fd`](crate::PidFd::copy_fd) also that of another process's socket, which may
    /// be another one than the process is in, and one that nobody is in any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{ErrorKind, Namespace, NsFd};
    /// use std::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// match NsFd::of_socket(&socket) {
    ///     Ok(net) => assert_eq!(net, NsFd::current(Namespace::Net)?),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a descriptor that is no socket;
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied);
    /// [`LimitReached`](crate::ErrorKind::LimitReached) for `EMFILE`.
    ///
    /// # Privileges
    ///
    /// `CAP_NET_ADMIN` in the user namespace that owns the network namespace.
    ///
    /// # References
    ///
    /// `SIOCGSKNS` of `include/uapi/linux/sockios.h`, Linux 4.10
    #[doc(alias = "SIOCGSKNS")]
    pub fn of_socket(socket: impl AsFd) -> Result<Self> {
        let socket = socket.as_fd();
        let (kind, _) = file::kind(socket).at_step(Step::OpenNamespace)?;
        // A driver may answer this number as it pleases, and no answer of its is a descriptor for us.
        if kind != FileType::Socket {
            return Err(Error::invalid("the descriptor is no socket"));
        }
        let fd = nsfs::get_fd(socket.as_raw_fd(), abi::SIOCGSKNS)
            .map_err(|errno| Error::os(Step::OpenNamespace, errno).of(Namespace::Net))?;
        Self::checked(fd)
    }
}
