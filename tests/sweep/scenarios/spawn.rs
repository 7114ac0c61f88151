//! Programs started in every way, with every group of options.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use linux_namespaces::{
    Child, Clock, ClockOffset, Command, CommandExt, ErrorKind, IdExtent, IdMap, Init, Mount,
    NamespaceSet, NsFd, Overlay, RemainingProcesses, Rootfs, Stdio,
};

use super::{Place, Scenario, own_mounts, scenario};
use crate::kernel;
use crate::machine::Need::{
    MappedOwners, NewProc, OtherIds, Overlays, Program, Root, UnifiedCgroup, UserNamespaces,
};
use crate::machine::{self, is_root};
use crate::stage;
use crate::subject::{Act, Answer, Came, begin};

const USERS: &[machine::Need] = &[UserNamespaces];

#[rustfmt::skip]
pub(super) const ALL: &[Scenario] = &[
    scenario("spawn::sharing", &[], || spawn(|_| ())),
    scenario("spawn::copying", &[], || spawn(copying)),
    scenario("spawn::by_clone", &[], || spawn(|_| ()).staged(without_clone3)),
    scenario("spawn::from_path", &[], || Act::new(from_path)),
    scenario("spawn::streams", &[], || Act::new(streams)),
    scenario("spawn::output", &[], || Act::new(output)),
    scenario("spawn::usual_options", &[], || spawn(usual_options)),
    scenario("spawn::usual_options_copying", &[], || spawn(|it| { usual_options(it); copying(it); })),
    scenario("spawn::death", &[], || Act::new(|| until_killed(|_| ()))),
    scenario("spawn::death_copying", &[], || Act::new(|| until_killed(copying))),
    scenario("spawn::death_in_new_namespaces", USERS, || Act::new(|| until_killed(in_many))),
    scenario("spawn::death_by_clone", &[], || Act::new(|| until_killed(|_| ())).staged(without_clone3)),
    scenario("spawn::time_until_killed", USERS, || Act::new(|| until_killed(time))),
    scenario("spawn::death_of_other_ids", &[Root, OtherIds], || Act::new(|| until_killed(|it| { it.uid(54_321).gid(54_321).groups([]); }))),
    scenario("spawn::map_by_helper_until_killed", &[Root, UserNamespaces, OtherIds], || Act::new(|| until_killed(|it| { outside_maps(it); it.uid(0).gid(0).groups([]); }))),
    scenario("spawn::own_code_until_killed", &[], || Act::new(own_code_until_killed)),
    scenario("spawn::ids", &[Root, OtherIds], || spawn(|it| { it.uid(54_321).gid(54_321).groups([]).keep_caps(); })),
    scenario("spawn::open_directories", &[Root], || spawn(open_directories)),
    scenario("spawn::own_code", &[], || Act::new(own_code)),
    scenario("spawn::map_by_child", USERS, || spawn(|it| { it.map_root(); })),
    scenario("spawn::map_by_child_copying", USERS, || spawn(|it| { it.map_root(); copying(it); })),
    scenario("spawn::map_by_helper", &[Root, UserNamespaces, OtherIds], || spawn(outside_maps)),
    scenario("spawn::map_by_helper_copying", &[Root, UserNamespaces, OtherIds], || spawn(|it| { outside_maps(it); copying(it); })),
    scenario("spawn::map_by_helper_and_ids", &[Root, UserNamespaces, OtherIds], || spawn(|it| { outside_maps(it); it.uid(0).gid(0).groups([]); })),
    scenario("spawn::map_by_helper_by_clone", &[Root, UserNamespaces, OtherIds], || spawn(outside_maps).staged(without_clone3)),
    scenario("spawn::map_by_tools", &[Root, Program("newuidmap")], map_by_tools),
    scenario("spawn::chosen_pids", &[Root], || spawn(|it| { it.unshare(NamespaceSet::PID).set_tid([1]).process_group(0); })),
    scenario("spawn::reaped_by_the_kernel", &[], reaped),
    scenario("spawn::by_std", &[Root], by_std),
    scenario("spawn::names_and_lo", USERS, || spawn(names)),
    scenario("spawn::time", USERS, || spawn(time)),
    scenario("spawn::time_by_clone", USERS, || spawn(time).staged(without_clone3)),
    scenario("spawn::cgroup", &[Root, UnifiedCgroup], cgroup),
    scenario("spawn::cgroup_by_clone", &[Root, UnifiedCgroup], || cgroup().staged(without_clone3)),
    scenario("spawn::mounts", &[UserNamespaces, NewProc], || spawn(mounts)),
    scenario("spawn::locked_mounts", &[UserNamespaces, NewProc], || spawn(|it| { mounts(it); it.lock_mounts().current_dir_fallback("/"); })),
    scenario("spawn::mounts_of_the_kernel", USERS, || spawn(mounts_of_the_kernel)),
    scenario("spawn::empty_mount_namespace", USERS, empty_mount_namespace),
    scenario("spawn::root_of_files", USERS, || spawn(root_of_files)),
    scenario("spawn::root_of_a_directory", USERS, || spawn(|it| { it.map_root().rootfs(Rootfs::dir("/").unwrap().read_only()); })),
    scenario("spawn::root_by_chroot", USERS, || spawn(|it| { it.map_root().rootfs(Rootfs::dir("/").unwrap().chroot()); })),
    scenario("spawn::root_of_layers", &[UserNamespaces, Overlays], || spawn(root_of_layers)),
    scenario("spawn::root_of_kept_layers", &[Root, Overlays], root_of_kept_layers),
    scenario("spawn::other_owners", &[Root, MappedOwners], || other_owners(of_a_directory)),
    scenario("spawn::other_owners_of_layers", &[Root, MappedOwners, Overlays], || other_owners(of_layers)),
    scenario("spawn::init", USERS, || spawn(init)),
    scenario("spawn::init_of_a_group", USERS, || spawn(|it| { it.map_root().init(Init::new().new_process_group().remaining_processes(RemainingProcesses::Kill)); })),
    scenario("spawn::init_with_helper", &[Root, UserNamespaces, OtherIds], || spawn(|it| { outside_maps(it); it.init(Init::new()); })),
    scenario("spawn::init_in_a_root", USERS, || spawn(|it| { init(it); root_of_files(it); })),
    scenario("spawn::init_until_killed", USERS, || Act::new(|| until_killed(init))),
    scenario("spawn::inside_sharing", &[Root], || inside(NamespaceSet::UTS, |_| ())),
    scenario("spawn::inside_network_and_mounts", &[Root], || inside(NamespaceSet::NET | NamespaceSet::MOUNT, usual_options)),
    scenario("spawn::inside_user", USERS, || inside(NamespaceSet::USER | NamespaceSet::UTS, |_| ())),
    scenario("spawn::inside_user_by_clone", USERS, || inside(NamespaceSet::USER | NamespaceSet::UTS, |_| ()).staged(without_clone3)),
    scenario("spawn::inside_pid", USERS, || inside(NamespaceSet::USER | NamespaceSet::PID, usual_options)),
    scenario("spawn::inside_time", USERS, || inside(NamespaceSet::USER | NamespaceSet::TIME, |_| ())),
    scenario("spawn::inside_all", USERS, || inside(NamespaceSet::all() - NamespaceSet::NET, |_| ())),
    scenario("spawn::inside_until_killed", USERS, inside_until_killed),
    scenario("spawn::inside_with_new", USERS, || inside(NamespaceSet::USER, |it| { it.unshare(NamespaceSet::UTS | NamespaceSet::MOUNT).mount(Mount::tmpfs("/tmp").unwrap()); })),
];

