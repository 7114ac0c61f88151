//! What an error means, and what on this machine and of this thread may be the reason for it.
//!
//! What is of the thread is read from a checked `/proc`; where that cannot be believed, nothing is said of it.

#![forbid(unsafe_code)]

use core::fmt;
use std::borrow::Cow;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxAttributes, StatxFlags};

use crate::error::explain::explain;
use crate::error::{Error, Repr, Step};
use crate::namespace::{Namespace, NamespaceSet};
use crate::proc_fs::ProcFs;
use crate::process_state::is_in_other_root;
use crate::sys::{Errno, process};

/// The inode numbers of the first ones: `PROC_USER_INIT_INO` and `PROC_PID_INIT_INO`.
const INITIAL_USER_NAMESPACE: u64 = 4_026_531_837;
const INITIAL_PID_NAMESPACE: u64 = 4_026_531_836;
const CAP_SYS_ADMIN: u32 = 21;

/// Something that keeps this thread from making or entering namespaces, or may.
///
/// Prints as a fact with its value: "user.max_uts_namespaces=0". From
/// [`Error::causes`](crate::Error::causes) and [`Support::causes`](crate::Support::causes).
///
/// # References
///
/// [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html), "The /proc/sys/user
/// directory"; [user_namespaces(7)](https://man7.org/linux/man-pages/man7/user_namespaces.7.html)
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// How many namespaces of a kind a user may have, by this user namespace's
    /// `user.max_*_namespaces`.
    #[non_exhaustive]
    Limit {
        /// The kind.
        kind: Namespace,
        /// The sysctl's value.
        value: u64,
    },
    /// A sysctl that restricts user namespaces, or the number of mounts.
    #[non_exhaustive]
    Sysctl {
        /// Its name, as for `sysctl(8)`.
        name: &'static str,
        /// Its value.
        value: u64,
    },
    /// The root directory is no mount point, which it is for all who are not in a `chroot(2)`. One
    /// whose root happens to be a mount point is not noticed.
    Chroot,
    /// A seccomp filter is active in this thread. Whether it refuses the call cannot be read.
    SeccompFilter,
    /// `CAP_SYS_ADMIN` is not in the thread's effective set.
    #[non_exhaustive]
    MissingCapability {
        /// The inode number of the user namespace that the thread is in.
        user_namespace: u64,
    },
    /// The thread is not in the first user namespace: its capabilities count for what that one owns, and
    /// the limits of those around it, which count too, cannot be read.
    #[non_exhaustive]
    NestedUserNamespace {
        /// The inode number of the user namespace that the thread is in.
        user_namespace: u64,
    },
    /// The thread is in a namespace inside of others of its kind, of which the kernel allows some 32. At
    /// which level it is cannot be read from inside.
    #[non_exhaustive]
    Nesting {
        /// User or pid.
        kind: Namespace,
    },
    /// The thread's effective uid is not mapped in its user namespace.
    #[non_exhaustive]
    UnmappedUid {
        /// The uid as the thread sees it.
        uid: u32,
    },
    /// The process has several threads.
    #[non_exhaustive]
    Threads {
        /// How many.
        count: usize,
    },
    /// The process is not dumpable, so that its files in `/proc` belong to root.
    Undumpable,
}

impl Cause {
    /// What to do about it: a sentence for a person.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Limit { .. } => {
                "raise it with sysctl -w as root; the namespaces of others of the same user count, too"
            }
            Self::Sysctl { name: APPARMOR, .. } => {
                "give the program an AppArmor profile with the rule \"userns,\", or set the sysctl to 0"
            }
            Self::Sysctl { name: MOUNT_MAX, .. } => {
                "mount less in one mount namespace, or raise it with sysctl -w as root"
            }
            Self::Sysctl { .. } => "set it to 1 with sysctl -w as root, or run as root",
            Self::Chroot => {
                "use pivot_root(2) in a mount namespace instead: in a chroot the kernel makes no user \
                 namespace"
            }
            Self::SeccompFilter => {
                "let whoever set it (a container engine, a service manager) allow clone, clone3, \
                 unshare, setns and mount: --security-opt seccomp=PROFILE, RestrictNamespaces=no"
            }
            Self::MissingCapability { .. } => {
                "make a user namespace with the others, or run with the capability: as root, or \
                 --cap-add SYS_ADMIN"
            }
            Self::NestedUserNamespace { .. } => {
                "what others own takes their privileges: make namespaces of one's own; limits are \
                 raised outside"
            }
            Self::Nesting { .. } => "make fewer inside of each other; put them side by side",
            Self::UnmappedUid { .. } => {
                "write an id map when making the user namespace: map_root() does"
            }
            Self::Threads { .. } => {
                "use Command, which does it in a child, or call this before the first thread"
            }
            Self::Undumpable => {
                "PR_SET_DUMPABLE 1; a program whose file cannot be read, or that changed its ids, has 0"
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { kind, value } => write!(f, "user.max_{kind}_namespaces={value}"),
            Self::Sysctl { name, value } => write!(f, "{name}={value}"),
            Self::Chroot => f.write_str("this process is in a chroot"),
            Self::SeccompFilter => f.write_str("a seccomp filter is active"),
            Self::MissingCapability { user_namespace } => {
                let which = match *user_namespace {
                    INITIAL_USER_NAMESPACE => "the initial one",
                    _ => "not the initial one",
                };
                write!(f, "CAP_SYS_ADMIN is missing in user namespace {user_namespace}, {which}")
            }
            Self::NestedUserNamespace { user_namespace } => {
                write!(f, "user namespace {user_namespace} is not the initial one")
            }
            Self::Nesting { kind } => {
                write!(f, "this {kind} namespace is inside of others, and the limit is 32 levels")
            }
            Self::UnmappedUid { uid } => write!(f, "uid {uid} is not mapped here"),
            Self::Threads { count } => write!(f, "this process has {count} threads"),
            Self::Undumpable => f.write_str("this process is not dumpable"),
        }
    }
}

