//! Overlays, and mounts with other owners of files.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use linux_namespaces::{
    ErrorKind, Mount, Namespace, NamespaceSet, NsFd, Overlay, Rootfs, Stdio, Step, Unshare,
};
use tempfile::TempDir;

use crate::engine::each_engine;
use crate::files::{dir, set_mode};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::machine::Need::{MappedOwners, Overlays, Root, UserAttributes, UserNamespaces};
use crate::program::{Held, is_at, output, refused};
use crate::sandbox::{refuse_new_calls, rooted, shell, strict, with_programs};
use crate::stage;

cases! {
    an_overlay_that_is_thrown_away [UserNamespaces, Overlays],
    an_overlay_that_is_kept [UserNamespaces, Overlays],
    a_root_that_is_an_overlay [UserNamespaces, Overlays],
    an_overlay_in_a_user_namespace_that_is_entered [UserNamespaces, Overlays, UserAttributes],
    an_overlay_that_cannot_be [UserNamespaces, Overlays],
    owners_are_mapped [Root, MappedOwners],
    owners_are_mapped_in_an_overlay [Root, MappedOwners, Overlays],
    owners_are_not_mapped_for_everybody [UserNamespaces],
}

fn lower() -> TempDir {
    let lower = dir();
    fs::write(lower.path().join("file"), "lower").unwrap();
    fs::create_dir(lower.path().join("sub")).unwrap();
    fs::write(lower.path().join("sub/gone"), "lower").unwrap();
    lower
}

fn is_untouched(lower: &TempDir) -> bool {
    fs::read_to_string(lower.path().join("file")).unwrap() == "lower"
        && lower.path().join("sub/gone").exists()
        && fs::read_dir(lower.path()).unwrap().count() == 2
}

const CHANGES: &str =
    "test $(cat /x/file) = lower; echo upper >/x/file; rm /x/sub/gone; true >/x/new; ls /x /x/sub";

fn an_overlay_that_is_thrown_away() {
    each_engine(|choose| {
        let (lower, second) = (lower(), dir());
        fs::write(second.path().join("file"), "hidden").unwrap();
        fs::write(second.path().join("second"), "").unwrap();
        let overlay = || Overlay::new([lower.path(), second.path()]).unwrap();
        let mut command = shell(CHANGES);
        choose(command.mount(Mount::overlay("/x", overlay()).unwrap()));
        assert_eq!(output(&mut command), "/x:\nfile\nnew\nsecond\nsub\n\n/x/sub:\n");
        assert!(is_untouched(&lower));
        set_mode(lower.path(), 0o1711);
        let mount = Mount::overlay("/x", overlay()).unwrap();
        assert_eq!(output(shell("stat -c %a /x").mount(mount)), "1711\n");
        let mut command = shell("cannot_write /x/new");
        output(
            command
                .mount(Mount::overlay("/x", overlay()).unwrap().read_only())
                .stderr(Stdio::null()),
        );
    });
}

/// The kernel leaves a directory there that nobody may read.
fn open_work(work: &Path) {
    set_mode(work.join("work"), 0o700);
}

fn an_overlay_that_is_kept() {
    let (lower, upper) = (lower(), dir());
    let kept = upper.path().join("kept");
    let overlay = || Overlay::new([lower.path()]).unwrap().upper(&kept).unwrap();
    output(shell(CHANGES).mount(Mount::overlay("/x", overlay()).unwrap()));
    assert!(is_untouched(&lower));
    assert_eq!(fs::read_to_string(kept.join("file")).unwrap(), "upper\n");
    let again =
        output(shell("cat /x/file; ls /x/sub").mount(Mount::overlay("/x", overlay()).unwrap()));
    assert_eq!(again, "upper\n");
    // Where links lead is nobody's upper directory.
    fs::rename(&kept, upper.path().join("moved")).unwrap();
    symlink("moved", &kept).unwrap();
    let error = refused(shell("true").mount(Mount::overlay("/x", overlay()).unwrap()));
    is_at(&error, Step::Mount, libc::ENOTDIR);
    open_work(&upper.path().join("kept.work"));
}

fn a_root_that_is_an_overlay() {
    let lower = lower();
    for read_only in [false, true] {
        let rootfs = Rootfs::overlay(Overlay::new([lower.path()]).unwrap());
        let rootfs = if read_only { rootfs.read_only() } else { rootfs };
        let script = if read_only {
            "cannot_write /new"
        } else {
            "true >/new && rm /sub/gone && test -d /usr"
        };
        let mut command = strict(script);
        command.map_root().rootfs(rootfs).stderr(Stdio::null());
        with_programs(&mut command);
        output(&mut command);
        assert!(is_untouched(&lower));
    }
}

