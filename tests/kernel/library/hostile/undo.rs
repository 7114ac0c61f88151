//! Root inside against masks and read-only mounts: who has capabilities over a mount namespace can undo them, and
//! with `lock_mounts` nobody inside can. Every attack is this test binary, started again as the program.

pub(crate) mod attacks;

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use linux_namespaces::{Command, Init, Mount, NamespaceSet};

use super::image::each_way;
use crate::action;
use crate::files::{c_string, dir, set_mode};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{InitialUserNamespace, NewProc, OtherIds, Root, UserNamespaces};
use crate::machine::{is_root, kernel_version};
use crate::program::output;
use crate::sandbox::strict;
use crate::stage;

cases! {
    root_inside_can_undo_mounts [UserNamespaces],
    nobody_undoes_locked_mounts [UserNamespaces, NewProc],
    a_new_proc_shows_what_is_masked_without_the_lock [UserNamespaces, NewProc],
    nobody_undoes_them_without_a_user_namespace [Root, OtherIds],
    a_set_user_id_program_does_not [Root, OtherIds],
    processes_of_others_are_a_way_around [Root, OtherIds],
    the_kernel_s_settings_are_a_way_around_for_root [Root, UserNamespaces, InitialUserNamespace],
    the_capabilities_that_are_left [UserNamespaces],
}

/// What needs capabilities over the mount namespace.
const BY_MOUNTS: &[&str] =
    &["umount", "detach", "remount", "setattr", "move", "bind", "rbind", "clone", "pivot", "cover"];
/// What does not reach anything in any user namespace.
const OTHERS: &[&str] =
    &["nothing", "setns", "capset", "handle", "mknod", "init", "nested", "nested-pivot"];

/// A directory with something masked, and something that is read-only.
struct Masked {
    dir: tempfile::TempDir,
    handle: String,
}

impl Masked {
    fn new() -> Self {
        let dir = dir();
        for name in ["secret", "ro", "view"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            set_mode(dir.path().join(name), 0o777);
        }
        fs::write(dir.path().join("secret/key"), "hidden").unwrap();
        fs::write(dir.path().join("masked"), "hidden").unwrap();
        let handle = handle_of(&dir.path().join("secret/key"));
        Self { dir, handle }
    }

    /// An attack, with these options.
    fn command(&self, attack: &str, choose: &dyn Fn(&mut Command)) -> Command {
        let at = self.dir.path();
        // Not by /proc/self/exe, which below a new proc would be looked up anew.
        let mut command = action::command(&format!("undo={attack}"));
        command.env("AT", at).env("HANDLE", &self.handle);
        command.env("VICTIM", std::process::id().to_string()).current_dir("/");
        command.mount(Mount::mask(at.join("secret")).unwrap());
        command.mount(Mount::mask(at.join("masked")).unwrap());
        command.mount(Mount::read_only_path(at.join("ro")).unwrap());
        choose(&mut command);
        command
    }

    fn attack(&self, attack: &str, choose: &dyn Fn(&mut Command)) -> bool {
        let mut command = self.command(attack, choose);
        let text = output(&mut command);
        fs::remove_file(self.dir.path().join("ro/x")).ok();
        assert!(["reached\n", "not reached\n"].contains(&&*text), "{text}");
        text == "reached\n"
    }
}

/// The bytes of a file handle as numbers; empty where the file system has none.
fn handle_of(path: &Path) -> String {
    let mut handle = [0_u32; 34];
    handle[0] = 128;
    let path = c_string(path);
    let mut mount = 0;
    // SAFETY: a C string, room for a handle, and a number to write.
    let done = unsafe {
        let at = handle.as_mut_ptr();
        let mount = &raw mut mount;
        libc::syscall(libc::SYS_name_to_handle_at, libc::AT_FDCWD, path.as_ptr(), at, mount, 0)
    };
    if done < 0 {
        return String::new();
    }
    handle.map(|word| word.to_string()).join(" ")
}

fn root_inside_can_undo_mounts() {
    each_way(|choose| {
        // Linux 5.12 has `mount_setattr(2)`.
        let is_there = |attack: &str| attack != "setattr" || kernel_version() >= (5, 12);
        for attack in BY_MOUNTS.iter().filter(|attack| is_there(attack)) {
            let place = Masked::new();
            assert!(place.attack(attack, choose), "{attack} does nothing");
        }
        let place = Masked::new();
        assert!(!place.attack("nothing", choose));
    });
    // What is in another user namespace cannot be undone from a further one.
    let place = Masked::new();
    for attack in OTHERS.iter().filter(|attack| !["setns", "capset"].contains(attack)) {
        assert!(
            !place.attack(attack, &|command| {
                command.map_root();
            }),
            "{attack}"
        );
    }
}

fn none_works(choose: &dyn Fn(&mut Command)) {
    let place = Masked::new();
    for attack in BY_MOUNTS.iter().chain(OTHERS) {
        let locked = |command: &mut Command| {
            choose(command);
            command.lock_mounts();
        };
        assert!(!place.attack(attack, &locked), "{attack}");
    }
}

