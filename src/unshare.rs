//! New namespaces for the calling thread.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::process::id;

use crate::engine::failure::{failure_of, unless_threads};
use crate::engine::helper::{Helper, HelperJob, HelperMemory};
use crate::engine::map_tool::Log;
use crate::engine::mounts::MountState;
use crate::engine::prepare::{no_pid_namespace_pending, open_proc};
use crate::engine::run::Context;
use crate::engine::slot::Slot;
use crate::engine::steps::run_all;
use crate::enter::EnterGuard;
use crate::error::{AtStep, Error, ErrorKind, Result, Step};
use crate::hostname::Hostname;
use crate::id_map::{IdMap, Setgroups};
use crate::mounts::{Mount, Propagation, Rootfs};
use crate::namespace::NamespaceSet;
use crate::plan::id_maps::IdMaps;
use crate::plan::mounts::MountRights;
use crate::plan::op::mounts_of;
use crate::plan::op::{IdMapWrite, Op};
use crate::plan::setup::Setup;
use crate::process_state;
use crate::sys::process;
use crate::sys::signal::MaskGuard;
use crate::sys::stack::SharedBox;
use crate::time_offsets::{Clock, ClockOffset};

/// Moves the calling thread into new namespaces, and sets them up.
///
/// Other threads stay where they are. Two kinds do not hold for the caller: a new pid namespace is that of
/// the children made afterwards, the first of them its PID 1; a new time namespace is theirs too, and the
/// caller's own after exec (Linux 6.2). With a pid namespace waiting a thread can start no other thread; with
/// a time namespace only from Linux 6.2 on. Most programs are better served by
/// [`Command::unshare`](crate::Command::unshare), which is not limited so.
///
/// Each option brings its namespace: `hostname` alone makes a UTS namespace.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{NamespaceSet, Unshare, uts};
///
/// let outcome = Unshare::new(NamespaceSet::USER)   // for those who are not root
///     .map_root()
///     .hostname("inside".parse()?)
///     .apply();
/// match outcome {
///     Ok(()) => assert_eq!(uts::hostname()?.to_string(), "inside"),
///     Err(error) => eprintln!("{error:#}"),        // says why, for example a security policy
/// }
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [unshare(2)](https://man7.org/linux/man-pages/man2/unshare.2.html),
/// [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html)
#[derive(Debug, Clone, Default)]
#[doc(alias = "unshare")]
#[must_use = "nothing happens until apply"]
pub struct Unshare {
    setup: Setup,
}

impl Unshare {
    /// New namespaces of these kinds.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{NamespaceSet, Unshare};
    ///
    /// let error = Unshare::new(NamespaceSet::empty()).apply().unwrap_err();
    /// assert_eq!(error.to_string(), "the set of namespaces is empty: there is nothing to do");
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn new(namespaces: NamespaceSet) -> Self {
        Self { setup: Setup { namespaces, ..Setup::default() } }
    }

    /// Makes the namespaces and sets them up.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Namespace, NamespaceSet, NsFd, Unshare};
    ///
    /// let before = NsFd::current(Namespace::Ipc)?;
    /// match Unshare::new(NamespaceSet::USER | NamespaceSet::IPC).map_root().apply() {
    ///     Ok(()) => assert_ne!(NsFd::current(Namespace::Ipc)?, before),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied);
    /// [`Multithreaded`](crate::ErrorKind::Multithreaded) for a user namespace in a process with several
    /// threads; [`LimitReached`](crate::ErrorKind::LimitReached);
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an empty set. `unshare(2)` does all or nothing;
    /// if a later step fails, the thread goes back to where it was, except from a user namespace,
    /// which has no way back: then the error is [`NotRestored`](crate::ErrorKind::NotRestored).
    ///
    /// # Privileges
    ///
    /// None for a user namespace, nor for others made together with one. `CAP_SYS_ADMIN` for all
    /// others. `CAP_SETUID` and `CAP_SETGID` to map more than one's own ids, and
    /// `CAP_SETFCAP` to map uid 0 of outside (Linux 5.12, and 5.10 with later fixes).
    pub fn apply(&self) -> Result<()> {
        let set = self.setup.checked()?;
        if set.is_empty() {
            return Err(Error::invalid("the set of namespaces is empty: there is nothing to do"));
        }
        if !self.setup.time_offsets.is_empty() && process::gettid() != process::getpid() {
            return Err(Error::invalid(
                "offsets of clocks can be written by a process's first thread alone, since /proc has \
                 their file for no other; use Command",
            ));
        }
        process_state::note_pending_namespaces(set, false);
        let leaves = set.contains(NamespaceSet::MOUNT);
        let tracker = leaves.then(process_state::note_own_mount_namespace).unwrap_or_default();
        let maps = IdMaps::of(&self.setup)?;
        let mut ops = vec![Op::Unshare(set)];
        ops.extend(maps.ops());
        ops.extend(self.setup.time_op());
        ops.extend(self.setup.ops(MountRights::default())?);
        ops.extend(self.setup.return_op(None)?);
        let user = set.contains(NamespaceSet::USER);
        let back = (!user && ops.len() > 1).then(|| EnterGuard::save(set)).transpose()?;
        let is_other = self.setup.rootfs.is_some() || process_state::is_in_other_root();
        let outcome = carry_out(&ops, &maps.outside);
        let changed = outcome.as_ref().is_err_and(|(step, _)| step.is_some_and(|step| step > 0));
        let stays = outcome.is_ok() || (changed && back.is_none());
        if stays && leaves {
            if is_other {
                tracker.note_other_root();
            } else {
                process_state::note_new_mount_namespace();
            }
        }
        match (outcome, back) {
            (Err((_, error)), Some(back)) if changed => Err(back.undo(error)),
            (Err((_, error)), None) if changed => Err(error.with_kind(ErrorKind::NotRestored)),
            (outcome, back) => {
                back.into_iter().for_each(EnterGuard::forget);
                outcome.map_err(|(_, error)| error)
            }
        }
    }

    /// The hostname of a new UTS namespace.
    ///
    /// Examples, errors and privileges: as of [`Command::hostname`](crate::Command::hostname).
    pub fn hostname(mut self, name: Hostname) -> Self {
        self.setup.set_hostname(name);
        self
    }

    /// The NIS domain name of a new UTS namespace.
    ///
    /// Examples, errors and privileges: as of [`Command::domainname`](crate::Command::domainname).
    pub fn domainname(mut self, name: Hostname) -> Self {
        self.setup.set_domainname(name);
        self
    }

    /// Brings up `lo` in a new network namespace.
    ///
    /// Examples, errors and privileges: as of [`Command::loopback_up`](crate::Command::loopback_up).
    pub fn loopback_up(mut self) -> Self {
        self.setup.set_loopback_up();
        self
    }

    /// Sets a clock of a new time namespace, in which the children made afterwards will be.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Clock, ClockOffset, Command, NamespaceSet, Unshare};
    /// use std::time::Duration;
    ///
    /// let week = ClockOffset::ahead(Duration::from_secs(7 * 86_400))?;
    /// let unshare = Unshare::new(NamespaceSet::USER).map_root().time_offset(Clock::Boottime, week);
    /// match unshare.apply() {
    ///     Ok(()) => assert!(Command::new("cat").arg("/proc/uptime").status()?.success()),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_TIME` in the user namespace that owns the time namespace. Only a process's first thread
    /// can do it.
    pub fn time_offset(mut self, clock: Clock, offset: ClockOffset) -> Self {
        self.setup.set_time_offset(clock, offset);
        self
    }

    /// Makes the caller's user and group root in a new user namespace: uid 0 inside is the effective
    /// uid outside, and no other id exists there. Denies `setgroups(2)`, as the kernel demands.
    ///
    /// Examples, errors and privileges: as of [`Command::map_root`](crate::Command::map_root).
    pub fn map_root(mut self) -> Self {
        self.setup.map_root();
        self
    }

    /// Leaves the caller's user and group what they are, in a new user namespace that knows no other
    /// id. Denies `setgroups(2)`, as the kernel demands.
    ///
    /// Examples, errors and privileges: as of [`Command::map_current_user`](crate::Command::map_current_user).
    pub fn map_current_user(mut self) -> Self {
        self.setup.map_current();
        self
    }

    /// Makes the caller root in a new user namespace, as [`map_root`](Self::map_root), with all ids that
    /// were set aside for the user from 1 on: see
    /// [`Command::map_auto`](crate::Command::map_auto).
    ///
    /// Examples, errors and privileges: as of [`Command::map_auto`](crate::Command::map_auto).
    pub fn map_auto(mut self) -> Self {
        self.setup.map_auto();
        self
    }

    /// The user ids of a new user namespace.
    ///
    /// A map of more than the caller's own id is written from outside, by a helper process that is
    /// gone when [`apply`](Self::apply) returns.
    ///
    /// Examples, errors and privileges: as of [`Command::uid_map`](crate::Command::uid_map).
    pub fn uid_map(mut self, map: IdMap) -> Self {
        self.setup.set_uid_map(map);
        self
    }

    /// The group ids of a new user namespace.
    ///
    /// Examples, errors and privileges: as of [`Command::gid_map`](crate::Command::gid_map).
    pub fn gid_map(mut self, map: IdMap) -> Self {
        self.setup.set_gid_map(map);
        self
    }

    /// Whether `setgroups(2)` may be called in a new user namespace. Without this it is denied where
    /// the kernel demands it for the gid map, and left as it is otherwise.
    ///
    /// Examples, errors and privileges: as of [`Command::setgroups`](crate::Command::setgroups).
    pub fn setgroups(mut self, setgroups: Setgroups) -> Self {
        self.setup.set_setgroups(setgroups);
        self
    }

    /// Mounts something in a new mount namespace. In the order of the calls.
    ///
    /// Examples, errors and privileges: as of [`Command::mount`](crate::Command::mount).
    pub fn mount(mut self, mount: Mount) -> Self {
        self.setup.add_mount(mount);
        self
    }

    /// The root of a new mount namespace, for this thread: see
    /// [`Command::rootfs`](crate::Command::rootfs). Its working directory becomes `/`.
    ///
    /// Examples, errors and privileges: as of [`Command::rootfs`](crate::Command::rootfs).
    pub fn rootfs(mut self, rootfs: Rootfs) -> Self {
        self.setup.set_rootfs(rootfs);
        self
    }

    /// The propagation of the mounts of a new mount namespace: private, unless set here.
    ///
    /// Examples, errors and privileges: as of [`Command::propagation`](crate::Command::propagation).
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.setup.set_propagation(propagation);
        self
    }
}

