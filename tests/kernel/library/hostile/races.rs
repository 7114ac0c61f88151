//! Images that their owner changes while programs are started in them, as fast as it can. A spawn may fail then;
//! if it succeeds, everything is as the command says.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use linux_namespaces::{Command, Mount, Overlay, Rootfs, Stdio};

use super::image::{each_way, inside};
use crate::files::{c_string, dir, script, set_mode};
use crate::fork::{Fork, end_with_parent, in_fork};
use crate::harness::cases;
use crate::kernel::{refuse, supervised, until};
use crate::machine::Need::{NewProc, OverlayModule, Root, UserNamespaces};
use crate::sandbox::{refuse_new_calls, with_programs};

cases! {
    a_proc_is_masked_wherever_it_is [UserNamespaces, NewProc],
    a_proc_is_masked_without_the_calls_of_linux_5_2 [UserNamespaces, NewProc],
    a_bind_is_masked_wherever_it_is [UserNamespaces, NewProc],
    a_bind_is_masked_without_the_calls_of_linux_5_2 [UserNamespaces, NewProc],
    the_same_directory_twice_is_masked_where_it_should_be [UserNamespaces, NewProc],
    a_program_that_becomes_the_callers [UserNamespaces],
    a_program_that_becomes_a_script [UserNamespaces],
    a_working_directory_that_becomes_one_of_the_host [UserNamespaces],
    the_callers_own_directory_is_not_exchanged_for_a_link [UserNamespaces],
    an_upper_directory_that_becomes_one_of_the_host [Root, OverlayModule],
    targets_that_lead_out_for_a_moment [UserNamespaces],
}

/// Exchanges pairs of names in a directory, in a process of its own, until it is dropped.
pub(super) struct Swapper {
    _fork: Fork,
    swaps: *const AtomicU64,
}

impl Swapper {
    pub(super) fn new(pairs: &[(PathBuf, PathBuf)]) -> Self {
        let pairs: Vec<_> =
            pairs.iter().map(|(one, other)| (c_string(one), c_string(other))).collect();
        // SAFETY: a new page, which both processes have.
        let swaps = unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let page = libc::mmap(std::ptr::null_mut(), 4096, access, flags, -1, 0);
            assert_ne!(page, libc::MAP_FAILED);
            page.cast_const().cast::<AtomicU64>()
        };
        let fork = Fork::start(|| {
            end_with_parent();
            // SAFETY: the page is there until the end of this process.
            let swaps = unsafe { &*swaps };
            loop {
                for (one, other) in &pairs {
                    let here = libc::AT_FDCWD;
                    // SAFETY: C strings.
                    let done = unsafe {
                        let flags = libc::RENAME_EXCHANGE;
                        let (one, other) = (one.as_ptr(), other.as_ptr());
                        libc::syscall(libc::SYS_renameat2, here, one, here, other, flags)
                    };
                    swaps.fetch_add(u64::from(done == 0), Relaxed);
                }
            }
        });
        let new = Self { _fork: fork, swaps };
        until(|| new.count() > 0);
        new
    }

    pub(super) fn count(&self) -> u64 {
        // SAFETY: the page is there until the end of this value.
        unsafe { &*self.swaps }.load(Relaxed)
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        // SAFETY: the page made above.
        unsafe { libc::munmap(self.swaps.cast_mut().cast(), 4096) };
    }
}

/// What became of the spawns of a trial.
#[derive(Debug, Default)]
struct Tally {
    ran: usize,
    refused: usize,
}

/// Spawns while names are exchanged, and has what each program wrote checked. Reports how many to stderr if `TELL` is
/// set.
fn meanwhile(
    pairs: &[(PathBuf, PathBuf)],
    spawns: usize,
    mut command: impl FnMut() -> Command,
    mut check: impl FnMut(&str),
) -> Tally {
    let swapper = Swapper::new(pairs);
    let mut tally = Tally::default();
    for _ in 0..spawns {
        match command().stdin(Stdio::null()).output() {
            Ok(output) => {
                tally.ran += 1;
                let errors = String::from_utf8_lossy(&output.stderr);
                let text = String::from_utf8_lossy(&output.stdout);
                check(&format!("{}\n{text}{errors}", output.status));
            }
            Err(_) => tally.refused += 1,
        }
    }
    let swaps = swapper.count();
    drop(swapper);
    if std::env::var_os("TELL").is_some() {
        eprintln!("{tally:?}, {swaps} swaps");
    }
    tally
}

