//! Mounts that fail half way, sources that change meanwhile, and mounts in entered namespaces.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use linux_namespaces::{
    Command, Error, ErrorKind, Mount, NamespaceSet, Overlay, Rootfs, Step, Unshare,
};

use crate::engine::Engine;
use crate::files::dir;
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::{self, refuse, supervised};
use crate::machine::Need::{Overlays, Root, UserNamespaces};
use crate::machine::is_root;
use crate::program::{Held, output};
use crate::sandbox::{new_mounts, rooted, shell};

cases! {
    a_thread_s_failure_leaves_nothing [UserNamespaces, Overlays],
    a_source_that_is_replaced_is_refused [UserNamespaces],
    a_source_that_vanishes_is_told [UserNamespaces],
    a_root_in_an_entered_user_namespace [UserNamespaces],
    a_root_after_other_namespaces_were_entered [Root],
    descriptors_are_closed_without_exec [UserNamespaces],
}

/// A root with all that takes other calls.
fn everything(layer: &Path) -> Unshare {
    new_mounts()
        .rootfs(Rootfs::tmpfs().read_only())
        .mount(Mount::bind("/proc", "/proc").unwrap())
        .mount(Mount::dev("/dev").unwrap())
        .mount(Mount::bind("/etc", "/a/b/c").unwrap().read_only())
        .mount(Mount::mask("/a/b/c/passwd").unwrap())
        .mount(Mount::mask("/a/b").unwrap())
        .mount(Mount::mask("/no/such/file").unwrap())
        .mount(Mount::read_only_path("/dev").unwrap())
        .mount(Mount::overlay("/usr", Overlay::new([layer]).unwrap()).unwrap())
}

fn a_thread_s_failure_leaves_nothing() {
    let has_rights = is_root();
    // Below the machine's directories there may be mounts, which are locked in a user namespace.
    let layer = dir();
    in_fork(|| everything(layer.path()).apply().unwrap_or_else(|error| panic!("{error:#}")));
    let calls = [
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_mkdirat,
        libc::SYS_mknodat,
        libc::SYS_symlinkat,
        libc::SYS_openat2,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_mount_setattr,
    ];
    for call in calls {
        in_fork(|| {
            let before = kernel::census();
            refuse(call, libc::EIO);
            let error = everything(layer.path()).apply().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EIO), "{call}: {error:?}");
            if has_rights && call != libc::SYS_umount2 {
                assert_eq!(kernel::census(), before);
            }
        });
    }
}

/// What a spawn answers if `change` happens when the child is about to open the source again.
fn if_meanwhile(source: &Path, change: impl Fn() + Send + Sync) -> Error {
    let mut command = shell("true");
    command.mount(Mount::bind(source, "/x").unwrap());
    let mut is_first = true;
    let meet = |_| {
        if std::mem::take(&mut is_first) {
            change();
        }
        true
    };
    supervised(libc::SYS_open_tree, meet, || command.spawn().unwrap_err())
}

fn a_source_that_is_replaced_is_refused() {
    in_fork(|| {
        let dir = dir();
        let (source, other) = (dir.path().join("source"), dir.path().join("other"));
        fs::create_dir(&source).unwrap();
        // The first that is opened are the programs'.
        let error = if_meanwhile(&source, || {
            fs::rename(&source, &other).unwrap();
            symlink("/", &source).unwrap();
        });
        let got = (error.step(), error.raw_os_error(), error.path());
        assert_eq!(got, (Some(Step::OpenSource), Some(libc::ESTALE), Some(&*source)), "{error:?}");
        assert!(error.explain().unwrap().contains("replaced in between"));
    });
}

fn a_source_that_vanishes_is_told() {
    in_fork(|| {
        let dir = dir();
        let source = dir.path().join("source");
        File::create(&source).unwrap().write_all(b"x").unwrap();
        let error = if_meanwhile(&source, || fs::remove_file(&source).unwrap());
        let got = (error.step(), error.kind(), error.path());
        assert_eq!(got, (Some(Step::OpenSource), ErrorKind::NotFound, Some(&*source)), "{error:?}");
        assert!(error.explain().unwrap().contains("vanished"));
    });
}

const SCRIPT: &str = "ls /; cannot_write /etc/x";

fn with_etc(command: &mut Command) -> String {
    output(command.mount(Mount::bind("/etc", "/etc").unwrap().read_only()))
}

fn a_root_in_an_entered_user_namespace() {
    let engine = Engine::CopyingInside;
    let place = engine.place();
    let mut command = rooted(SCRIPT);
    engine.choose(&mut command, place.as_ref());
    let names = with_etc(&mut command);
    assert!(names.contains("etc\n") && !names.contains("proc"), "{names}");
}

fn a_root_after_other_namespaces_were_entered() {
    let engine = Engine::SharingInside;
    let place = engine.place();
    let mut command = rooted(SCRIPT);
    engine.choose(&mut command, place.as_ref());
    assert!(with_etc(&mut command).contains("etc\n"));
    // Also of a mount namespace, where the same files are seen.
    let place = Held::new(NamespaceSet::MOUNT);
    let mut command = rooted(SCRIPT);
    command.enter(place.enter_all());
    assert!(with_etc(&mut command).contains("etc\n"));
}

/// Any of them might lead out of the root.
fn descriptors_are_closed_without_exec() {
    let files = || {
        let all = crate::harness::descriptors();
        all.iter().filter(|(_, target)| target.starts_with('/')).count()
    };
    let before = files();
    let mut command = Command::new("inside");
    command.map_root().rootfs(Rootfs::tmpfs()).kill_on_parent_exit();
    command.mount(Mount::bind("/proc", "/proc").unwrap()).mount(Mount::dev("/dev").unwrap());
    for path in ["/dev/null", "/dev/shm", "/no/such/file"] {
        command.mount(Mount::mask(path).unwrap());
    }
    // SAFETY: this process has one thread.
    let child = unsafe { command.spawn_fn(move || u8::try_from(files()).unwrap()) };
    let mut child = child.unwrap_or_else(|error| panic!("{error:#}"));
    let inside = child.wait().unwrap().code().unwrap();
    assert_eq!(usize::try_from(inside).unwrap(), before);
}
