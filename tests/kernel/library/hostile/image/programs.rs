//! A program inside is never the caller's own, whatever link leads there.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use linux_namespaces::{Command, Mount, NamespaceSet, Step};

use super::{Inside, each_way, inside, is_refused, with_root_dir};
use crate::files::{self, dir, script};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::refuse;
use crate::machine::Need::{NewProc, UserNamespaces};
use crate::machine::kernel_version;
use crate::program::output;

cases! {
    the_callers_program [UserNamespaces, NewProc],
    the_callers_program_without_openat2 [UserNamespaces, NewProc],
    the_callers_program_in_an_entered_image [UserNamespaces, NewProc],
    the_callers_program_below_a_root_dir [UserNamespaces],
    the_callers_program_below_a_mount [UserNamespaces],
    an_interpreter_whose_path_is_too_long [UserNamespaces, NewProc],
    proc_self_exe_in_the_callers_root [UserNamespaces, NewProc],
}

/// A copy of a program of the host whose ELF interpreter is another one. `None` where that program has none.
fn with_interpreter(path: &Path, interpreter: &str) -> Option<()> {
    let mut bytes = fs::read("/bin/true").unwrap();
    let at = bytes.windows(4).take(4096).position(|it| it == b"/lib")?;
    let end = at + bytes[at..].iter().position(|byte| *byte == 0)?;
    assert!(interpreter.len() <= end - at);
    bytes[at..end].fill(0);
    bytes[at..at + interpreter.len()].copy_from_slice(interpreter.as_bytes());
    files::write(path, bytes, 0o755);
    Some(())
}

/// Fills an image with programs that would be the caller's, and returns their names. `is_first` says whether the
/// child is PID 1 there.
fn programs(image: &Path, directory: &File, is_first: bool) -> Vec<String> {
    let mut all = Vec::new();
    let link = |text: &str, name: &str| {
        symlink(text, image.join(name)).unwrap();
        format!("/{name}")
    };
    all.push(link("/proc/self/exe", "app"));
    all.push(link("app", "app2"));
    all.push(link("proc/thread-self/exe", "app3"));
    all.push(link("/proc/1/exe", "app4"));
    let (number, test) = (directory.as_raw_fd(), "usr/bin/true");
    let magic = link(&format!("/proc/self/fd/{number}"), "dir");
    all.push(format!("{magic}/{test}"));
    link(&format!("dir/{test}"), "through-dir");
    all.push("/through-dir".to_owned());
    all.push(format!("/proc/self/fd/{number}/{test}"));
    all.extend(
        ["/proc/self/exe", "/proc/1/exe", "/proc/self/root/usr/bin/true"].map(str::to_owned),
    );
    for (name, first) in [
        ("script", "#!/proc/self/exe"),
        ("script2", "#! /app2 argument"),
        ("script3", "#!/script"),
        ("script4", "#!proc/self/exe"),
        ("script5", "#!/dir/usr/bin/true"),
    ] {
        script(image.join(name), &format!("{first}\n"));
        all.push(format!("/{name}"));
    }
    for (name, interpreter) in
        [("elf", "/proc/self/exe"), ("elf2", "/app2"), ("elf3", "/dir/lib/ld")]
    {
        if with_interpreter(&image.join(name), interpreter).is_some() {
            all.push(format!("/{name}"));
        }
    }
    // The kernel looks at neither the class nor the byte order that the file claims to have.
    for (name, at, value) in [("elf4", 4, 1), ("elf5", 5, 2), ("elf6", 4, 0)] {
        if with_interpreter(&image.join(name), "/proc/self/exe").is_some() {
            let mut bytes = fs::read(image.join(name)).unwrap();
            bytes[at] = value;
            fs::write(image.join(name), bytes).unwrap();
            all.push(format!("/{name}"));
        }
    }
    script(image.join("script6"), "#!/elf\n");
    all.extend(image.join("elf").exists().then(|| "/script6".to_owned()));
    all.retain(|name| is_first || name != "/app4" && !name.contains("/1/"));
    all
}

fn is_no_program(names: &[String], command: impl Fn(&Path) -> Command) {
    for name in names {
        let mut command = command(Path::new(name));
        is_refused(command.current_dir("/").arg("--help"), Step::Exec, libc::ELOOP);
    }
}

