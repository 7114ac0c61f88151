//! `Command` and `Child`.

pub(crate) mod namespaces;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use linux_namespaces::{
    Command, ErrorKind, Init, Mount, Namespace, NamespaceSet, Signal, Stdio, Step,
};

use crate::fork::{self, Fork, in_fork};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{OtherIds, Root, UserNamespaces};
use crate::machine::is_root;
use crate::program::{Held, is_at, is_of, rest, sh, sleeper, spawn, text};
use crate::stage;
use namespaces::{namespaces_inside, namespaces_of};

cases! {
    arguments_and_environment_arrive [],
    an_empty_environment_is_empty [],
    streams_are_pipes_files_and_null [],
    streams_are_this_process_s_other_stream [],
    output_larger_than_a_pipe_on_both_streams [],
    the_working_directory_is_changed [],
    a_status_is_an_exit_code_or_a_signal [],
    a_child_is_waited_for_polled_and_killed [],
    signals_of_the_program_are_as_std_leaves_them [],
    no_descriptor_but_the_streams_is_inherited [],
    other_descriptors_are_closed_on_request [],
    ids_are_changed [Root, OtherIds],
    a_session_and_a_process_group_are_made [],
    a_child_dies_with_its_parent [],
    no_new_privs_is_set [],
    the_umask_is_the_program_s_alone [UserNamespaces],
    the_caller_s_code_runs_in_the_child [],
    a_panic_of_the_caller_s_code_ends_the_child [],
    a_user_without_groups_has_none_of_ours [Root, OtherIds],
    a_parent_with_closed_streams_is_still_watched [],
    the_plan_says_what_will_be_done [],
    clone_serves_where_clone3_is_refused [UserNamespaces, OtherIds],
    clone3_is_used_where_it_can_be [UserNamespaces],
    a_command_can_be_used_twice [],
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
    file.rewind().unwrap();
    let mut written = String::new();
    file.read_to_string(&mut written).unwrap();
    assert_eq!(written, "out\nerr\n");
}

/// Each on the other's place.
fn streams_are_this_process_s_other_stream() {
    let files = [(); 2].map(|()| tempfile::tempfile().unwrap());
    let before = [
        io::stdout().as_fd().try_clone_to_owned().unwrap(),
        io::stderr().as_fd().try_clone_to_owned().unwrap(),
    ];
    let replace = |fds: [i32; 2]| {
        for (fd, to) in fds.into_iter().zip([1, 2]) {
            // SAFETY: streams of this process alone.
            assert_eq!(unsafe { libc::dup2(fd, to) }, to);
        }
    };
    let mut command = sh("echo out; echo err >&2");
    command.stdout(io::stderr()).stderr(io::stdout());
    replace(files.each_ref().map(AsRawFd::as_raw_fd));
    let status = command.status();
    replace(before.each_ref().map(AsRawFd::as_raw_fd));
    assert!(status.unwrap().success());
    let texts = files.map(|mut file| {
        file.rewind().unwrap();
        io::read_to_string(file).unwrap()
    });
    assert_eq!(texts, ["err\n", "out\n"]);
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
    let mut child = spawn(&mut sleeper());
    assert_eq!(child.try_wait().unwrap(), None);
    assert_eq!(child.wait_timeout(Duration::from_millis(20)).unwrap(), None);
    assert_eq!(kernel::ns(child.id(), "uts"), kernel::ns("self", "uts"));
    assert_eq!(child.pidfd().pid().unwrap(), Some(child.id()));
    child.kill().unwrap();
    assert_eq!(child.wait_timeout(Duration::MAX).unwrap().unwrap().signal(), Some(9));
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(child.try_wait().unwrap().unwrap().signal(), Some(9));
    child.kill().unwrap();
    child.send_signal(Signal::TERM).unwrap();
    assert_eq!(child.pidfd().pid().unwrap(), None);
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
    // Where dash forks, it unblocks all signals.
    let script = "exec cat /proc/self/status";
    let std = std::process::Command::new("sh").args(["-c", script]).output().unwrap().stdout;
    let sets = |text: String| -> Vec<u64> {
        // The two signals that glibc keeps for itself it sets as it likes.
        let sets = kernel::fields(&text, &["SigBlk", "SigIgn", "SigCgt"]).into_iter();
        sets.map(|set| u64::from_str_radix(set, 16).unwrap() & !(3 << 31)).collect()
    };
    assert_eq!(sets(text(&mut sh(script))), sets(String::from_utf8(std).unwrap()));
    // SIGUSR1 stays ignored, SIGPIPE does not, SIGTERM stays blocked.
    let bit = |signal: i32| 1_u64 << (signal - 1);
    let ignored = sets(text(&mut sh(script)))[1];
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
    let (reader, writer) = io::pipe().unwrap();
    let middle = Fork::start(|| {
        let child = spawn(sleeper().kill_on_parent_exit());
        write!(&writer, "{}", child.id()).unwrap();
        drop(writer);
        0
    });
    let pid = rest(reader).parse().unwrap();
    assert_eq!(middle.wait(), 0);
    assert_eq!(fork::wait(pid), libc::SIGKILL);
}

