//! Files that set ids aside for users, in the place of the machine's. As root.

use std::fs;
use std::path::Path;

use super::files::dir;
use super::fork::{become_user, in_fork};
use super::stage;

/// A user with a name on every machine, without rights.
pub(crate) const NOBODY: u32 = 65_534;

/// Does `work` as `nobody`, for whom the files say this.
pub(crate) fn as_nobody(subuid: &str, subgid: &str, work: impl FnOnce()) {
    with_files(subuid, subgid, || {
        become_user(NOBODY);
        work();
    });
}

pub(crate) fn with_files(subuid: &str, subgid: &str, work: impl FnOnce()) {
    let etc = dir();
    for name in ["passwd", "group", "nsswitch.conf", "ld.so.cache", "login.defs"] {
        fs::copy(Path::new("/etc").join(name), etc.path().join(name)).ok();
    }
    fs::write(etc.path().join("subuid"), subuid).unwrap();
    fs::write(etc.path().join("subgid"), subgid).unwrap();
    in_fork(|| {
        stage::new(libc::CLONE_NEWNS);
        stage::private();
        stage::bind(etc.path(), "/etc");
        work();
    });
}
