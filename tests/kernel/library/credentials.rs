//! The ids, groups and memory of a program inside a user namespace of somebody else.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command as StdCommand;

use linux_namespaces::{Command, CommandExt, Enter, ErrorKind, Init, NamespaceSet, PidFd, Step};

use crate::files::{self, dir};
use crate::fork::{Fork, become_user};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{OtherIds, Root, TraceOthers, UserNamespaces};
use crate::machine::{is_root, is_uid_0};
use crate::program::{Held, sh, sleeper, text};
use crate::stage;

cases! {
    root_of_outside_is_root_of_inside [Root, UserNamespaces, OtherIds],
    groups_go_where_that_is_allowed [Root, UserNamespaces, OtherIds],
    ids_that_are_set_win [Root, UserNamespaces, OtherIds],
    ids_that_are_not_mapped_are_refused [UserNamespaces, OtherIds, TraceOthers],
    an_id_that_is_mapped_is_kept [UserNamespaces, TraceOthers],
    a_new_user_namespace_below_is_made_by_root_of_inside [Root, UserNamespaces, OtherIds],
    an_init_is_root_of_inside_too [Root, UserNamespaces, OtherIds],
    memory_is_hidden_again_after_each_change [UserNamespaces, TraceOthers],
    dumps_of_set_user_id_programs_make_no_child_traceable [Root, UserNamespaces, OtherIds],
    ids_that_a_filter_pretends_to_set [Root, OtherIds],
}

const NOBODY: u32 = 65_534;
const USER: NamespaceSet = NamespaceSet::USER;

/// A process of an ordinary user in its own user namespace; killed at the end.
struct Stranger(Fork);

impl Stranger {
    /// With these maps, or none, written by root.
    fn new(uid_map: &str, gid_map: &str, setgroups: &str) -> Self {
        let fork = Fork::sleeping(|| {
            if is_uid_0() {
                become_user(NOBODY);
            }
            stage::new(libc::CLONE_NEWUSER | libc::CLONE_NEWUTS);
        });
        let pid = fork.pid();
        let file = |name: &str| format!("/proc/{pid}/{name}");
        if !uid_map.is_empty() {
            fs::write(file("setgroups"), setgroups).unwrap();
            fs::write(file("uid_map"), uid_map).unwrap();
            fs::write(file("gid_map"), gid_map).unwrap();
        }
        Self(fork)
    }

    fn root() -> Self {
        Self::new("0 65534 1\n1 100000 65000\n", "0 65534 1\n1 100000 65000\n", "allow")
    }

    fn enter(&self) -> Enter {
        let process = PidFd::open(self.0.pid().cast_unsigned()).unwrap();
        Enter::new().process(process, USER | NamespaceSet::UTS)
    }
}

const SCRIPT: &str = "cat \"$0\"/secret 2>/dev/null; id -u; id -g; id -G";

/// What the script prints: by this crate's command, and by std's.
fn both(stranger: &Stranger, enter: impl Fn(Enter) -> Enter) -> [String; 2] {
    let dir = dir();
    files::write(dir.path().join("secret"), "secret ", 0o600);
    let mut ours = sh(SCRIPT);
    ours.arg(dir.path()).enter(enter(stranger.enter()));
    let mut std = StdCommand::new("sh");
    std.args(["-c", SCRIPT]).arg(dir.path()).enter(&enter(stranger.enter())).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().replace('\n', " ");
    [text(ours.output().unwrap().stdout), text(std.output().unwrap().stdout)]
}

fn root_of_outside_is_root_of_inside() {
    // SAFETY: this process has one thread.
    assert_eq!(unsafe { libc::setgroups(2, [0, 4].as_ptr()) }, 0);
    let stranger = Stranger::root();
    assert_eq!(both(&stranger, |enter| enter), ["0 0 0", "0 0 0"]);
    // 65534 is the kernel's word for ids that are not mapped. They are root's still, and read its files.
    let seen = both(&stranger, Enter::preserve_credentials);
    assert!(seen.iter().all(|seen| seen.starts_with("secret 65534 65534 65534")), "{seen:?}");
    // What is not a user namespace changes nobody.
    let mut command = Command::new("id");
    let process = PidFd::open(stranger.0.pid().cast_unsigned()).unwrap();
    command.arg("-G").enter(Enter::new().process(process, NamespaceSet::UTS));
    assert_eq!(command.output().unwrap().stdout, b"0 4\n");
}

