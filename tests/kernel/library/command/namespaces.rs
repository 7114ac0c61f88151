//! `Command` in new namespaces and in existing ones.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use linux_namespaces::{
    Command, Enter, ErrorKind, IdMap, Mount, Namespace, NamespaceSet, Setgroups, Step, Unshare,
};

use crate::action;
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{NewProc, Ordinary, OtherIds, Root, UserNamespaces};
use crate::program::{Held, is_at, is_of, sh, sleeper, text};
use crate::stage;

cases! {
    each_kind_is_new_when_asked_for [UserNamespaces],
    each_kind_alone_is_new_for_root [Root, UserNamespaces],
    root_inside_is_the_caller_outside [UserNamespaces],
    options_bring_their_namespaces [UserNamespaces, NewProc],
    explicit_maps_are_written_from_outside [Root, UserNamespaces, OtherIds],
    explicit_maps_are_refused_to_an_ordinary_user [Ordinary, UserNamespaces],
    setgroups_is_allowed_when_the_map_comes_from_outside [Root, UserNamespaces, OtherIds],
    a_hidden_helper_leaves_a_pending_pid_namespace_alone [Root],
    mounts_inside_do_not_show_outside [UserNamespaces],
    entering_a_process_is_entering_all_its_namespaces [UserNamespaces],
    entering_by_handles_needs_no_order [UserNamespaces],
    entering_a_pid_namespace_puts_the_program_inside [UserNamespaces],
    entering_and_making_go_together [UserNamespaces],
    entering_twice_is_entering_both [UserNamespaces],
    one_s_own_namespaces_are_left_out [],
    a_child_born_among_others_is_hidden_from_them [UserNamespaces],
    a_new_pid_namespace_is_kept_for_the_program [UserNamespaces],
    a_map_file_that_is_covered_is_not_written [UserNamespaces],
    std_s_command_enters_namespaces [UserNamespaces],
    std_s_command_refuses_a_pid_namespace [UserNamespaces],
    std_s_command_refuses_a_mount_namespace [UserNamespaces],
    a_second_set_of_pids_or_ids_replaces_the_first [],
}

fn each_kind_is_new_when_asked_for() {
    let child = Held::new(NamespaceSet::all());
    let pid = child.id().to_string();
    assert_eq!(kernel::different("self", &pid), NamespaceSet::all());
    for &kind in Namespace::ALL {
        assert_eq!(child.namespace(kind).unwrap().id().unwrap().ino, kernel::ns(&pid, kind.name()));
    }
}

fn each_kind_alone_is_new_for_root() {
    for &kind in Namespace::ALL {
        let child = Held::of(sleeper().unshare(kind.into()));
        assert_eq!(kernel::different("self", &child.id().to_string()), kind.into());
    }
}

fn root_inside_is_the_caller_outside() {
    let (uid, gid) = kernel::ids();
    let script = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups";
    let seen = text(sh(script).map_root());
    let words: Vec<&str> = seen.split_whitespace().collect();
    let (uid, gid) = (uid.to_string(), gid.to_string());
    assert_eq!(words, ["0", "0", "0", &uid, "1", "0", &gid, "1", "deny"]);
}

fn options_bring_their_namespaces() {
    let outside = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let mut command = sh(
        "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname; cat /sys/class/net/lo/flags; echo $$; ls -d /proc/[0-9]*",
    );
    command.map_root().hostname("inner".parse().unwrap()).domainname("zone".parse().unwrap());
    command.unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
    let seen = text(&mut command);
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!((lines[0], lines[1]), ("inner", "zone"));
    // PID 1, and in the new /proc nobody but it and perhaps ls.
    assert_eq!(lines[3], "1");
    assert!(lines[4..].contains(&"/proc/1") && lines[4..].len() <= 2, "{lines:?}");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), outside);

    let routes = || sh("cat /proc/net/fib_trie");
    assert!(text(routes().map_root().loopback_up()).contains("127.0.0.1"));
    assert!(!text(routes().map_root().unshare(NamespaceSet::NET)).contains("127.0.0.1"));
}

