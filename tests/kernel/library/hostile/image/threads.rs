//! A thread of the caller that is in an image itself: what it runs is not the caller's own program either.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use linux_namespaces::{
    Command, Enter, ErrorKind, Mount, Namespace, NamespaceSet, NsFd, Stdio, Step, Unshare,
};

use super::{Inside, each_way, inside, into, is_refused, with_root_dir, with_true};
use crate::files::dir;
use crate::fork::{self, in_fork};
use crate::harness::cases;
use crate::kernel::refuse;
use crate::machine::Need::{NewProc, Root, UserNamespaces};

cases! {
    the_callers_program_where_a_thread_has_gone [UserNamespaces, NewProc],
    the_callers_program_where_a_thread_has_come_back [Root],
    the_callers_program_in_a_child_without_exec [UserNamespaces, NewProc],
    the_callers_program_after_an_exec_that_failed [UserNamespaces],
    the_callers_program_where_a_thread_has_to_stay [UserNamespaces],
    other_files_where_a_thread_has_gone [UserNamespaces],
}

/// A thread that is in an image itself: by a root of its own, or by entering.
fn the_callers_program_where_a_thread_has_gone() {
    with_pidfds_and_without(where_a_thread_has_gone);
}

/// By a handle and by a guard. From Linux 6.18 on the caller's own mount namespace is known again.
fn the_callers_program_where_a_thread_has_come_back() {
    with_pidfds_and_without(where_a_thread_has_come_back);
}

/// Commands of the caller's code in a child: its mount namespace is new, so that the parent cannot know it.
fn the_callers_program_in_a_child_without_exec() {
    let image = dir();
    symlink("/proc/self/exe", image.path().join("app")).unwrap();
    each_way(|choose| {
        in_fork(|| {
            let mut command = inside(image.path(), "none");
            choose(&mut command);
            let work = || {
                let refused = Command::new("/app").arg("--help").spawn();
                let refused = refused.err().and_then(|error| error.raw_os_error());
                let runs = Command::new("/bin/true").status().is_ok_and(|status| status.success());
                u8::from(refused != Some(libc::ELOOP)) + 2 * u8::from(!runs)
            };
            // SAFETY: this process has one thread.
            let mut child = unsafe { command.spawn_fn(work) }.unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(0));
        });
    });
}

/// The program does not start, and this process stays in the root.
fn the_callers_program_after_an_exec_that_failed() {
    with_root_dir(|image, command| {
        symlink("/proc/self/exe", image.join("app")).unwrap();
        let error = command(Path::new("/no/such")).exec();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error:?}");
        is_refused(Command::new("/app").arg("--help"), Step::Exec, libc::ELOOP);
        assert!(Command::new("/bin/true").status().unwrap().success());
        // Its mounts cannot be taken away any more.
        fork::exit()
    });
}

/// A step fails in the new root, and no way leads back from the user namespace.
fn the_callers_program_where_a_thread_has_to_stay() {
    let image = dir();
    symlink("/proc/self/exe", image.path().join("app")).unwrap();
    in_fork(|| {
        refuse(libc::SYS_sethostname, libc::EPERM);
        let unshare = Unshare::new(NamespaceSet::USER).map_root();
        let unshare = with_true(unshare, image.path()).hostname("inside".parse().unwrap());
        assert_eq!(unshare.apply().unwrap_err().kind(), ErrorKind::NotRestored);
        is_refused(Command::new("/app").arg("--help"), Step::Exec, libc::ELOOP);
        assert!(Command::new("/bin/true").status().unwrap().success());
    });
}

/// `/dev/null` and the sources of mounts, too, are looked up in the root of the thread.
fn other_files_where_a_thread_has_gone() {
    let image = dir();
    fs::create_dir(image.path().join("dev")).unwrap();
    let held = File::open("/etc").unwrap();
    symlink(format!("/proc/self/fd/{}", held.as_raw_fd()), image.path().join("dev/null")).unwrap();
    in_fork(|| {
        let unshare = into(image.path());
        unshare.apply().unwrap_or_else(|error| panic!("{error:?}"));
        let mut command = Command::new("/bin/true");
        is_refused(command.stdin(Stdio::null()), Step::Prepare, libc::ELOOP);
        let mut command = Command::new("/bin/true");
        command.map_root().mount(Mount::bind("/dev/null", "/usr").unwrap());
        is_refused(&mut command, Step::OpenSource, libc::ELOOP);
    });
}

/// Also as before Linux 6.11, where `/proc` alone tells in which namespaces a thread is.
fn with_pidfds_and_without(work: fn(&dyn Fn())) {
    work(&|| ());
    work(&|| refuse(libc::SYS_pidfd_open, libc::ENOSYS));
}

fn where_a_thread_has_gone(prepare: &dyn Fn()) {
    let image = dir();
    symlink("/proc/self/exe", image.path().join("app")).unwrap();
    symlink("/proc/self/cwd", image.path().join("work")).unwrap();
    let check = || {
        is_refused(Command::new("/app").arg("--help"), Step::Exec, libc::ELOOP);
        let mut command = Command::new("/bin/true");
        is_refused(command.current_dir("/work"), Step::ChangeDirectory, libc::ELOOP);
        assert!(Command::new("/bin/true").status().unwrap().success());
    };
    in_fork(|| {
        let unshare = into(image.path());
        prepare();
        unshare.apply().unwrap_or_else(|error| panic!("{error:?}"));
        check();
    });
    let there = Inside::new(image.path(), &|command| {
        command.map_root();
    });
    in_fork(|| {
        let enter = Enter::new().process(there.process.try_clone().unwrap(), there.set);
        prepare();
        enter.apply().unwrap_or_else(|error| panic!("{error:?}"));
        check();
        // This process is not in that proc, so that nobody can look at its descriptors.
        fork::exit()
    });
}

fn where_a_thread_has_come_back(prepare: &dyn Fn()) {
    let image = dir();
    let there = Inside::new(image.path(), &|_| ());
    in_fork(|| {
        let home = NsFd::current(Namespace::Mount).unwrap();
        let enter = || {
            let process = there.process.try_clone().unwrap();
            Enter::new().process(process, NamespaceSet::MOUNT)
        };
        let is_plain = || {
            let mut command = Command::new("/proc/self/exe");
            command.arg("--help").stdout(Stdio::null()).status().is_ok_and(|it| it.success())
        };
        let [stays, goes] = [enter(), enter()];
        prepare();
        stays.scoped().unwrap().leave().unwrap();
        assert!(is_plain());
        goes.apply().unwrap();
        home.enter().unwrap();
        assert_eq!(is_plain(), home.unique_id().unwrap().is_some());
    });
}
