//! A `/proc` with a link of an attacker over one of its own, which the kernel follows from where it lies: on the right
//! mount, and to another process. And other files of a mount namespace that others laid out.

pub(crate) mod opened;

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use linux_namespaces::{
    Command, ErrorKind, Gap, IdMap, Init, Mount, Namespace, NamespaceSet, NsFd, PidFd, PinDir,
    Stdio, Step, SubIds, Unshare, discover,
};

use super::image::{into, is_refused};
use crate::files::{self, c_string, dir, fifo};
use crate::fork::{self, Fork, end_with_parent, in_fork};
use crate::harness::cases;
use crate::kernel::{ns, open_path, refuse};
use crate::machine::Need::{OtherIds, Root, UniqueIds, UserNamespaces};
use crate::machine::is_root;
use crate::program::rest;
use crate::stage;

cases! {
    no_other_process_is_mapped [Root, OtherIds, UserNamespaces],
    no_other_process_is_mapped_by_unshare [Root, OtherIds, UserNamespaces],
    no_other_process_is_named [UserNamespaces],
    no_member_is_overlooked [UserNamespaces],
    no_other_namespace_is_taken_for_ours [UserNamespaces],
    nothing_of_others_is_written_without_openat2 [UserNamespaces],
    no_other_mount_is_detached [UserNamespaces],
    a_survey_believes_no_cover [UserNamespaces],
    a_mount_namespace_of_ours_is_no_other_root [Root],
    a_pin_stays_inside [UserNamespaces],
    a_proc_that_is_as_it_should_be_is_read_without_openat2 [UserNamespaces],
    a_root_that_stays_after_exec_in_any_thread [UserNamespaces],
    who_goes_on_without_this_crate_is_still_elsewhere [UserNamespaces, UniqueIds],
    other_files_than_devices [UserNamespaces],
    a_magic_link_in_another_place_is_not_followed [UserNamespaces],
    set_aside_ids_of_others [UserNamespaces],
    an_error_is_printed_where_proc_is_made_of_fifos [UserNamespaces],
}

/// In a mount namespace of its own.
fn in_own_mounts(work: impl FnOnce()) {
    in_fork(|| {
        if is_root() {
            stage::new(libc::CLONE_NEWNS)
        } else {
            stage::new_user(libc::CLONE_NEWNS)
        }
        stage::private();
        work();
    });
}

/// A link over a file, which may be a link itself, until it is dropped.
#[must_use]
struct Cover(CString);

impl Drop for Cover {
    fn drop(&mut self) {
        let how = libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW;
        // SAFETY: a C string.
        unsafe { libc::umount2(self.0.as_ptr(), how) };
    }
}

fn cover(target: &str, text: &str) -> Cover {
    let dir = dir();
    let link = dir.path().join("link");
    symlink(text, &link).unwrap();
    cover_by(target, link.to_str().unwrap())
}

/// The same by a link that is there, which may be a magic one.
fn cover_by(target: &str, link: &str) -> Cover {
    let link = open_path(link, libc::O_NOFOLLOW);
    let at = open_path(target, libc::O_NOFOLLOW);
    // SAFETY: C strings and open descriptors.
    unsafe {
        let empty = c"".as_ptr();
        let copy = libc::AT_EMPTY_PATH | 1 | libc::O_CLOEXEC;
        let tree = libc::syscall(libc::SYS_open_tree, link.as_raw_fd(), empty, copy);
        assert!(tree >= 0, "{}", std::io::Error::last_os_error());
        let tree = OwnedFd::from_raw_fd(tree as i32);
        let call = libc::SYS_move_mount;
        let moved = libc::syscall(call, tree.as_raw_fd(), empty, at.as_raw_fd(), empty, 0x4 | 0x40);
        assert_eq!(moved, 0, "{}", std::io::Error::last_os_error());
    }
    Cover(c_string(target))
}

/// A process that sleeps until it is dropped, perhaps in a new user namespace.
struct Sleeper(Fork);

impl Sleeper {
    fn new(flags: i32) -> Self {
        Self::start(flags, None)
    }

    /// Has this file open by the first hundred numbers.
    fn with(file: &File) -> Self {
        Self::start(0, Some(file))
    }

    fn start(flags: i32, file: Option<&File>) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let fork = Fork::start(|| {
            end_with_parent();
            stage::new(flags);
            for to in (0..100).filter(|&number| number != writer.as_raw_fd()) {
                // SAFETY: descriptors of this process, until it is killed.
                file.inspect(|file| unsafe { assert_eq!(libc::dup2(file.as_raw_fd(), to), to) });
            }
            drop(writer);
            fork::sleep()
        });
        rest(reader);
        Self(fork)
    }

    fn pid(&self) -> i32 {
        self.0.pid()
    }
}