/// By the caller before it enters, where they are denied inside.
fn groups_go_where_that_is_allowed() {
    // SAFETY: this process has one thread.
    assert_eq!(unsafe { libc::setgroups(2, [0, 4].as_ptr()) }, 0);
    let stranger = Stranger::new("0 65534 1", "0 65534 1", "deny");
    assert_eq!(both(&stranger, |enter| enter), ["0 0 0", "0 0 0"]);
}

fn ids_that_are_set_win() {
    let stranger = Stranger::root();
    let script = "echo $(id -u) $(id -g) $(id -G)";
    let ids = || {
        let mut command = sh(script);
        command.enter(stranger.enter());
        command
    };
    assert_eq!(text(ids().uid(5)), "5 0 0");
    assert_eq!(text(ids().gid(6)), "0 6 6");
    assert_eq!(text(ids().groups([7, 8])), "0 0 0 7 8");
    assert_eq!(text(ids().uid(5).gid(6).groups([7])), "5 6 6 7");
    // What is kept is kept by both.
    let mut command = ids();
    command.enter(Enter::new().preserve_credentials()).uid(5);
    assert!(text(&mut command).starts_with("5 65534 "));
}

/// Who has capabilities inside could trace the program, and use the rights of the caller's ids.
fn ids_that_are_not_mapped_are_refused() {
    let maps: &[_] =
        if is_root() { &["", "1 65534 1", "1 100000 65000"] } else { &["", "1 65534 1"] };
    for map in maps {
        let stranger = Stranger::new(map, map, "deny");
        let is_mapped = !is_root() && !map.is_empty();
        for init in [false, true] {
            let mut ours = Command::new("true");
            ours.enter(stranger.enter());
            if init {
                ours.init(Init::new());
            }
            match ours.status() {
                Ok(status) => assert!(is_mapped && status.success()),
                Err(error) => {
                    assert!(!is_mapped && error.step() == Some(Step::SetGid), "{map}: {error:#}");
                    assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error:#}");
                }
            }
        }
        let mut std = StdCommand::new("true");
        let std = std.enter(&stranger.enter()).unwrap().status();
        let refused = std.as_ref().err().and_then(std::io::Error::raw_os_error);
        assert_eq!(refused, (!is_mapped).then_some(libc::EINVAL), "{map}: {std:?}");
        // By request.
        for seen in both(&stranger, Enter::preserve_credentials) {
            assert!(seen.contains(if is_mapped { "1 1" } else { "65534 65534" }), "{seen}");
        }
    }
}

fn an_id_that_is_mapped_is_kept() {
    let (uid, gid) = kernel::ids();
    let map = |id: u32| format!("7 {id} 1");
    let stranger = Stranger::new(&map(uid), &map(gid), "deny");
    for seen in both(&stranger, |enter| enter) {
        assert!(seen.ends_with("7 7 7"), "{seen}");
    }
}

fn a_new_user_namespace_below_is_made_by_root_of_inside() {
    let stranger = Stranger::root();
    let child = Held::of(sleeper().enter(stranger.enter()).unshare(USER));
    for name in ["Uid", "Gid"] {
        assert_eq!(kernel::status_of(child.id(), name), "65534\t65534\t65534\t65534");
    }
}

