//! A working directory inside is never a directory of the host, whatever link leads there.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use linux_namespaces::{Command, Stdio, Step};

use super::{Inside, each_way, inside, is_refused, with_root_dir};
use crate::files::dir;
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::refuse;
use crate::machine::Need::{NewProc, UserNamespaces};
use crate::program::output;

cases! {
    a_working_directory_of_the_host [UserNamespaces, NewProc],
    a_working_directory_of_the_host_without_openat2 [UserNamespaces, NewProc],
    a_working_directory_in_an_entered_image [UserNamespaces, NewProc],
    a_working_directory_below_a_root_dir [UserNamespaces],
}

/// Directories of the caller, open and to be closed at exec.
fn open_directories() -> Vec<File> {
    ["/", "/proc", "/tmp", "/etc"].map(|path| File::open(path).unwrap()).into()
}

/// Links that lead to something that the caller or the crate has open, and through other links to it. `is_first`
/// says whether the child is PID 1 there.
fn magic_directories(image: &Path, last_number: i32, is_first: bool) -> Vec<(String, bool)> {
    let mut links = Vec::new();
    for number in 0..=last_number {
        links.push(format!("/proc/self/fd/{number}"));
        links.push(format!("/proc/1/task/1/fd/{number}"));
    }
    for name in ["self/cwd", "self/root", "1/root", "1/cwd", "thread-self/cwd", "self/task/1/root"]
    {
        links.push(format!("/proc/{name}"));
    }
    links.retain(|text| is_first || !text.contains("/1/"));
    let mut all = Vec::new();
    for (index, text) in links.iter().enumerate() {
        let (link, again) = (format!("work{index}"), format!("again{index}"));
        symlink(text, image.join(&link)).unwrap();
        symlink(&link, image.join(&again)).unwrap();
        let is_number = text.contains("/fd/");
        all.push((format!("/{link}"), is_number));
        all.push((format!("/{again}/."), is_number));
        if !is_number {
            all.push((text.clone(), false));
            all.push((format!("/{again}/usr/../tmp"), false));
        }
    }
    all
}

/// None of these is a working directory. A number that is not open in the child is not there.
fn no_directory(dirs: &[(String, bool)], held: &[File], command: impl Fn() -> Command) {
    let mut through_links = 0;
    for (path, is_number) in dirs {
        let mut command = command();
        let error =
            command.current_dir(path).stdout(Stdio::null()).spawn().map(|mut child| child.wait());
        let error = error.expect_err(path);
        let errno = error.raw_os_error();
        let is_absent = *is_number && errno == Some(libc::ENOENT);
        assert!(is_absent || errno == Some(libc::ELOOP), "{path}: {error:?}");
        assert_eq!(error.step(), Some(Step::ChangeDirectory), "{path}: {error:?}");
        assert_eq!(error.path(), Some(Path::new(path)), "{error:?}");
        through_links += usize::from(!is_absent);
    }
    // Each of those that the caller has open is there in the child, by all its names.
    assert!(through_links > 4 * held.len(), "{through_links} of {}", dirs.len());
}

fn working_directories() {
    let held = open_directories();
    let last = held.iter().map(AsRawFd::as_raw_fd).max().unwrap() + 12;
    let image = dir();
    let dirs = magic_directories(image.path(), last, true);
    each_way(|choose| {
        for closes in [true, false] {
            no_directory(&dirs, &held, || {
                let mut command = inside(image.path(), "/bin/true");
                choose(&mut command);
                if closes {
                    command.close_other_fds();
                }
                command
            });
        }
    });
}

fn a_working_directory_of_the_host() {
    working_directories();
}

fn a_working_directory_of_the_host_without_openat2() {
    in_fork(|| {
        refuse(libc::SYS_openat2, libc::ENOSYS);
        working_directories();
    });
}

fn a_working_directory_in_an_entered_image() {
    let held = open_directories();
    let last = held.iter().map(AsRawFd::as_raw_fd).max().unwrap() + 12;
    let image = dir();
    let dirs = magic_directories(image.path(), last, false);
    each_way(|choose| {
        let there = Inside::new(image.path(), choose);
        assert_eq!(output(there.command("/bin/pwd").current_dir("/usr")), "/usr\n");
        no_directory(&dirs, &[], || there.command("/bin/true"));
    });
}

fn a_working_directory_below_a_root_dir() {
    let held = open_directories();
    with_root_dir(|image, command| {
        let dirs: Vec<_> = held.iter().map(|dir| format!("fd/{}", dir.as_raw_fd())).collect();
        for (index, name) in dirs.iter().map(String::as_str).chain(["cwd", "root"]).enumerate() {
            let link = image.join(format!("work{index}"));
            symlink(format!("/proc/self/{name}"), &link).unwrap();
            for path in [format!("/work{index}"), format!("/proc/self/{name}")] {
                let mut command = command(Path::new("/bin/true"));
                is_refused(command.current_dir(path), Step::ChangeDirectory, libc::ELOOP);
            }
        }
        let mut command = command(Path::new("/bin/pwd"));
        assert_eq!(output(command.current_dir("/usr")), "/usr\n");
    });
}