fn explicit_maps_are_written_from_outside() {
    for copy in [false, true] {
        let mut command =
            sh("cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id -u");
        command
            .uid_map(stage::id_map(&[(0, 100_000, 10), (10, 0, 1)]))
            .gid_map(stage::id_map(&[(0, 200_000, 65_536)]));
        command.unshare(NamespaceSet::PID);
        if copy {
            // SAFETY: does nothing.
            unsafe { command.pre_exec(|| Ok(())) };
        }
        let seen = text(&mut command);
        let words: Vec<&str> = seen.split_whitespace().collect();
        assert_eq!(
            words,
            "0 100000 10 10 0 1 0 200000 65536 allow 10".split(' ').collect::<Vec<_>>()
        );
    }
}

fn explicit_maps_are_refused_to_an_ordinary_user() {
    let before = kernel::census();
    let mut command = Command::new("true");
    command.uid_map(stage::id_map(&[(0, 100_000, 10)]));
    let error = command.spawn().unwrap_err();
    assert_eq!(error.step(), Some(Step::WriteUidMap));
    // By newuidmap(1), in its own words, if there is one.
    assert!(matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound));
    assert!(error.to_string().contains("newuidmap"), "{error}");
    assert_eq!(kernel::census(), before);
    // One's own gid alone is refused as long as setgroups is allowed.
    let own = IdMap::single(0, kernel::ids().1).unwrap();
    let error = Command::new("true").gid_map(own).setgroups(Setgroups::Allow).spawn().unwrap_err();
    is_of(&error, Step::WriteGidMap, ErrorKind::PermissionDenied);
    assert_eq!(kernel::census(), before);
}

fn setgroups_is_allowed_when_the_map_comes_from_outside() {
    let mut command = Command::new("id");
    command
        .arg("-G")
        .uid_map(stage::id_map(&[(0, 0, 10)]))
        .gid_map(stage::id_map(&[(0, 0, 10)]))
        .groups([3, 4]);
    assert_eq!(text(&mut command), "0 3 4");
    let error = Command::new("id").map_root().groups([0]).spawn().unwrap_err();
    is_of(&error, Step::SetGroups, ErrorKind::PermissionDenied);
}

fn a_hidden_helper_leaves_a_pending_pid_namespace_alone() {
    stage::new(libc::CLONE_NEWPID);
    let error = Command::new("true").uid_map(stage::id_map(&[(0, 0, 10)])).spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    // The namespace is still whole.
    assert_eq!(text(&mut sh("echo $$")), "1");
}

fn mounts_inside_do_not_show_outside() {
    let dir = tempfile::tempdir().unwrap();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut command = action::command(&format!("mount={}", dir.path().display()));
    assert_eq!(text(command.map_root().unshare(NamespaceSet::MOUNT)), "0 shared");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    assert!(!dir.path().join("inside").exists());
}

fn handles(held: &Held, kinds: &[Namespace]) -> Enter {
    let add = |enter: Enter, kind: &Namespace| enter.namespace(held.namespace(*kind).unwrap());
    kinds.iter().fold(Enter::new(), add)
}

/// What `ls` of a program's own namespaces shows, entered as told.
pub(super) fn namespaces_inside(enter: Enter) -> Vec<String> {
    let seen = text(
        sh("for n in cgroup ipc mnt net pid time user uts; do stat -Lc %i /proc/self/ns/$n; done")
            .enter(enter),
    );
    seen.lines().map(str::to_owned).collect()
}

pub(super) fn namespaces_of(held: &Held, set: NamespaceSet) -> Vec<String> {
    let of = |kind: Namespace| {
        let task =
            if set.contains(kind.into()) { held.id().to_string() } else { "self".to_owned() };
        kernel::ns(task, kind.name()).to_string()
    };
    Namespace::ALL.iter().copied().map(of).collect()
}