fn no_new_privs_is_set() {
    let seen = |command: &mut Command| kernel::fields(&text(command), &["NoNewPrivs"]).concat();
    let program = || sh("cat /proc/self/status");
    let inherited = kernel::status("NoNewPrivs");
    assert_eq!(seen(&mut program()), inherited);
    assert_eq!(seen(program().no_new_privs()), "1");
    assert_eq!(kernel::status("NoNewPrivs"), inherited);
}

fn the_umask_is_the_program_s_alone() {
    let seen = |command: &mut Command| kernel::fields(&text(command), &["Umask"]).concat();
    let program = || sh("cat /proc/self/status");
    let inherited = kernel::status("Umask");
    assert_eq!(seen(&mut program()), inherited);
    for (mask, expected) in [(0, "0000"), (0o27, "0027"), (0o777, "0777")] {
        assert_eq!(seen(program().umask(mask)), expected);
    }
    let mut changed = program();
    // SAFETY: system calls only.
    unsafe {
        changed.umask(0o77).pre_exec(|| {
            libc::umask(libc::umask(0) | 0o100);
            Ok(())
        });
    }
    assert_eq!(seen(&mut changed), "0177");
    let plan = program().map_root().mount(Mount::tmpfs("/tmp").unwrap()).umask(0o7).plan().unwrap();
    let at = |wanted: Step| plan.steps().position(|step| step == wanted).unwrap();
    assert!(at(Step::Mount) < at(Step::SetUmask), "{plan}");
    assert!(plan.to_string().contains("set the umask: 007"), "{plan}");
    // The init has the parent's.
    let child = Held::of(sleeper().map_root().init(Init::new()).umask(0o72));
    let program = child.program().unwrap().pid().unwrap().unwrap();
    let of = |pid| kernel::status_of(pid, "Umask");
    assert_eq!([of(child.id()), of(program)], [inherited.clone(), "0072".to_owned()]);
    drop(child);
    assert_eq!(kernel::status("Umask"), inherited);
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
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    // The child's copy of the counter is its own.
    assert_eq!(text(&mut command), "0027\n/proc");
    assert_eq!(text(&mut command), "0027\n/proc");
    // SAFETY: makes an error.
    unsafe { command.pre_exec(|| Err(io::Error::from_raw_os_error(libc::EXDEV))) };
    let before = kernel::census();
    let error = command.spawn().unwrap_err();
    is_at(&error, Step::PreExec, libc::EXDEV);
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
    is_of(&error, Step::PreExec, ErrorKind::ChildDied);
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
    let memory = if !crate::machine::SHARES_MEMORY { "with a copy of" } else { "sharing" };
    let made = format!("in new namespaces: pid,user,uts; {memory} the parent's memory");
    assert!(lines.contains(&made), "{lines}");
    assert!(lines.contains("set the hostname: box"));
    // SAFETY: never run.
    unsafe { command.pre_exec(|| Ok(())) };
    assert!(command.plan().unwrap().to_string().contains("with a copy of the parent's memory"));
}

/// With each errno of filters in the field.
fn clone_serves_where_clone3_is_refused() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        in_fork(|| {
            kernel::refuse(libc::SYS_clone3, errno);
            let held = Held::new(NamespaceSet::all());
            let inside = namespaces_inside(held.enter_all());
            assert_eq!(inside, namespaces_of(&held, NamespaceSet::all()));
            if is_root() {
                let map = text(sh("cat /proc/self/uid_map").uid_map(stage::id_map(&[(0, 5, 5)])));
                assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "5", "5"]);
            }
        });
    }
}

fn clone3_is_used_where_it_can_be() {
    kernel::refuse(libc::SYS_clone, libc::ENOSYS);
    let held = Held::new(NamespaceSet::all());
    // A shell forks with clone(2), on some architectures always, so there is none between.
    let mut command = Command::new("stat");
    command.args(["-Lc", "%i"]).enter(held.enter_all());
    command.args(Namespace::ALL.iter().map(|kind| format!("/proc/self/ns/{}", kind.name())));
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
