//! What may keep a thread from making or entering namespaces.

#![forbid(unsafe_code)]

use core::fmt;

use crate::namespace::Namespace;
use crate::sys::abi::PROC_USER_INIT_INO;

pub(super) const MOUNT_MAX: &str = "fs.mount-max";
pub(super) const APPARMOR: &str = "kernel.apparmor_restrict_unprivileged_userns";

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
                    PROC_USER_INIT_INO => "the initial one",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_print_as_facts() {
        let limit = Cause::Limit { kind: Namespace::Uts, value: 0 };
        assert_eq!(limit.to_string(), "user.max_uts_namespaces=0");
        let sysctl = Cause::Sysctl { name: APPARMOR, value: 1 };
        assert_eq!(sysctl.to_string(), "kernel.apparmor_restrict_unprivileged_userns=1");
        assert!(sysctl.remedy().contains("AppArmor profile"));
        let user_namespace = PROC_USER_INIT_INO;
        let capability = Cause::MissingCapability { user_namespace };
        assert!(capability.to_string().ends_with("4026531837, the initial one"));
    }
}
