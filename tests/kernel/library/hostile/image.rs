//! Images with links that lead out of them: a program or a working directory inside is never found through a
//! magic link of proc, which would be the caller's own binary or a directory of the host.
//!
//! Each refusal is at the step and with the errno that the documentation names, and what is refused never ran.

pub(crate) mod directories;
pub(crate) mod programs;
pub(crate) mod threads;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use linux_namespaces::{
    Command, Enter, Error, Mount, NamespaceSet, PidFd, Rootfs, Stdio, Step, Unshare,
};

use crate::files::{dir, fifo};
use crate::fork::{as_ordinary, in_fork};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{NewProc, OtherIds, Root, UserNamespaces};
use crate::machine::is_root;
use crate::program::{is_at, output};
use crate::sandbox::{new_mounts, staged, strict, with_programs};
use crate::stage;

cases! {
    links_to_the_root_as_mount_points [UserNamespaces, NewProc],
    nobody_reads_the_callers_memory_through_the_init [UserNamespaces, NewProc],
    files_made_for_mounts_stay_inside [UserNamespaces],
    nothing_of_the_image_is_opened [UserNamespaces, NewProc],
    masks_are_the_callers_dev_null [UserNamespaces, NewProc],
    a_proc_of_the_image_is_not_believed [UserNamespaces],
    an_entered_proc_is_not_believed [Root, UserNamespaces],
    groups_cannot_be_dropped_inside [UserNamespaces, OtherIds],
    no_group_of_the_caller_is_left [Root, OtherIds],
    no_capability_is_inheritable [UserNamespaces],
}

/// The ways to a root: in a user namespace, and for root also without one.
pub(super) fn each_way(work: impl Fn(&dyn Fn(&mut Command))) {
    work(&|command| {
        command.map_root();
    });
    if is_root() {
        work(&|_| {});
    }
}

/// A command in this image, with a proc and the host's programs.
pub(super) fn inside(image: &Path, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.unshare(NamespaceSet::PID).rootfs(Rootfs::dir(image).unwrap());
    with_programs(&mut command);
    command.mount(Mount::proc("/proc").unwrap());
    command
}

pub(super) fn is_refused(command: &mut Command, step: Step, errno: i32) -> Error {
    let error = match command.spawn() {
        Ok(mut child) => {
            child.wait().unwrap();
            panic!("this was run: {command:?}");
        }
        Err(error) => error,
    };
    is_at(&error, step, errno);
    error
}

/// A process in an image, which it has laid out, and what leads into it.
struct Inside {
    child: linux_namespaces::Child,
    process: PidFd,
    set: NamespaceSet,
}

