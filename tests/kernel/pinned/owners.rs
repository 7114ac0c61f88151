//! What the owner of a directory can do about the pins in it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;

use linux_namespaces::Pinned;

use super::{from_outside, mounts_at, own_mounts, uts};
use crate::faults::fork::in_fork;
use crate::harness::cases;
use crate::hostile::fuse::{Silent, in_time};
use crate::hostile::keep_capabilities;
use crate::kernel::refuse;
use crate::machine::Need::{Fuse, Root, UserNamespaces};
use crate::stage;

cases! {"pinned::owners":
    a_pin_ends_where_nobody_may_search [UserNamespaces],
    a_pin_ends_whatever_has_its_name [Root, Fuse],
}

const CAP_SYS_ADMIN: u32 = 1 << 21;

/// How a pin ends: the last one on an older kernel, or where a filter blocks the call.
const ENDS: [fn(Pinned); 3] = [drop, unpin, |pinned| {
    refuse(libc::SYS_openat2, libc::ENOSYS);
    unpin(pinned);
}];

fn unpin(pinned: Pinned) {
    pinned.unpin().unwrap_or_else(|error| panic!("{error:#}"));
}

fn a_pin_ends_where_nobody_may_search() {
    own_mounts();
    fs::create_dir("/run/dir").unwrap();
    for end in ENDS {
        in_fork(|| {
            let pinned = uts().pin("/run/dir/x").unwrap();
            fs::set_permissions("/run/dir", Permissions::from_mode(0o0)).unwrap();
            keep_capabilities(CAP_SYS_ADMIN);
            fs::metadata("/run/dir/x").unwrap_err();
            end(pinned);
        });
        assert_eq!(mounts_at("/run/dir/x"), 0);
        fs::set_permissions("/run/dir", Permissions::from_mode(0o755)).unwrap();
        // It could not be reached.
        fs::remove_file("/run/dir/x").unwrap();
    }
}

fn a_pin_ends_whatever_has_its_name() {
    own_mounts();
    fs::create_dir("/run/dir").unwrap();
    for (rights, end) in Silent::RIGHTS.iter().flat_map(|it| ENDS.map(|end| (it, end))) {
        in_time(|| {
            let pinned = uts().pin("/run/dir/x").unwrap();
            from_outside(|| fs::rename("/run/dir/x", "/run/dir/moved"));
            File::create("/run/dir/x").unwrap();
            let _silent = Silent::over("/run/dir/x", rights);
            end(pinned);
        });
        assert_eq!(mounts_at("/run/dir/moved"), 0, "{rights}");
        stage::unmount("/run/dir/x");
        for name in ["x", "moved"] {
            fs::remove_file(format!("/run/dir/{name}")).unwrap();
        }
    }
}