fn programs_of_the_caller() {
    let held = File::open("/").unwrap();
    let image = dir();
    let names = programs(image.path(), &held, true);
    assert!(names.len() > 14, "{names:?}");
    each_way(|choose| {
        let command = |name: &Path| {
            let mut command = inside(image.path(), name);
            choose(&mut command);
            command
        };
        is_no_program(&names, |name| {
            let mut command = command(name);
            // Before Linux 5.11 they are closed before, so that the links among these lead nowhere.
            if kernel_version() >= (5, 11) {
                command.close_other_fds();
            }
            command
        });
        // Relative to a working directory, and by PATH behind a directory where it is not.
        is_no_program(&["app".to_owned(), "script".to_owned()], |name| {
            let mut command = command(name);
            command.env("PATH", "/no/such:/usr:/");
            command
        });
        is_no_program(&["./app".to_owned(), "./usr/../app2".to_owned()], command);
    });
}

fn the_callers_program() {
    programs_of_the_caller();
}

fn the_callers_program_without_openat2() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        in_fork(|| {
            refuse(libc::SYS_openat2, errno);
            programs_of_the_caller();
        });
    }
}

fn the_callers_program_in_an_entered_image() {
    let held = File::open("/").unwrap();
    let image = dir();
    let names = programs(image.path(), &held, false);
    each_way(|choose| {
        let there = Inside::new(image.path(), choose);
        is_no_program(&names, |name| there.command(name));
        is_no_program(&["app".to_owned()], |name| {
            let mut command = there.command(name);
            command.env("PATH", "/");
            command
        });
    });
}

fn the_callers_program_below_a_root_dir() {
    let held = File::open("/").unwrap();
    with_root_dir(|image, command| {
        let names = programs(image, &held, false);
        is_no_program(&names, command);
    });
}

/// In the caller's own root, with an image mounted somewhere.
fn the_callers_program_below_a_mount() {
    let image = dir();
    symlink("/proc/self/exe", image.path().join("app")).unwrap();
    each_way(|choose| {
        for path in
            ["/sys/app", "/proc/../sys/app", "/proc/self/cwd/app", "/proc/self/root/sys/app"]
        {
            let mut command = Command::new(path);
            choose(command.mount(Mount::bind(image.path(), "/sys").unwrap()).arg("--help"));
            is_refused(command.current_dir("/sys"), Step::Exec, libc::ELOOP);
        }
    });
}

/// Without openat2(2) the lookup has no more room than one path takes. The kernel would follow these links.
fn an_interpreter_whose_path_is_too_long() {
    let image = dir();
    let at = |name: &str| image.path().join(name);
    symlink(format!("{}dir2", "./".repeat(1500)), at("dir")).unwrap();
    symlink(format!("dir/{}proc/self/exe", "./".repeat(1000)), at("long")).unwrap();
    fs::create_dir(at("dir2")).unwrap();
    symlink("../proc", at("dir2/proc")).unwrap();
    if with_interpreter(&at("app"), "/long").is_none() {
        return;
    }
    each_way(|choose| {
        let command = || {
            let mut command = inside(image.path(), "/app");
            choose(&mut command);
            command
        };
        is_refused(&mut command(), Step::Exec, libc::ELOOP);
        in_fork(|| {
            refuse(libc::SYS_openat2, libc::ENOSYS);
            is_refused(&mut command(), Step::Exec, libc::ENAMETOOLONG);
        });
    });
}

/// What stays as it was: the caller's own program, started again where nobody else laid out the root.
fn proc_self_exe_in_the_callers_root() {
    let is_own = |command: &mut Command| {
        let text = output(command.arg("--help"));
        assert!(text.contains("--test-threads"), "{text}");
    };
    is_own(&mut Command::new("/proc/self/exe"));
    each_way(|choose| {
        let mut command = Command::new("/proc/self/exe");
        choose(&mut command);
        is_own(&mut command);
        let mut command = Command::new("/proc/self/exe");
        choose(command.mount(Mount::tmpfs("/sys").unwrap()));
        is_own(&mut command);
        let program = File::open(std::env::current_exe().unwrap()).unwrap();
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        choose(command.mount(Mount::tmpfs("/sys").unwrap()));
        is_own(&mut command);
        let mut command = Command::new("/proc/self/exe");
        choose(command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap()));
        is_own(&mut command);
    });
}
