//! Every system call of a spawn made to fail, by a filter, in every way in which a child is made: the
//! error names the step and the number, and the caller is what it was.

use std::fs::File;

use linux_namespaces::{
    Command, ErrorKind, IdMap, Mount, NamespaceSet, Overlay, Rootfs, Setgroups, Stdio, Step,
};

use crate::engine::Engine::{CopyingInside, SharingInside};
use crate::engine::{ALL, COPIES, Engine, FRESH, available};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::{self, Call};
use crate::machine::Need::{NewProc, OtherIds, Overlays, PidfdNamespaces, Root, UserNamespaces};
use crate::machine::{is_root, layer};
use crate::program::{is_at, refused};
use crate::stage;

cases! {
    every_call_of_a_child_refused [],
    every_call_in_new_namespaces_refused [UserNamespaces, NewProc],
    every_call_for_maps_from_outside_refused [Root, UserNamespaces, OtherIds],
    every_call_of_the_parent_refused [],
    a_clone_that_returns_without_a_child [],
}

fn kind_of(errno: i32) -> ErrorKind {
    match errno {
        libc::EPERM | libc::EACCES => ErrorKind::PermissionDenied,
        libc::ENOSYS => ErrorKind::Unsupported,
        libc::EAGAIN | libc::EMFILE | libc::ENFILE => ErrorKind::LimitReached,
        _ => ErrorKind::Os,
    }
}

/// A step, the call that it makes, and the command that has it.
pub(crate) struct At {
    pub(crate) step: Step,
    pub(crate) call: Call,
    pub(crate) option: fn(&mut Command),
    pub(crate) engines: &'static [Engine],
    /// What the call may be made to answer.
    errnos: &'static [i32],
}

impl At {
    /// Each number that the call answers comes back with the step; and the last one again where
    /// clone(2) has to serve.
    fn is_refused(&self) {
        let Self { step, call, .. } = *self;
        let last = self.errnos.len() - 1;
        for engine in available(self.engines) {
            for (index, &errno) in self.errnos.iter().chain([&self.errnos[last]]).enumerate() {
                in_fork(|| {
                    let place = engine.place();
                    let mut command = Command::new("/bin/true");
                    (self.option)(&mut command);
                    engine.choose(&mut command, place.as_ref());
                    if index > last {
                        kernel::refuse(libc::SYS_clone3, libc::ENOSYS);
                    }
                    kernel::refuse(call, errno);
                    let error = refused(&mut command);
                    let got = (error.step(), error.raw_os_error(), error.kind());
                    let expected = (Some(step), Some(errno), kind_of(errno));
                    assert_eq!(got, expected, "{engine:?} {call:?} {index}: {error:?}");
                });
            }
        }
    }
}

const USUAL: &[i32] = &[libc::EPERM, libc::ENOSYS];
pub(super) const NOTHING: fn(&mut Command) = |_| ();
pub(super) const INSIDE: &[Engine] = &[SharingInside, CopyingInside];

fn at(
    step: Step,
    call: impl Into<Call>,
    option: fn(&mut Command),
    engines: &'static [Engine],
    errnos: &'static [i32],
) -> At {
    At { step, call: call.into(), option, engines, errnos }
}

