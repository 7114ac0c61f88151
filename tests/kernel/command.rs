//! `Command` and `Child`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use linux_namespaces::{
    Command, Enter, ErrorKind, IdExtent, IdMap, Mount, Namespace, NamespaceSet, Setgroups, Signal,
    Stdio, Step,
};

use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{Ordinary, Root, UserNamespaces};

cases! {"command":
    arguments_and_environment_arrive [],
    an_empty_environment_is_empty [],
    streams_are_pipes_files_and_null [],
    output_larger_than_a_pipe_on_both_streams [],
    the_working_directory_is_changed [],
    a_status_is_an_exit_code_or_a_signal [],
    a_child_is_waited_for_polled_and_killed [],
    signals_of_the_program_are_as_std_leaves_them [],
    no_descriptor_but_the_streams_is_inherited [],
    other_descriptors_are_closed_on_request [],
    each_kind_is_new_when_asked_for [UserNamespaces],
    each_kind_alone_is_new_for_root [Root],
    root_inside_is_the_caller_outside [UserNamespaces],
    options_bring_their_namespaces [UserNamespaces],
    explicit_maps_are_written_from_outside [Root],
    explicit_maps_are_refused_to_an_ordinary_user [Ordinary, UserNamespaces],
    setgroups_is_allowed_when_the_map_comes_from_outside [Root],
    a_hidden_helper_leaves_a_pending_pid_namespace_alone [Root],
    mounts_inside_do_not_show_outside [UserNamespaces],
    entering_a_process_is_entering_all_its_namespaces [UserNamespaces],
    entering_by_handles_needs_no_order [UserNamespaces],
    entering_a_pid_namespace_puts_the_program_inside [UserNamespaces],
    entering_and_making_go_together [UserNamespaces],
    one_s_own_namespaces_are_left_out [],
    ids_are_changed [Root],
    a_session_and_a_process_group_are_made [],
    a_child_dies_with_its_parent [],
    no_new_privs_is_set [],
    the_caller_s_code_runs_in_the_child [],
    a_panic_of_the_caller_s_code_ends_the_child [],
    a_user_without_groups_has_none_of_ours [Root],
    a_parent_with_closed_streams_is_still_watched [],
    a_child_born_among_others_is_hidden_from_them [UserNamespaces],
    a_new_pid_namespace_is_kept_for_the_program [UserNamespaces],
    a_map_file_that_is_covered_is_not_written [UserNamespaces],
    the_plan_says_what_will_be_done [],
    std_s_command_enters_namespaces [UserNamespaces],
    std_s_command_refuses_a_pid_namespace [UserNamespaces],
    clone_serves_where_clone3_is_refused [UserNamespaces],
    clone3_is_used_where_it_can_be [UserNamespaces],
    a_command_can_be_used_twice [],
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// What the program wrote, which must have succeeded.
fn text(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{error:#}"));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn arguments_and_environment_arrive() {
    let odd = OsStr::from_bytes(b"\xff two words");
    let mut command = sh("printf '%s|' \"$0\" \"$@\" \"$COLOUR\" \"${GONE-unset}\"");
    command.arg("zero").arg(odd).args(["", "-x"]).env("COLOUR", "b l u e").env("GONE", "x");
    command.env_remove("GONE");
    let output = command.output().unwrap();
    assert_eq!(output.stdout, b"zero|\xff two words||-x|b l u e|unset|");
    let mut named = Command::new("/bin/sh");
    named.arg0("other").args(["-c", "tr '\\0' ' ' < /proc/$$/cmdline"]);
    assert!(text(&mut named).starts_with("other -c"));
}

fn an_empty_environment_is_empty() {
    let mut command = Command::new("env");
    command.env("A", "lost").env_clear().env("B", "kept").env("PATH", "/usr/bin:/bin");
    assert_eq!(text(&mut command), "B=kept\nPATH=/usr/bin:/bin");
}

fn streams_are_pipes_files_and_null() {
    let mut child =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through a pipe").unwrap();
    let mut answer = String::new();
    child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "through a pipe");
    assert!(child.wait().unwrap().success());

    let mut file = tempfile::tempfile().unwrap();
    let mut command = sh("echo out; echo err >&2; cat");
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap());
    command.stderr(file.try_clone().unwrap());
    assert!(command.status().unwrap().success());
    std::io::Seek::rewind(&mut file).unwrap();
    let mut written = String::new();
    file.read_to_string(&mut written).unwrap();
    assert_eq!(written, "out\nerr\n");
}

