//! Entering existing namespaces on a thread.

#![forbid(unsafe_code)]

mod guard;

use std::os::fd::AsRawFd;
use std::panic;
use std::sync::Arc;
use std::thread;

use crate::engine::join::enter_for_good;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::namespace::{Namespace, NamespaceSet};
use crate::ns_fd::NsFd;
use crate::pid_fd::PidFd;
use crate::plan::joins::{JoinTarget, Joins, Source};
use crate::sys::Errno;

pub use guard::EnterGuard;

/// Existing namespaces to enter: by handle, or those of a process.
///
/// The order in which they are named does not matter, and those that the thread is in already are
/// left out. Those of a process are looked up together when they are to be entered: a process that enters another user
/// namespace meanwhile does not lead to a mixture of both. One that goes to and fro between namespaces of other kinds can.
///
/// Three ways to use it: [`apply`](Self::apply) moves this thread for good, [`scoped`](Self::scoped)
/// until a guard is dropped, [`run`](Self::run) leaves it alone and works on another one. A fourth is
/// [`Command::enter`](crate::Command::enter): a new process there. Only that one can enter a user or
/// time namespace from a program with several threads, and only that one is inside an entered pid
/// namespace. In a user namespace its program becomes root of the inside, unless
/// [`preserve_credentials`](Self::preserve_credentials) is set; the other three leave the ids of this process as they are.
///
/// # Examples
///
/// ```no_run
/// use linux_namespaces::{Enter, NamespaceSet, PidFd};
///
/// let container = PidFd::open(4711)?;
/// let names = Enter::new()
///     .process(container, NamespaceSet::NET | NamespaceSet::MOUNT)
///     .run(|| std::fs::read_to_string("/etc/resolv.conf"))??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// [setns(2)](https://man7.org/linux/man-pages/man2/setns.2.html)
#[derive(Debug, Clone, Default)]
#[doc(alias = "setns")]
#[doc(alias = "nsenter")]
#[must_use = "it enters nothing until apply, scoped or run"]
pub struct Enter {
    sources: Vec<Source>,
    preserve_credentials: bool,
}

impl Enter {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a namespace.
    pub fn namespace(mut self, namespace: NsFd) -> Self {
        self.sources.push(Source::Namespace(Arc::new(namespace)));
        self
    }

    /// Adds namespaces of a process.
    pub fn process(mut self, process: PidFd, namespaces: NamespaceSet) -> Self {
        self.sources.push(Source::Process(Arc::new(process), namespaces));
        self
    }

