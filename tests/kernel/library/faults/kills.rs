//! Every process that a spawn makes is killed at every call that it makes, and at any other moment:
//! the spawn answers, and nothing is left.

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;

use linux_namespaces::{Command, Error, ErrorKind, NamespaceSet, Step};

use super::calls::{self, At, outside_maps};
use crate::engine::{Engine, FRESH, available};
use crate::fork::{Fork, end_with_parent, in_fork, wait};
use crate::harness::cases;
use crate::kernel::{self, Call, HeldCall, children, state_of, supervised, until};
use crate::machine::Need::{CopyDescriptors, NewProc, OtherIds, Root, UserNamespaces};
use crate::machine::is_root;
use crate::program::{Held, refused, rest, sleeper};

cases! {
    a_child_at_every_call [],
    a_child_in_new_namespaces_at_every_call [UserNamespaces, NewProc],
    the_helper_for_maps_at_every_call [Root, UserNamespaces, OtherIds],
    a_child_while_its_maps_are_written [Root, UserNamespaces, OtherIds],
    the_intermediate_process_before_it_has_a_child [UserNamespaces],
    the_intermediate_process_while_its_child_is_at_work [UserNamespaces],
    the_intermediate_process_when_the_program_runs [UserNamespaces],
    a_parent_before_its_child_is_tied_to_it [CopyDescriptors],
    whatever_appears_at_any_moment [UserNamespaces, OtherIds],
}

fn kill(pid: i32) {
    // SAFETY: a process of ours that sleeps in a call.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
}

/// Whether it is the helper: the first to be made.
fn is_helper(pid: i32) -> bool {
    children().first() == Some(&pid)
}

/// In a process of its own: a command of the engine, and a place to enter if it needs one.
fn in_place(engine: Engine, option: fn(&mut Command), work: impl FnOnce(&mut Command, i32)) {
    in_fork(|| {
        let place = engine.place();
        let mut command = sleeper();
        option(&mut command);
        engine.choose(&mut command, place.as_ref());
        work(&mut command, place.as_ref().map_or(0, Held::pid));
    });
}

fn assert_died(error: &Error, step: Step, context: impl std::fmt::Debug) {
    let got = (error.kind(), error.step(), error.raw_os_error());
    assert_eq!(got, (ErrorKind::ChildDied, Some(step), None), "{context:?}: {error:?}");
}

/// The child that first comes to the call is killed there.
fn is_killed(at: &At) {
    for engine in available(at.engines) {
        in_place(engine, at.option, |command, _| {
            // The parent does not sleep while a child with a copy is at work.
            let parent = std::process::id().cast_signed();
            let killer = |pid| {
                if pid != parent {
                    kill(pid);
                }
                pid == parent
            };
            supervised(at.call, killer, || {
                let error = refused(command);
                assert_died(&error, at.step, engine);
                assert!(error.to_string().contains("signal 9"), "{error}");
            });
        });
    }
}

fn a_child_at_every_call() {
    calls::steps_of_a_child().iter().for_each(is_killed);
}

fn a_child_in_new_namespaces_at_every_call() {
    calls::steps_in_new_namespaces().iter().for_each(is_killed);
}

fn the_helper_for_maps_at_every_call() {
    let calls = calls::steps_of_a_helper().into_iter().map(|at| (at.call, at.step, at.option));
    let getppid = Call::from(libc::SYS_getppid);
    let first = (getppid, Step::WriteUidMap, outside_maps as fn(&mut Command));
    for (call, step, option) in calls.chain([first]) {
        for engine in available(FRESH) {
            in_place(engine, option, |command, _| {
                let killer = |pid| {
                    let is_it = is_helper(pid);
                    if is_it {
                        kill(pid);
                    }
                    !is_it
                };
                supervised(call, killer, || {
                    let error = refused(command);
                    let got = (error.step(), error.raw_os_error());
                    assert_eq!(got, (Some(step), Some(libc::EPIPE)), "{call:?}: {error:?}");
                    assert!(error.explain().is_some(), "unexplained: {error:?}");
                });
            });
        }
    }
}

fn a_child_while_its_maps_are_written() {
    for engine in available(FRESH) {
        in_place(engine, outside_maps, |command, _| {
            let killer = |pid| {
                if is_helper(pid) {
                    children().into_iter().filter(|&child| child != pid).for_each(kill);
                }
                true
            };
            supervised(calls::open_to_write(), killer, || {
                assert_died(&refused(command), Step::WriteUidMap, engine);
            });
        });
    }
}

fn the_intermediate_process_before_it_has_a_child() {
    for engine in available(calls::INSIDE) {
        in_place(engine, calls::NOTHING, |command, _| {
            let me = std::process::id().cast_signed();
            let killer = |pid| {
                if pid != me {
                    kill(pid);
                }
                pid == me
            };
            supervised(libc::SYS_clone3, killer, || {
                assert_died(&refused(command), Step::Clone, engine);
            });
        });
    }
}

