//! What a trial cannot do without.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use super::{
    clone3, copies_descriptors, example, fuse_device, has_ioctl, in_initial_user_namespace,
    in_path, is_root, is_uid_0, kernel_version, lists_mount_namespaces, mapped_owners,
    memory_cgroup, namespace_limits, network_pairs, new_proc, other_ids, overlays, queries_mounts,
    traces_others, unified_cgroup, unshare, user_attributes, user_namespaces,
};

/// What a trial cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Uid 0 with `CAP_SYS_ADMIN`: over the machine's namespaces, or over those of a container.
    Root,
    /// Not root.
    Ordinary,
    /// New user namespaces in which an id map can be written and other namespaces made.
    UserNamespaces,
    /// Where we are root, other users' ids that we may take: most containers of ordinary users have none.
    OtherIds,
    /// Rights over the machine itself.
    InitialUserNamespace,
    /// Where we are root, the right to trace processes of other users: in most containers root has it not.
    TraceOthers,
    /// A new proc in new user, pid and mount namespaces: refused where parts of the present one are covered.
    NewProc,
    /// Limits on namespaces that root of a new user namespace can set: not where /proc/sys is read-only.
    NamespaceLimits,
    /// clone3(2): engines hide it.
    Clone3,
    /// unshare(2), which engines refuse with whatever flags.
    Unshare,
    /// pidfd_getfd(2), of this process itself.
    CopyDescriptors,
    /// The repository that this was built from: not every user may look into it.
    Sources,
    /// A program in PATH.
    Program(&'static str),
    /// A file that some package brings.
    File(&'static str),
    /// One of this crate's examples, built: by `cargo test`, or in the directory that
    /// `LINUX_NAMESPACES_EXAMPLES` names.
    Example(&'static str),
    /// A writable memory controller of cgroup version 1 or 2.
    MemoryCgroup,
    /// A cgroup file system of version 2 in which groups can be made.
    UnifiedCgroup,
    /// Linux 5.11: overlays in user namespaces, built in or loaded.
    Overlays,
    /// Overlays, for whomever.
    OverlayModule,
    /// FUSE, which user namespaces may mount, built in or loaded.
    Fuse,
    /// Linux 6.8: statmount(2), which engines hide.
    MountQueries,
    /// Linux 5.12: lookups that query no file system.
    CachedLookups,
    /// Pairs of network interfaces (veth) with ip(8), built in or loaded.
    NetworkPairs,
    /// Mounts whose owners are changed, of the file system for temporary files. As root.
    MappedOwners,
    /// Linux 5.16: a child that dumps core does not take with it what shares its memory.
    CoreDumpsAlone,
    /// Linux 6.6 for files in memory: where there are temporary files, they have attributes of users.
    UserAttributes,
    /// Linux 6.11: namespaces are asked of pidfds, and pids translated.
    PidfdNamespaces,
    /// Linux 6.12: root can go from one mount namespace to the next.
    MountNamespaceList,
    /// Linux 6.18: namespaces have unique ids.
    UniqueIds,
}

/// Debian's package of each program and file that trials need.
const PACKAGES: &[(&str, &str)] = &[
    ("/usr/share/containers/seccomp.json", "golang-github-containers-common"),
    ("bash", "bash"),
    ("busybox", "busybox-static"),
    ("crun", "crun"),
    ("dumb-init", "dumb-init"),
    ("gdb", "gdb"),
    ("hostname", "hostname"),
    ("ip", "iproute2"),
    ("lsns", "util-linux"),
    ("mount", "mount"),
    ("newuidmap", "uidmap"),
    ("nsenter", "util-linux"),
    ("proot", "proot"),
    ("ps", "procps"),
    ("qemu-aarch64-static", "qemu-user-static"),
    ("qemu-i386-static", "qemu-user-static"),
    ("qemu-x86_64-static", "qemu-user-static"),
    ("setsid", "util-linux"),
    ("strace", "strace"),
    ("tini", "tini"),
    ("unshare", "util-linux"),
    ("valgrind", "valgrind"),
];

impl Need {
    /// Why it is not met, if it is not. The machine is queried once.
    pub(crate) fn missing(self) -> Option<String> {
        static KNOWN: Mutex<Vec<(Need, Option<String>)>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap();
        if let Some((_, reason)) = known.iter().find(|(need, _)| *need == self) {
            return reason.clone();
        }
        let reason = self.query();
        known.push((self, reason.clone()));
        reason
    }

    fn query(self) -> Option<String> {
        match self {
            Self::Root if !is_uid_0() => Some("for root".to_owned()),
            Self::Root => (!is_root()).then(|| "root has no CAP_SYS_ADMIN here".to_owned()),
            Self::Ordinary => is_uid_0().then(|| "for an ordinary user".to_owned()),
            Self::UserNamespaces => {
                (!user_namespaces()).then(|| "no user namespaces here".to_owned())
            }
            Self::OtherIds => (is_uid_0() && !other_ids())
                .then(|| "root cannot take the ids of other users here".to_owned()),
            Self::InitialUserNamespace => (!in_initial_user_namespace())
                .then(|| "this is not the initial user namespace".to_owned()),
            Self::TraceOthers => (is_uid_0() && !traces_others())
                .then(|| "root cannot trace processes of other users here".to_owned()),
            Self::NewProc => {
                let refused = "a new proc is refused here, as where parts of /proc are covered";
                (!new_proc()).then(|| refused.to_owned())
            }
            Self::NamespaceLimits => (!namespace_limits())
                .then(|| "the limits in /proc/sys/user cannot be written here".to_owned()),
            Self::Clone3 => (!clone3()).then(|| "clone3(2) is hidden here".to_owned()),
            Self::Unshare => (!unshare()).then(|| "unshare(2) is refused here".to_owned()),
            Self::CopyDescriptors => {
                (!copies_descriptors()).then(|| "pidfd_getfd(2) is refused here".to_owned())
            }
            Self::Sources => {
                let file = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
                fs::read(file).is_err().then(|| "the repository cannot be read here".to_owned())
            }
            Self::Program(name) => {
                in_path(name).is_none().then(|| format!("no program called {name} here"))
            }
            Self::File(path) => {
                (!Path::new(path).is_file()).then(|| format!("there is no {path} here"))
            }
            Self::Example(name) => {
                example(name).is_none().then(|| format!("the example {name} is not built"))
            }
            Self::MemoryCgroup => {
                memory_cgroup().is_none().then(|| "no memory cgroup here".to_owned())
            }
            Self::UnifiedCgroup => unified_cgroup()
                .is_none()
                .then(|| "no writable cgroup of version 2 here".to_owned()),
            Self::Overlays => (!overlays()).then(|| "no overlays in user namespaces".to_owned()),
            Self::OverlayModule => {
                // A mount loads the module where one may.
                let known = || fs::read_to_string("/proc/filesystems").unwrap_or_default();
                let is_here = overlays() || known().contains("\toverlay\n");
                (!is_here).then(|| "the module for overlays is not here".to_owned())
            }
            Self::CachedLookups => {
                (kernel_version() < (5, 12)).then(|| "before Linux 5.12".to_owned())
            }
            Self::MountQueries => (!queries_mounts())
                .then(|| "before Linux 6.8, or statmount(2) is hidden".to_owned()),
            Self::Fuse => fuse_device().is_none().then(|| "no FUSE here".to_owned()),
            Self::NetworkPairs => {
                (!network_pairs()).then(|| "no pairs of network interfaces here".to_owned())
            }
            Self::MappedOwners => (is_root() && !mapped_owners())
                .then(|| "no change of owners in mounts of temporary files".to_owned()),
            Self::CoreDumpsAlone => {
                (kernel_version() < (5, 16)).then(|| "before Linux 5.16".to_owned())
            }
            Self::UserAttributes => (!user_attributes())
                .then(|| "temporary files have no attributes of users".to_owned()),
            Self::PidfdNamespaces => {
                (!has_ioctl(0xff09, true)).then(|| "before Linux 6.11".to_owned())
            }
            Self::MountNamespaceList => {
                (!lists_mount_namespaces()).then(|| "before Linux 6.12".to_owned())
            }
            Self::UniqueIds => {
                (!has_ioctl(0x8008_b70d, false)).then(|| "before Linux 6.18".to_owned())
            }
        }
    }

    /// The name and the package of a program or file.
    pub(crate) fn package(self) -> Option<(&'static str, &'static str)> {
        let (Self::Program(name) | Self::File(name)) = self else { return None };
        let entry = PACKAGES.iter().find(|(known, _)| *known == name);
        Some(*entry.unwrap_or_else(|| panic!("{name} has no entry in PACKAGES")))
    }

    /// Whether the suite's other run, as another user, makes up for it.
    pub(crate) fn is_about_the_user(self) -> bool {
        matches!(self, Self::Root | Self::Ordinary | Self::Sources)
    }
}
