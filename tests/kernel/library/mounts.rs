//! Mounts and roots of a command's own, as the kernel shows them: in `/proc/PID/mountinfo`, in
//! `/proc/PID/root`, and by what a program inside can and cannot do.

pub(crate) mod layers;
pub(crate) mod roots;
pub(crate) mod undone;

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use linux_namespaces::{Command, ErrorKind, Mount, NamespaceSet, Rootfs, Stdio, Step};
use tempfile::TempDir;

use crate::engine::{Engine, each_engine};
use crate::files::dir;
use crate::fork::in_fork;
use crate::harness::{self, cases};
use crate::kernel::refuse;
use crate::machine::Need::{NewProc, UserNamespaces};
use crate::program::{is_at, is_of, output, refused};
use crate::sandbox::{refuse_new_calls, shell, staged, strict, with_programs};
use crate::stage;

cases! {
    a_sandbox_is_what_its_mounts_say [UserNamespaces, NewProc],
    a_sandbox_without_the_calls_of_linux_5_2 [UserNamespaces, NewProc],
    a_sandbox_without_mount_setattr [UserNamespaces, NewProc],
    nothing_of_the_old_root_is_left [UserNamespaces, NewProc],
    a_read_only_bind_is_so_all_the_way_down [UserNamespaces],
    a_file_system_may_be_larger_than_statfs_tells [UserNamespaces],
    targets_stay_below_the_root [UserNamespaces, NewProc],
    targets_stay_below_the_root_without_openat2 [UserNamespaces, NewProc],
    missing_targets_are_made_only_where_that_is_ours [UserNamespaces],
    sources_are_told_when_they_are_missing [UserNamespaces],
}

/// The mounts inside, each with where it is, its file system and its options.
fn table(mountinfo: &str) -> Vec<(String, String, String)> {
    let row = |line: &str| {
        let (before, behind) = line.split_once(" - ").unwrap();
        let words: Vec<&str> = before.split(' ').collect();
        let kind = behind.split(' ').next().unwrap();
        (words[4].to_owned(), kind.to_owned(), words[5].to_owned())
    };
    mountinfo.lines().map(row).collect()
}

fn is_sandbox(choose: &dyn Fn(&mut Command)) {
    let dir = dir();
    fs::write(dir.path().join("file"), "content").unwrap();
    let script = "cat /proc/self/mountinfo
        true >/tmp/file; cannot_write /root-file /usr/file /some/where/file /a/file
        test \"$(cat /some/where/file)\" = content; test \"$(cat /a/file)\" = content
        echo x >/dev/null; test \"$(head -c 1 /dev/zero | tr '\\0' 0)\" = 0; cannot 'echo x >/dev/full'
        test -c /dev/tty -a -c /dev/random -a -c /dev/urandom; echo x | cat /dev/stdin >/dev/shm/file
        test -c /dev/ptmx; test \"$(stat -c %a /tmp /some)\" = '1777
755'; test $$ = 1; test $(pwd) = /";
    let mut command = strict(script);
    command.unshare(NamespaceSet::PID).map_root();
    command.rootfs(Rootfs::tmpfs().read_only());
    with_programs(&mut command);
    command
        .mount(Mount::proc("/proc").unwrap())
        .mount(Mount::dev("/dev").unwrap())
        .mount(Mount::tmpfs("/tmp").unwrap().size(4096))
        .mount(Mount::bind(dir.path(), "/some/where").unwrap().read_only())
        .mount(Mount::bind(dir.path().join("file"), "/a/file").unwrap().read_only());
    choose(&mut command);
    let table = table(&output(&mut command));
    let has = |place: &str, kind: &str, options: &[&str]| {
        let row = table.iter().find(|row| row.0 == place).unwrap_or_else(|| panic!("{table:?}"));
        assert!(kind.is_empty() || row.1 == kind, "{row:?}");
        options
            .iter()
            .for_each(|option| assert!(row.2.split(',').any(|it| it == *option), "{row:?}"));
    };
    has("/", "tmpfs", &["ro", "nosuid", "nodev"]);
    has("/proc", "proc", &["rw", "nosuid", "nodev", "noexec"]);
    has("/dev", "tmpfs", &["rw", "nosuid"]);
    has("/dev/null", "", &["rw"]);
    has("/dev/pts", "devpts", &["rw", "nosuid", "noexec"]);
    has("/tmp", "tmpfs", &["rw", "nosuid", "nodev"]);
    has("/some/where", "", &["ro"]);
    has("/a/file", "", &["ro"]);
    has("/usr", "", &["ro"]);
    let programs = ["/usr", "/bin", "/lib", "/lib64"].map(|dir| Path::new(dir).exists());
    let below_usr = table.iter().filter(|row| row.0.starts_with("/usr/")).count();
    let count = 13 + programs.iter().filter(|there| **there).count() + below_usr;
    assert_eq!(table.len(), count, "{table:?}");
}

