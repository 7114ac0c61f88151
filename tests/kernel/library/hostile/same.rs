//! What a root costs an honest image: nothing. Programs, scripts and working directories inside are found as
//! `execve(2)` and `chdir(2)` find them, with the same arguments and the same errors.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use linux_namespaces::{Command, ErrorKind, Mount, NamespaceSet, Rootfs, Step};

use super::image::{each_way, inside, is_refused};
use super::races::Swapper;
use crate::files::{self, c_string, dir, script};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::refuse;
use crate::machine::Need::{NewProc, UserNamespaces};
use crate::program::{is_at, output};
use crate::sandbox::{new_mounts, refuse_new_calls, staged, strict, with_programs};
use crate::stage;

cases! {
    programs_are_found_as_execve_finds_them [UserNamespaces],
    programs_are_found_so_without_openat2 [UserNamespaces],
    the_name_of_a_program [UserNamespaces, NewProc],
    working_directories_are_found_as_chdir_finds_them [UserNamespaces],
    path_is_searched_as_execvp_does [UserNamespaces, NewProc],
    files_that_others_would_run [UserNamespaces, NewProc],
    scripts_that_nobody_may_execute [UserNamespaces, NewProc],
    nobody_stays_beneath_a_mount [UserNamespaces],
    a_directory_that_is_gone [UserNamespaces],
    a_thread_does_not_stay_beneath_a_mount [UserNamespaces],
    the_flags_of_a_source_survive [UserNamespaces, NewProc],
}

/// What a run came to: what it wrote, or the error number of `execve(2)`.
type Outcome = Result<String, i32>;

/// By the kernel alone: `execve(2)` of exactly this path, in this working directory.
fn by_the_kernel(at: &Path, path: &str) -> Outcome {
    let program = c_string(path);
    let args = [path, "one", "two words", ""].map(c_string);
    let mut command = std::process::Command::new("/bin/true");
    command.current_dir(at);
    // SAFETY: system calls only, and arrays that end with a null pointer.
    unsafe {
        command.pre_exec(move || {
            let args: [_; 5] =
                std::array::from_fn(|at| args.get(at).map_or(std::ptr::null(), |arg| arg.as_ptr()));
            let env = [c"A=b".as_ptr(), std::ptr::null()];
            libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr());
            Err(io::Error::last_os_error())
        });
    }
    match command.output() {
        Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => Err(error.raw_os_error().unwrap()),
    }
}

/// In a root where the same directory has the same path.
fn in_a_root(at: &Path, path: &str, choose: &dyn Fn(&mut Command)) -> Outcome {
    let mut command = Command::new(path);
    command.args(["one", "two words", ""]).env_clear().env("A", "b").current_dir(at);
    choose(command.rootfs(Rootfs::tmpfs()));
    with_programs(&mut command);
    command.mount(Mount::bind(at, at).unwrap()).mount(Mount::bind("/proc", "/proc").unwrap());
    match command.output() {
        Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            assert_eq!(error.step(), Some(Step::Exec), "{path}: {error:?}");
            Err(error.raw_os_error().unwrap())
        }
    }
}