/// Of its first thread, below `/proc`.
fn task_of(process: &Sleeper) -> String {
    format!("{0}/task/{0}", process.pid())
}

fn map() -> IdMap {
    "0 0 65536".parse().unwrap()
}

fn no_other_process_is_mapped() {
    in_own_mounts(|| {
        let other = Sleeper::new(libc::CLONE_NEWUSER);
        let _cover = cover("/proc/self", &other.pid().to_string());
        let mut command = Command::new("true");
        let error = command.uid_map(map()).gid_map(map()).status().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UntrustedProc, "{error:?}");
        assert_eq!(fs::read_to_string(format!("/proc/{}/uid_map", other.pid())).unwrap(), "");
    });
}

fn no_other_process_is_mapped_by_unshare() {
    in_own_mounts(|| {
        let other = Sleeper::new(libc::CLONE_NEWUSER);
        let _cover = cover("/proc/self", &other.pid().to_string());
        let unshare = Unshare::new(NamespaceSet::USER).uid_map(map()).gid_map(map());
        let error = unshare.apply().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EXDEV), "{error:?}");
        assert_eq!(fs::read_to_string(format!("/proc/{}/uid_map", other.pid())).unwrap(), "");
        drop(other);
        // Its mounts cannot be taken away any more.
        fork::exit()
    });
}

fn no_other_process_is_named() {
    in_own_mounts(|| {
        let other = Sleeper::new(0);
        let _cover = cover("/proc/thread-self", &task_of(&other));
        let own = PidFd::open(std::process::id()).unwrap();
        assert_eq!(own.pids().unwrap_err().kind(), ErrorKind::UntrustedProc);
        let mut command = Command::new("cat");
        let mut child = command.init(Init::new()).stdin(Stdio::piped()).spawn().unwrap();
        assert_eq!(child.program().unwrap_err().kind(), ErrorKind::UntrustedProc);
        drop(child.stdin.take());
        child.wait().unwrap();
    });
}

fn no_member_is_overlooked() {
    in_own_mounts(|| {
        let own = NsFd::current(Namespace::Uts).unwrap();
        assert!(!own.members().unwrap().is_empty());
        let other = Sleeper::new(0);
        let _cover = cover("/proc/thread-self", &task_of(&other));
        assert_eq!(own.members().unwrap_err().kind(), ErrorKind::UntrustedProc);
    });
}

/// As before Linux 6.11.
fn no_other_namespace_is_taken_for_ours() {
    in_own_mounts(|| {
        let other = Sleeper::new(libc::CLONE_NEWUSER | libc::CLONE_NEWUTS);
        stage::refuse_pidfd_namespaces();
        assert!(NsFd::current(Namespace::Uts).is_ok());
        let link = fs::read_link(format!("/proc/{}/ns/uts", other.pid())).unwrap();
        let over = format!("/proc/{0}/task/{0}/ns/uts", std::process::id());
        // Over the last link, to another namespace's file, and over the first one.
        let _inner = cover(&over, &format!("/proc/{}/ns/uts", other.pid()));
        assert_eq!(NsFd::current(Namespace::Uts).unwrap_err().kind(), ErrorKind::UntrustedProc);
        let _cover = cover("/proc/thread-self", &task_of(&other));
        for kind in [Namespace::Uts, Namespace::Net] {
            let error = NsFd::current(kind).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UntrustedProc, "{kind} {link:?} {error:?}");
        }
    });
}

fn nothing_of_others_is_written_without_openat2() {
    let place = dir();
    let file = place.path().join("file");
    fs::write(&file, "precious").unwrap();
    for name in ["setgroups", "uid_map", "gid_map"] {
        symlink(&file, place.path().join(name)).unwrap();
    }
    for errno in [libc::ENOSYS, libc::EPERM] {
        in_own_mounts(|| {
            let _cover = cover("/proc/self", place.path().to_str().unwrap());
            refuse(libc::SYS_openat2, errno);
            let error = Command::new("true").map_root().status().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EXDEV), "{error:?}");
        });
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }
}

fn no_other_mount_is_detached() {
    in_own_mounts(|| {
        let place = dir();
        let (pin, other) = (place.path().join("pin"), place.path().join("other"));
        fs::create_dir(&other).unwrap();
        stage::tmpfs(&other);
        let pinned = NsFd::current(Namespace::Uts).unwrap().pin(&pin).unwrap();
        // Whatever number the pin has, it is that of the other mount in the other process.
        let root = File::open(&other).unwrap();
        let attacker = Sleeper::with(&root);
        drop(root);
        let cover = cover("/proc/thread-self", &task_of(&attacker));
        let error = pinned.unpin().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UntrustedProc, "{error:?}");
        drop((attacker, cover));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        for path in [&pin, &other] {
            assert!(mounts.contains(path.to_str().unwrap()), "{path:?} was unmounted");
            stage::unmount(path);
        }
    });
}