/// The old interface of mounts alone.
fn without_new_calls(work: impl FnOnce()) {
    in_fork(|| {
        refuse_new_calls(libc::ENOSYS);
        refuse(libc::SYS_mount_setattr, libc::ENOSYS);
        work();
    });
}

const SPAWNS: usize = 200;

fn masked_proc() {
    let image = dir();
    for name in ["real", "evil"] {
        let at = image.path().join(name);
        fs::create_dir_all(at.join("sys")).unwrap();
        fs::write(at.join("version"), "").unwrap();
    }
    symlink("real", image.path().join("proc")).unwrap();
    symlink("evil", image.path().join("other")).unwrap();
    let pairs = [(image.path().join("proc"), image.path().join("other"))];
    let script = "for at in /real /evil; do
            test ! -e $at/self/mountinfo || { echo at $at; cat $at/self/mountinfo $at/version; }
        done";
    each_way(|choose| {
        let command = || {
            let mut command = inside(image.path(), "/bin/sh");
            choose(&mut command);
            command.args(["-ec", script]);
            command.mount(Mount::mask("/proc/version").unwrap());
            command.mount(Mount::read_only_path("/proc/sys").unwrap());
            command
        };
        let tally = meanwhile(&pairs, SPAWNS, command, |text| {
            let ats: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("at ")).collect();
            assert_eq!(ats.len(), 1, "{text}");
            let row = |path: &str| {
                let mut rows = text.lines().filter(|line| line.contains(&format!(" {path} ")));
                rows.next_back().unwrap_or_else(|| panic!("no {path}: {text}")).to_owned()
            };
            row(&format!("{}/version", ats[0]));
            assert!(row(&format!("{}/sys", ats[0])).contains(" ro,"), "{text}");
            assert!(!text.contains("Linux version"), "{text}");
        });
        assert!(tally.ran > 0, "{tally:?}");
    });
}

fn a_proc_is_masked_wherever_it_is() {
    masked_proc();
}

fn a_proc_is_masked_without_the_calls_of_linux_5_2() {
    without_new_calls(masked_proc);
}

fn masked_bind() {
    let (image, data) = (dir(), dir());
    fs::create_dir(data.path().join("private")).unwrap();
    fs::write(data.path().join("private/key"), "secret").unwrap();
    fs::write(data.path().join("key"), "secret").unwrap();
    for name in ["real", "evil"] {
        fs::create_dir_all(image.path().join(name).join("private")).unwrap();
        fs::write(image.path().join(name).join("key"), "").unwrap();
    }
    symlink("real", image.path().join("data")).unwrap();
    symlink("evil", image.path().join("other")).unwrap();
    let pairs = [(image.path().join("data"), image.path().join("other"))];
    each_way(|choose| {
        let command = || {
            let mut command = inside(image.path(), "/bin/sh");
            choose(&mut command);
            command.args(["-c", "cat /*/key /*/private/key; ls /proc/self/fd"]);
            command.mount(Mount::bind(data.path(), "/data").unwrap());
            command.mount(Mount::mask("/data/key").unwrap());
            command.mount(Mount::mask("/data/private").unwrap());
            command
        };
        let tally = meanwhile(&pairs, SPAWNS, command, |text| {
            assert!(!text.contains("secret"), "{text}");
        });
        assert!(tally.ran > 0, "{tally:?}");
    });
}

fn a_bind_is_masked_wherever_it_is() {
    masked_bind();
}

fn a_bind_is_masked_without_the_calls_of_linux_5_2() {
    without_new_calls(masked_bind);
}

/// mount(2) returns no descriptor of what it has mounted, which is looked up again: then the other one is there.
fn the_same_directory_twice_is_masked_where_it_should_be() {
    let (image, data) = (dir(), dir());
    fs::write(data.path().join("key"), "secret").unwrap();
    for name in ["first", "real", "first-proc", "real-proc"] {
        fs::create_dir(image.path().join(name)).unwrap();
    }
    let at = |name: &str| image.path().join(name);
    symlink("real", at("data")).unwrap();
    symlink("first", at("other")).unwrap();
    symlink("real-proc", at("proc2")).unwrap();
    symlink("first-proc", at("other-proc")).unwrap();
    let pairs = [(at("data"), at("other")), (at("proc2"), at("other-proc"))];
    without_new_calls(|| {
        each_way(|choose| {
            let command = || {
                let mut command = inside(image.path(), "/bin/sh");
                choose(&mut command);
                command.args(["-c", "cat /real/key /real-proc/version"]);
                command.mount(Mount::bind(data.path(), "/first").unwrap());
                command.mount(Mount::bind(data.path(), "/data").unwrap());
                command.mount(Mount::mask("/data/key").unwrap());
                command.mount(Mount::proc("/first-proc").unwrap());
                command.mount(Mount::proc("/proc2").unwrap());
                command.mount(Mount::mask("/proc2/version").unwrap());
                command
            };
            let tally = meanwhile(&pairs, SPAWNS / 2, command, |text| {
                assert!(!text.contains("secret") && !text.contains("Linux version"), "{text}");
            });
            assert!(tally.ran > 0, "{tally:?}");
        });
    });
}

