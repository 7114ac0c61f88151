//! What this kernel has and what this thread may do.

#![forbid(unsafe_code)]

mod interface;
pub(crate) mod time_entry;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::diagnosis::{self, Cause, may_be_filtered};
use crate::error::{AtStep, Error, ErrorKind, Result, Step};
use crate::id_map::IdMap;
use crate::namespace::{Namespace, NamespaceSet};
use crate::ns_fd::NsFd;
use crate::pid_fd::PidFd;
use crate::proc_fs::ProcFs;
use crate::sys::probe::{self, NewUserNamespace, ProbeResult};
use crate::sys::wait::Ended;
use crate::sys::{self, Errno, abi, ids, nsfs};

pub use interface::Interface;

/// Which namespaces and interfaces there are for this thread, found by trying.
///
/// Nothing is concluded from a version number: namespaces are made in a child that ends at once, and
/// calls are made in a way that only an unknown one fails as unknown.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Availability, Command, Interface, Namespace, Support};
///
/// let support = Support::probe()?;
/// match support.availability(Namespace::User) {
///     Availability::Denied(error) => println!("no sandbox today: {error:#}"),
///     Availability::Missing => println!("this kernel has no user namespaces"),
///     _ => assert!(Command::new("true").map_root().status()?.success()),
/// }
/// if support.has(Interface::UniqueIds) {
///     println!("namespaces have numbers that are never given twice");
/// }
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html),
/// [user_namespaces(7)](https://man7.org/linux/man-pages/man7/user_namespaces.7.html)
#[derive(Debug)]
pub struct Support {
    namespaces: [Availability; 8],
    interfaces: Vec<Interface>,
    causes: Vec<Cause>,
}

/// Whether a kind of namespace can be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Availability {
    /// As it is. A user namespace: with an id map in it.
    Available,
    /// Only together with a user namespace.
    WithUserNamespace,
    /// Not, although the kernel has the kind. The error says why, as far as can be known.
    Denied(Error),
    /// The kernel is too old, or was built without the kind.
    Missing,
}

impl Availability {
    /// Whether the kind can be made, alone or together with a user namespace.
    #[must_use]
    pub fn is_available(&self) -> bool {
        matches!(self, Self::Available | Self::WithUserNamespace)
    }
}

impl Support {
    /// Tries it out, for the calling thread.
    ///
    /// Takes some milliseconds, and two short-lived children that leave nothing behind: ask once. Their
    /// namespaces count against the limits of `/proc/sys/user` for some 50 ms more. A user namespace
    /// counts as available if its id maps could be written and something could be made in it: under
    /// Ubuntu's AppArmor the namespace itself can be made by all, and is of no use. What `unshare(2)`
    /// may do stands for `clone3(2)`. As in a spawn, the children share this process's memory while they
    /// run, one of them in a new user namespace; under a seccomp filter, which might kill them, they get a
    /// copy, and one more asks for the interfaces.
    ///
    /// # Errors
    ///
    /// What keeps a child from being made: [`LimitReached`](crate::ErrorKind::LimitReached). If the
    /// thread's next child is to be born in another pid namespace,
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput): it might become PID 1 there.
    /// [`ChildDied`](crate::ErrorKind::ChildDied) where a seccomp filter kills who makes a namespace.
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc) without a `/proc` before Linux 6.11.
    ///
    /// # Privileges
    ///
    /// None. With privileges, it tries what they are good for.
    pub fn probe() -> Result<Self> {
        let pid_namespace = no_pending_pid_namespace()?;
        let own = PidFd::current()?;
        let proc = ProcFs::open();
        let (uid, gid) = (ids::geteuid(), ids::getegid());
        let uid_map = IdMap::single(0, uid)?.to_string();
        let gid_map = IdMap::single(0, gid)?.to_string();
        let user = NewUserNamespace {
            proc: proc.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            uid_map: uid_map.as_bytes(),
            gid_map: gid_map.as_bytes(),
        };
        let filtered = may_be_filtered();
        let (alone, ended) = probe_namespaces(None, filtered)?;
        let (within, _) = probe_namespaces(Some(user), filtered)?;
        no_descriptors(&within, &proc)?;
        let found = [&alone, &within];
        let interfaces = interface::all(&own, ended.as_fd(), &pid_namespace, found, filtered)?;
        let mut proc = proc.err();
        let namespaces = Namespace::EACH.map(|kind| match kind {
            Namespace::User => user_namespaces(&within, proc.take()),
            _ => availability(kind, &alone, &within),
        });
        Ok(Self { namespaces, interfaces, causes: diagnosis::here() })
    }

    /// Whether a namespace of this kind can be made, and if not, why.
    #[must_use]
    pub fn availability(&self, kind: Namespace) -> &Availability {
        &self.namespaces[kind as usize]
    }

    /// All kinds that can be made, alone or together with a user namespace.
    #[must_use]
    pub fn available(&self) -> NamespaceSet {
        Namespace::EACH.into_iter().filter(|&kind| self.availability(kind).is_available()).collect()
    }

    /// Whether the interface is there and not hidden by a filter.
    #[must_use]
    pub fn has(&self, interface: Interface) -> bool {
        self.interfaces.contains(&interface)
    }

    /// What restricts this thread, whether it kept something from being made or not: see
    /// [`Error::causes`](crate::Error::causes).
    #[must_use]
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }
}