fn output_larger_than_a_pipe_on_both_streams() {
    let output = sh("head -c 300000 /dev/zero >&2; head -c 400000 /dev/zero").output().unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len()), (400_000, 300_000));
}

fn the_working_directory_is_changed() {
    assert_eq!(text(Command::new("pwd").current_dir("/proc/sys")), "/proc/sys");
}

fn a_status_is_an_exit_code_or_a_signal() {
    assert_eq!(sh("exit 7").status().unwrap().code(), Some(7));
    assert_eq!(sh("kill -TERM $$").status().unwrap().signal(), Some(15));
    // What std says of the same programs.
    for script in ["exit 0", "exit 255", "kill -KILL $$", "kill -USR1 $$"] {
        let std = std::process::Command::new("sh").args(["-c", script]).status().unwrap();
        assert_eq!(sh(script).status().unwrap(), std, "{script}");
    }
}

fn a_child_is_waited_for_polled_and_killed() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    assert_eq!(child.wait_timeout(Duration::from_millis(20)).unwrap(), None);
    assert_eq!(kernel::ns(child.id(), "uts"), kernel::ns("self", "uts"));
    assert_eq!(child.pid_fd().pid().unwrap(), Some(child.id()));
    child.kill().unwrap();
    assert_eq!(child.wait_timeout(Duration::MAX).unwrap().unwrap().signal(), Some(9));
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(child.try_wait().unwrap().unwrap().signal(), Some(9));
    child.kill().unwrap();
    child.signal(Signal::TERM).unwrap();
    assert_eq!(child.pid_fd().pid().unwrap(), None);
    let error = child.namespace(Namespace::Uts).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProcessGone);
}

fn signals_of_the_program_are_as_std_leaves_them() {
    // SAFETY: changes this process's signals alone.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGUSR1, libc::SIG_IGN);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
    let script = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status | cut -f2";
    let std = std::process::Command::new("sh").args(["-c", script]).output().unwrap().stdout;
    let sets = |text: String| -> Vec<u64> {
        // The two signals that glibc keeps for itself it sets as it likes.
        text.lines().map(|set| u64::from_str_radix(set, 16).unwrap() & !(3 << 31)).collect()
    };
    assert_eq!(sets(text(&mut sh(script))), sets(String::from_utf8(std).unwrap()));
    // SIGUSR1 stays ignored, SIGPIPE does not, SIGTERM stays blocked.
    let bit = |signal: i32| 1_u64 << (signal - 1);
    let ignored = text(&mut sh("grep SigIgn /proc/self/status | cut -f2"));
    let ignored = u64::from_str_radix(&ignored, 16).unwrap();
    assert_eq!(ignored & (bit(libc::SIGUSR1) | bit(libc::SIGPIPE)), bit(libc::SIGUSR1));
    assert_eq!(sets(text(&mut sh(script)))[0], bit(libc::SIGTERM));
    assert_eq!(kernel::status("SigBlk"), "0000000000004000");
}

/// `ls` lists its own directory, too: 3 at the least.
fn listed(command: &mut Command) -> Vec<i32> {
    let numbers = text(command.args(["/proc/self/fd"]));
    numbers.lines().map(|number| number.parse().unwrap()).collect()
}

fn no_descriptor_but_the_streams_is_inherited() {
    let _file = File::open("/dev/null").unwrap();
    let std = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
    let expected: Vec<i32> =
        String::from_utf8(std.stdout).unwrap().lines().map(|it| it.parse().unwrap()).collect();
    for copy in [false, true] {
        let mut command = Command::new("ls");
        command.kill_on_parent_exit();
        if copy {
            // SAFETY: does nothing.
            unsafe { command.pre_exec(|| Ok(())) };
        }
        assert_eq!(listed(&mut command), expected);
    }
}

fn other_descriptors_are_closed_on_request() {
    let file = File::open("/dev/null").unwrap();
    let number = file.as_raw_fd();
    // SAFETY: a descriptor of ours, made inheritable.
    unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
    assert!(listed(&mut Command::new("ls")).contains(&number));
    assert_eq!(listed(Command::new("ls").close_other_fds()), [0, 1, 2, 3]);
}

