//! Every namespace that this process can see, and what keeps it alive.

#![forbid(unsafe_code)]

// The documentation shows methods in this order.
mod discovery;
mod open;
mod constructors;
mod namespace_info;
mod process_info;
mod members;
mod holder;
mod gap;

mod descriptors;
mod listns;
mod mounts;
mod processes;
mod recheck;
mod visibility;
mod scan;
mod text;

use crate::error::Result;

pub use discovery::Discovery;
pub use gap::Gap;
pub use holder::{Holder, Holders};
pub use namespace_info::NamespaceInfo;
pub use process_info::ProcessInfo;

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
    Discovery::scan(true)
}