/// The steps of a child, in the order of the plan.
#[rustfmt::skip]
pub(crate) fn steps_of_a_child() -> Vec<At> {
    let prctl = |option: i32| Call::with(libc::SYS_prctl, 0, option.cast_unsigned());
    let copies_as_root = if is_root() { COPIES } else { &[CopyingInside] };
    // Before Linux 6.11 the parent makes this call too, when it asks /proc for what is entered.
    let polls_alone = if PidfdNamespaces.missing().is_none() { ALL } else { FRESH };
    vec![
        at(Step::SetDumpable, prctl(libc::PR_SET_DUMPABLE), NOTHING, &[CopyingInside], USUAL),
        at(Step::Enter, libc::SYS_setns, NOTHING, INSIDE, &[libc::EPERM, libc::ENOSYS, libc::EINVAL]),
        at(Step::NewSession, libc::SYS_setsid, option!(new_session()), ALL, USUAL),
        at(Step::SetProcessGroup, libc::SYS_setpgid, option!(process_group(0)), ALL, &[libc::EACCES, libc::EPERM]),
        at(Step::ConnectStdio, libc::SYS_dup3, option!(stdin(Stdio::null())), ALL, &[libc::EBUSY, libc::EIO]),
        at(Step::SetGroups, libc::SYS_setgroups, option!(groups([])), ALL, &[libc::EPERM, libc::ENOMEM]),
        at(Step::SetGid, libc::SYS_setresgid, option!(gid(0)), COPIES, USUAL),
        at(Step::SetUid, libc::SYS_setresuid, option!(uid(0)), copies_as_root, &[libc::EPERM, libc::EAGAIN]),
        at(Step::ChangeDirectory, libc::SYS_chdir, option!(current_dir("/")), ALL, &[libc::EACCES, libc::EIO]),
        at(Step::SetUmask, libc::SYS_umask, option!(umask(0o77)), ALL, USUAL),
        at(Step::NoNewPrivs, prctl(libc::PR_SET_NO_NEW_PRIVS), option!(no_new_privs()), ALL, USUAL),
        at(Step::SetParentDeathSignal, prctl(libc::PR_SET_PDEATHSIG), option!(kill_on_parent_exit()), ALL, USUAL),
        at(Step::SetParentDeathSignal, libc::SYS_ppoll, option!(kill_on_parent_exit()), polls_alone, USUAL),
        // EINVAL is the answer of a kernel that knows no flags, which has another way.
        at(Step::CloseFds, libc::SYS_close_range, option!(close_other_fds()), ALL, &[libc::EINVAL, libc::ENOSYS]),
        at(Step::ResetSignals, libc::SYS_rt_sigaction, NOTHING, ALL, USUAL),
        at(Step::Exec, libc::SYS_execve, NOTHING, ALL, &[libc::EPERM, libc::ENOMEM, libc::EIO]),
    ]
}

/// What the crate writes to a map file, told from other writes by its length.
fn write_of(text: &str) -> Call {
    Call::with(libc::SYS_write, 2, u32::try_from(text.len()).unwrap())
}

/// How the crate opens a map file.
pub(super) fn open_to_write() -> Call {
    Call::from(libc::SYS_openat2)
}

