//! What a root costs an honest image: nothing. Programs, scripts and working directories inside are found as
//! `execve(2)` and `chdir(2)` find them, with the same arguments and the same errors.

pub(crate) mod directories;

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use linux_namespaces::{Command, Mount, Rootfs, Step};

use super::image::{each_way, inside, is_refused};
use crate::files::{self, c_string, dir, script};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::refuse;
use crate::machine::Need::{NewProc, UserNamespaces};
use crate::program::{is_at, output};
use crate::sandbox::with_programs;

cases! {
    programs_are_found_as_execve_finds_them [UserNamespaces],
    programs_are_found_so_without_openat2 [UserNamespaces],
    the_name_of_a_program [UserNamespaces, NewProc],
    path_is_searched_as_execvp_does [UserNamespaces, NewProc],
    files_that_others_would_run [UserNamespaces, NewProc],
    scripts_that_nobody_may_execute [UserNamespaces, NewProc],
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