    /// Moves the calling thread into the namespaces, for good.
    ///
    /// In a pid namespace only children made afterwards will be. With a mount namespace, root and
    /// working directory become its root, and the thread shares them with no other one any more. In
    /// a user namespace the thread has all capabilities, and none outside of it any more; and whoever is
    /// in there may look into this process's memory, which `Command::enter` prevents.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Enter, Namespace, NsFd};
    ///
    /// // one's own: nothing to do, so no privilege is needed
    /// Enter::new().namespace(NsFd::current(Namespace::Net)?).apply()?;
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied);
    /// [`Multithreaded`](crate::ErrorKind::Multithreaded) for a user or time namespace in a process with
    /// several threads; [`ProcessGone`](crate::ErrorKind::ProcessGone);
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an empty set, or two namespaces of one kind. The
    /// thread is where it was, unless the error is [`NotRestored`](crate::ErrorKind::NotRestored): a user
    /// namespace was entered, which has no way back, and another one was then refused. After a mount namespace
    /// was tried, the thread has a working directory, root and umask of its own, equal to those that it shared
    /// with the other threads before.
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_ADMIN` in the user namespace that owns each, and in one's own, which may be among
    /// those to enter; for a mount namespace also `CAP_SYS_CHROOT`; for those of a process the right
    /// to trace it.
    pub fn apply(&self) -> Result<()> {
        let joins = Joins::resolve(&self.sources)?;
        let restorable = joins.set().difference(NamespaceSet::USER);
        if joins.targets.len() < 2 || restorable.is_empty() {
            return enter_for_good(&joins.targets);
        }
        EnterGuard::enter_and_save(&joins.targets, restorable).map(EnterGuard::forget)
    }

    /// Moves the calling thread into the namespaces until the guard is left or dropped.
    ///
    /// The guard cannot go to another thread. Threads and processes made meanwhile start inside and
    /// stay there.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Enter, Namespace, NsFd};
    ///
    /// let net = NsFd::current(Namespace::Net)?;
    /// let inside = Enter::new().namespace(net.try_clone()?).scoped()?;
    /// assert_eq!(NsFd::current(Namespace::Net)?, net);
    /// inside.leave()?;
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a user namespace, which has no way back, and
    /// for a time namespace if the thread's children are born in another one than it is in; the rest as of
    /// [`apply`](Self::apply).
    ///
    /// # Privileges
    ///
    /// As of `apply`, and the same for the namespaces to come back to. A process with privileges in
    /// a user namespace of its own, but in namespaces of the machine, can leave these and never
    /// return: use [`run`](Self::run).
    pub fn scoped(&self) -> Result<EnterGuard> {
        let joins = Joins::resolve(&self.sources)?;
        EnterGuard::enter(&joins.targets, joins.set())
    }

    /// Runs `work` on a new thread inside the namespaces, waits for it, and answers what it answers.
    /// The calling thread stays where it is.
    ///
    /// A panic of `work` goes on in the calling thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Enter, Namespace, NsFd};
    ///
    /// let net = NsFd::current(Namespace::Net)?;
    /// let names = Enter::new().namespace(net).run(|| std::fs::read_to_string("/proc/net/dev"))?;
    /// assert!(names.unwrap().contains("lo:"));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Multithreaded`](crate::ErrorKind::Multithreaded) for a user or time namespace, which no thread can
    /// enter alone; [`LimitReached`](crate::ErrorKind::LimitReached) if no thread can be made; the rest as
    /// of [`apply`](Self::apply).
    ///
    /// # Privileges
    ///
    /// As of `apply`.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let joins = Joins::resolve(&self.sources)?;
        for kind in [Namespace::User, Namespace::Time] {
            if joins.set().contains(kind.into()) {
                let why = format!("a thread cannot enter a {kind} namespace: use Command::enter");
                return Err(Error::new(ErrorKind::Multithreaded, why));
            }
        }
        let targets = joins.targets.as_slice();
        thread::scope(|scope| {
            let inside = move || enter_for_good(targets).map(|()| work());
            let thread = thread::Builder::new().spawn_scoped(scope, inside).map_err(|error| {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
                Error::os(Step::StartThread, errno)
            })?;
            thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }

    /// Keeps the caller's ids and groups for a program inside another user namespace.
    ///
    /// It concerns [`Command::enter`](crate::Command::enter) and [`CommandExt::enter`](crate::CommandExt::enter)
    /// only. Without it their program becomes uid 0 and gid 0 of an entered user namespace
    /// and drops the supplementary groups, as `nsenter(1)` does. With it, the program has all rights over
    /// files that the caller's ids have outside: root's program reads root's files, also if its uid is not mapped
    /// inside, and so does a process with `CAP_SYS_PTRACE` inside, by tracing it. This is `--preserve-credentials` of `nsenter(1)`.
    ///
    /// [`apply`](Self::apply), [`scoped`](Self::scoped) and [`run`](Self::run) never change ids or groups.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Enter, NamespaceSet};
    ///
    /// # let mut other = Command::new("sleep");
    /// # let Ok(mut other) = other.arg("60").unshare(NamespaceSet::USER).map_current_user().spawn() else {
    /// #     return Ok(());
    /// # };
    /// let mine = Command::new("id").arg("-u").output()?.stdout;
    /// let user = Enter::new().process(other.pidfd().try_clone()?, NamespaceSet::USER);
    /// let output = Command::new("id").arg("-u").enter(user.preserve_credentials()).output()?;
    /// assert_eq!(output.stdout, mine);
    /// # other.kill()?;
    /// # other.wait()?;
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    #[doc(alias = "preserve-credentials")]
    pub fn preserve_credentials(mut self) -> Self {
        self.preserve_credentials = true;
        self
    }

    pub(crate) fn joins(&self) -> Result<Joins> {
        Joins::resolve(&self.sources)
    }

    /// Adds what `other` names.
    pub(crate) fn extend(&mut self, other: Self) {
        self.sources.extend(other.sources);
        self.preserve_credentials |= other.preserve_credentials;
    }

    /// Whether a program that enters these becomes root of an entered user namespace.
    pub(crate) fn becomes_root(&self, joins: &Joins) -> bool {
        joins.set().contains(NamespaceSet::USER) && !self.preserve_credentials
    }
}

/// Entering one namespace.
impl NsFd {
    /// Moves the calling thread into the namespace, for good: one `setns(2)`.
    ///
    /// For a pid namespace, only children made afterwards are inside. For a mount namespace, root
    /// and working directory become its root; a thread that shared them with others (as all threads
    /// of a process do at first) keeps its own from then on.
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied);
    /// [`Multithreaded`](crate::ErrorKind::Multithreaded) for a user or time namespace in a process with
    /// several threads; `EINVAL` for a user namespace that is one's own, and for a pid namespace that is
    /// neither one's own nor below it.
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_ADMIN` in the user namespace that owns it and in one's own; for a mount namespace
    /// also `CAP_SYS_CHROOT`.
    ///
    /// # References
    ///
    /// [setns(2)](https://man7.org/linux/man-pages/man2/setns.2.html)
    #[doc(alias = "setns")]
    pub fn enter(&self) -> Result<()> {
        enter_for_good(&[self.target()])
    }

    /// Moves the calling thread into the namespace until the guard is dropped. See
    /// [`Enter::scoped`].
    ///
    /// # Errors
    ///
    /// As of [`Enter::scoped`].
    ///
    /// # Privileges
    ///
    /// As of [`enter`](Self::enter), and the same for the namespace to come back to.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use linux_namespaces::NsFd;
    /// use std::net::TcpListener;
    ///
    /// let blue = NsFd::open("/run/netns/blue")?;
    /// let inside = blue.scoped()?;
    /// let listener = TcpListener::bind("127.0.0.1:80")?;   // a socket of that network, for good
    /// inside.leave()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scoped(&self) -> Result<EnterGuard> {
        EnterGuard::enter(&[self.target()], self.kind().into())
    }

    /// Runs `work` on a new thread inside the namespace, and answers what it answers. The calling
    /// thread stays where it is. See [`Enter::run`].
    ///
    /// # Errors
    ///
    /// As of [`Enter::run`].
    ///
    /// # Privileges
    ///
    /// As of [`enter`](Self::enter).
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        Enter::new().namespace(self.try_clone()?).run(work)
    }

    fn target(&self) -> JoinTarget {
        JoinTarget { fd: self.as_raw_fd(), kind: self.kind() }
    }
}