fn nobody_undoes_locked_mounts() {
    none_works(&|command| {
        command.map_root();
    });
    none_works(&|command| {
        command.map_root().keep_caps();
    });
    none_works(&|command| {
        command.map_root().unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
    });
    none_works(&|command| {
        command.map_root().init(Init::new());
    });
    none_works(&|command| {
        command.map_root().init(Init::new()).keep_caps().mount(Mount::proc("/proc").unwrap());
    });
    none_works(&|command| {
        command
            .map_root()
            .unshare(NamespaceSet::NET | NamespaceSet::IPC | NamespaceSet::CGROUP)
            .loopback_up();
    });
}

/// Nor by a new proc: the kernel allows none that would show more than the one that is there.
fn a_new_proc_shows_what_is_masked_without_the_lock() {
    let place = Masked::new();
    let masked = |command: &mut Command| {
        command.map_root().unshare(NamespaceSet::PID);
        command.mount(Mount::proc("/proc").unwrap()).mount(Mount::mask("/proc/version").unwrap());
    };
    let locked = |command: &mut Command| {
        masked(command);
        command.lock_mounts();
    };
    assert!(place.attack("proc", &masked));
    for attack in ["proc", "nested-proc"] {
        assert!(!place.attack(attack, &locked), "{attack}");
        assert!(attack == "proc" || !place.attack(attack, &masked), "{attack}");
    }
    assert!(place.attack("nested-works", &locked));
}

/// They belong to uid 0 of the initial user namespace, and the kernel looks at no capability.
fn the_kernel_s_settings_are_a_way_around_for_root() {
    let place = Masked::new();
    let locked = |command: &mut Command| {
        command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap()).lock_mounts();
    };
    assert!(place.attack("settings", &locked));
    assert!(place.attack("settings", &|command| {
        locked(command.map_root());
    }));
    let map = || stage::id_map(&[(0, 100_000, 65_536)]);
    assert!(!place.attack("settings", &|command| {
        locked(command.uid_map(map()).gid_map(map()).uid(0).gid(0).groups([]));
    }));
}

fn nobody_undoes_them_without_a_user_namespace() {
    none_works(&|command| {
        command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
    });
    none_works(&|command| {
        command.init(Init::new()).mount(Mount::proc("/proc").unwrap());
    });
    none_works(&|command| {
        command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
        command.uid(54_321).gid(54_321).keep_caps();
    });
    // With all capabilities also what reaches around the mounts does.
    let place = Masked::new();
    let choose = |command: &mut Command| {
        command.unshare(NamespaceSet::PID);
    };
    assert!(place.handle.is_empty() || place.attack("handle", &choose));
    assert!(place.attack("mknod", &choose));
}

fn a_set_user_id_program_does_not() {
    let place = Masked::new();
    let program = place.dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    chown(&program, Some(0), Some(0)).unwrap();
    set_mode(&program, 0o4755);
    let as_other = |command: &mut Command| {
        command.uid(54_321).gid(54_321);
    };
    assert!(place.attack("suid", &as_other), "such a program is nothing special here");
    assert!(!place.attack("suid", &|command| {
        as_other(command);
        command.lock_mounts();
    }));
}

/// The user of a process outside that has no capabilities.
const VICTIM: u32 = 43_210;

/// Where the program can become the user of a process outside, and sees that, it sees what that sees.
fn processes_of_others_are_a_way_around() {
    let place = Masked::new();
    let mut stay = std::process::Command::new("/bin/cat");
    let mut victim = std::os::unix::process::CommandExt::uid(&mut stay, VICTIM)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let attack = |choose: &dyn Fn(&mut Command)| {
        place.attack("uid", &|command| {
            command.env("VICTIM", victim.id().to_string()).lock_mounts();
            choose(command);
        })
    };
    assert!(attack(&|_| {}), "the documentation says that it works");
    assert!(!attack(&|command| {
        command.map_root();
    }));
    assert!(!attack(&|command| {
        command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
    }));
    drop(victim.stdin.take());
    victim.wait().unwrap();
}

fn the_capabilities_that_are_left() {
    in_fork(|| {
        // CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, CAP_MKNOD, CAP_SYS_RAWIO, CAP_SYS_MODULE, CAP_SYS_PTRACE,
        // CAP_SYS_BOOT, CAP_BPF, CAP_CHECKPOINT_RESTORE.
        let gone =
            [21, 2, 27, 17, 16, 19, 22, 39, 40].iter().fold(0_u64, |all, bit| all | 1 << bit);
        each_way(|choose| {
            for keep in [false, true] {
                let sets = |locks: bool| {
                    let mut command = strict("cat /proc/self/status");
                    choose(command.mount(Mount::tmpfs("/sys").unwrap()));
                    if keep {
                        command.keep_caps();
                    }
                    if locks {
                        command.lock_mounts();
                    }
                    let text = output(&mut command);
                    let names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
                    let sets = kernel::fields(&text, &names).into_iter();
                    sets.map(|set| u64::from_str_radix(set, 16).unwrap()).collect::<Vec<_>>()
                };
                let (before, now) = (sets(false), sets(true));
                assert_eq!(now, before.iter().map(|set| set & !gone).collect::<Vec<_>>());
                assert!(now[1] != 0 && (keep || is_root() || now[0] == 0), "{now:x?}");
            }
        });
    });
}