/// A program of the image that is a copy of the host's echo.
fn good_program(path: &Path) {
    fs::copy("/bin/echo", path).unwrap();
    set_mode(path, 0o755);
}

fn a_program_that_becomes_the_callers() {
    let image = dir();
    let at = |name: &str| image.path().join(name);
    good_program(&at("app"));
    symlink("/proc/self/exe", at("other")).unwrap();
    fs::create_dir(at("dir")).unwrap();
    good_program(&at("dir/echo"));
    let held = File::open("/bin").unwrap();
    symlink(format!("/proc/self/fd/{}", held.as_raw_fd()), at("dir2")).unwrap();
    script(at("script"), "#!/app\n");
    symlink("/app", at("link")).unwrap();
    symlink("/other", at("link2")).unwrap();
    let pair = |one: &str, other: &str| (at(one), at(other));
    let pairs = [pair("app", "other"), pair("dir", "dir2"), pair("link", "link2")];
    each_way(|choose| {
        for program in ["/app", "/dir/echo", "/script", "/link"] {
            let command = || {
                let mut command = inside(image.path(), program);
                choose(&mut command);
                command.args(["good", "--no-such-option"]);
                command
            };
            let expected = if program == "/script" { "/script good" } else { "good" };
            let expected = format!("exit status: 0\n{expected} --no-such-option\n");
            meanwhile(&pairs, SPAWNS / 4, command, |text| assert_eq!(text, expected, "{program}"));
        }
    });
}

/// The kernel takes a script's interpreter by its path, and knows nothing of a root that is not trusted. Nor does
/// what is registered for programs of other machines.
fn a_program_that_becomes_a_script() {
    let image = dir();
    let at = |name: &str| image.path().join(name);
    good_program(&at("app"));
    let mut foreign = fs::read("/bin/echo").unwrap();
    // Of a machine that nobody has.
    foreign[18..20].copy_from_slice(&[0x77, 0x77]);
    fs::write(at("foreign"), foreign).unwrap();
    script(at("script"), "#!/proc/self/exe --help\n");
    set_mode(at("foreign"), 0o755);
    script(at("script2"), "#!/proc/self/exe --help\n");
    let pairs = [(at("app"), at("script")), (at("foreign"), at("script2"))];
    let proc = |command: &mut Command| {
        command.mount(Mount::dev("/dev").unwrap());
    };
    each_way(|choose| {
        for program in ["/app", "/foreign"] {
            let command = || {
                let mut command = inside(image.path(), program);
                choose(&mut command);
                proc(&mut command);
                command.arg("good");
                command
            };
            meanwhile(&pairs, SPAWNS, command, |text| assert_eq!(text, "exit status: 0\ngood\n"));
        }
    });
}

fn a_working_directory_that_becomes_one_of_the_host() {
    let (image, outside) = (dir(), dir());
    let at = |name: &str| image.path().join(name);
    fs::create_dir_all(at("work/deep")).unwrap();
    fs::write(at("work/deep/inside"), "").unwrap();
    fs::create_dir(outside.path().join("deep")).unwrap();
    let held = File::open(outside.path()).unwrap();
    symlink(format!("/proc/self/fd/{}", held.as_raw_fd()), at("other")).unwrap();
    let pairs = [(at("work"), at("other"))];
    let without_openat2 = |work: &dyn Fn()| {
        work();
        in_fork(|| {
            refuse(libc::SYS_openat2, libc::ENOSYS);
            work();
        });
    };
    without_openat2(&|| {
        each_way(|choose| {
            let command = || {
                let mut command = inside(image.path(), "/bin/ls");
                choose(&mut command);
                command.current_dir("/work/deep");
                command
            };
            let check = |text: &str| assert_eq!(text, "exit status: 0\ninside\n");
            meanwhile(&pairs, SPAWNS / 2, command, check);
        });
    });
}