/// The steps of a child in new namespaces with a user namespace that it maps itself.
#[rustfmt::skip]
pub(crate) fn steps_in_new_namespaces() -> Vec<At> {
    let (uid, gid) = kernel::ids();
    let mount = |flags: libc::c_ulong| Call::with(libc::SYS_mount, 3, flags as u32);
    let ioctl = |number: u32| Call::with(libc::SYS_ioctl, 1, number);
    let one = |id| IdMap::single(0, id).unwrap().to_string();
    let map: fn(&mut Command) = option!(map_root());
    let group: fn(&mut Command) = |command| {
        let (_, gid) = kernel::ids();
        command.gid_map(IdMap::single(0, gid).unwrap());
    };
    let proc: fn(&mut Command) =
        option!(unshare(NamespaceSet::PID).map_root().mount(Mount::proc("/proc").unwrap()));
    let names: fn(&mut Command) =
        option!(map_root().hostname("x".parse().unwrap()).domainname("y".parse().unwrap()));
    let lo: fn(&mut Command) = option!(map_root().loopback_up());
    let private = mount(libc::MS_REC | libc::MS_PRIVATE);
    let overlay = Overlays.missing().is_none().then(|| {
        at(Step::Mount, mount(0), root, FRESH, &[libc::EPERM, libc::EINVAL])
    });
    let mut steps = vec![
        at(Step::WriteSetgroups, open_to_write(), map, FRESH, &[libc::EACCES, libc::EROFS]),
        at(Step::WriteSetgroups, write_of("deny"), map, FRESH, &[libc::EPERM, libc::EIO]),
        at(Step::WriteUidMap, write_of(&one(uid)), map, FRESH, &[libc::EPERM, libc::EINVAL]),
        at(Step::WriteGidMap, write_of(&one(gid)), group, FRESH, &[libc::EPERM, libc::EINVAL]),
        at(Step::SetPropagation, private, proc, FRESH, USUAL),
        // Where it is hidden, by EPERM or ENOSYS, mount(2) has to serve.
        at(Step::Mount, libc::SYS_fsopen, proc, FRESH, &[libc::ENODEV, libc::ENOMEM]),
        at(Step::Mount, libc::SYS_fsconfig, proc, FRESH, USUAL),
        at(Step::Mount, libc::SYS_fsmount, proc, FRESH, USUAL),
        at(Step::Mount, libc::SYS_move_mount, proc, FRESH, USUAL),
        at(Step::OpenSource, libc::SYS_open_tree, root, FRESH, &[libc::EINVAL, libc::ENFILE]),
        at(Step::CreateMountPoint, libc::SYS_mkdirat, root, FRESH, &[libc::EACCES, libc::EROFS]),
        at(Step::PivotRoot, libc::SYS_pivot_root, root, FRESH, USUAL),
        at(Step::SetHostname, libc::SYS_sethostname, names, FRESH, USUAL),
        at(Step::SetDomainname, libc::SYS_setdomainname, names, FRESH, USUAL),
        at(Step::LoopbackUp, libc::SYS_socket, lo, FRESH, &[libc::EACCES, libc::EAFNOSUPPORT]),
        at(Step::LoopbackUp, ioctl(libc::SIOCGIFFLAGS as u32), lo, FRESH, &[libc::EPERM, libc::ENODEV]),
        at(Step::LoopbackUp, ioctl(libc::SIOCSIFFLAGS as u32), lo, FRESH, USUAL),
    ];
    steps.extend(overlay);
    steps
}

/// A root of its own, with all that takes other calls.
fn root(command: &mut Command) {
    command.map_root().rootfs(Rootfs::tmpfs().read_only());
    command.mount(Mount::bind("/dev", "/dev").unwrap().read_only());
    if Overlays.missing().is_none() {
        command.mount(Mount::overlay("/etc", Overlay::new([layer()]).unwrap()).unwrap());
    }
}

/// Explicit maps, with more than the caller's own id: a helper writes them.
pub(crate) fn outside_maps(command: &mut Command) {
    let map = stage::id_map(&[(0, 11, 3)]);
    command.uid_map(map.clone()).gid_map(map);
}

/// The calls of the helper.
#[rustfmt::skip]
pub(crate) fn steps_of_a_helper() -> Vec<At> {
    let own_files = Call::with(libc::SYS_unshare, 0, libc::CLONE_FILES.cast_unsigned());
    let with_groups: fn(&mut Command) = |command| {
        outside_maps(command);
        command.setgroups(Setgroups::Deny);
    };
    let gids_alone: fn(&mut Command) = |command| {
        command.gid_map(stage::id_map(&[(0, 11, 3)]));
    };
    let write = write_of("0 11 3\n");
    vec![
        at(Step::WriteUidMap, own_files, outside_maps, FRESH, USUAL),
        at(Step::WriteUidMap, open_to_write(), outside_maps, FRESH, &[libc::EACCES]),
        at(Step::WriteUidMap, write, outside_maps, FRESH, &[libc::EPERM, libc::EINVAL]),
        at(Step::WriteGidMap, write, gids_alone, FRESH, &[libc::EPERM, libc::EINVAL]),
        at(Step::WriteSetgroups, write_of("deny"), with_groups, FRESH, USUAL),
    ]
}

fn every_call_of_a_child_refused() {
    steps_of_a_child().iter().for_each(At::is_refused);
}