/// Executes the steps here. An error comes with the step it happened at, if any was begun.
fn carry_out(
    ops: &[Op],
    maps_outside: &[IdMapWrite],
) -> core::result::Result<(), (Option<usize>, Error)> {
    let before = |error| (None, error);
    // A helper with a copy of our memory must see it, too.
    let slot = SharedBox::new(Slot::new()).at_step(Step::Prepare).map_err(before)?;
    let proc = open_proc(ops.iter()).map_err(before)?;
    let log = Log::for_writes(maps_outside).map_err(before)?;
    let (job, memory);
    let helper = match &proc {
        Some(proc) if !maps_outside.is_empty() => {
            no_pid_namespace_pending().map_err(before)?;
            job = HelperJob {
                slot: &slot,
                writes: maps_outside,
                proc,
                check_pid_fd: false,
                parent: id(),
                log: log.fd(),
            };
            memory = HelperMemory::new(proc).map_err(before)?;
            let refused = |errno| before(Error::os(Step::StartIdMapHelper, errno));
            let unblocked = |errno| before(Error::os(Step::BlockSignals, errno));
            let blocked = MaskGuard::block_all().map_err(unblocked)?;
            let started = Helper::start(&job, &memory, blocked.proof());
            drop(blocked);
            Some(started.map_err(refused)?)
        }
        _ => None,
    };
    let mount_state = MountState::of(mounts_of(ops));
    let context = Context {
        proc: proc.as_ref().map(AsFd::as_fd),
        helper: helper.as_ref().map(AsFd::as_fd),
        ..Context::new(&slot, &mount_state, 0)
    };
    run_all(ops, 0, &context, None).map_err(|errno| {
        context.mount_state.close();
        let error = failure_of(ops.get(slot.step()), maps_outside, &log, &slot, errno);
        let error = match ops.get(slot.step()) {
            Some(Op::Unshare(set)) => unless_threads(error, *set).concerning(*set),
            _ => error,
        };
        (Some(slot.step()), error)
    })
}