fn entering_a_process_is_entering_all_its_namespaces() {
    let held = Held::new(NamespaceSet::all());
    // A /proc of the outer pid namespace shows the inner ids, too.
    let sets = [
        NamespaceSet::all(),
        NamespaceSet::USER,
        NamespaceSet::USER | NamespaceSet::PID,
        NamespaceSet::USER | NamespaceSet::TIME | NamespaceSet::NET,
    ];
    for set in sets {
        assert_eq!(namespaces_inside(held.enter(set)), namespaces_of(&held, set), "{set}");
    }
}

fn entering_by_handles_needs_no_order() {
    let held = Held::new(NamespaceSet::all());
    let mut kinds = Namespace::ALL.to_vec();
    for _ in Namespace::ALL {
        kinds.rotate_left(1);
        assert_eq!(
            namespaces_inside(handles(&held, &kinds)),
            namespaces_of(&held, NamespaceSet::all())
        );
    }
}

fn entering_a_pid_namespace_puts_the_program_inside() {
    let held = Held::new(NamespaceSet::USER | NamespaceSet::PID);
    let set = NamespaceSet::USER | NamespaceSet::PID;
    let mut command = sh("exec sleep 600");
    let mut child = command.enter(held.enter(set)).spawn().unwrap();
    // We are its parent, know its number here, and it has another one there.
    assert_eq!(kernel::status_of(child.id(), "PPid"), std::process::id().to_string());
    let numbers = kernel::status_of(child.id(), "NSpid");
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    assert_eq!((numbers[0], numbers[1]), (child.id().to_string().as_str(), "2"));
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

fn entering_and_making_go_together() {
    let held = Held::new(NamespaceSet::USER | NamespaceSet::NET | NamespaceSet::PID);
    let enter = held.enter(NamespaceSet::USER | NamespaceSet::NET | NamespaceSet::PID);
    let mut command = sh("echo $$; cat /proc/sys/kernel/hostname; stat -Lc %i /proc/self/ns/net");
    command.enter(enter).hostname("deep".parse().unwrap());
    let net = kernel::ns(held.id(), "net");
    assert_eq!(text(&mut command), format!("2\ndeep\n{net}"));
    let error = command.map_root().spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let mut nested = Command::new("true");
    nested.enter(held.enter(NamespaceSet::USER | NamespaceSet::PID)).unshare(NamespaceSet::PID);
    assert_eq!(nested.spawn().unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn entering_twice_is_entering_both() {
    let (held, other) = (Held::new(USER_AND_UTS), Held::new(USER_AND_UTS | NamespaceSet::NET));
    let mut command = sh("for n in user uts net; do stat -Lc %i /proc/self/ns/$n; done");
    command.enter(held.enter(NamespaceSet::USER)).enter(handles(&held, &[Namespace::Uts]));
    let expected =
        [kernel::ns(held.id(), "user"), kernel::ns(held.id(), "uts"), kernel::ns("self", "net")];
    assert_eq!(text(&mut command), expected.map(|it| it.to_string()).join("\n"));
    // As within one Enter, two of a kind are an error.
    let error = command.enter(other.enter(NamespaceSet::UTS)).plan().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("uts"), "{error}");
}

const USER_AND_UTS: NamespaceSet = NamespaceSet::USER.union(NamespaceSet::UTS);

/// As std's setters, and as each says.
fn a_second_set_of_pids_or_ids_replaces_the_first() {
    let mut command = Command::new("true");
    command.uid(1).uid(2).gid(3).gid(4).groups([5]).groups([6]).set_tid([7]).set_tid([8]);
    command.current_dir("/usr").current_dir("/").process_group(1).process_group(0);
    let plan = command.plan().unwrap().to_string();
    for told in ["user id: 2", "group id: 4", "groups: [6]", "pids [8]", "\"/\"", "group: 0"] {
        assert!(plan.contains(told), "{told}: {plan}");
    }
}

fn one_s_own_namespaces_are_left_out() {
    // Entering them takes privileges that a member need not have, and one's own user namespace
    // cannot be entered at all.
    let me = linux_namespaces::PidFd::current().unwrap();
    let mut command = sh("echo here");
    command.enter(Enter::new().process(me, NamespaceSet::all()));
    assert_eq!(text(&mut command), "here");
    assert!(!command.plan().unwrap().steps().any(|step| step == Step::Enter));
}

fn a_child_born_among_others_is_hidden_from_them() {
    let held = Held::new(NamespaceSet::USER | NamespaceSet::PID);
    assert!(!Command::new("true").plan().unwrap().steps().any(|step| step == Step::SetDumpable));
    held.enter(NamespaceSet::USER | NamespaceSet::PID).apply().unwrap();
    let mut command = sh("echo $$");
    let plan = command.plan().unwrap().to_string();
    assert!(plan.contains("hide the child's memory") && plan.contains("copy"), "{plan}");
    assert_eq!(text(&mut command), "2");
}

fn a_new_pid_namespace_is_kept_for_the_program() {
    let held = Held::new(NamespaceSet::USER | NamespaceSet::UTS);
    let enter = handles(&held, &[Namespace::Uts]);
    Unshare::new(NamespaceSet::PID).map_root().apply().unwrap();
    let error = sh("true").enter(enter.clone()).spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(text(&mut sh("echo $$")), "1");
}

fn a_map_file_that_is_covered_is_not_written() {
    Unshare::new(NamespaceSet::USER | NamespaceSet::MOUNT).map_root().apply().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let me = std::process::id();
    stage::bind(file.path(), format!("/proc/{me}/setgroups"));
    let error = Unshare::new(NamespaceSet::USER).map_root().apply().unwrap_err();
    is_at(&error, Step::WriteSetgroups, libc::EXDEV);
    assert!(error.explain().unwrap().contains("mounted over"));
    assert_eq!(fs::read(file.path()).unwrap(), b"");
}

fn std_s_command_enters_namespaces() {
    use linux_namespaces::CommandExt;
    let set = NamespaceSet::USER | NamespaceSet::UTS | NamespaceSet::TIME;
    let held = Held::new(set);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "for n in user uts time; do stat -Lc %i /proc/self/ns/$n; done"]);
    let output = command.enter(&held.enter(set)).unwrap().output().unwrap();
    let expected: String =
        ["user", "uts", "time"].map(|name| format!("{}\n", kernel::ns(held.id(), name))).concat();
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert_eq!(kernel::different("self", &held.id().to_string()), set);
}

fn std_s_command_refuses_a_pid_namespace() {
    use linux_namespaces::CommandExt;
    let held = Held::new(NamespaceSet::USER | NamespaceSet::PID);
    let enter = held.enter(NamespaceSet::USER | NamespaceSet::PID);
    let error = std::process::Command::new("true").enter(&enter).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// It looks the program up by paths in there, which whoever made the mounts may lead to this program's own file.
fn std_s_command_refuses_a_mount_namespace() {
    use linux_namespaces::CommandExt;
    let held = Held::new(NamespaceSet::USER | NamespaceSet::MOUNT);
    for enter in [
        held.enter(NamespaceSet::USER | NamespaceSet::MOUNT),
        handles(&held, &[Namespace::User, Namespace::Mount]),
    ] {
        let error = std::process::Command::new("true").enter(&enter).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("linux_namespaces::Command"), "{error}");
    }
    // One's own is left out.
    let me = linux_namespaces::PidFd::current().unwrap();
    let own = Enter::new().process(me, NamespaceSet::MOUNT);
    assert!(std::process::Command::new("true").enter(&own).unwrap().status().unwrap().success());
}
