//! The names in the calling thread's UTS namespace.
//!
//! Of the six fields of `uname(2)` two are the namespace's own: the node name, which is the hostname, and the NIS
//! domain name. System, release, version and machine are the kernel's, the same in every namespace. A new
//! namespace begins with a copy of both names; a change is seen by all in it and by nobody outside:
//! `cargo run --example hostname` shows it.
//!
//! Every process of the machine that has no UTS namespace of its own shares these names. To give a
//! name to a new namespace only, use [`Unshare::hostname`](crate::Unshare::hostname) or
//! [`Command::hostname`](crate::Command::hostname), which cannot rename the host.
//!
//! # Examples
//!
//! ```
//! println!("this is {}", linux_namespaces::uts::hostname()?);
//! # Ok::<(), linux_namespaces::Error>(())
//! ```
//!
//! # References
//!
//! [uts_namespaces(7)](https://man7.org/linux/man-pages/man7/uts_namespaces.7.html),
//! [uname(2)](https://man7.org/linux/man-pages/man2/uname.2.html)

#![forbid(unsafe_code)]

use crate::error::{AtStep, Result, Step};
use crate::hostname::Hostname;
use crate::sys::uts as sys;

/// The hostname: the node name of `uname(2)`.
///
/// # Errors
///
/// Only where a seccomp filter refuses the call.
pub fn hostname() -> Result<Hostname> {
    let names = sys::uname().at_step(Step::ReadUtsNames)?;
    Ok(Hostname::from_kernel(&bytes(&names.nodename)))
}

/// The NIS domain name, which has nothing to do with the DNS.
///
/// # Errors
///
/// Only where a seccomp filter refuses the call.
pub fn domainname() -> Result<Hostname> {
    let names = sys::uname().at_step(Step::ReadUtsNames)?;
    Ok(Hostname::from_kernel(&bytes(&names.domainname)))
}

/// Sets the hostname for every process in the calling thread's UTS namespace.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{NamespaceSet, Unshare, uts};
///
/// // first a namespace of one's own, so as not to rename the machine
/// match Unshare::new(NamespaceSet::USER | NamespaceSet::UTS).map_root().apply() {
///     Ok(()) => uts::set_hostname(&"other".parse()?)?,
///     Err(error) => eprintln!("{error:#}"),
/// }
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # Errors
///
/// [`PermissionDenied`](crate::ErrorKind::PermissionDenied).
///
/// # Privileges
///
/// `CAP_SYS_ADMIN` in the user namespace that owns the UTS namespace.
pub fn set_hostname(name: &Hostname) -> Result<()> {
    sys::sethostname(name.as_bytes()).at_step(Step::SetHostname)
}

/// Sets the NIS domain name for every process in the calling thread's UTS namespace.
///
/// # Errors
///
/// [`PermissionDenied`](crate::ErrorKind::PermissionDenied).
///
/// # Privileges
///
/// `CAP_SYS_ADMIN` in the user namespace that owns the UTS namespace.
pub fn set_domainname(name: &Hostname) -> Result<()> {
    sys::setdomainname(name.as_bytes()).at_step(Step::SetDomainname)
}

fn bytes(field: &[libc::c_char]) -> Vec<u8> {
    field.iter().map(|&byte| u8::from_ne_bytes(byte.to_ne_bytes())).collect()
}