/// A child with a memory of its own goes on; one that shares ours is killed.
fn the_intermediate_process_while_its_child_is_at_work() {
    for engine in available(calls::INSIDE) {
        in_place(engine, option!(new_session()), |command, place| {
            let killer = |child| {
                // It sleeps until its child is done.
                let mut others = children();
                others.retain(|&pid| pid != child && pid != place);
                assert_eq!(others.len(), 1);
                kill(others[0]);
                until(|| matches!(state_of(others[0]), 'Z' | '-'));
                true
            };
            supervised(libc::SYS_setsid, killer, || match command.spawn() {
                Ok(mut child) => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::ChildDied, "{error}"),
            });
        });
    }
}

fn the_intermediate_process_when_the_program_runs() {
    for engine in available(calls::INSIDE) {
        in_place(engine, calls::NOTHING, |command, _| {
            let killer = |pid| {
                kill(pid);
                false
            };
            supervised(libc::SYS_exit_group, killer, || match command.spawn() {
                Ok(mut child) => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                }
                Err(error) => assert_died(&error, Step::Exec, engine),
            });
        });
    }
}

fn a_parent_before_its_child_is_tied_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let witness = dir.path().join("witness");
    let (reader, writer) = std::io::pipe().unwrap();
    let parent = Fork::start(|| {
        let death = libc::PR_SET_PDEATHSIG.cast_unsigned();
        let listener = kernel::hold(Call::with(libc::SYS_prctl, 0, death));
        writeln!(&writer, "{}", listener.as_raw_fd()).unwrap();
        drop(writer);
        let mut command = Command::new("touch");
        // It is killed before.
        command.arg(&witness).kill_on_parent_exit().status().is_err().into()
    });
    let number: i32 = rest(reader).trim().parse().unwrap();
    let listener = kernel::descriptor_of(parent.pid(), number);
    let held = HeldCall::next(listener.as_fd(), listener.as_fd()).unwrap();
    kill(parent.pid());
    assert_eq!(parent.wait(), libc::SIGKILL);
    held.release(listener.as_fd());
    // It comes to us, sees that it is too late, and ends.
    assert_eq!(libc::WEXITSTATUS(wait(held.pid)), 127);
    assert!(!witness.exists());
}

/// Kills all children of its parent as soon as it sees them, but those to be spared.
fn killer(spared: &[i32]) -> Fork {
    let parent = std::process::id();
    Fork::start(|| {
        end_with_parent();
        let me = std::process::id().cast_signed();
        let list = File::open(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let mut buffer = [0; 512];
        loop {
            for pid in numbers(&list, &mut buffer).filter(|pid| *pid != me && !spared.contains(pid))
            {
                // The number of a process that has just ended could be a stranger's: kill by a
                // descriptor, and only if the number is in the list after it was opened as before.
                // SAFETY: descriptors of this process.
                unsafe {
                    let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
                    let mut again = [0; 512];
                    if fd >= 0 && numbers(&list, &mut again).any(|other| other == pid) {
                        libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, 0, 0);
                    }
                    libc::close(fd as i32);
                }
            }
        }
    })
}

fn numbers<'a>(list: &File, buffer: &'a mut [u8; 512]) -> impl Iterator<Item = i32> + use<'a> {
    let length = list.read_at(buffer, 0).unwrap_or(0);
    let text = std::str::from_utf8(&buffer[..length]).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap())
}

/// What the command comes to when all its processes are killed: the program is at its end, or an
/// error says what died.
fn check_killed(command: &mut Command, seen: &mut BTreeMap<String, u32>) {
    let error = match command.spawn() {
        Ok(mut child) => {
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
            *seen.entry("ran".to_owned()).or_default() += 1;
            return;
        }
        Err(error) => error,
    };
    let helper = error.raw_os_error() == Some(libc::EPIPE)
        && matches!(error.step(), Some(Step::WriteUidMap));
    assert!(error.kind() == ErrorKind::ChildDied || helper, "{error:?}");
    *seen.entry(format!("{:?} {:?}", error.kind(), error.step())).or_default() += 1;
}

fn whatever_appears_at_any_moment() {
    const TIMES: usize = 250;
    let pattern = |index: usize| (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let memory: Vec<u64> = black_box((0..1 << 19).map(pattern).collect());
    let user = Held::new(NamespaceSet::USER | NamespaceSet::PID);
    let net = is_root().then(|| Held::new(NamespaceSet::NET));
    let places: Vec<i32> =
        [Some(&user), net.as_ref()].into_iter().flatten().map(Held::pid).collect();
    let mut commands: Vec<Command> = (0..4).map(|_| sleeper()).collect();
    commands[1].map_root().hostname("x".parse().unwrap());
    commands[2].enter(user.enter(NamespaceSet::USER | NamespaceSet::PID));
    Engine::Copying.choose(&mut commands[3], None);
    if let Some(net) = &net {
        let mut inside = sleeper();
        inside.enter(net.enter(NamespaceSet::NET));
        let mut maps = sleeper();
        outside_maps(&mut maps);
        commands.extend([inside, maps]);
    }
    for command in &mut commands {
        let before = kernel::census();
        let killer = killer(&places);
        let mut seen = BTreeMap::new();
        for _ in 0..TIMES {
            check_killed(command, &mut seen);
        }
        drop(killer);
        assert_eq!(kernel::census(), before);
        eprintln!("{seen:?}");
    }
    assert!(memory.iter().enumerate().all(|(index, value)| *value == pattern(index)));
}