/// What the kernel notes of a directory that hides another is not root's to write there.
fn an_overlay_in_a_user_namespace_that_is_entered() {
    let (lower, upper) = (lower(), dir());
    let place = Held::new(NamespaceSet::USER);
    let mut command = rooted("rm -r /x/sub; mkdir /x/sub; ls /x/sub");
    command.enter(place.enter_all()).unshare(NamespaceSet::MOUNT);
    let overlay = Overlay::new([lower.path()]).unwrap().upper(upper.path().join("kept")).unwrap();
    assert_eq!(output(command.mount(Mount::overlay("/x", overlay).unwrap())), "");
    assert!(is_untouched(&lower));
    open_work(&upper.path().join("kept.work"));
}

fn an_overlay_that_cannot_be() {
    let overlay = |overlay: Overlay| {
        let error = refused(shell("true").mount(Mount::overlay("/x", overlay).unwrap()));
        assert_eq!(error.step(), Some(Step::Mount), "{error:?}");
        assert_eq!(error.to_string(), "cannot mount an overlay on \"/x\"");
        assert!(error.explain().is_some(), "{error:?}");
        error.raw_os_error().unwrap()
    };
    assert_eq!(overlay(Overlay::new(["/etc/passwd"]).unwrap()), libc::ENOTDIR);
    let on_proc = overlay(Overlay::new(["/etc"]).unwrap().upper("/proc/upper").unwrap());
    assert!([libc::EACCES, libc::ENOENT, libc::EPERM].contains(&on_proc), "{on_proc}");
    in_fork(|| {
        refuse_new_calls(libc::ENOSYS);
        let mut command = shell("true");
        let mount = Mount::overlay("/x", Overlay::new(["/etc"]).unwrap()).unwrap();
        let error = refused(command.mount(mount));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    });
}

/// What a script writes as root of the user namespace of [`stage::shifted`].
fn inside(mount: Mount, script: &str) -> String {
    let map = stage::id_map(&[(0, 100_000, 65_536)]);
    let mut command = rooted(script);
    command.uid_map(map.clone()).gid_map(map).uid(0).gid(0).groups([]);
    output(command.mount(mount))
}

fn owners_are_mapped() {
    let (dir, namespace) = (lower(), stage::shifted());
    let bind = || Mount::bind(dir.path(), "/x").unwrap().idmapped(namespace.try_clone().unwrap());
    // Seen from outside of the user namespace, and from inside.
    let mut command = rooted("stat -c %u:%g /x/file");
    assert_eq!(output(command.mount(bind())), "100000:100000\n");
    assert_eq!(inside(bind(), "stat -c %u:%g /x/file; true >/x/new"), "0:0\n");
    assert_eq!(fs::metadata(dir.path().join("new")).unwrap().uid(), 0);
    fs::remove_file(dir.path().join("new")).unwrap();
    // Proc cannot, nor can the first user namespace be.
    let proc = Mount::bind("/proc", "/x").unwrap().idmapped(namespace);
    let error = refused(shell("true").mount(proc));
    is_at(&error, Step::IdmapMount, libc::EINVAL);
    assert!(error.explain().is_some());
    let first = NsFd::current(Namespace::User).unwrap();
    let error =
        refused(shell("true").mount(Mount::bind(dir.path(), "/x").unwrap().idmapped(first)));
    is_at(&error, Step::IdmapMount, libc::EPERM);
}

fn owners_are_mapped_in_an_overlay() {
    let (dir, namespace) = (lower(), stage::shifted());
    let overlay = Overlay::new([dir.path()]).unwrap().idmapped(namespace);
    let mount = Mount::overlay("/x", overlay).unwrap();
    assert_eq!(inside(mount, "stat -c %u:%g /x/file; rm /x/file"), "0:0\n");
    assert!(is_untouched(&dir));
}

fn owners_are_not_mapped_for_everybody() {
    in_fork(|| {
        Unshare::new(NamespaceSet::MOUNT).map_root().apply().unwrap();
        let namespace = Held::new(NamespaceSet::USER).namespace(Namespace::User).unwrap();
        let bind = Mount::bind("/etc", "/x").unwrap().idmapped(namespace);
        let error = shell("true").mount(bind).spawn().unwrap_err();
        assert_eq!(error.step(), Some(Step::IdmapMount));
        // Kernels and file systems that cannot do it for anybody say so first.
        let cannot = [libc::EINVAL, libc::ENOSYS].map(Some).contains(&error.raw_os_error());
        assert!(cannot || error.kind() == ErrorKind::PermissionDenied, "{error:#}");
        let word = if cannot { "cannot" } else { "CAP_SYS_ADMIN" };
        assert!(error.explain().unwrap().contains(word), "{error:#}");
    });
}