/// Fills a directory, and returns paths of programs in it.
fn table(at: &Path) -> Vec<String> {
    let absolute = |name: &str| at.join(name).to_str().unwrap().to_owned();
    let link = |text: &str, name: &str| symlink(text, at.join(name)).unwrap();
    fs::copy("/bin/echo", at.join("echo")).unwrap();
    fs::create_dir_all(at.join("dir/deep")).unwrap();
    fs::copy("/bin/echo", at.join("dir/echo")).unwrap();
    fs::write(at.join("file"), "#!/bin/sh\necho no\n").unwrap();
    for (name, text) in [
        ("empty", ""),
        ("text", "echo text\n"),
        ("bang", "#!\n"),
        ("blank", "#!  \t \n"),
        ("lost", "#!/no/such/interpreter\n"),
        ("crlf", "#!/bin/sh\r\necho no\r\n"),
        ("to-dir", "#!/bin\n"),
        ("to-file", &format!("#!{}\n", absolute("file"))),
        ("below-file", &format!("#!{}/x\n", absolute("file"))),
        ("s1", &format!("#!{}\n", absolute("echo"))),
        ("s2", &format!("#! \t{} -e  two words \t\n", absolute("echo"))),
        ("s3", &format!("#!{} s3 argument\n", absolute("s2"))),
        ("s4", &format!("#!{}\n", absolute("s3"))),
        ("s5", &format!("#!{} of five\n", absolute("s4"))),
        ("s6", &format!("#!{}\n", absolute("s5"))),
        ("s7", &format!("#!{}\n", absolute("s6"))),
        ("itself", &format!("#!{}\n", absolute("itself"))),
        ("no-newline", &format!("#!{}", absolute("echo"))),
        ("relative", "#!echo of relative\n"),
        ("relative2", "#!./dir/../echo\n"),
        ("cut", &format!("#!{} {}\n", absolute("echo"), "x".repeat(400))),
        ("too-long", &format!("#!/bin/{}sh\n", "./".repeat(200))),
        ("blank-end", &format!("#!{} ", absolute("echo"))),
        ("argument-end", &format!("#!{} -x \t", absolute("echo"))),
        ("argument-nul", &format!("#!{} -x \0 -y\n", absolute("echo"))),
        ("nul", &format!("#!{}\0 rest\n", absolute("echo"))),
        ("by-link", &format!("#!{} y\n", absolute("l1"))),
        (
            "sh",
            "#!/bin/sh\necho \"$0\"; for arg; do echo \"[$arg]\"; done; echo $A; tr '\\0' '|' </proc/self/cmdline\n",
        ),
        ("sh-e", "#!/bin/sh -eu\necho $-\n"),
        (&"n".repeat(255), &format!("#!{}\n", absolute("echo"))),
    ] {
        script(at.join(name), text);
    }
    link("echo", "l1");
    link(&absolute("l1"), "l2");
    link("dir", "ldir");
    link("../dir/./echo", "dir/up");
    link("nowhere", "dangling");
    link("loop", "loop");
    link("dir/", "to-dir-link");
    link("echo/", "slash-link");
    link("s2", "script-link");
    link("echo", "c0");
    (1..45).for_each(|number| link(&format!("c{}", number - 1), &format!("c{number}")));
    let mut all: Vec<_> = [
        "echo",
        "dir/echo",
        "file",
        "empty",
        "text",
        "bang",
        "blank",
        "lost",
        "crlf",
        "to-dir",
        "to-file",
        "below-file",
        "s1",
        "s2",
        "s3",
        "s4",
        "s5",
        "s6",
        "s7",
        "itself",
        "no-newline",
        "relative",
        "relative2",
        "cut",
        "too-long",
        "blank-end",
        "argument-end",
        "argument-nul",
        "nul",
        "by-link",
        "sh",
        "sh-e",
        "l1",
        "l2",
        "ldir/echo",
        "dir/up",
        "ldir/up",
        "dangling",
        "loop",
        "loop/x",
        "to-dir-link",
        "slash-link",
        "script-link",
        "dir",
        "dir/",
        "dir/.",
        "dir/..",
        "echo/",
        "echo/.",
        "echo/x",
        "sh/",
        "no/such",
        "missing",
        "ldir//.//echo",
        "dir/../echo",
        "c1",
        "c38",
        "c39",
        "c40",
        "c41",
        "c44",
        "ldir/../c37",
        "ldir/../c38",
        "ldir/../c39",
        "ldir/../c40",
    ]
    .map(str::to_owned)
    .into();
    all.push("n".repeat(255));
    all.push("n".repeat(256));
    let mut both = all.clone();
    both.extend(all.iter().map(|name| absolute(name)));
    both.retain(|path| path.contains('/'));
    both.extend(all.iter().map(|name| format!("./{name}")));
    both.push(String::new());
    let long = |length: usize| {
        let name = absolute("echo");
        let rest = length - name.len();
        format!("{}{}{name}", "/".repeat(rest % 2), "/.".repeat(rest / 2))
    };
    both.extend([4094, 4095, 4096].map(long));
    both
}

/// Where the kernel begins a lookup again, it goes on counting links: near 40 it may say ELOOP.
fn steady(path: &str, run: impl Fn() -> Outcome) -> Outcome {
    let is_near = |answer: &Outcome| path.contains("c3") && *answer == Err(libc::ELOOP);
    (0..20).map(|_| run()).find(|answer| !is_near(answer)).unwrap_or_else(run)
}