fn a_survey_believes_no_cover() {
    in_own_mounts(|| {
        let other = Sleeper::new(0);
        let pid = other.pid().cast_unsigned();
        let is_gap = |gap: &Gap| matches!(gap, Gap::Process { pid: it, .. } if *it == pid);
        let before = discover().unwrap();
        assert!(!before.gaps().iter().any(is_gap));
        let own = NsFd::current(Namespace::Net).unwrap();
        let found = before
            .namespaces()
            .find(|it| it.kind() == Namespace::Net && it.id() == own.id().unwrap());
        let found = found.unwrap();
        let place = dir();
        let fifo = place.path().join("fifo");
        files::fifo(&fifo);
        let link = fs::read_link("/proc/self/ns/net").unwrap();
        for text in [link.to_str().unwrap(), fifo.to_str().unwrap()] {
            let _cover = cover(&format!("/proc/{pid}/ns/net"), text);
            let gaps = discover().unwrap().gaps().to_vec();
            assert!(gaps.iter().any(is_gap), "{text} {pid} {gaps:?}");
            assert!(found.process(pid).is_err(), "{text}");
            assert_eq!(before.open(found).unwrap(), own);
        }
    });
}

fn a_proc_that_is_as_it_should_be_is_read_without_openat2() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        in_fork(|| {
            stage::refuse_pidfd_namespaces();
            refuse(libc::SYS_openat2, errno);
            let own = NsFd::current(Namespace::Uts).unwrap();
            assert_eq!(own.id().unwrap().ino, ns("thread-self", "uts"));
            let pids = PidFd::open(std::process::id()).unwrap().pids().unwrap();
            assert_eq!(pids, [std::process::id()]);
            assert!(Command::new("true").map_root().status().unwrap().success());
            assert!(!own.members().unwrap().is_empty());
        });
    }
}

fn a_root_that_stays_after_exec_in_any_thread() {
    let image = dir();
    symlink("/proc/self/exe", image.path().join("app")).unwrap();
    in_own_mounts(|| {
        // So that the way home is known, and this thread is there.
        let leave = || Unshare::new(NamespaceSet::MOUNT).apply().unwrap();
        std::thread::scope(|scope| scope.spawn(leave).join().unwrap());
        for dir in ["proc", "usr", "bin", "lib", "lib64"] {
            let inside = image.path().join(dir);
            fs::create_dir_all(&inside).unwrap();
            if Path::new("/").join(dir).exists() {
                stage::bind(Path::new("/").join(dir), inside);
            }
        }
        let error = Command::new("/no/such").root_dir_fd(File::open(image.path()).unwrap()).exec();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error:?}");
        let here = || is_refused(Command::new("/app").arg("--help"), Step::Exec, libc::ELOOP);
        here();
        std::thread::scope(|scope| scope.spawn(here).join().unwrap());
        // Its mounts cannot be taken away any more.
        fork::exit()
    });
}

fn who_goes_on_without_this_crate_is_still_elsewhere() {
    let image = dir();
    symlink("/proc/self/exe", image.path().join("app")).unwrap();
    in_fork(|| {
        into(image.path()).apply().unwrap();
        is_refused(Command::new("/app").arg("--help"), Step::Exec, libc::ELOOP);
        stage::new(libc::CLONE_NEWNS);
        is_refused(Command::new("/app").arg("--help"), Step::Exec, libc::ELOOP);
    });
    // Where nobody is left at home, the next mount namespace may get its number.
    in_own_mounts(|| {
        into(image.path()).apply().unwrap();
        for _ in 0..4 {
            stage::new(libc::CLONE_NEWNS);
            is_refused(Command::new("/app").arg("--help"), Step::Exec, libc::ELOOP);
        }
    });
}

fn a_mount_namespace_of_ours_is_no_other_root() {
    in_fork(|| {
        let other = Sleeper::new(libc::CLONE_NEWNS);
        let other = NsFd::open(format!("/proc/{}/ns/mnt", other.pid())).unwrap();
        let work = || {
            Unshare::new(NamespaceSet::MOUNT).apply().unwrap();
            let elsewhere = || assert!(other.run(|| ()).is_ok());
            std::thread::scope(|scope| scope.spawn(elsewhere).join().unwrap());
            let is_refused =
                SubIds::read_subuid().is_err_and(|error| error.kind() == ErrorKind::InvalidInput);
            // Before Linux 6.18 it has no id by which it is known again, and is taken for another.
            assert_eq!(is_refused, UniqueIds.missing().is_some());
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap());
    });
}

