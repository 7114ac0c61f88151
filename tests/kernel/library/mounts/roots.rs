//! What else can be said of a root and of mounts, and what the kernel refuses.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use linux_namespaces::{
    Command, Error, ErrorKind, HidePid, Mount, NamespaceSet, Overlay, Propagation, Rootfs, Stdio,
    Step,
};

use crate::files::{c_string, dir, set_mode};
use crate::fork::{become_user, in_fork};
use crate::harness::cases;
use crate::kernel::{self, refuse};
use crate::machine::Need::{NewProc, OtherIds, Overlays, Root, UserNamespaces};
use crate::machine::{is_root, layer};
use crate::program::{is_at, output, refused};
use crate::sandbox::{new_mounts, refuse_new_calls, rooted, shell, staged, strict, with_programs};
use crate::stage;

cases! {
    what_is_masked_is_out_of_sight [UserNamespaces, NewProc],
    proc_hides_what_it_is_told [UserNamespaces, NewProc],
    a_proc_is_refused_where_the_present_one_is_covered [UserNamespaces],
    a_full_table_of_mounts [UserNamespaces],
    flags_that_are_locked_are_kept [UserNamespaces, NewProc],
    a_shared_root_shares_nothing_with_the_machine [UserNamespaces, NewProc],
    a_mount_of_another_propagation [UserNamespaces, NewProc],
    a_thread_in_a_root_of_its_own [UserNamespaces],
    a_chroot_where_it_is_asked_for [Root],
    a_root_without_a_user_namespace [Root],
    a_root_from_a_directory_that_may_not_be_searched [Root, UserNamespaces, OtherIds, Overlays],
    what_cannot_be_meant_is_refused [],
}

fn what_is_masked_is_out_of_sight() {
    let mut command = shell(
        "test -z \"$(cat /proc/version)\"; test -z \"$(ls /proc/tty)\"; cannot_write /proc/tty/x
         cannot 'echo 1 >/proc/sys/kernel/ns_last_pid'; test -n \"$(cat /proc/cpuinfo)\"",
    );
    command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
    for path in ["/proc/version", "/proc/tty", "/proc/no-such-file", "/proc/version/below"] {
        command.mount(Mount::mask(path).unwrap());
    }
    command.mount(Mount::read_only_path("/proc/sys").unwrap());
    command.mount(Mount::read_only_path("/proc/no-such-file").unwrap());
    output(command.stderr(Stdio::null()));
}

fn proc_hides_what_it_is_told() {
    let mut command = shell("cat /proc/self/mountinfo; ls /proc");
    command.unshare(NamespaceSet::PID);
    command.mount(Mount::proc("/proc").unwrap().hidepid(HidePid::Invisible).subset_pid());
    let text = output(&mut command);
    assert!(text.contains("hidepid=invisible,subset=pid"), "{text}");
    assert!(!text.lines().any(|line| line == "sys" || line == "version"), "{text}");
}

fn a_proc_is_refused_where_the_present_one_is_covered() {
    staged(|| {
        stage::private();
        stage::tmpfs("/proc/sys");
        let mut command = Command::new("true");
        command.unshare(NamespaceSet::PID).map_root().mount(Mount::proc("/proc").unwrap());
        let error = refused(&mut command);
        is_at(&error, Step::Mount, libc::EPERM);
        assert!(error.explain().unwrap().contains("parts of the present /proc are covered"));
        assert_eq!(error.to_string(), "cannot mount proc on \"/proc\"");
    });
}

fn a_full_table_of_mounts() {
    staged(|| {
        stage::private();
        let dir = dir();
        stage::tmpfs(dir.path());
        // Each bind of all that is there doubles it.
        let top = c_string(dir.path());
        let full = (0..30).any(|number| {
            let point = dir.path().join(number.to_string());
            fs::create_dir(&point).unwrap();
            let point = c_string(point);
            let flags = libc::MS_BIND | libc::MS_REC;
            // SAFETY: C strings; no data.
            unsafe {
                libc::mount(top.as_ptr(), point.as_ptr(), std::ptr::null(), flags, std::ptr::null())
                    != 0
            }
        });
        assert!(full, "fs.mount-max is beyond all that is usual");
        let mut command = Command::new("true");
        command.map_root().mount(Mount::bind(dir.path(), "/sys").unwrap());
        let error = command.spawn().unwrap_err();
        let got = (error.step(), error.raw_os_error(), error.kind());
        assert_eq!(got, (Some(Step::Mount), Some(libc::ENOSPC), ErrorKind::LimitReached));
        assert!(error.explain().unwrap().contains("here: fs.mount-max="), "{error:#}");
        stage::unmount(dir.path());
    });
}

/// A user namespace may not take them from what it inherited.
fn flags_that_are_locked_are_kept() {
    let check = || {
        stage::private();
        let dir = dir();
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_NOATIME;
        stage::tmpfs_with(dir.path(), flags);
        let mut command = shell("cat /proc/self/mountinfo");
        command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
        command.mount(Mount::bind(dir.path(), "/x").unwrap().read_only());
        let text = output(&mut command);
        let line = text.lines().find(|line| line.contains(" /x ")).unwrap();
        assert!(line.contains(" ro,nosuid,nodev,noexec,noatime "), "{line}");
        stage::unmount(dir.path());
    };
    staged(check);
    staged(|| {
        refuse(libc::SYS_mount_setattr, libc::ENOSYS);
        check();
    });
}

