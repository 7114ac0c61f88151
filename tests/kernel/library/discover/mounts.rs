//! Namespaces that mounts hold, also in mount namespaces of others.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use linux_namespaces::{Mount, Namespace, NamespaceSet, Stdio, discover};

use super::{
    bind_mount, covered_mount, find, holders, id, id_of, is_gap, is_gone, numbers, opens,
    proc_mount,
};
use crate::action;
use crate::fork::{Fork, wait_for_all};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{NewProc, Program, UserNamespaces};
use crate::machine::lists_namespaces;
use crate::program::{Held, sh, sleeper};
use crate::stage;

cases! {
    mounts_of_a_foreign_namespace_are_found [UserNamespaces, Program("unshare"), Program("mount")],
    a_covered_mount_is_taken_for_what_it_is [UserNamespaces, Program("unshare"), Program("mount")],
    a_proc_tells_whom_it_shows [UserNamespaces, NewProc],
    a_proc_out_of_reach_is_told [UserNamespaces, NewProc, Program("mount")],
    who_sees_less_hides_no_mount [UserNamespaces],
}

/// A shell in new user and mount namespaces, which has its own `/sys`.
fn in_foreign_mounts(script: &str) -> (Held, Vec<u64>) {
    let script = format!("mount -t tmpfs none /sys && cd /sys && {script}; exec sleep 600");
    numbers(sh(&script).unshare(NamespaceSet::MOUNT).map_root())
}

fn mounts_of_a_foreign_namespace_are_found() {
    let script = "d=$(printf 'a b\\n\\\\c\\303\\244'); mkdir \"$d\"; touch \"$d/uts\"; \
        unshare --uts=\"$d/uts\" true; stat -c %i \"$d/uts\"";
    let (child, inos) = in_foreign_mounts(script);
    let all = discover().unwrap();
    let found = find(&all, id(inos[0]));
    let path = PathBuf::from("/sys/a b\n\\cä/uts");
    let holder = bind_mount(id_of(child.id(), "mnt"), &path);
    assert_eq!((found.kind(), holders(found)), (Namespace::Uts, vec![holder]));
    opens(&all, found);
    assert_eq!(found.owner(), Some(id_of(child.id(), "user")), "it was opened and asked");
    drop(child);
    // What said the number may not have been waited for.
    wait_for_all();
    kernel::until(|| is_gone(&discover().unwrap(), id(inos[0])));
}

fn a_covered_mount_is_taken_for_what_it_is() {
    let script = "touch x; unshare --uts=/sys/x true; u=$(stat -c %i x); \
        unshare --ipc=/sys/x true; echo $u $(stat -c %i x)";
    let (child, inos) = in_foreign_mounts(script);
    let all = discover().unwrap();
    let (mount_namespace, path) = (id_of(child.id(), "mnt"), PathBuf::from("/sys/x"));
    for (ino, kind) in inos.iter().zip([Namespace::Uts, Namespace::Ipc]) {
        let found = find(&all, id(*ino));
        let holder = bind_mount(mount_namespace, &path);
        assert_eq!((found.kind(), holders(found)), (kind, vec![holder]));
    }
    // One of them can be reached, and the other one is told to be out of reach, unless the kernel lists it.
    let owner = Some(id_of(child.id(), "user"));
    assert_eq!(find(&all, id(inos[1])).owner(), owner);
    assert_eq!(find(&all, id(inos[0])).owner(), owner.filter(|_| lists_namespaces()));
    opens(&all, find(&all, id(inos[1])));
    let covered = all.open(find(&all, id(inos[0])));
    assert_eq!(covered.is_ok(), lists_namespaces(), "{covered:?}");
    assert!(is_gap(&all, &covered_mount(mount_namespace, path)));
    drop(child);
    wait_for_all();
}

fn a_proc_tells_whom_it_shows() {
    let mut command = sleeper();
    command.unshare(NamespaceSet::PID).map_root().mount(Mount::proc("/proc").unwrap());
    let child = Held::of(&mut command);
    let all = discover().unwrap();
    let found = find(&all, id_of(child.id(), "pid"));
    let mount_namespace = id_of(child.id(), "mnt");
    let holder = proc_mount(mount_namespace, "/proc");
    // The one below it is another one's.
    assert_eq!(holders(found).iter().filter(|it| **it == holder).count(), 1, "{found:?}");
}

