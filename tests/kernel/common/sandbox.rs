//! Roots with programs, and mount namespaces in which this process may mount.

use std::path::Path;

use linux_namespaces::{Command, Mount, NamespaceSet, Rootfs, Unshare};

use super::fork::in_fork;
use super::kernel::{self, refuse};
use super::machine::is_root;
use super::stage;

/// What every program needs to run.
pub(crate) fn with_programs(command: &mut Command) {
    for dir in ["/usr", "/bin", "/lib", "/lib64"] {
        if Path::new(dir).exists() {
            command.mount(Mount::bind(dir, dir).unwrap().read_only());
        }
    }
}

/// A shell that ends where a command fails. `!` before a command would make its failure count for nothing.
pub(crate) fn strict(script: &str) -> Command {
    let functions = "cannot() { if (eval \"$1\") 2>&-; then echo \"can $1\" >&2; exit 9; fi; }
        cannot_write() { for file; do cannot \"true >'$file'\"; done; }\n";
    let mut command = Command::new("/bin/sh");
    command.args(["-ec", &format!("{functions}{script}")]);
    command
}

/// The same in a root that has nothing else.
pub(crate) fn rooted(script: &str) -> Command {
    let mut command = strict(script);
    command.rootfs(Rootfs::tmpfs());
    with_programs(&mut command);
    command
}

/// The same in a user namespace.
pub(crate) fn shell(script: &str) -> Command {
    let mut command = rooted(script);
    command.map_root();
    command
}

/// A mount namespace, and the rights to mount in it.
pub(crate) fn new_mounts() -> Unshare {
    let unshare = Unshare::new(NamespaceSet::MOUNT);
    if is_root() { unshare } else { unshare.map_root() }
}

/// Mounts of this trial alone, with an empty `/run`.
pub(crate) fn own_mounts() {
    // Linux 6.18 tells older mount namespaces from newer ones by numbers that each processor gives out.
    kernel::stay_on_one_processor();
    new_mounts().apply().unwrap();
    stage::tmpfs("/run");
}

/// In a forked process with mounts of its own.
pub(crate) fn staged(work: impl FnOnce()) {
    in_fork(|| {
        new_mounts().apply().unwrap();
        work();
    });
}

/// Linux before 5.2, or a filter that does not know its calls.
pub(crate) fn refuse_new_calls(errno: i32) {
    for call in [
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
    ] {
        refuse(call, errno);
    }
}