fn a_sandbox_is_what_its_mounts_say() {
    each_engine(is_sandbox);
}

fn a_sandbox_without_the_calls_of_linux_5_2() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        in_fork(|| {
            refuse_new_calls(errno);
            refuse(libc::SYS_mount_setattr, errno);
            is_sandbox(&|command| Engine::Sharing.choose(command, None));
        });
    }
}

fn a_sandbox_without_mount_setattr() {
    in_fork(|| {
        refuse(libc::SYS_mount_setattr, libc::ENOSYS);
        is_sandbox(&|command| Engine::Sharing.choose(command, None));
    });
}

fn nothing_of_the_old_root_is_left() {
    let script = "ls -A /; cd /../..; ls -A .; ls -A /proc/1/root/..";
    let mut command = shell(script);
    command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
    let names = output(&mut command);
    let allowed = ["bin", "lib", "lib64", "proc", "usr"];
    assert!(names.lines().all(|name| allowed.contains(&name)), "{names}");
    // From outside: its root directory is what was mounted, and the descriptors are the streams.
    let mut command = shell("echo ready; read line");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // Until then the loader may have libraries open.
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let mountinfo = fs::read_to_string(format!("/proc/{}/mountinfo", child.id())).unwrap();
    let root: Vec<_> = table(&mountinfo).into_iter().filter(|row| row.0 == "/").collect();
    assert_eq!(root.len(), 1, "{mountinfo}");
    assert_eq!(root[0].1, "tmpfs");
    let fds = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    let inherited = harness::descriptors().len();
    assert!(fds.count() <= inherited, "descriptors of the building are left");
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// A directory with file systems mounted below it, one where the name has a blank, one where it is no text.
fn with_mount_below(work: impl Fn(&Path)) {
    staged(|| {
        stage::private();
        let dir = dir();
        stage::tmpfs(dir.path());
        let below = dir.path().join("be low");
        fs::create_dir(&below).unwrap();
        stage::tmpfs(&below);
        let deeper = below.join(OsStr::from_bytes(b"deep\xff"));
        fs::create_dir(&deeper).unwrap();
        stage::tmpfs(&deeper);
        work(dir.path());
        stage::unmount(dir.path());
    });
}

fn a_read_only_bind_is_so_all_the_way_down() {
    let check = |dir: &Path| {
        let all = "for dir in \"$0\" \"$0/be low\" \"$0/be low/\"deep?; do";
        let script = format!("{all} cannot_write \"$dir/file\"; done");
        let bind = || Mount::bind(dir, "/x").unwrap();
        output(shell(&script).arg("/x").mount(bind().read_only()));
        output(shell(&format!("{all} true >\"$dir/file\"; done")).arg("/x").mount(bind()));
        let mut command = strict(&script);
        command.arg(dir).map_root();
        output(command.rootfs(Rootfs::dir("/").unwrap().read_only()));
        let mut command = strict(&script);
        command.arg(dir).map_root();
        output(command.mount(Mount::read_only_path(dir.join("be low")).unwrap()).mount(
            // What is below is changed before, and this is the top alone.
            Mount::bind(dir, dir).unwrap().read_only(),
        ));
    };
    with_mount_below(check);
    with_mount_below(|dir| {
        refuse(libc::SYS_mount_setattr, libc::ENOSYS);
        let all = "cannot_write /x/file '/x/be low/file' \"$(echo '/x/be low/'deep?)/file\"";
        let bind = || Mount::bind(dir, "/x").unwrap().read_only();
        output(shell(all).mount(bind()));
        // Where it cannot be told what is below, or somebody lies about it.
        stage::tmpfs("/proc");
        for lie in [false, true] {
            if lie {
                fs::create_dir("/proc/thread-self").unwrap();
                fs::write("/proc/thread-self/mountinfo", "").unwrap();
            }
            let error = shell("true").mount(bind()).plan().unwrap_err();
            is_of(&error, Step::ReadProc, ErrorKind::UntrustedProc);
        }
        stage::unmount("/proc");
    });
}

/// With more blocks than 32 bits hold: `EOVERFLOW` for programs with such words.
fn a_file_system_may_be_larger_than_statfs_tells() {
    staged(|| {
        stage::private();
        let dir = dir();
        stage::tmpfs_of_size(dir.path(), "32768g");
        symlink("nowhere", dir.path().join("link")).unwrap();
        refuse(libc::SYS_mount_setattr, libc::ENOSYS);
        for without_openat2 in [false, true] {
            if without_openat2 {
                refuse(libc::SYS_openat2, libc::ENOSYS);
            }
            let bind = Mount::bind(dir.path(), "/x").unwrap().read_only();
            output(shell("cannot_write /x/file").mount(bind));
            let mut command = shell("true");
            let bind = Mount::bind(dir.path(), "/x").unwrap();
            let error = refused(command.mount(bind).current_dir("/x/link"));
            let got = (error.step(), error.raw_os_error());
            assert_eq!(got, (Some(Step::ChangeDirectory), Some(libc::ENOENT)), "{error:#}");
        }
        stage::unmount(dir.path());
    });
}

/// A root with links out of it.
fn with_links_out() -> TempDir {
    let dir = dir();
    symlink("../../../../../../../..", dir.path().join("up")).unwrap();
    symlink("/", dir.path().join("abs")).unwrap();
    symlink("/nowhere", dir.path().join("dangling")).unwrap();
    dir
}

fn in_dir(dir: &TempDir, script: &str) -> Command {
    let mut command = strict(script);
    command.map_root().rootfs(Rootfs::dir(dir.path()).unwrap());
    with_programs(&mut command);
    command
}

const INSIDE: &str = "linux-namespaces-inside";

fn targets_stay_below_the_root() {
    let dir = with_links_out();
    let script =
        format!("stat -fc %T /{INSIDE} /{INSIDE}-file; test -d /{INSIDE} -a -f /{INSIDE}-file");
    let mut command = in_dir(&dir, &script);
    command.mount(Mount::tmpfs(format!("/up/{INSIDE}")).unwrap());
    command.mount(Mount::bind("/etc/passwd", format!("/abs/abs/up/{INSIDE}-file")).unwrap());
    assert!(output(&mut command).starts_with("tmpfs\n"));
    assert!(!Path::new("/").join(INSIDE).exists());
    assert!(dir.path().join(INSIDE).is_dir());
    let mut command = in_dir(&dir, "true");
    let error = refused(command.mount(Mount::tmpfs("/dangling").unwrap()));
    let got = (error.step(), error.raw_os_error(), error.path());
    assert_eq!(
        got,
        (Some(Step::CreateMountPoint), Some(libc::ENOENT), Some(Path::new("/dangling")))
    );
    assert!(error.explain().unwrap().contains("leads to nothing"));
    for magic in ["/magic", "/magic/in"] {
        let link = dir.path().join("magic");
        symlink("/proc/1/root", &link).unwrap();
        let mut command = in_dir(&dir, "true");
        command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
        let error = refused(command.mount(Mount::tmpfs(magic).unwrap()));
        is_at(&error, Step::Mount, libc::ELOOP);
        fs::remove_file(link).unwrap();
    }
}

fn targets_stay_below_the_root_without_openat2() {
    in_fork(|| {
        refuse(libc::SYS_openat2, libc::ENOSYS);
        for link in ["/up/x", "/abs/x", "/abs"] {
            let dir = with_links_out();
            let mut command = in_dir(&dir, "true");
            let error = refused(command.mount(Mount::tmpfs(link).unwrap()));
            is_at(&error, Step::Mount, libc::ELOOP);
            assert!(error.explain().unwrap().contains("openat2"));
        }
        is_sandbox(&|command| Engine::Sharing.choose(command, None));
    });
}

fn missing_targets_are_made_only_where_that_is_ours() {
    let mut command = Command::new("true");
    command.map_root().mount(Mount::tmpfs("/no/such/directory").unwrap());
    let error = refused(&mut command);
    is_at(&error, Step::Mount, libc::ENOENT);
    let mut command = strict("test -d /tmp/a/b && test -f /tmp/c");
    command.map_root();
    command.mount(Mount::tmpfs("/tmp").unwrap()).mount(Mount::tmpfs("/tmp/a/b").unwrap());
    output(command.mount(Mount::bind("/etc/passwd", "/tmp/c").unwrap()));
    let mut command = Command::new("/bin/true");
    command.map_root().rootfs(Rootfs::dir("/").unwrap().read_only());
    let error = refused(command.mount(Mount::tmpfs("/no/such/directory").unwrap()));
    is_at(&error, Step::CreateMountPoint, libc::EROFS);
    assert_eq!(error.to_string(), "cannot create the mount point \"/no/such/directory\"");
}

fn sources_are_told_when_they_are_missing() {
    let error = refused(shell("true").mount(Mount::bind("/no/such/file", "/x").unwrap()));
    let got = (error.step(), error.kind(), error.path());
    let expected = (Some(Step::OpenSource), ErrorKind::NotFound, Some(Path::new("/no/such/file")));
    assert_eq!(got, expected);
    assert_eq!(error.to_string(), "cannot open the source of a mount \"/no/such/file\"");
    // A directory on a file.
    let mut command = shell("true");
    command.mount(Mount::bind("/etc/passwd", "/x").unwrap());
    let error = refused(command.mount(Mount::bind("/etc", "/x").unwrap()));
    is_at(&error, Step::Mount, libc::ENOTDIR);
    assert_eq!(error.to_string(), "cannot mount \"/etc\" on \"/x\"");
    assert!(error.explain().unwrap().contains("a directory on a directory"));
}