fn copying(command: &mut Command) {
    // SAFETY: does nothing.
    unsafe { command.pre_exec(|| Ok(())) };
}

/// As a filter has it that does not know the call.
fn without_clone3() {
    kernel::refuse(libc::SYS_clone3, libc::ENOSYS);
}

fn run(mut command: Command) -> Answer {
    begin();
    command.spawn()?.wait().map(Came::Ended)
}

/// Runs a program that ends at once.
fn spawn(option: impl Fn(&mut Command) + 'static) -> Act {
    Act::new(move || {
        let mut command = Command::new("/bin/true");
        option(&mut command);
        run(command)
    })
}

fn from_path() -> Answer {
    let mut command = Command::new("true");
    command.env("PATH", "/no/such/dir:/proc:/bin:/usr/bin");
    run(command)
}

fn streams() -> Answer {
    let mut command = Command::new("/bin/true");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::open("/dev/null").unwrap());
    begin();
    let mut child = command.spawn()?;
    // Not the crate's own call, which is the next scenario's.
    child.stdout.take().map(|mut it| it.read_to_end(&mut Vec::new()));
    child.wait().map(Came::Ended)
}

fn output() -> Answer {
    let mut command = Command::new("/bin/echo");
    command.arg("here");
    begin();
    let output = command.output()?;
    assert!(!output.status.success() || output.stdout == b"here\n");
    Ok(Came::Ended(output.status))
}

fn usual_options(command: &mut Command) {
    command.new_session().no_new_privs().close_other_fds().current_dir("/").kill_on_parent_exit();
    command.umask(0o77);
}