impl Inside {
    fn new(image: &Path, choose: &dyn Fn(&mut Command)) -> Self {
        let mut command = inside(image, "/bin/cat");
        choose(&mut command);
        let namespaces = command.plan().unwrap().to_string().contains("user");
        let user = if namespaces { NamespaceSet::USER } else { NamespaceSet::empty() };
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let process = PidFd::open(child.id()).unwrap();
        Self { child, process, set: user | NamespaceSet::MOUNT | NamespaceSet::PID }
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let enter = Enter::new().process(self.process.try_clone().unwrap(), self.set);
        let mut command = Command::new(program.as_ref());
        command.enter(enter);
        command
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// A root that is a directory, with the present proc in it, and this process's mounts to itself.
fn with_root_dir(work: impl Fn(&Path, &dyn Fn(&Path) -> Command)) {
    staged(|| {
        stage::private();
        let image = dir();
        let names =
            ["proc", "usr", "bin", "lib", "lib64"].map(|name| (name, Path::new("/").join(name)));
        let names = names.iter().filter(|(_, path)| path.exists());
        names.clone().for_each(|(name, path)| {
            fs::create_dir(image.path().join(name)).unwrap();
            stage::bind(path, image.path().join(name));
        });
        work(image.path(), &|program| {
            let mut command = Command::new(program);
            command.root_dir_fd(File::open(image.path()).unwrap());
            command
        });
        names.for_each(|(name, _)| stage::unmount(image.path().join(name)));
    });
}

/// A new root with what `/bin/true` needs.
pub(super) fn into(image: &Path) -> Unshare {
    with_true(new_mounts(), image)
}

fn with_true(unshare: Unshare, image: &Path) -> Unshare {
    let dirs = ["/proc", "/usr", "/bin", "/lib", "/lib64"].map(Path::new);
    let bind = |unshare: Unshare, dir| unshare.mount(Mount::bind(dir, dir).unwrap());
    let unshare = unshare.rootfs(Rootfs::dir(image).unwrap());
    dirs.into_iter().filter(|dir| dir.exists()).fold(unshare, bind)
}

/// Nothing is mounted over the root: the program would stand underneath it, and write what is to be read-only.
fn links_to_the_root_as_mount_points() {
    let image = dir();
    for (link, text) in [("one", "/"), ("two", "one"), ("three", "usr/../.."), ("four", ".")] {
        symlink(text, image.path().join(link)).unwrap();
    }
    let mounts = |target: &Path| {
        [
            (Mount::mask(target), Step::Mount),
            (Mount::read_only_path(target), Step::MakeReadOnly),
            (Mount::tmpfs(target), Step::Mount),
            (Mount::bind("/etc", target), Step::Mount),
        ]
        .map(|(mount, step)| (mount.unwrap(), step))
    };
    let in_root = |choose: &dyn Fn(&mut Command)| {
        for link in ["/one", "/two", "/three", "/four"] {
            for (mount, step) in mounts(Path::new(link)) {
                let mut command = inside(image.path(), "/bin/true");
                choose(&mut command);
                is_refused(command.mount(mount), step, libc::EBUSY);
            }
        }
    };
    each_way(|choose| {
        in_root(choose);
        // The same without a root of the command's.
        symlink("/", image.path().join("root")).unwrap();
        for (mount, step) in mounts(&image.path().join("root")) {
            let mut command = Command::new("/bin/true");
            choose(command.mount(mount));
            is_refused(&mut command, step, libc::EBUSY);
        }
        fs::remove_file(image.path().join("root")).unwrap();
        // The root again elsewhere is another mount.
        let mut command = strict("cannot_write /sys/x");
        choose(&mut command);
        command.mount(Mount::bind("/", "/sys").unwrap());
        command.mount(Mount::read_only_path("/sys").unwrap());
        output(&mut command);
    });
}

/// An init is a copy of the caller's program and stays in the root.
fn nobody_reads_the_callers_memory_through_the_init() {
    let image = dir();
    let script = "for link in exe cwd root fd/0 fd/3 map_files; do
            if readlink /proc/1/$link || ls /proc/1/$link/; then echo $link; fi
            done 2>/dev/null
        cat /proc/1/maps /proc/1/environ /proc/1/auxv 2>/dev/null; head -c 1 /proc/1/exe 2>/dev/null
        test $$ != 1";
    let mut command = inside(image.path(), "/bin/sh");
    command.args(["-c", script]).map_root().init(linux_namespaces::Init::new());
    assert_eq!(output(&mut command), "");
}

/// What was created outside of this directory by a lookup that left it.
fn files_made_for_mounts_stay_inside() {
    let outside = dir();
    let image = dir();
    let mut up = String::new();
    (0..40).for_each(|_| up.write_str("../").unwrap());
    let name = outside.path().to_str().unwrap();
    symlink(outside.path(), image.path().join("abs")).unwrap();
    symlink(format!("{up}{}", &name[1..]), image.path().join("rel")).unwrap();
    symlink("abs", image.path().join("again")).unwrap();
    symlink("/proc/1/root", image.path().join("magic")).unwrap();
    each_way(|choose| {
        for link in ["abs", "rel", "again", "magic"] {
            let mut command = inside(image.path(), "/bin/true");
            choose(&mut command);
            command.mount(Mount::tmpfs(format!("/{link}/made/here")).unwrap());
            drop(command.status());
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{link}");
        }
    });
}

/// Whoever opened one of these would wait for ever for somebody who writes it.
fn nothing_of_the_image_is_opened() {
    let image = dir();
    for name in [
        "passwd",
        "group",
        "shadow",
        "nsswitch.conf",
        "ld.so.preload",
        "ld.so.cache",
        "hosts",
        "localtime",
    ] {
        fs::create_dir_all(image.path().join("etc")).unwrap();
        fifo(image.path().join("etc").join(name));
    }
    each_way(|choose| {
        let mut command = inside(image.path(), "missing");
        choose(command.uid(0).gid(0).hostname("inside".parse().unwrap()).current_dir("/etc"));
        is_refused(&mut command, Step::Exec, libc::ENOENT);
    });
}

fn masks_are_the_callers_dev_null() {
    let image = dir();
    fs::create_dir(image.path().join("dev")).unwrap();
    fs::write(image.path().join("file"), "masked").unwrap();
    fs::write(image.path().join("evil"), "evil").unwrap();
    symlink("/evil", image.path().join("dev/null")).unwrap();
    each_way(|choose| {
        let mut command = inside(image.path(), "/bin/sh");
        command.args(["-c", "stat -c %t:%T /file; cat /file /evil"]);
        choose(command.mount(Mount::mask("/file").unwrap()));
        assert_eq!(output(&mut command), "1:3\nevil");
    });
}

/// Files with the names of those that the crate writes.
fn fake_proc(at: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for dir in ["self", "thread-self", "1", "self/attr", "sys"] {
        fs::create_dir_all(at.join(dir)).unwrap();
        for name in ["uid_map", "gid_map", "setgroups", "timens_offsets", "exec"] {
            let file = at.join(dir).join(name);
            fs::write(&file, "").unwrap();
            all.push(file);
        }
    }
    all
}

fn is_untouched(files: &[std::path::PathBuf]) {
    files.iter().for_each(|file| assert_eq!(fs::read(file).unwrap(), b"", "{file:?}"));
}

/// What this process sees as /proc when it starts the child.
fn a_proc_of_the_image_is_not_believed() {
    staged(|| {
        stage::private();
        stage::tmpfs("/proc");
        let files = fake_proc(Path::new("/proc"));
        let status = Command::new("/bin/true").map_root().status();
        is_untouched(&files);
        assert!(status.is_err(), "{status:?}");
        stage::unmount("/proc");
    });
}

/// What the child sees as /proc when it has entered.
fn an_entered_proc_is_not_believed() {
    let image = dir();
    fs::create_dir(image.path().join("proc")).unwrap();
    let files = fake_proc(&image.path().join("proc"));
    let mut command = Command::new("/bin/cat");
    command.rootfs(Rootfs::dir(image.path()).unwrap()).stdin(Stdio::piped());
    with_programs(&mut command);
    let mut child = command.spawn().unwrap();
    let mut command = strict("id -u; cat /proc/self/uid_map");
    command.enter(Enter::new().process(PidFd::open(child.id()).unwrap(), NamespaceSet::MOUNT));
    assert_eq!(output(command.map_root()), "0\n");
    is_untouched(&files);
    drop(child.stdin.take());
    child.wait().unwrap();
}

fn groups_cannot_be_dropped_inside() {
    as_ordinary(|| {
        let mut command = strict("cat /proc/self/setgroups");
        assert_eq!(output(command.map_root()), "deny\n");
    });
}

fn no_group_of_the_caller_is_left() {
    in_fork(|| {
        let groups = [4, 27, 100];
        // SAFETY: this process alone.
        assert_eq!(unsafe { libc::setgroups(3, groups.as_ptr()) }, 0);
        let groups = |command: &mut Command| {
            kernel::fields(&output(command), &["Groups"])[0].split(' ').count()
        };
        let mut command = strict("cat /proc/self/status");
        assert_eq!(groups(&mut command), 3);
        let text = output(command.uid(54_321).gid(54_321));
        assert_eq!(kernel::fields(&text, &["Groups"]), [""]);
    });
}

fn no_capability_is_inheritable() {
    each_way(|choose| {
        let mut command = strict("cat /proc/self/status");
        choose(&mut command);
        let text = output(&mut command);
        let sets = kernel::fields(&text, &["CapInh", "CapAmb"]);
        // Unless the caller itself has any.
        let own = ["CapInh", "CapAmb"].map(kernel::status);
        let none = "0".repeat(16);
        let is_as_before = |set: &&str| own.iter().chain([&none]).any(|own| own == set);
        assert!(sets.len() == 2 && sets.iter().all(is_as_before), "{text}");
    });
}