/// What the failure means.
impl Error {
    /// What the kernel's answer usually means at this step, and what to do; a sentence for a person.
    ///
    /// Ends with what on this machine and of this thread may be the reason, as [`causes`](Self::causes)
    /// finds it at the moment of this call: "here: user.max_uts_namespaces=0".
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let error = Command::new("/no/such/program").spawn().unwrap_err();
    /// assert!(error.explain().unwrap().contains("interpreter"));
    /// ```
    #[must_use]
    pub fn explain(&self) -> Option<Cow<'static, str>> {
        self.0.explain()
    }

    /// What on this machine and of this thread may be the reason: a sysctl and its value, a seccomp
    /// filter, a missing capability, ...
    ///
    /// It looks at `/proc` and `/` at the moment of the call, as the calling thread sees them. So ask
    /// soon, and in the thread that got the error. What is found is a fact, but not always the reason;
    /// and what cannot be read from here, such as the limits of user namespaces above, is not found.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{NamespaceSet, Unshare};
    ///
    /// if let Err(error) = Unshare::new(NamespaceSet::UTS).apply() {
    ///     for cause in error.causes() {
    ///         println!("{cause}: {}", cause.remedy());
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn causes(&self) -> Vec<Cause> {
        self.0.causes()
    }
}

impl Repr {
    fn explain(&self) -> Option<Cow<'static, str>> {
        let sentence = explain(self.step?, self.namespace, self.errno?)?;
        Some(match &self.causes()[..] {
            [] => Cow::Borrowed(sentence),
            causes => {
                let causes: Vec<String> = causes.iter().map(Cause::to_string).collect();
                Cow::Owned(format!("{sentence}; here: {}", causes.join(", ")))
            }
        })
    }

    fn causes(&self) -> Vec<Cause> {
        let (Some(step), Some(errno)) = (self.step, self.errno) else {
            return Vec::new();
        };
        let one = self.namespace.map_or(NamespaceSet::empty(), NamespaceSet::from);
        of(step, errno, self.namespaces | one)
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())?;
        if f.alternate() {
            if let Some(source) = &self.source {
                write!(f, ": {source}")?;
            }
            if let Some(explanation) = self.explain() {
                write!(f, "; {explanation}")?;
            }
        }
        Ok(())
    }
}

/// What was attempted, the kernel's answer, and what it means.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = f.debug_struct("Error");
        parts.field("kind", &self.0.kind).field("what", &self.0.sentence());
        if let Some(errno) = self.0.errno {
            parts.field("why", &io::Error::from(errno).to_string());
        }
        if let Some(explanation) = self.explain() {
            parts.field("explanation", &explanation);
        }
        parts.finish()
    }
}