fn every_call_in_new_namespaces_refused() {
    steps_in_new_namespaces().iter().for_each(At::is_refused);
    // The parent asks for it, too.
    at(Step::OpenSource, libc::SYS_mount_setattr, root, FRESH, &[libc::EINVAL]).is_refused();
}

fn every_call_for_maps_from_outside_refused() {
    for mut at in steps_of_a_helper() {
        // Before Linux 6.11 the parent makes this call first, to see in which pid namespace the helper will be born.
        if at.call == open_to_write() && PidfdNamespaces.missing().is_some() {
            at.step = Step::ReadProc;
        }
        at.is_refused();
    }
    // Of the child and of the helper, before there is a file to name. Where there is no readlink(2) the trial
    // itself could not look at descriptors any more, and before Linux 6.11 the parent makes this call first, too.
    let is_alone = cfg!(target_arch = "x86_64") && PidfdNamespaces.missing().is_none();
    let look = is_alone.then_some(libc::SYS_readlinkat);
    for call in look.into_iter().chain([libc::SYS_ppoll]) {
        at(Step::WriteUidMap, call, outside_maps, FRESH, USUAL).is_refused();
    }
    in_fork(|| {
        let mut command = Command::new("/bin/true");
        outside_maps(&mut command);
        // A helper that might outlive us does not begin.
        let death = libc::PR_SET_PDEATHSIG.cast_unsigned();
        kernel::refuse(Call::with(libc::SYS_prctl, 0, death), libc::EPERM);
        let error = refused(&mut command);
        is_at(&error, Step::WriteUidMap, libc::EPIPE);
    });
}

/// A filter can return 0 instead of a pid: the parent must not run the program itself.
fn a_clone_that_returns_without_a_child() {
    for engine in available(ALL) {
        for is_last in [false, true] {
            in_fork(|| {
                let place = engine.place();
                let mut command = Command::new("/bin/false");
                engine.choose(&mut command, place.as_ref());
                kernel::refuse(libc::SYS_clone3, 0);
                if is_last {
                    kernel::refuse(libc::SYS_clone, 0);
                    let error = refused(&mut command);
                    let got = (error.step(), error.raw_os_error());
                    assert_eq!(
                        got,
                        (Some(Step::Clone), Some(libc::EPERM)),
                        "{engine:?}: {error:?}"
                    );
                } else {
                    assert_eq!(command.status().unwrap().code(), Some(1), "{engine:?}");
                }
            });
        }
    }
}

fn every_call_of_the_parent_refused() {
    // For the first two of these clone(2) is tried, and refused as well.
    for errno in [libc::EPERM, libc::ENOSYS, libc::EAGAIN, libc::ENOMEM] {
        for engine in available(ALL) {
            in_fork(|| {
                let place = engine.place();
                let mut command = Command::new("true");
                engine.choose(&mut command, place.as_ref());
                kernel::refuse(libc::SYS_clone, libc::EPERM);
                kernel::refuse(libc::SYS_clone3, errno);
                let error = refused(&mut command);
                let seen = if errno == libc::ENOSYS { libc::EPERM } else { errno };
                let got = (error.step(), error.raw_os_error(), error.kind());
                assert_eq!(got, (Some(Step::Clone), Some(seen), kind_of(seen)), "{engine:?}");
            });
        }
    }
    let duplicate = Call::with(libc::SYS_fcntl, 1, libc::F_DUPFD_CLOEXEC.cast_unsigned());
    let file: fn(&mut Command) = option!(stdin(File::open("/dev/null").unwrap()));
    let death = option!(kill_on_parent_exit());
    let pipe = option!(stdout(Stdio::piped()));
    at(Step::Prepare, duplicate, file, ALL, &[libc::EPERM, libc::EMFILE]).is_refused();
    at(Step::Prepare, libc::SYS_pipe2, pipe, ALL, &[libc::ENFILE, libc::EPERM]).is_refused();
    at(Step::OpenProcess, libc::SYS_pidfd_open, death, ALL, USUAL).is_refused();
}