fn an_init_is_root_of_inside_too() {
    let stranger = Stranger::root();
    let child = Held::of(sleeper().enter(stranger.enter()).init(Init::new()).uid(5).gid(6));
    let ids = |pid: u32| {
        let of = |name| kernel::status_of(pid, name).split('\t').next().unwrap().parse().unwrap();
        (of("Uid"), of("Gid"))
    };
    assert_eq!(ids(child.id()), (NOBODY, NOBODY));
    let program = child.program().unwrap().pids().unwrap()[0];
    assert_eq!(ids(program), (100_004, 100_005));
}

fn memory_is_hidden_again_after_each_change() {
    let stranger = Stranger::new("", "", "");
    let changes = [Step::Enter, Step::SetUid, Step::SetGid];
    for init in [false, true] {
        let mut command = Command::new("true");
        command.enter(stranger.enter()).uid(0);
        if init {
            command.init(Init::new());
        }
        let steps: Vec<Step> = command.plan().unwrap().steps().collect();
        let last_change = steps.iter().rposition(|step| changes.contains(step)).unwrap();
        let enter = steps.iter().position(|step| *step == Step::Enter).unwrap();
        assert!(steps[last_change..].contains(&Step::SetDumpable), "{steps:?}");
        assert_eq!(steps[enter + 1], Step::SetDumpable, "{steps:?}");
    }
    // The init's memory is its program's until exec.
    let plan = Command::new("true").map_root().init(Init::new()).uid(0).plan().unwrap();
    let steps: Vec<Step> = plan.steps().collect();
    let uid = steps.iter().position(|step| *step == Step::SetUid).unwrap();
    assert!(steps[uid..].contains(&Step::SetDumpable), "{steps:?}");
}

/// `fs.suid_dumpable` is 1 for as long as this lives.
struct Dumps(String);

impl Dumps {
    const FILE: &str = "/proc/sys/fs/suid_dumpable";

    fn of_all() -> Self {
        let before = fs::read_to_string(Self::FILE).unwrap();
        fs::write(Self::FILE, "1").unwrap();
        Self(before)
    }
}

impl Drop for Dumps {
    fn drop(&mut self) {
        fs::write(Self::FILE, self.0.trim()).unwrap();
    }
}

/// A change of ids resets the mark to this setting of the machine.
fn dumps_of_set_user_id_programs_make_no_child_traceable() {
    // SAFETY: asks for a number.
    let dumpable = || match unsafe { libc::prctl(libc::PR_GET_DUMPABLE) } {
        0 => Ok(()),
        _ => Err(std::io::Error::from_raw_os_error(libc::EDOM)),
    };
    let stranger = Stranger::root();
    let dumps = Dumps::of_all();
    for keep in [false, true] {
        let enter =
            || if keep { stranger.enter().preserve_credentials() } else { stranger.enter() };
        let mut ours = Command::new("true");
        ours.enter(enter());
        let mut std = StdCommand::new("true");
        std.enter(&enter()).unwrap();
        // SAFETY: one system call.
        unsafe {
            ours.pre_exec(dumpable);
            std.pre_exec(dumpable);
        }
        let ours = ours.status();
        let std = std.status();
        assert!(ours.unwrap().success());
        assert!(std.unwrap().success());
    }
    drop(dumps);
}

/// As programs have it that play root.
fn ids_that_a_filter_pretends_to_set() {
    type Set = fn(&mut Command) -> &mut Command;
    // The plain names are of calls with ids of 16 bits there.
    #[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
    use libc::{
        SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID,
    };
    #[cfg(any(target_arch = "x86", target_arch = "arm"))]
    use libc::{
        SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID,
    };
    let rows: [(libc::c_long, Set, Step); 3] = [
        (SETGROUPS, |it| it.groups([65_534]), Step::SetGroups),
        (SETRESGID, |it| it.gid(65_534), Step::SetGid),
        (SETRESUID, |it| it.uid(65_534), Step::SetUid),
    ];
    for (call, set, step) in rows {
        kernel::refuse(call, 0);
        let error = set(&mut Command::new("true")).status().unwrap_err();
        assert_eq!(
            (error.step(), error.kind()),
            (Some(step), ErrorKind::PermissionDenied),
            "{error}"
        );
    }
}