fn a_shared_root_shares_nothing_with_the_machine() {
    let before = kernel::census();
    for (propagation, is_shared) in [(Propagation::Shared, true), (Propagation::Private, false)] {
        let mut command = shell("cat /proc/self/mountinfo");
        command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
        let text = output(command.propagation(propagation));
        assert!(text.lines().all(|line| line.contains("shared:") == is_shared), "{text}");
    }
    assert_eq!(kernel::census(), before);
}

fn a_mount_of_another_propagation() {
    let mount = || Mount::tmpfs("/tmp").unwrap().propagation(Propagation::Shared);
    let check = || {
        let mut command = shell("cat /proc/self/mountinfo");
        command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
        let text = output(command.mount(mount()));
        let shared: Vec<_> = text.lines().filter(|line| line.contains(" shared:")).collect();
        assert!(shared.len() == 1 && shared[0].contains(" /tmp "), "{text}");
    };
    check();
    in_fork(|| {
        refuse(libc::SYS_mount_setattr, libc::ENOSYS);
        check();
    });
}

fn a_thread_in_a_root_of_its_own() {
    in_fork(|| {
        let rootfs = Rootfs::tmpfs().read_only();
        let proc = Mount::bind("/proc", "/proc").unwrap();
        new_mounts().rootfs(rootfs).mount(proc).apply().unwrap_or_else(|error| panic!("{error:#}"));
        let names: Vec<_> = fs::read_dir("/").unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, ["proc"]);
        assert_eq!(std::env::current_dir().unwrap(), Path::new("/"));
        assert_eq!(File::create("/file").unwrap_err().raw_os_error(), Some(libc::EROFS));
    });
    let has_way_back = is_root();
    in_fork(|| {
        std::env::set_current_dir("/proc/sys").unwrap();
        let before = kernel::census();
        let root = Rootfs::dir("/").unwrap().read_only();
        let late = new_mounts().rootfs(root).mount(Mount::tmpfs("/no/such/directory").unwrap());
        let error = late.apply().unwrap_err();
        assert_eq!(error.step(), Some(Step::CreateMountPoint));
        if has_way_back {
            assert_eq!(kernel::census(), before);
        } else {
            assert_eq!(error.kind(), ErrorKind::NotRestored);
        }
    });
}

fn a_chroot_where_it_is_asked_for() {
    let mut command = strict("pwd; ls /");
    command.rootfs(Rootfs::tmpfs().chroot());
    with_programs(&mut command);
    let text = output(&mut command);
    assert!(text.starts_with("/\nbin\n") && !text.contains("etc"), "{text}");
    let plan = command.plan().unwrap();
    assert!(plan.steps().any(|step| step == Step::ChangeRoot), "{plan}");
    assert!(!plan.steps().any(|step| step == Step::PivotRoot), "{plan}");
}

fn a_root_without_a_user_namespace() {
    let before = kernel::census();
    let mut command = rooted("ls /; cat /proc/self/mountinfo");
    command.mount(Mount::proc("/proc").unwrap());
    let text = output(&mut command);
    assert!(text.contains(" - proc ") && !text.contains("shared:"), "{text}");
    assert_eq!(kernel::census(), before);
}

/// An ordinary user in root's home: the program starts elsewhere, so that this does not matter.
fn a_root_from_a_directory_that_may_not_be_searched() {
    let home = tempfile::tempdir().unwrap();
    set_mode(home.path(), 0o700);
    in_fork(|| {
        std::env::set_current_dir(home.path()).unwrap();
        become_user(65_534);
        assert!(std::env::set_current_dir(".").is_err());
        let check = || assert_eq!(output(&mut shell("pwd")), "/\n");
        check();
        let mut command = shell("pwd; echo x >/etc/x");
        command.mount(Mount::overlay("/etc", Overlay::new([layer()]).unwrap()).unwrap());
        assert_eq!(output(&mut command), "/\n");
        refuse_new_calls(libc::ENOSYS);
        check();
    });
}

fn what_cannot_be_meant_is_refused() {
    let invalid =
        |error: Error| assert_eq!((error.kind(), error.step()), (ErrorKind::InvalidInput, None));
    for target in ["relative", "/a/../b", "/", "/a\0b", ""] {
        invalid(Mount::tmpfs(target).unwrap_err());
        invalid(Mount::bind("/", target).unwrap_err());
    }
    invalid(Mount::bind("a\0b", "/x").unwrap_err());
    invalid(Rootfs::dir("a\0b").unwrap_err());
    invalid(Overlay::new([] as [PathBuf; 0]).unwrap_err());
    for upper in ["/", "/..", "/a,b", "/a:b", "/a\\b", "a\0b"] {
        invalid(Overlay::new(["/"]).unwrap().upper(upper).unwrap_err());
    }
    let mut command = Command::new("true");
    command.rootfs(Rootfs::tmpfs()).root_dir_fd(File::open("/").unwrap());
    invalid(command.plan().unwrap_err());
    let mut command = Command::new("true");
    command.rootfs(Rootfs::tmpfs()).current_dir_fd(File::open("/").unwrap());
    invalid(command.plan().unwrap_err());
    let proc = Mount::proc("/proc").unwrap().size(1);
    invalid(Command::new("true").mount(proc).plan().unwrap_err());
    for propagation in [Propagation::Shared, Propagation::Unchanged] {
        let mut command = Command::new("true");
        invalid(command.rootfs(Rootfs::tmpfs()).propagation(propagation).plan().unwrap_err());
    }
}