/// A program that does not end by itself, tied to its parent.
fn until_killed(option: fn(&mut Command)) -> Answer {
    let mut command = Command::new("/bin/sleep");
    command.arg("6000").kill_on_parent_exit();
    option(&mut command);
    begin();
    let mut child = command.spawn()?;
    let killed = child.kill();
    end(&child);
    child.wait()?;
    killed?;
    Ok(Came::Done)
}

/// So that it ends also where the crate was made to do nothing.
fn end(child: &Child) {
    // SAFETY: our own child, which is not waited for.
    unsafe { libc::kill(child.id().cast_signed(), libc::SIGKILL) };
}

fn in_many(command: &mut Command) {
    command.unshare(NamespaceSet::PID | NamespaceSet::MOUNT).map_root();
}

fn open_directories(command: &mut Command) {
    command.root_dir_fd(File::open("/").unwrap()).current_dir_fd(File::open("/").unwrap());
}

fn own_code() -> Answer {
    let mut command = Command::new("own code");
    begin();
    // SAFETY: this process has one thread.
    unsafe { command.spawn_fn(|| 0) }?.wait().map(Came::Ended)
}

fn own_code_until_killed() -> Answer {
    let mut command = Command::new("own code");
    command.kill_on_parent_exit();
    begin();
    // SAFETY: this process has one thread; a call that reads nothing.
    let code = || unsafe { libc::poll(std::ptr::null_mut(), 0, -1) as u8 };
    // SAFETY: as above.
    let mut child = unsafe { command.spawn_fn(code) }?;
    end(&child);
    child.wait().map(|_| Came::Done)
}

/// With more than the caller's own id: a helper writes them.
fn outside_maps(command: &mut Command) {
    let map = IdMap::new([IdExtent { inside: 0, outside: 0, count: 3 }]).unwrap();
    command.uid_map(map.clone()).gid_map(map);
}

/// As an ordinary user for whom ids are set aside, in a file of `/etc` that this process alone sees.
fn map_by_tools() -> Act {
    const NOBODY: u32 = 65_534;
    let etc = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::set_permissions(etc.path(), Permissions::from_mode(0o755)).unwrap();
    for name in ["passwd", "group", "nsswitch.conf", "ld.so.cache", "login.defs"] {
        fs::copy(Path::new("/etc").join(name), etc.path().join(name)).ok();
    }
    for name in ["subuid", "subgid"] {
        fs::write(etc.path().join(name), "nobody:100000:65536\n").unwrap();
    }
    spawn(|command| {
        command.map_auto();
    })
    .staged(move || {
        own_mounts();
        stage::bind(etc.path(), "/etc");
        // SAFETY: this process has one thread. Another user's process is not dumpable at first.
        unsafe {
            assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
            assert_eq!(libc::setresgid(NOBODY, NOBODY, NOBODY), 0);
            assert_eq!(libc::setresuid(NOBODY, NOBODY, NOBODY), 0);
            libc::prctl(libc::PR_SET_DUMPABLE, 1);
        }
    })
    // Libraries that the C library loads to look for the name.
    .keeping("mappings")
}

fn by_std() -> Act {
    let place = Place::new(NamespaceSet::UTS | NamespaceSet::NET);
    Act::new(move || {
        let mut command = process::Command::new("/bin/true");
        let enter = place.enter();
        begin();
        command.enter(&enter)?;
        // What std then does is not the crate's.
        Ok(Came::Done)
    })
}

fn names(command: &mut Command) {
    command.map_root().hostname("x".parse().unwrap()).domainname("y".parse().unwrap());
    command.loopback_up();
}

fn time(command: &mut Command) {
    let ahead = ClockOffset::ahead(Duration::from_secs(1000)).unwrap();
    command.map_root().time_offset(Clock::Boottime, ahead);
}

/// Before Linux 7.1 that is refused. From then on it ends well, or in this way.
fn since_7_1(option: fn(&mut Command), end: Option<ErrorKind>) -> Act {
    Act::new(move || {
        let mut command = Command::new("/bin/true");
        option(&mut command);
        match run(command) {
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Came::Done),
            Err(error) if Some(error.kind()) == end => Ok(Came::Done),
            answer => answer,
        }
    })
}

fn reaped() -> Act {
    let option = |command: &mut Command| {
        // What kills setuid programs takes a privilege, or that there are none.
        command.auto_reap().kill_on_drop().no_new_privs();
    };
    since_7_1(option, None)
}

/// There is no program, either.
fn empty_mount_namespace() -> Act {
    let option = |command: &mut Command| _ = command.map_root().empty_mount_namespace();
    since_7_1(option, Some(ErrorKind::NotFound))
}