/// The causes of a refusal.
fn of(step: Step, errno: Errno, namespaces: NamespaceSet) -> Vec<Cause> {
    let user = namespaces.contains(NamespaceSet::USER);
    let mut found = Vec::new();
    match (step, errno) {
        (Step::Clone | Step::Unshare, Errno::PERM) => {
            if user {
                found.extend(sysctls());
                found.extend(chroot());
                found.extend(unmapped_uid());
            } else if !namespaces.is_empty() {
                found.extend(missing_capability().or_else(nested));
            }
            found.extend(apparmor());
            found.extend(seccomp_filter());
        }
        (Step::Clone | Step::Unshare, Errno::NOSPC | Errno::USERS) => {
            found.extend(limits(namespaces));
            found.extend(nesting(namespaces));
            found.extend(nested());
        }
        (Step::Unshare | Step::Enter, Errno::INVAL) if user => found.extend(threads()),
        (Step::Enter, Errno::USERS) => found.extend(threads()),
        (Step::Enter | Step::Leave, Errno::PERM) => {
            found.extend(missing_capability().or_else(nested));
            found.extend(seccomp_filter());
        }
        (Step::WriteSetgroups | Step::WriteUidMap | Step::WriteGidMap, Errno::ACCESS) => {
            found.extend(undumpable());
        }
        // The thread's own call, not a step inside of new namespaces.
        (Step::SetHostname | Step::SetDomainname, Errno::PERM) if namespaces.is_empty() => {
            found.extend(missing_capability().or_else(nested));
            found.extend(seccomp_filter());
        }
        (Step::CreatePinDir | Step::Pin | Step::Unpin, Errno::PERM) => {
            found.extend(missing_capability().or_else(nested));
            found.extend(apparmor());
            found.extend(seccomp_filter());
        }
        (Step::SetPropagation | Step::PivotRoot, Errno::INVAL) => found.extend(chroot()),
        (Step::Mount | Step::OpenSource, Errno::NOSPC) => {
            let value = number("sys/fs/mount-max");
            found.extend(value.map(|value| Cause::Sysctl { name: MOUNT_MAX, value }));
        }
        (
            Step::WriteSetgroups
            | Step::WriteUidMap
            | Step::WriteGidMap
            | Step::SetPropagation
            | Step::Mount
            | Step::OpenSource
            | Step::PivotRoot
            | Step::SetHostname
            | Step::SetDomainname
            | Step::LoopbackUp
            | Step::OpenNamespace,
            Errno::PERM,
        ) => {
            found.extend(apparmor());
            found.extend(seccomp_filter());
        }
        (Step::CopyFd, Errno::PERM) | (_, Errno::NOSYS) => found.extend(seccomp_filter()),
        _ => {}
    }
    found
}

/// All that is not as it should be.
pub(crate) fn here() -> Vec<Cause> {
    let closed = |cause: &Cause| matches!(cause, Cause::Limit { value: 0, .. });
    let mut found: Vec<_> = sysctls().chain(apparmor()).collect();
    found.extend(limits(NamespaceSet::all()).filter(closed));
    found.extend(chroot().into_iter().chain(seccomp_filter()));
    found.extend(unmapped_uid().into_iter().chain(undumpable()));
    found.extend(missing_capability().into_iter().chain(nested()));
    found
}

/// Debian's, and of kernels that took it over.
fn sysctls() -> impl Iterator<Item = Cause> {
    let name = "kernel.unprivileged_userns_clone";
    let value = number("sys/kernel/unprivileged_userns_clone").filter(|&value| value == 0);
    value.map(|value| Cause::Sysctl { name, value }).into_iter()
}

const MOUNT_MAX: &str = "fs.mount-max";
const APPARMOR: &str = "kernel.apparmor_restrict_unprivileged_userns";

/// Ubuntu's, which lets the namespace be made, and then refuses all that takes a capability in it.
fn apparmor() -> Option<Cause> {
    let value = number("sys/kernel/apparmor_restrict_unprivileged_userns")?;
    (value != 0).then_some(Cause::Sysctl { name: APPARMOR, value })
}

/// With an empty set, which is an unknown one, those that allow none.
fn limits(namespaces: NamespaceSet) -> impl Iterator<Item = Cause> {
    let known = !namespaces.is_empty();
    let concerned = if known { namespaces } else { NamespaceSet::all() };
    let limit = |kind| {
        let value = number(&format!("sys/user/max_{kind}_namespaces"))?;
        Some(Cause::Limit { kind, value })
    };
    let all: Vec<_> = concerned.kinds().filter_map(limit).collect();
    all.into_iter().filter(move |cause| known || matches!(cause, Cause::Limit { value: 0, .. }))
}

fn chroot() -> Option<Cause> {
    let flags = AtFlags::STATX_DONT_SYNC;
    let about = rustix::fs::statx(CWD, "/", flags, StatxFlags::empty()).ok()?;
    // The kernel tells it from Linux 5.8 on.
    let told = about.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
    let is_root = about.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    (told && !is_root).then_some(Cause::Chroot)
}

fn seccomp_filter() -> Option<Cause> {
    (status("Seccomp")? == "2").then_some(Cause::SeccompFilter)
}