/// A directory above the caller's belongs to somebody else, who puts a link in its place.
fn the_callers_own_directory_is_not_exchanged_for_a_link() {
    in_fork(|| {
        let (theirs, outside) = (dir(), dir());
        let at = |name: &str| theirs.path().join(name);
        fs::create_dir_all(at("work/deep")).unwrap();
        fs::create_dir(outside.path().join("deep")).unwrap();
        fs::write(outside.path().join("deep/outside"), "").unwrap();
        symlink(outside.path(), at("other")).unwrap();
        std::env::set_current_dir(at("work/deep")).unwrap();
        let pairs = [(at("work"), at("other"))];
        each_way(|choose| {
            let command = || {
                let mut command = Command::new("/bin/ls");
                choose(command.mount(Mount::tmpfs("/sys").unwrap()));
                command
            };
            meanwhile(&pairs, SPAWNS, command, |text| assert_eq!(text, "exit status: 0\n"));
        });
    });
}

/// The directory with the changes of an overlay lies in one that belongs to somebody else.
fn an_upper_directory_that_becomes_one_of_the_host() {
    let (theirs, outside, lower) = (dir(), dir(), dir());
    let at = |name: &str| theirs.path().join(name);
    fs::create_dir_all(at("upper")).unwrap();
    fs::create_dir_all(at("upper.work")).unwrap();
    let [changes, work] = ["changes", "work"].map(|name| outside.path().join(name));
    fs::create_dir(&changes).unwrap();
    fs::create_dir_all(work.join("work/kept")).unwrap();
    symlink(&changes, at("other")).unwrap();
    symlink(&work, at("other.work")).unwrap();
    let untouched = |when: &str| {
        assert_eq!(fs::read_dir(&changes).unwrap().count(), 0, "written outside: {when}");
        assert!(work.join("work/kept").exists(), "emptied outside: {when}");
    };
    let command = || {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo x >/x"]).rootfs(Rootfs::tmpfs());
        let overlay = Overlay::new([lower.path()]).unwrap().upper(at("upper")).unwrap();
        command.rootfs(Rootfs::overlay(overlay));
        with_programs(&mut command);
        command
    };
    let exchange = |name: &str, other: &str| {
        let text = |name: &str| std::ffi::CString::new(at(name).to_str().unwrap()).unwrap();
        let (one, other, here) = (text(name), text(other), libc::AT_FDCWD);
        let flags = libc::RENAME_EXCHANGE;
        // SAFETY: C strings.
        let done = unsafe {
            libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, other.as_ptr(), flags)
        };
        assert_eq!(done, 0);
    };
    // When the child is about to call mount(2), for the first time, the second, ...
    for names in [&["upper"][..], &["upper.work"], &["upper", "upper.work"]] {
        let exchange = || {
            names.iter().for_each(|name| exchange(name, &name.replace("upper", "other")));
        };
        for moment in 0..4 {
            in_fork(|| {
                let mut calls = 0;
                let meet = |_| {
                    if calls == moment {
                        exchange();
                    }
                    calls += 1;
                    true
                };
                let status = supervised(libc::SYS_mount, meet, || command().status());
                if calls > moment {
                    exchange();
                    untouched(&format!("{names:?} at {moment}: {status:?}"));
                    // By mount(2) alone there are calls after the overlay's, too late for it.
                    let is_named = || fs::remove_file(at("upper/x")).is_ok();
                    assert!(status.is_err() || is_named(), "{names:?} at {moment}: {status:?}");
                }
            });
        }
    }
    let pairs = [(at("upper"), at("other")), (at("upper.work"), at("other.work"))];
    meanwhile(&pairs, SPAWNS, command, |_| ());
    untouched("while it was exchanged all the time");
}

/// Mount points are created, and things mounted, in the image alone.
fn targets_that_lead_out_for_a_moment() {
    let (image, outside) = (dir(), dir());
    let at = |name: &str| image.path().join(name);
    fs::create_dir(at("dir")).unwrap();
    symlink(outside.path(), at("abs")).unwrap();
    let up = "../".repeat(40);
    symlink(format!("{up}{}", outside.path().display()), at("rel")).unwrap();
    fs::create_dir(at("dir2")).unwrap();
    let pairs = [(at("dir"), at("abs")), (at("dir2"), at("rel"))];
    let number = AtomicU64::new(0);
    each_way(|choose| {
        let command = || {
            let number = number.fetch_add(1, Relaxed);
            let mut command = inside(image.path(), "/bin/true");
            choose(&mut command);
            for name in ["dir", "dir2", "abs", "rel"] {
                command.mount(Mount::tmpfs(format!("/{name}/{number}/new")).unwrap());
            }
            command
        };
        meanwhile(&pairs, SPAWNS, command, |_| ());
    });
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "made outside");
}
