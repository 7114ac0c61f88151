//! Working directories and mounts of an honest caller.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use linux_namespaces::{Command, ErrorKind, Mount, NamespaceSet, Rootfs, Step};

use super::super::image::{each_way, is_refused};
use super::super::races::Swapper;
use crate::files::dir;
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::refuse;
use crate::machine::Need::{NewProc, UserNamespaces};
use crate::program::output;
use crate::sandbox::{new_mounts, refuse_new_calls, staged, strict, with_programs};
use crate::stage;

cases! {
    working_directories_are_found_as_chdir_finds_them [UserNamespaces],
    nobody_stays_beneath_a_mount [UserNamespaces],
    a_directory_that_is_gone [UserNamespaces],
    a_thread_does_not_stay_beneath_a_mount [UserNamespaces],
    the_flags_of_a_source_survive [UserNamespaces, NewProc],
}

fn working_directories_are_found_as_chdir_finds_them() {
    let at = dir();
    let path = at.path();
    fs::create_dir_all(path.join("real/sub")).unwrap();
    fs::write(path.join("file"), "").unwrap();
    symlink("real", path.join("link")).unwrap();
    symlink(path.join("link/sub"), path.join("abs")).unwrap();
    symlink("sub/../../link/./sub", path.join("real/winding")).unwrap();
    symlink("loop", path.join("loop")).unwrap();
    symlink("nowhere", path.join("dangling")).unwrap();
    symlink("real", path.join("c0")).unwrap();
    for number in 1..45 {
        symlink(format!("c{}", number - 1), path.join(format!("c{number}"))).unwrap();
    }
    let names = [
        "",
        ".",
        "real",
        "real/",
        "link",
        "link/",
        "link/sub",
        "abs",
        "abs/..",
        "real/winding",
        "loop",
        "dangling",
        "missing",
        "file",
        "file/",
        "file/x",
        "c39",
        "c40",
        "c41",
        "link/../abs",
        "real/sub/../..",
    ];
    let check = || {
        for name in names {
            let dir = path.join(name);
            let oracle =
                std::process::Command::new("/bin/pwd").env_clear().current_dir(&dir).output();
            let expected = oracle.map(|output| output.stdout).map_err(|error| error.raw_os_error());
            each_way(|choose| {
                let attempt = || {
                    let mut command = Command::new("/bin/pwd");
                    choose(command.rootfs(Rootfs::tmpfs()).env_clear().current_dir(&dir));
                    with_programs(&mut command);
                    command.mount(Mount::bind(path, path).unwrap());
                    let got = command.output();
                    if let Err(error) = &got {
                        assert_eq!(error.step(), Some(Step::ChangeDirectory), "{name}: {error:?}");
                    }
                    got.map(|output| output.stdout).map_err(|error| error.raw_os_error())
                };
                // On a busy machine the kernel may begin a lookup again and count the links twice.
                let got = (0..20).map(|_| attempt()).find(|got| *got != Err(Some(libc::ELOOP)));
                assert_eq!(got.unwrap_or(Err(Some(libc::ELOOP))), expected, "{name}");
            });
        }
    };
    check();
    in_fork(|| {
        refuse(libc::SYS_openat2, libc::EPERM);
        check();
    });
}

/// A directory with a key, where this process is, in a process of its own.
fn standing(below: &str, work: impl FnOnce(&Path)) {
    let at = dir();
    fs::create_dir_all(at.path().join("work/deep")).unwrap();
    fs::write(at.path().join("work/key"), "secret").unwrap();
    fs::write(at.path().join("work/deep/key"), "secret").unwrap();
    in_fork(|| {
        std::env::set_current_dir(at.path().join("work").join(below)).unwrap();
        work(&at.path().join("work"));
    });
}

fn nobody_stays_beneath_a_mount() {
    each_way(|choose| {
        let check = |below: &str, script: &str, mount: &dyn Fn(&Path) -> Mount| {
            standing(below, |work| {
                let mut command = strict(script);
                choose(command.mount(mount(work)));
                assert_eq!(output(&mut command), "");
            });
            // By the old interface.
            standing(below, |work| {
                refuse_new_calls(libc::ENOSYS);
                refuse(libc::SYS_mount_setattr, libc::ENOSYS);
                let mut command = strict(script);
                choose(command.mount(mount(work)));
                assert_eq!(output(&mut command), "");
            });
        };
        let other = dir();
        fs::create_dir(other.path().join("deep")).unwrap();
        let mask = |work: &Path| Mount::mask(work).unwrap();
        check("", "ls .; cannot 'cat key'; cannot_write x", &mask);
        check("", "ls .; cannot 'cat key'; true >x; test -e x", &|work| {
            Mount::tmpfs(work).unwrap()
        });
        check("deep", "cannot_write x; cannot_write ../x; test -e key", &|work| {
            Mount::read_only_path(work).unwrap()
        });
        check("", "cannot_write x; test ! -e key", &|work| {
            Mount::bind(other.path(), work).unwrap().read_only()
        });
        check("deep", "cannot_write x; test ! -e key", &|work| {
            Mount::bind(other.path(), work).unwrap().read_only()
        });
    });
}