fn each_kind_is_new_when_asked_for() {
    let mut command = Command::new("sleep");
    command.arg("60").unshare(NamespaceSet::all()).map_root();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{error:#}"));
    let pid = child.id().to_string();
    assert_eq!(kernel::different("self", &pid), NamespaceSet::all());
    for kind in Namespace::ALL {
        assert_eq!(child.namespace(kind).unwrap().id().unwrap().ino, kernel::ns(&pid, kind.name()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn each_kind_alone_is_new_for_root() {
    for kind in Namespace::ALL {
        let mut child = Command::new("sleep").arg("60").unshare(kind.into()).spawn().unwrap();
        assert_eq!(kernel::different("self", &child.id().to_string()), kind.into());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn root_inside_is_the_caller_outside() {
    // SAFETY: asks for numbers.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
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

    let lo = "grep -c '^ *lo:' /proc/net/dev; ping -c1 -W1 127.0.0.1 >/dev/null 2>&1 && echo up; awk '/127.0.0.1/ {f=1} END {print f+0}' /proc/net/fib_trie";
    assert!(text(sh(lo).map_root().loopback_up()).ends_with('1'));
    assert!(text(sh(lo).map_root().unshare(NamespaceSet::NET)).ends_with('0'));
}

fn map(extents: &[(u32, u32, u32)]) -> IdMap {
    let extent = |&(inside, outside, count)| IdExtent { inside, outside, count };
    IdMap::new(extents.iter().map(extent)).unwrap()
}

fn explicit_maps_are_written_from_outside() {
    for copy in [false, true] {
        let mut command =
            sh("cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id -u");
        command.uid_map(map(&[(0, 100_000, 10), (10, 0, 1)])).gid_map(map(&[(0, 200_000, 65_536)]));
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
    command.uid_map(map(&[(0, 100_000, 10)]));
    let error = command.spawn().unwrap_err();
    assert_eq!(error.step(), Some(Step::WriteUidMap));
    // By newuidmap(1), in its own words, if there is one.
    assert!(matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound));
    assert!(error.to_string().contains("newuidmap"), "{error}");
    assert_eq!(kernel::census(), before);
    // One's own gid alone is refused as long as setgroups is allowed.
    // SAFETY: asks for a number.
    let gid = unsafe { libc::getegid() };
    let own = IdMap::single(0, gid).unwrap();
    let error = Command::new("true").gid_map(own).setgroups(Setgroups::Allow).spawn().unwrap_err();
    assert_eq!(
        (error.kind(), error.step()),
        (ErrorKind::PermissionDenied, Some(Step::WriteGidMap))
    );
    assert_eq!(kernel::census(), before);
}

fn setgroups_is_allowed_when_the_map_comes_from_outside() {
    let mut command = Command::new("id");
    command.arg("-G").uid_map(map(&[(0, 0, 10)])).gid_map(map(&[(0, 0, 10)])).groups([3, 4]);
    assert_eq!(text(&mut command), "0 3 4");
    let error = Command::new("id").map_root().groups([0]).spawn().unwrap_err();
    assert_eq!((error.kind(), error.step()), (ErrorKind::PermissionDenied, Some(Step::SetGroups)));
}

fn a_hidden_helper_leaves_a_pending_pid_namespace_alone() {
    // SAFETY: changes where this process's children go.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
    let error = Command::new("true").uid_map(map(&[(0, 0, 10)])).spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    // The namespace is still whole.
    assert_eq!(text(&mut sh("echo $$")), "1");
}

fn mounts_inside_do_not_show_outside() {
    let dir = tempfile::tempdir().unwrap();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut command = sh(
        "mount -t tmpfs x \"$0\" && touch \"$0/inside\" && grep -c shared: /proc/self/mountinfo",
    );
    command.arg(dir.path()).map_root().unshare(NamespaceSet::MOUNT);
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n", "{output:?}");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    assert!(!dir.path().join("inside").exists());
}

/// A process in new namespaces, to be entered; killed at the end.
struct Held(linux_namespaces::Child);

impl Held {
    fn new(set: NamespaceSet) -> Self {
        let mut command = Command::new("sleep");
        command.arg("60").unshare(set);
        if set.contains(NamespaceSet::USER) {
            command.map_root();
        }
        Self(command.spawn().unwrap_or_else(|error| panic!("{error:#}")))
    }

    fn process(&self, set: NamespaceSet) -> Enter {
        Enter::new().process(self.0.pid_fd().try_clone().unwrap(), set)
    }

    fn handles(&self, kinds: &[Namespace]) -> Enter {
        let add =
            |enter: Enter, kind: &Namespace| enter.namespace(self.0.namespace(*kind).unwrap());
        kinds.iter().fold(Enter::new(), add)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What `ls` of a program's own namespaces shows, entered as told.
fn namespaces_inside(enter: Enter) -> Vec<String> {
    let seen = text(
        sh("for n in cgroup ipc mnt net pid time user uts; do stat -Lc %i /proc/self/ns/$n; done")
            .enter(enter),
    );
    seen.lines().map(str::to_owned).collect()
}

fn namespaces_of(held: &Held, set: NamespaceSet) -> Vec<String> {
    let of = |kind: Namespace| {
        let task =
            if set.contains(kind.into()) { held.0.id().to_string() } else { "self".to_owned() };
        kernel::ns(task, kind.name()).to_string()
    };
    Namespace::ALL.into_iter().map(of).collect()
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
        assert_eq!(namespaces_inside(held.process(set)), namespaces_of(&held, set), "{set}");
    }
}

fn entering_by_handles_needs_no_order() {
    let held = Held::new(NamespaceSet::all());
    let mut kinds = Namespace::ALL;
    for _ in 0..8 {
        kinds.rotate_left(1);
        assert_eq!(
            namespaces_inside(held.handles(&kinds)),
            namespaces_of(&held, NamespaceSet::all())
        );
    }
}

fn entering_a_pid_namespace_puts_the_program_inside() {
    let held = Held::new(NamespaceSet::USER | NamespaceSet::PID);
    let set = NamespaceSet::USER | NamespaceSet::PID;
    let mut command = sh("exec sleep 60");
    let mut child = command.enter(held.process(set)).spawn().unwrap();
    // We are its parent, know its number here, and it has another one there.
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    assert_eq!(field("PPid:"), std::process::id().to_string());
    let numbers: Vec<&str> = field("NSpid:").split_whitespace().collect();
    assert_eq!((numbers[0], numbers[1]), (child.id().to_string().as_str(), "2"));
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

fn entering_and_making_go_together() {
    let held = Held::new(NamespaceSet::USER | NamespaceSet::NET | NamespaceSet::PID);
    let enter = held.process(NamespaceSet::USER | NamespaceSet::NET | NamespaceSet::PID);
    let mut command = sh("echo $$; cat /proc/sys/kernel/hostname; stat -Lc %i /proc/self/ns/net");
    command.enter(enter).hostname("deep".parse().unwrap());
    let net = kernel::ns(held.0.id(), "net");
    assert_eq!(text(&mut command), format!("2\ndeep\n{net}"));
    let error = command.map_root().spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let mut nested = Command::new("true");
    nested.enter(held.process(NamespaceSet::USER | NamespaceSet::PID)).unshare(NamespaceSet::PID);
    assert_eq!(nested.spawn().unwrap_err().kind(), ErrorKind::InvalidInput);
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

fn ids_are_changed() {
    let mut command = sh("id -u; id -g; id -G");
    command.uid(1234).gid(2345).groups([5, 6]);
    let before = kernel::census();
    assert_eq!(text(&mut command), "1234\n2345\n2345 5 6");
    assert_eq!(kernel::census(), before);
}

fn a_session_and_a_process_group_are_made() {
    let stat = "cut -d')' -f2 /proc/$$/stat | cut -d' ' -f4,5; echo $$";
    let ids = |seen: String| seen.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let session: Vec<u32> = ids(text(sh(stat).new_session()));
    assert!(session[0] == session[2] && session[1] == session[2], "{session:?}");
    let group: Vec<u32> = ids(text(sh(stat).process_group(0)));
    assert!(group[0] == group[2] && group[1] != group[2], "{group:?}");
}

fn a_child_dies_with_its_parent() {
    // The middle process spawns, tells the child's pid, and ends; the child comes to us.
    let (mut reader, writer) = std::io::pipe().unwrap();
    // SAFETY: this process has one thread.
    let middle = unsafe { libc::fork() };
    if middle == 0 {
        let mut command = Command::new("sleep");
        let child = command.arg("60").kill_on_parent_exit().spawn().unwrap();
        write!(&writer, "{}", child.id()).unwrap();
        // SAFETY: ends the middle process.
        unsafe { libc::_exit(0) }
    }
    drop(writer);
    let mut pid = String::new();
    reader.read_to_string(&mut pid).unwrap();
    let pid: i32 = pid.parse().unwrap();
    for expected in [middle, pid] {
        let mut status = 0;
        // SAFETY: children of ours, the second one by adoption.
        assert_eq!(unsafe { libc::waitpid(expected, &raw mut status, 0) }, expected);
        assert_eq!(status, if expected == pid { libc::SIGKILL } else { 0 });
    }
}

fn no_new_privs_is_set() {
    let script = "grep NoNewPrivs /proc/self/status | cut -f2";
    let inherited = kernel::status("NoNewPrivs");
    assert_eq!(text(&mut sh(script)), inherited);
    assert_eq!(text(sh(script).no_new_privs()), "1");
    assert_eq!(kernel::status("NoNewPrivs"), inherited);
}

fn the_caller_s_code_runs_in_the_child() {
    let mut calls = 0;
    let mut command = sh("umask; pwd");
    command.current_dir("/");
    // SAFETY: system calls only.
    unsafe {
        command.pre_exec(move || {
            calls += 1;
            libc::umask(0o027);
            if calls == 1 && libc::chdir(c"/proc".as_ptr()) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    // The child's copy of the counter is its own.
    assert_eq!(text(&mut command), "0027\n/proc");
    assert_eq!(text(&mut command), "0027\n/proc");
    // SAFETY: makes an error.
    unsafe { command.pre_exec(|| Err(std::io::Error::from_raw_os_error(libc::EXDEV))) };
    let before = kernel::census();
    let error = command.spawn().unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Some(Step::PreExec), Some(libc::EXDEV)));
    assert_eq!(kernel::census(), before);
}

fn a_panic_of_the_caller_s_code_ends_the_child() {
    let mut command = Command::new("true");
    // SAFETY: it panics before it does anything.
    unsafe { command.pre_exec(|| panic!("in the child")) };
    let me = std::process::id();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| command.spawn()));
    assert_eq!(std::process::id(), me, "the child runs the parent's code");
    let error = outcome.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.step()), (ErrorKind::ChildDied, Some(Step::PreExec)));
}

fn a_user_without_groups_has_none_of_ours() {
    // SAFETY: this process alone.
    assert_eq!(unsafe { libc::setgroups(3, [0, 6, 42].as_ptr()) }, 0);
    assert_eq!(text(Command::new("id").arg("-G").uid(1234).gid(2345)), "2345");
    assert_eq!(text(Command::new("id").arg("-G").uid(1234).gid(2345).groups([7])), "2345 7");
}

fn a_parent_with_closed_streams_is_still_watched() {
    // SAFETY: nobody here reads it.
    unsafe { libc::close(0) };
    let mut command = Command::new("true");
    let status = command.stdin(Stdio::null()).kill_on_parent_exit().status();
    assert!(status.unwrap_or_else(|error| panic!("{error:#}")).success());
}

fn a_child_born_among_others_is_hidden_from_them() {
    let held = Held::new(NamespaceSet::USER | NamespaceSet::PID);
    assert!(!Command::new("true").plan().unwrap().steps().any(|step| step == Step::HideMemory));
    held.process(NamespaceSet::USER | NamespaceSet::PID).apply().unwrap();
    let mut command = sh("echo $$");
    let plan = command.plan().unwrap().to_string();
    assert!(plan.contains("hide the child's memory") && plan.contains("copy"), "{plan}");
    assert_eq!(text(&mut command), "2");
}

fn a_new_pid_namespace_is_kept_for_the_program() {
    let held = Held::new(NamespaceSet::USER | NamespaceSet::UTS);
    let enter = held.handles(&[Namespace::Uts]);
    linux_namespaces::Unshare::new(NamespaceSet::PID).map_root().apply().unwrap();
    let error = sh("true").enter(enter.clone()).spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(text(&mut sh("echo $$")), "1");
}

fn a_map_file_that_is_covered_is_not_written() {
    linux_namespaces::Unshare::new(NamespaceSet::USER | NamespaceSet::MOUNT)
        .map_root()
        .apply()
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let me = std::process::id();
    crate::stage::bind(file.path(), format!("/proc/{me}/setgroups"));
    let error = linux_namespaces::Unshare::new(NamespaceSet::USER).map_root().apply().unwrap_err();
    assert_eq!(
        (error.step(), error.raw_os_error()),
        (Some(Step::WriteSetgroups), Some(libc::EXDEV))
    );
    assert!(error.explain().unwrap().contains("mounted over"));
    assert_eq!(fs::read(file.path()).unwrap(), b"");
}

fn the_plan_says_what_will_be_done() {
    let mut command = Command::new("/bin/true");
    command.unshare(NamespaceSet::PID).map_root().hostname("box".parse().unwrap()).new_session();
    let plan = command.plan().unwrap();
    let steps: Vec<Step> = plan.steps().collect();
    let expected = [
        Step::Clone,
        Step::NewSession,
        Step::WriteSetgroups,
        Step::WriteUidMap,
        Step::WriteGidMap,
        Step::SetHostname,
        Step::ConnectStdio,
        Step::ResetSignals,
        Step::Exec,
    ];
    assert_eq!(steps, expected);
    let lines = plan.to_string();
    assert_eq!(lines.lines().count(), expected.len());
    let memory = if cfg!(linux_namespaces_portable) { "with a copy of" } else { "sharing" };
    let made = format!("in new namespaces: pid,user,uts; {memory} the parent's memory");
    assert!(lines.contains(&made), "{lines}");
    assert!(lines.contains("set the hostname: box"));
    // SAFETY: never run.
    unsafe { command.pre_exec(|| Ok(())) };
    assert!(command.plan().unwrap().to_string().contains("with a copy of the parent's memory"));
}

fn std_s_command_enters_namespaces() {
    use linux_namespaces::CommandExt;
    let set = NamespaceSet::USER | NamespaceSet::UTS | NamespaceSet::TIME;
    let held = Held::new(set);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "for n in user uts time; do stat -Lc %i /proc/self/ns/$n; done"]);
    let output = command.enter(&held.process(set)).unwrap().output().unwrap();
    let expected: String =
        ["user", "uts", "time"].map(|name| format!("{}\n", kernel::ns(held.0.id(), name))).concat();
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert_eq!(kernel::different("self", &held.0.id().to_string()), set);
}

fn std_s_command_refuses_a_pid_namespace() {
    use linux_namespaces::CommandExt;
    let held = Held::new(NamespaceSet::USER | NamespaceSet::PID);
    let enter = held.process(NamespaceSet::USER | NamespaceSet::PID);
    let error = std::process::Command::new("true").enter(&enter).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// Each call refused, with each answer of filters in the field, in a process of its own.
fn clone_serves_where_clone3_is_refused() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        // SAFETY: this process has one thread.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            kernel::refuse(libc::SYS_clone3, errno);
            let held = Held::new(NamespaceSet::all());
            let same = namespaces_inside(held.process(NamespaceSet::all()))
                == namespaces_of(&held, NamespaceSet::all());
            drop(held);
            let mut mapped = sh("cat /proc/self/uid_map");
            let outside = if crate::machine::is_root() {
                text(mapped.uid_map(map(&[(0, 5, 5)])))
            } else {
                "0 5 5".to_owned()
            };
            let outside: Vec<&str> = outside.split_whitespace().collect();
            // SAFETY: ends the forked process.
            unsafe { libc::_exit(i32::from(!(same && outside == ["0", "5", "5"]))) }
        }
        let mut status = 0;
        // SAFETY: the child made above.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(status, 0, "clone3 answers {errno}");
    }
}

fn clone3_is_used_where_it_can_be() {
    kernel::refuse(libc::SYS_clone, libc::ENOSYS);
    let held = Held::new(NamespaceSet::all());
    // A shell forks with clone(2), on some architectures always, so there is none between.
    let mut command = Command::new("stat");
    command.args(["-Lc", "%i"]).enter(held.process(NamespaceSet::all()));
    command.args(Namespace::ALL.map(|kind| format!("/proc/self/ns/{}", kind.name())));
    let inside = text(&mut command);
    let expected = namespaces_of(&held, NamespaceSet::all());
    assert_eq!(inside.lines().collect::<Vec<_>>(), expected);
}

fn a_command_can_be_used_twice() {
    let mut command = sh("cat; echo $A");
    command.env("A", "1").stdin(Stdio::null());
    assert_eq!(text(&mut command), "1");
    assert_eq!(text(command.env("A", "2")), "2");
}