/// A directory that is removed in the end.
struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).unwrap();
    }
}

fn cgroup() -> Act {
    let root = machine::unified_cgroup().unwrap_or(Path::new("/"));
    let dir = Cgroup(root.join(format!("linux-namespaces-sweep-{}", process::id())));
    fs::create_dir(&dir.0).unwrap();
    spawn(move |command| {
        command.cgroup(File::open(&dir.0).unwrap()).unshare(NamespaceSet::CGROUP);
    })
}

/// Each kind of mount over what is there.
fn mounts(command: &mut Command) {
    let kinds = [
        Mount::bind("/usr", "/var").unwrap().read_only(),
        Mount::tmpfs("/tmp").unwrap().size(1 << 20),
        Mount::proc("/proc").unwrap(),
        Mount::mqueue("/run").unwrap(),
        Mount::dev("/dev").unwrap(),
        Mount::mask("/etc/passwd").unwrap(),
        Mount::read_only_path("/etc").unwrap(),
    ];
    command.map_root().unshare(NamespaceSet::PID | NamespaceSet::IPC | NamespaceSet::NET);
    for mount in kinds {
        command.mount(mount);
    }
    command.mount(Mount::sysfs("/sys").unwrap());
    if Overlays.missing().is_none() {
        command.mount(Mount::overlay("/tmp", Overlay::new([machine::layer()]).unwrap()).unwrap());
    }
}

/// Those that show a namespace of another kind, or are new each time.
fn mounts_of_the_kernel(command: &mut Command) {
    command.map_root().mount(Mount::devpts("/run").unwrap());
    command.unshare(NamespaceSet::CGROUP).mount(Mount::cgroup2("/var").unwrap());
}

/// A new root with the program and its libraries.
fn root_of_files(command: &mut Command) {
    command.map_root().rootfs(Rootfs::tmpfs().read_only());
    with_programs(command, |_| true);
    command.mount(Mount::bind("/dev/null", "/dev/null").unwrap());
}

/// Some of them may be mounts, which are in no layer.
fn with_programs(command: &mut Command, is_wanted: fn(&Path) -> bool) {
    for dir in ["/bin", "/lib", "/lib64", "/usr"] {
        if Path::new(dir).exists() && is_wanted(Path::new(dir)) {
            command.mount(Mount::bind(dir, dir).unwrap().read_only());
        }
    }
}

fn root_of_layers(command: &mut Command) {
    command.map_root().rootfs(Rootfs::overlay(Overlay::new([machine::layer()]).unwrap()));
    with_programs(command, |_| true);
}

fn root_of_kept_layers() -> Act {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::create_dir(dir.path().join("upper")).unwrap();
    spawn(move |command| {
        let layers = Overlay::new(["/"]).unwrap().upper(dir.path().join("upper")).unwrap();
        command.unshare(NamespaceSet::MOUNT).rootfs(Rootfs::overlay(layers));
        // The links are in the layer.
        with_programs(command, |dir| !dir.is_symlink());
    })
}

fn other_owners(mount: fn(&Path, NsFd) -> Mount) -> Act {
    let place = Place::new(NamespaceSet::USER);
    let user = NsFd::of_process(place.child.pidfd(), linux_namespaces::Namespace::User).unwrap();
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    spawn(move |command| {
        let _ = &place;
        let mount = mount(dir.path(), user.try_clone().unwrap());
        command.unshare(NamespaceSet::MOUNT).mount(mount);
    })
}

fn of_a_directory(dir: &Path, user: NsFd) -> Mount {
    Mount::bind(dir, "/run").unwrap().idmapped(user)
}

fn of_layers(dir: &Path, user: NsFd) -> Mount {
    Mount::overlay("/run", Overlay::new([dir]).unwrap().idmapped(user)).unwrap()
}

fn init(command: &mut Command) {
    command.map_root().init(Init::new());
}

fn inside(set: NamespaceSet, option: fn(&mut Command)) -> Act {
    let place = Place::new(set);
    let act = spawn(move |command| {
        command.enter(place.enter());
        option(command);
    });
    assert!(is_root() || set.contains(NamespaceSet::USER));
    act
}

fn inside_until_killed() -> Act {
    let place = Place::new(NamespaceSet::USER | NamespaceSet::PID);
    Act::new(move || {
        let mut command = Command::new("/bin/sleep");
        command.arg("6000").kill_on_parent_exit().enter(place.enter());
        begin();
        let mut child = command.spawn()?;
        end(&child);
        child.wait().map(|_| Came::Done)
    })
}