fn a_directory_that_is_gone() {
    each_way(|choose| {
        standing("deep", |work| {
            let command = || {
                let mut command = Command::new("/bin/pwd");
                choose(command.env_clear().mount(Mount::mask(work).unwrap()));
                command
            };
            let error = is_refused(&mut command(), Step::ChangeDirectory, libc::ENOENT);
            assert_eq!(error.path(), Some(&*work.join("deep")));
            let mut with_fallback = command();
            assert_eq!(output(with_fallback.current_dir_fallback("/usr")), "/usr\n");
            let error = is_refused(
                command().current_dir_fallback("/no/such"),
                Step::ChangeDirectory,
                libc::ENOENT,
            );
            assert_eq!(error.path(), Some(Path::new("/no/such")));
            // These would be looked up from underneath the mask.
            for relative in [".", "..", "deep", ""] {
                let mut command = command();
                let error = command.current_dir_fallback(relative).spawn().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{relative}: {error:?}");
            }
        });
        // It was removed, so that it has no path.
        standing("deep", |work| {
            fs::remove_dir_all(work.join("deep")).unwrap();
            let command = || {
                let mut command = Command::new("/bin/pwd");
                choose(command.env_clear().mount(Mount::tmpfs("/sys").unwrap()));
                command
            };
            assert_eq!(command().spawn().unwrap_err().kind(), ErrorKind::InvalidInput);
            assert_eq!(output(command().current_dir_fallback("/usr")), "/usr\n");
            assert_eq!(output(command().current_dir("/usr")), "/usr\n");
        });
    });
}

fn a_thread_does_not_stay_beneath_a_mount() {
    standing("", |work| {
        new_mounts().mount(Mount::tmpfs(work).unwrap()).apply().unwrap();
        assert_eq!(fs::read_dir(".").unwrap().count(), 0);
    });
    standing("", |work| {
        new_mounts().mount(Mount::read_only_path(work).unwrap()).apply().unwrap();
        assert_eq!(File::create("x").unwrap_err().raw_os_error(), Some(libc::EROFS));
    });
    standing("deep", |work| {
        let error = new_mounts().mount(Mount::mask(work).unwrap()).apply().unwrap_err();
        assert_eq!(error.step(), Some(Step::ChangeDirectory), "{error:?}");
    });
    // And nobody leads it elsewhere by a link.
    standing("deep", |work| {
        let other = dir();
        fs::create_dir(other.path().join("deep")).unwrap();
        let link = work.with_file_name("link");
        symlink(other.path(), &link).unwrap();
        let swapper = Swapper::new(&[(work.to_owned(), link)]);
        for _ in 0..50 {
            in_fork(|| {
                if new_mounts().mount(Mount::tmpfs("/sys").unwrap()).apply().is_ok() {
                    assert!(fs::read("key").is_ok());
                }
            });
        }
        assert!(swapper.count() > 50);
    });
}

/// The options of a mount as mountinfo has them.
fn options_of(text: &str, point: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.contains(&format!(" {point} "))).unwrap();
    let mut options: Vec<_> =
        line.split(' ').nth(5).unwrap().split(',').map(str::to_owned).collect();
    options.sort();
    options
}

fn the_flags_of_a_source_survive() {
    const NOSYMFOLLOW: libc::c_ulong = 0x100;
    let flags = [
        0,
        libc::MS_NOSUID,
        libc::MS_NODEV,
        libc::MS_NOEXEC,
        libc::MS_NOATIME,
        libc::MS_STRICTATIME,
        libc::MS_NODIRATIME,
        libc::MS_NODIRATIME | libc::MS_STRICTATIME,
        NOSYMFOLLOW,
        libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_NOATIME | NOSYMFOLLOW,
    ];
    let check = || {
        for flags in flags {
            let source = dir();
            stage::tmpfs_with(source.path(), flags);
            let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let mut expected = options_of(&table, source.path().to_str().unwrap());
            assert!(expected.contains(&"rw".to_owned()));
            expected.iter_mut().filter(|it| *it == "rw").for_each(|it| *it = "ro".to_owned());
            expected.sort();
            each_way(|choose| {
                let mut command = Command::new("/bin/cat");
                choose(command.arg("/proc/self/mountinfo").unshare(NamespaceSet::PID));
                command.rootfs(Rootfs::tmpfs()).mount(Mount::proc("/proc").unwrap());
                with_programs(&mut command);
                command.mount(Mount::bind(source.path(), "/x").unwrap().read_only());
                assert_eq!(options_of(&output(&mut command), "/x"), expected);
            });
            stage::unmount(source.path());
        }
    };
    for refused in 0..3 {
        staged(|| {
            stage::private();
            if refused > 0 {
                refuse(libc::SYS_mount_setattr, libc::ENOSYS);
            }
            if refused > 1 {
                refuse_new_calls(libc::ENOSYS);
            }
            check();
        });
    }
}
