//! Images with links that lead out of them: a program or a working directory inside is never found through a
//! magic link of proc, which would be the caller's own binary or a directory of the host.
//!
//! Each refusal is at the step and with the errno that the documentation names, and what is refused never ran.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use linux_namespaces::{
    Command, Enter, Error, ErrorKind, Mount, Namespace, NamespaceSet, NsFd, PidFd, Rootfs, Stdio,
    Step, Unshare,
};

use crate::files::{self, dir, fifo, script};
use crate::fork::{self, as_ordinary, in_fork};
use crate::harness::cases;
use crate::kernel::{self, refuse};
use crate::machine::Need::{NewProc, OtherIds, Root, UserNamespaces};
use crate::machine::{is_root, kernel_version};
use crate::program::{is_at, output};
use crate::sandbox::{new_mounts, staged, strict, with_programs};
use crate::stage;

cases! {
    a_working_directory_of_the_host [UserNamespaces, NewProc],
    a_working_directory_of_the_host_without_openat2 [UserNamespaces, NewProc],
    a_working_directory_in_an_entered_image [UserNamespaces, NewProc],
    a_working_directory_below_a_root_dir [UserNamespaces],
    the_callers_program [UserNamespaces, NewProc],
    the_callers_program_without_openat2 [UserNamespaces, NewProc],
    the_callers_program_in_an_entered_image [UserNamespaces, NewProc],
    the_callers_program_below_a_root_dir [UserNamespaces],
    the_callers_program_below_a_mount [UserNamespaces],
    the_callers_program_where_a_thread_has_gone [UserNamespaces, NewProc],
    the_callers_program_where_a_thread_has_come_back [Root],
    the_callers_program_in_a_child_without_exec [UserNamespaces, NewProc],
    the_callers_program_after_an_exec_that_failed [UserNamespaces],
    the_callers_program_where_a_thread_has_to_stay [UserNamespaces],
    other_files_where_a_thread_has_gone [UserNamespaces],
    links_to_the_root_as_mount_points [UserNamespaces, NewProc],
    an_interpreter_whose_path_is_too_long [UserNamespaces, NewProc],
    proc_self_exe_in_the_callers_root [UserNamespaces, NewProc],
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
            command.root_dir(File::open(image.path()).unwrap());
            command
        });
        names.for_each(|(name, _)| stage::unmount(image.path().join(name)));
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

/// A copy of a program of the host whose ELF interpreter is another one. `None` where that program has none.
pub(super) fn with_interpreter(path: &Path, interpreter: &str) -> Option<()> {
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

/// Also as before Linux 6.11, where `/proc` alone tells in which namespaces a thread is.
fn with_pidfds_and_without(work: fn(&dyn Fn())) {
    work(&|| ());
    work(&|| refuse(libc::SYS_pidfd_open, libc::ENOSYS));
}

/// A thread that is in an image itself: by a root of its own, or by entering.
fn the_callers_program_where_a_thread_has_gone() {
    with_pidfds_and_without(where_a_thread_has_gone);
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

/// By a handle and by a guard. From Linux 6.18 on the caller's own mount namespace is known again.
fn the_callers_program_where_a_thread_has_come_back() {
    with_pidfds_and_without(where_a_thread_has_come_back);
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