/// Whether a filter may kill for a call; also where that cannot be read.
pub(crate) fn may_be_filtered() -> bool {
    status("Seccomp").is_none_or(|mode| mode != "0")
}

fn missing_capability() -> Option<Cause> {
    let effective = u64::from_str_radix(&status("CapEff")?, 16).ok()?;
    let has = effective & (1 << CAP_SYS_ADMIN) != 0;
    let user_namespace = user_namespace()?;
    (!has).then_some(Cause::MissingCapability { user_namespace })
}

fn nested() -> Option<Cause> {
    let user_namespace = user_namespace()?;
    let nested = user_namespace != INITIAL_USER_NAMESPACE;
    nested.then_some(Cause::NestedUserNamespace { user_namespace })
}

/// Whether the thread is in a user namespace inside of the first one.
pub(crate) fn is_nested() -> bool {
    nested().is_some()
}

fn nesting(namespaces: NamespaceSet) -> impl Iterator<Item = Cause> {
    let initial = |kind| match kind {
        Namespace::User => Some(INITIAL_USER_NAMESPACE),
        Namespace::Pid => Some(INITIAL_PID_NAMESPACE),
        _ => None,
    };
    let is_nested = move |&kind: &Namespace| {
        initial(kind).is_some_and(|number| inode(kind).is_some_and(|own| own != number))
    };
    namespaces.kinds().filter(is_nested).map(|kind| Cause::Nesting { kind })
}

fn user_namespace() -> Option<u64> {
    inode(Namespace::User)
}

fn inode(kind: Namespace) -> Option<u64> {
    let proc = ProcFs::open().ok()?;
    let file = proc.namespace("thread-self", kind.name()).ok()?;
    Some(rustix::fs::fstat(file).ok()?.st_ino)
}

fn unmapped_uid() -> Option<Cause> {
    let map = read("thread-self/uid_map")?;
    let uid = process::geteuid();
    (!maps(&map, uid)).then_some(Cause::UnmappedUid { uid })
}

/// Whether an id map has the id on its inside.
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let words: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
        match words[..] {
            [inside, _, count] => (inside..inside + count).contains(&id.into()),
            _ => false,
        }
    })
}

fn threads() -> Option<Cause> {
    let count = status("Threads")?.parse().ok()?;
    (count > 1).then_some(Cause::Threads { count })
}

pub(crate) fn has_threads() -> bool {
    threads().is_some()
}

/// The files then belong to root.
fn undumpable() -> Option<Cause> {
    let proc = ProcFs::open().ok()?;
    let status = proc.open_below(proc.as_fd(), "thread-self/status", OFlags::PATH).ok()?;
    let owner = rustix::fs::fstat(status).ok()?.st_uid;
    (owner != process::geteuid()).then_some(Cause::Undumpable)
}

fn status(field: &str) -> Option<String> {
    let text = read("thread-self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Of a setting of the kernel. In the caller's root it is what is there, if it is a file: engines put files of their
/// own over these.
fn number(path: &str) -> Option<u64> {
    if is_in_other_root() {
        return read(path)?.trim().parse().ok();
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(CWD, format!("/proc/{path}"), flags, Mode::empty()).ok()?;
    let mode = rustix::fs::fstat(&file).ok()?.st_mode;
    let mut digits = [0; 24];
    let is_file = FileType::from_raw_mode(mode) == FileType::RegularFile;
    let length = is_file.then(|| rustix::io::read(&file, &mut digits).ok()).flatten()?;
    core::str::from_utf8(&digits[..length]).ok()?.trim().parse().ok()
}

/// The text of a file of `/proc`.
fn read(path: &str) -> Option<String> {
    let proc = ProcFs::open().ok()?;
    String::from_utf8(proc.read(proc.as_fd(), path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_mapped_if_a_line_has_it() {
        assert!(maps("         0          0 4294967295\n", 65534));
        assert!(maps("0 1000 1\n1 100000 65536\n", 65536));
        assert!(!maps("0 1000 1\n", 1000));
        assert!(!maps("", 65534));
    }

    #[test]
    fn causes_print_as_facts() {
        let limit = Cause::Limit { kind: Namespace::Uts, value: 0 };
        assert_eq!(limit.to_string(), "user.max_uts_namespaces=0");
        let sysctl = Cause::Sysctl { name: APPARMOR, value: 1 };
        assert_eq!(sysctl.to_string(), "kernel.apparmor_restrict_unprivileged_userns=1");
        assert!(sysctl.remedy().contains("AppArmor profile"));
        let user_namespace = INITIAL_USER_NAMESPACE;
        let capability = Cause::MissingCapability { user_namespace };
        assert!(capability.to_string().ends_with("4026531837, the initial one"));
    }
}