fn a_pin_stays_inside() {
    let (image, host) = (dir(), dir());
    files::write(host.path().join("old"), "", 0o0);
    let held = File::open(host.path()).unwrap();
    symlink(format!("/proc/self/fd/{}", held.as_raw_fd()), image.path().join("run")).unwrap();
    in_fork(|| {
        into(image.path()).apply().unwrap();
        for error in [PinDir::create_netns().unwrap_err(), PinDir::create("/run/pins").unwrap_err()]
        {
            assert_eq!(error.raw_os_error(), Some(libc::ELOOP), "{error:?}");
        }
        let own = NsFd::current(Namespace::Uts).unwrap();
        let error = own.pin("/run/new").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP), "{error:?}");
    });
    assert_eq!(fs::read_dir(host.path()).unwrap().count(), 1);
}

fn other_files_than_devices() {
    let image = dir();
    let dev = image.path().join("dev");
    fs::create_dir(&dev).unwrap();
    let null = dev.join("null");
    for is_fifo in [false, true] {
        if is_fifo {
            fs::remove_file(&null).unwrap();
            fifo(&null);
        } else {
            fs::write(&null, "of the image").unwrap();
        }
        in_fork(|| {
            into(image.path()).apply().unwrap();
            let spawned = Command::new("/bin/true").stdin(Stdio::null()).status();
            let error = spawned.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error:?}");
            let mask = Mount::mask("/usr").unwrap();
            let devices = Mount::dev("/usr").unwrap();
            for mount in [mask, devices] {
                let error = Command::new("/bin/true").mount(mount).status().unwrap_err();
                assert_eq!(error.step(), Some(Step::OpenSource), "{error:?}");
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
            }
        });
    }
}

/// In a directory that has the inode number of the root of a proc, where the links are not magic.
fn a_magic_link_in_another_place_is_not_followed() {
    in_own_mounts(|| {
        let image = dir();
        stage::tmpfs(image.path());
        assert_eq!(fs::metadata(image.path()).unwrap().ino(), 1);
        for name in ["proc", "usr", "bin", "lib", "lib64", "tmp"] {
            fs::create_dir(image.path().join(name)).unwrap();
        }
        let link = image.path().join("link");
        symlink("nowhere", &link).unwrap();
        // What it leads to is a directory inside as well, by its name.
        std::env::set_current_dir("/usr").unwrap();
        let cover = cover_by(link.to_str().unwrap(), "/proc/self/cwd");
        for without_openat2 in [false, true] {
            in_fork(|| {
                into(image.path()).apply().unwrap();
                if without_openat2 {
                    refuse(libc::SYS_openat2, libc::ENOSYS);
                }
                let error = Command::new("/bin/true").current_dir("/link").status().unwrap_err();
                let got = (error.step(), error.raw_os_error());
                assert_eq!(got, (Some(Step::ChangeDirectory), Some(libc::ELOOP)), "{error:?}");
            });
        }
        drop(cover);
        stage::unmount(image.path());
    });
}

fn set_aside_ids_of_others() {
    let image = dir();
    fs::create_dir(image.path().join("etc")).unwrap();
    for name in ["subuid", "subgid"] {
        fs::write(image.path().join("etc").join(name), "0:1:65535\n").unwrap();
    }
    in_fork(|| {
        into(image.path()).apply().unwrap();
        for error in [SubIds::read_subuid().unwrap_err(), SubIds::read_subgid().unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
            assert_eq!(error.step(), Some(Step::ReadSubIds));
        }
    });
}

fn an_error_is_printed_where_proc_is_made_of_fifos() {
    in_own_mounts(|| {
        stage::tmpfs("/proc");
        for path in ["thread-self", "self", "sys/user", "sys/kernel"] {
            fs::create_dir_all(Path::new("/proc").join(path)).unwrap();
        }
        let files = [
            "thread-self/status",
            "thread-self/uid_map",
            "sys/user/max_uts_namespaces",
            "sys/kernel/unprivileged_userns_clone",
        ];
        for file in files {
            fifo(Path::new("/proc").join(file));
        }
        refuse(libc::SYS_unshare, libc::EPERM);
        let error = Unshare::new(NamespaceSet::UTS).apply().unwrap_err();
        assert!(format!("{error:#}").contains("CAP_SYS_ADMIN"), "{error:#}");
        stage::unmount("/proc");
    });
}