fn a_proc_out_of_reach_is_told() {
    let script = "mount -t tmpfs none /sys && cd /sys && mkdir a b b/c d e && mount -t proc none a && \
        mount -t tmpfs none a && mount -t proc none b/c && mount -t tmpfs none b && \
        mount -t proc none d && mount --bind d e && mount -t tmpfs none d && echo && exec sleep 600";
    let (child, _) =
        numbers(sh(script).unshare(NamespaceSet::PID | NamespaceSet::MOUNT).map_root());
    let all = discover().unwrap();
    let mount_namespace = id_of(child.id(), "mnt");
    let is_covered = |path: &str| is_gap(&all, &covered_mount(mount_namespace, path));
    let covered = ["/sys/a", "/sys/b/c", "/sys/d", "/sys/e"].map(is_covered);
    assert_eq!(covered, [true, true, false, false]);
    // The same proc is in sight elsewhere.
    let found = find(&all, id_of(child.id(), "pid"));
    for path in ["/sys/d", "/sys/e"] {
        assert!(holders(found).contains(&proc_mount(mount_namespace, path)), "{path} {found:?}");
    }
}

/// Pins a UTS namespace in mounts of its own, which only the youngest of its processes sees, if any.
pub(crate) fn hide_a_pin(how: &str) -> ExitCode {
    let (count, how) = how.split_once(',').unwrap();
    stage::tmpfs("/sys");
    fs::create_dir("/sys/root").unwrap();
    if how == "mounted" {
        stage::tmpfs("/sys/root");
    }
    let root = |number: usize| match how {
        "apart" => format!("/sys/root/{number}"),
        // The mount on top of the root directory.
        "over" => "/..".to_owned(),
        _ => "/sys/root".to_owned(),
    };
    // Of a namespace that no process is in.
    fs::write("/sys/pin", "").unwrap();
    stage::new(libc::CLONE_NEWUTS);
    stage::bind("/proc/self/ns/uts", "/sys/pin");
    let ino = kernel::ns("self", "uts");
    stage::new(libc::CLONE_NEWUTS);
    if how == "over" {
        stage::tmpfs("/");
    }
    let count: usize = count.parse().unwrap();
    let stay = |number| {
        fs::create_dir_all(root(number)).unwrap();
        Fork::sleeping(|| {
            if number < count || how == "all" {
                std::os::unix::fs::chroot(root(number)).unwrap();
            }
        })
    };
    let _forks: Vec<_> = (0..=count).map(stay).collect();
    std::os::unix::fs::chroot(root(0)).unwrap();
    println!("{ino}");
    std::io::stdin().read_to_string(&mut String::new()).unwrap();
    ExitCode::SUCCESS
}

fn who_sees_less_hides_no_mount() {
    // How many, how; whether the pin is found, and whether there is more to find.
    let cases = [
        ("20,together", true, false),
        ("1,mounted", true, false),
        ("1,over", true, false),
        ("20,apart", true, true),
        ("1,all", false, true),
    ];
    for (how, is_found, has_gap) in cases {
        let mut command = action::command(&format!("hide={how}"));
        command.unshare(NamespaceSet::MOUNT).map_root().stdin(Stdio::piped());
        let (child, inos) = numbers(&mut command);
        let all = discover().unwrap();
        let mount_namespace = id_of(child.id(), "mnt");
        let holder = bind_mount(mount_namespace, "/sys/pin");
        let found = all.get(id(inos[0])).filter(|found| holders(found) == [holder.clone()]);
        assert_eq!(found.is_some(), is_found, "{how}");
        found.into_iter().for_each(|found| opens(&all, found));
        let gap = format!("mounts in namespace {}", mount_namespace.ino);
        assert_eq!(is_gap(&all, &gap), has_gap, "{how}");
        drop(child);
        wait_for_all();
    }
}