fn compare() {
    let at = dir();
    let at = at.path();
    let table = table(at);
    let mut ran = 0;
    for path in &table {
        let expected = steady(path, || by_the_kernel(at, path));
        ran += usize::from(expected.is_ok());
        each_way(|choose| {
            let got = steady(path, || in_a_root(at, path, choose));
            let short = path.get(..80).unwrap_or(path);
            assert_eq!(got, expected, "{short:?} of {} bytes", path.len());
        });
    }
    assert!(ran > 60 && table.len() > ran + 60, "{ran} of {}", table.len());
}

fn programs_are_found_as_execve_finds_them() {
    compare();
}

fn programs_are_found_so_without_openat2() {
    in_fork(|| {
        refuse(libc::SYS_openat2, libc::ENOSYS);
        compare();
    });
}

fn the_name_of_a_program() {
    let image = dir();
    fs::create_dir_all(image.path().join("real")).unwrap();
    fs::copy("/bin/cat", image.path().join("real/show")).unwrap();
    symlink("real", image.path().join("link")).unwrap();
    symlink("link/show", image.path().join("other")).unwrap();
    each_way(|choose| {
        for program in ["/real/show", "/link/show", "/other"] {
            let mut command = inside(image.path(), program);
            choose(command.arg("/proc/self/comm"));
            assert_eq!(output(&mut command), "show\n");
        }
    });
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

fn path_is_searched_as_execvp_does() {
    let image = dir();
    let at = |name: &str| image.path().join(name);
    for name in ["a", "b", "c"] {
        fs::create_dir(at(name)).unwrap();
    }
    files::write(at("a/tool"), "", 0o644);
    script(at("b/tool"), "#!/bin/echo\n");
    fs::write(at("file"), "").unwrap();
    symlink("b", at("link")).unwrap();
    symlink("nowhere", at("c/tool")).unwrap();
    let run = |path: &str, choose: &dyn Fn(&mut Command)| {
        let mut command = inside(image.path(), "tool");
        choose(command.env("PATH", path).current_dir("/b"));
        command.output().map(|output| String::from_utf8(output.stdout).unwrap())
    };
    each_way(|choose| {
        for (path, found) in [
            ("/a:/b", "/b/tool"),
            ("/no/such:/file:/file/x:/c:/link", "/link/tool"),
            ("/c::/a", "./tool"),
            ("../link", "../link/tool"),
        ] {
            assert_eq!(run(path, choose).unwrap(), format!("{found}\n"), "{path}");
        }
        for (path, errno) in [("/a:/c", libc::EACCES), ("/c:/file", libc::ENOENT)] {
            let error = run(path, choose).unwrap_err();
            is_at(&error, Step::Exec, errno);
        }
    });
}

/// For programs of other machines binfmt_misc would open an interpreter by a path of the image.
fn files_that_others_would_run() {
    let image = dir();
    let mut bytes = fs::read("/bin/true").unwrap();
    bytes[18..20].copy_from_slice(&[0x77, 0x77]);
    files::write(image.path().join("foreign"), bytes, 0o755);
    each_way(|choose| {
        let mut command = inside(image.path(), "/foreign");
        choose(&mut command);
        is_refused(&mut command, Step::Exec, libc::ENOEXEC);
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

/// Where a filter refuses faccessat2(2), too, with which exec's own rules are asked for.
fn scripts_that_nobody_may_execute() {
    const FACCESSAT2: libc::c_long = 439;
    let image = dir();
    script(image.path().join("script"), "#!/bin/echo yes\n");
    files::write(image.path().join("text"), "#!/bin/echo no\n", 0o644);
    let check = || {
        each_way(|choose| {
            let command = |name: &str| {
                let mut command = inside(image.path(), name);
                choose(&mut command);
                command
            };
            assert_eq!(output(&mut command("/script")), "yes /script\n");
            is_refused(&mut command("/text"), Step::Exec, libc::EACCES);
        });
    };
    check();
    for errno in [libc::ENOSYS, libc::EPERM] {
        in_fork(|| {
            refuse(FACCESSAT2, errno);
            check();
        });
    }
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