/// The pid namespace of this thread, which its next child is born in, too.
fn no_pending_pid_namespace() -> Result<NsFd> {
    // Also in a chroot without /proc, where the kernel can do without.
    let ask = |number| -> Option<NsFd> {
        let thread = PidFd::current_thread().ok()?;
        nsfs::get_fd(thread.as_raw_fd(), number).ok()?.try_into().ok()
    };
    let own = match ask(abi::PIDFD_GET_PID_NAMESPACE) {
        Some(own) => own,
        None => NsFd::current(Namespace::Pid)?,
    };
    let here = match ask(abi::PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE) {
        Some(namespace) => namespace.id()? == own.id()?,
        None => match NsFd::for_children(Namespace::Pid) {
            Ok(namespace) => namespace.id()? == own.id()?,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        },
    };
    if here {
        return Ok(own);
    }
    Err(Error::invalid(
        "this thread's children are born in another pid namespace, which a throw-away child could take \
         with it: probe before, or in another thread",
    ))
}

fn probe_namespaces(
    user: Option<NewUserNamespace<'_>>,
    filtered: bool,
) -> Result<(ProbeResult, OwnedFd)> {
    let (found, pid_fd) = probe::try_namespaces(user, filtered).at_step(Step::Clone)?;
    match found.ended {
        // Without a status, another wait of this process was faster.
        None | Some(Ended { code: libc::CLD_EXITED, .. }) => Ok((found, pid_fd)),
        Some(Ended { status, .. }) => Err(Error::new(
            ErrorKind::ChildDied,
            format!("the child that tries to make namespaces was killed by signal {status}"),
        )
        .at_step(Step::Unshare)),
    }
}

/// Too few descriptors in this process say nothing of user namespaces.
fn no_descriptors(within: &ProbeResult, proc: &Result<ProcFs>) -> Result<()> {
    let full = within.maps.into_iter().flatten().find_map(|answer| match answer {
        Err(errno @ (Errno::MFILE | Errno::NFILE)) => Some(errno),
        _ => None,
    });
    let full = full.or_else(|| match proc.as_ref().err()?.raw_os_error()? {
        errno @ (libc::EMFILE | libc::ENFILE) => Some(Errno::from_raw_os_error(errno)),
        _ => None,
    });
    full.map_or(Ok(()), |errno| Err(Error::os(Step::Prepare, errno)))
}

fn user_namespaces(within: &ProbeResult, proc: Option<Error>) -> Availability {
    let denied = |step, errno| {
        let set = NamespaceSet::USER;
        Availability::Denied(Error::os(step, errno).of(Namespace::User).concerning(set))
    };
    match within.user {
        Some(Ok(())) => {}
        Some(Err(Errno::INVAL)) => return Availability::Missing,
        Some(Err(errno)) => return denied(Step::Unshare, errno),
        None => return denied(Step::Unshare, Errno::CANCELED),
    }
    // Without /proc there is no way to write a map, whatever the kernel thinks of it.
    if let Some(error) = proc {
        return Availability::Denied(error);
    }
    let steps = [Step::WriteSetgroups, Step::WriteUidMap, Step::WriteGidMap];
    for (step, answer) in steps.into_iter().zip(within.maps) {
        if let Some(Err(errno)) = answer {
            return denied(step, errno);
        }
    }
    // A namespace in which nothing is allowed.
    if within.kinds.iter().all(|answer| matches!(answer, Some(Err(Errno::PERM)))) {
        return denied(Step::Unshare, Errno::PERM);
    }
    Availability::Available
}

fn availability(kind: Namespace, alone: &ProbeResult, within: &ProbeResult) -> Availability {
    let answer = |found: &ProbeResult| -> Option<sys::Result<()>> {
        let at = probe::KINDS.iter().position(|&flag| flag == kind.flag())?;
        found.kinds[at]
    };
    let denied = |errno, set: NamespaceSet| {
        let error = Error::os(Step::Unshare, errno).of(kind).concerning(set);
        Availability::Denied(error)
    };
    match (answer(alone), answer(within)) {
        (Some(Ok(())), _) => Availability::Available,
        (Some(Err(Errno::INVAL)), _) | (_, Some(Err(Errno::INVAL))) => Availability::Missing,
        (_, Some(Ok(()))) => Availability::WithUserNamespace,
        // The kernel looks at privileges before limits.
        (Some(Err(Errno::PERM)), Some(Err(errno))) => denied(errno, kind | Namespace::User),
        (Some(Err(errno)), _) => denied(errno, kind.into()),
        (None, _) => denied(Errno::CANCELED, kind.into()),
    }
}
