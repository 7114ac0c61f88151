//! What is not as everywhere, each with its reason. An entry that nothing needs is an error.

use libc::{
    EACCES, EAGAIN, EEXIST, EINVAL, EMFILE, ENOENT, ENOMEM, ENOSYS, ENOTDIR, ENOTTY, EPERM, EPIPE,
    ESRCH, EUSERS,
};

/// The kernel whose calls these are. On others it is told what comes otherwise, and only what hangs, ends the
/// caller or leaves something is wrong.
pub(crate) const KERNEL: (u32, u32) = (6, 18);

/// Where and how a run may end otherwise than with the error that was made.
pub(crate) struct Exception {
    /// The beginning of the scenario's name.
    pub(crate) scenario: &'static str,
    /// The beginning of the role and the call; all of it with `$` at the end.
    pub(crate) at: &'static str,
    /// For these numbers; all, if there is none.
    pub(crate) errnos: &'static [i32],
    pub(crate) outcome: Outcome,
    /// Whether each full sweep needs it: not where it depends on who is faster.
    pub(crate) always: bool,
    #[allow(dead_code, reason = "for who reads this file")]
    pub(crate) why: &'static str,
}

pub(crate) enum Outcome {
    /// It makes no sense.
    NotTried,
    /// Another way is there, or nothing depends on the call.
    Succeeds,
    /// Another error: the step and the number.
    Says(&'static str, Option<i32>),
    /// What the scenario came to.
    Comes(&'static str),
    /// After this outcome, this is left.
    Leaves(&'static str, &'static str),
}
use Outcome::{Comes, Leaves, NotTried, Says, Succeeds};

const HIDDEN: &[i32] = &[ENOSYS, EPERM];
const UNSEEN: &[i32] = &[ENOSYS, EPERM, EACCES];

const fn in_all(
    at: &'static str,
    errnos: &'static [i32],
    outcome: Outcome,
    why: &'static str,
) -> Exception {
    only("", at, errnos, outcome, why)
}

const fn only(
    scenario: &'static str,
    at: &'static str,
    errnos: &'static [i32],
    outcome: Outcome,
    why: &'static str,
) -> Exception {
    Exception { scenario, at, errnos, outcome, always: true, why }
}

const fn sometimes(exception: Exception) -> Exception {
    Exception { always: false, ..exception }
}

#[rustfmt::skip]
pub(crate) const EXCEPTIONS: &[Exception] = &[
    // What a run cannot tell about the crate.
    in_all("parent fcntl 0x1", &[], NotTried, "F_GETFD: a check of std's before it closes"),
    in_all("parent futex 0x1", &[], NotTried, "to wake is never refused, and what is not done is never made up for"),
    in_all("child futex 0x1", &[], NotTried, "as above"),
    in_all("parent kill", &[], NotTried, "the scenario's own"),
    only("init::armed_with_events", "parent poll", &[], NotTried, "as above"),
    only("enter::on_a_thread", "thread mmap", &[], NotTried, "the start of a thread: std ends the process"),
    only("enter::on_a_thread", "thread mprotect", &[], NotTried, "as above"),
    only("enter::on_a_thread", "thread rseq", &[], NotTried, "as above, the C library does"),

    // What the program keeps where the kernel does not let it have root's of the inside.
    only("spawn::inside_", "intermediate setgroups", &[EPERM], Succeeds, "groups are dropped where that is allowed, outside or inside"),
    only("spawn::inside_", "child setgroups", &[EPERM], Succeeds, "as above"),
    only("spawn::inside_", "child setresgid", &[EINVAL], Succeeds, "the id of before is kept where it is mapped"),
    only("spawn::inside_", "child setresuid", &[EINVAL], Succeeds, "as above"),

    // Nothing depends on the answer.
    in_all("parent close", &[], Succeeds, "the number is free whatever the call answers"),
    in_all("child close", &[], Succeeds, "as above"),
    in_all("helper close", &[], Succeeds, "as above"),
    in_all("program close", &[], Succeeds, "as above"),
    in_all("parent openat2 \"thread-self/status\"", &[], Succeeds, "a tracer that cannot be looked for is none"),
    in_all("parent read \"status\"", &[], Succeeds, "as above"),
    in_all("parent lseek", &[], Succeeds, "std asks how much there is to read, and reads anyhow"),
    in_all("thread madvise", &[], Succeeds, "the C library gives the stack of a thread back"),
    in_all("thread sched_getaffinity", &[], Succeeds, "the C library asks where a thread's stack ends"),
    in_all("thread set_robust_list", &[], Succeeds, "the C library does not look"),
    in_all("thread sigaltstack", &[], Succeeds, "std does not look"),
    only("spawn::streams", "parent read", &[], Succeeds, "the scenario's own"),
    sometimes(only("spawn::time", "parent fstat", &[], Succeeds, "the look whether the program is in its time namespace: one who may not look goes on")),
    sometimes(only("spawn::time", "parent ioctl 0xff07", &[], Succeeds, "as above")),
    sometimes(only("spawn::time", "parent ioctl 0xff08", &[], Succeeds, "as above")),
    sometimes(only("spawn::time", "parent ioctl 0xb703", &[], Succeeds, "as above")),
    sometimes(only("spawn::time", "parent openat \"/proc/thread-self/ns/time\"", &[], Succeeds, "as above")),
    sometimes(only("spawn::time", "parent openat \"time_for", &[], Succeeds, "as above")),
    sometimes(only("spawn::time", "parent statx \"time_for", &[], Succeeds, "as above")),
    sometimes(only("spawn::time", "parent ppoll", &[], Succeeds, "the wait before the next look")),
    sometimes(only("spawn::time", "parent pidfd_open", &[], Succeeds, "as above")),
    sometimes(only("spawn::time", "parent openat \"time\"", &[], Succeeds, "as above")),
    sometimes(only("spawn::time", "parent statx \"time\"", &[], Succeeds, "as above")),
    in_all("parent pidfd_send_signal", &[ESRCH], Succeeds, "to kill who has ended is no failure"),

    // Another way where a filter hides a call, or an old kernel lacks it.
    in_all("parent clone3", HIDDEN, Succeeds, "clone(2)"),
    in_all("child clone3", HIDDEN, Succeeds, "as above"),
    in_all("helper clone3", HIDDEN, Succeeds, "as above"),
    in_all("intermediate clone3", HIDDEN, Succeeds, "as above"),
    in_all("parent openat2", HIDDEN, Succeeds, "openat(2), name by name"),
    in_all("child openat2", HIDDEN, Succeeds, "as above"),
    in_all("helper openat2", HIDDEN, Succeeds, "as above"),
    in_all("program openat2", HIDDEN, Succeeds, "as above"),
    in_all("parent fsopen", HIDDEN, Succeeds, "mount(2)"),
    in_all("child fsopen", HIDDEN, Succeeds, "as above"),
    in_all("parent open_tree", HIDDEN, Succeeds, "a bind mount by mount(2)"),
    in_all("child open_tree", HIDDEN, Succeeds, "as above"),
    in_all("child open_tree", &[EPERM], Says("Mount", Some(ENOSYS)), "a layer of an overlay: no bind mount serves"),
    only("pin", "parent move_mount", HIDDEN, Succeeds, "a bind mount by mount(2)"),
    in_all("child mount_setattr", HIDDEN, Succeeds, "a remount by mount(2)"),
    only("unshare", "parent mount_setattr", HIDDEN, Succeeds, "as above"),
    in_all("parent mount_setattr 0xffffffff", &[], Succeeds, "asked beforehand whether the call is there"),
    in_all("parent ioctl 0xff", &[ENOTTY], Succeeds, "before Linux 6.11: by /proc"),
    in_all("parent ioctl 0xc040ff0b", &[], Succeeds, "PIDFD_GET_INFO, before Linux 6.13: by /proc"),
    in_all("parent ioctl 0x8008b70d", &[ENOTTY], Succeeds, "NS_GET_ID, before Linux 6.18: there is none"),
    in_all("parent ioctl 0x8004b7", &[ENOTTY], Says("QueryNamespace", Some(ESRCH)), "what Linux 6.13 to 6.19 answer for a process that is not there"),
    only("discover", "parent listns", HIDDEN, Succeeds, "before Linux 6.19: from one mount namespace to the next"),
    only("", "intermediate setns", &[EINVAL], Succeeds, "what is own already spoils all: one kind after the other"),
    only("spawn::inside_", "intermediate setns", &[EPERM], Succeeds, "what is denied outside is tried again in the user namespace, and the other way round"),
    only("enter::user", "parent setns 0x4000000", &[EPERM], Succeeds, "as above"),
    in_all("intermediate setns", &[EUSERS], Succeeds, "as if a program were on its way out of the memory: tried again"),
    only("enter::scoped_time", "parent setns", &[EUSERS], Succeeds, "as above"),
    only("enter", "parent setns", &[EINVAL], Succeeds, "as above; and a shared working directory, which is unshared"),
    only("exec", "parent setns", &[EINVAL], Succeeds, "as above"),
    only("spawn::from_path", "child execve", &[ENOENT, EACCES, ENOTDIR], Succeeds, "the next directory of PATH"),
    only("pin", "parent mount", &[EINVAL], Succeeds, "no mount point yet: it is made one"),
    in_all("parent statx", &[EPERM], Says("ReadProc", Some(ENOSYS)), "rustix says so where each statx(2) is refused"),

    // What a pidfd of the thread says, or /proc where that cannot, and the explanation of an error does without.
    in_all("parent openat \"/proc\"", &[], Succeeds, "there is another way, or a part of the explanation is missing"),
    in_all("parent statx \"\"", &[], Succeeds, "as above"),
    in_all("parent openat \"cgroup", &[], Succeeds, "as above"),
    in_all("parent openat \"ipc", &[], Succeeds, "as above"),
    in_all("parent openat \"mnt", &[], Succeeds, "as above"),
    in_all("parent openat \"net", &[], Succeeds, "as above"),
    in_all("parent openat \"pid", &[], Succeeds, "as above"),
    in_all("parent openat \"uts", &[], Succeeds, "as above"),
    in_all("parent fstatfs", &[], Succeeds, "as above"),
    in_all("parent ioctl 0xb703", &[], Succeeds, "as above: NS_GET_NSTYPE"),
    in_all("parent pidfd_open", &[ENOSYS, EPERM, ESRCH], Succeeds, "the other way round: by /proc"),
    in_all("parent openat \"user", &[], Succeeds, "as above, or whether the user namespace is the first one: it counts as that"),
    in_all("parent openat2 \"user", &[], Succeeds, "as above"),
    in_all("parent openat2 \"thread-self/ns\"", &[], Succeeds, "as above"),
    in_all("parent readlinkat \"\"", &[], Succeeds, "as above"),
    only("spawn::", "parent fstat", &[], Succeeds, "as above"),
    in_all("parent openat2 \"thread-self/", &[ENOENT], Says("ReadProc", None), "a /proc in which this process is not there"),
    in_all("parent openat2 \"", &[libc::EXDEV], Says("ReadProc", None), "a /proc with something mounted over a part of it"),
    in_all("parent openat2 \"", &[EAGAIN], Succeeds, "as if something had been renamed meanwhile: asked again"),
    in_all("helper openat2 \"", &[EAGAIN], Succeeds, "as above"),

    // A new time namespace: whether exec leads there, a process made for the question tells; if not, the other way serves.
    only("spawn::time", "parent clone3", &[], Succeeds, "the process is not made"),
    only("spawn::time", "parent clone", &[], Succeeds, "as above"),
    only("spawn::time", "parent mmap", &[], Succeeds, "as above"),
    only("spawn::time", "child unshare", &[], Succeeds, "it cannot tell"),
    only("spawn::time", "child clone", &[], Succeeds, "as above"),

    // Before Linux 7.1: that the flags are unknown, which a child without them and one with them tell.
    only("spawn::reaped", "parent clone3", &[], Succeeds, "the first of them in any case, the others go unheard"),
    only("spawn::reaped", "parent clone3", HIDDEN, Says("Clone", Some(EINVAL)), "as above: they tell nothing"),
    only("spawn::empty_mount_namespace", "parent clone3", &[], Succeeds, "as the first of these"),
    only("spawn::empty_mount_namespace", "parent clone3", HIDDEN, Says("Clone", Some(EINVAL)), "as the second"),

    // What is said to be there or gone, and is not.
    in_all("child mkdirat \"shm\"", &[EEXIST], Succeeds, "somebody else made it"),
    in_all("child mkdirat", &[EEXIST], Says("CreateMountPoint", Some(ENOENT)), "somebody else made it, and took it away again"),
    only("pin", "parent mkdirat", &[EEXIST], Says("CreatePinDir", Some(ENOENT)), "as above"),
    only("pin", "parent unlinkat", &[ENOENT], Succeeds, "gone, as it was to be"),
    only("pin", "parent unlinkat", &[ENOENT], Leaves("Done", "file /tmp/sweep-pin"), "as above"),
    in_all("child execveat", &[ENOENT], Says("Exec", Some(libc::EOPNOTSUPP)), "all is there: the TOMOYO of old kernels"),
    in_all("program execveat", &[ENOENT], Says("Exec", Some(libc::EOPNOTSUPP)), "as above"),
    in_all("child openat \".\"", &[EACCES], Succeeds, "a working directory that may not be searched is not come back to"),
    in_all("child openat2 \"/lib", &[EACCES], Succeeds, "an ELF interpreter that may not be searched for is not the kernel's either"),
    in_all("program openat2 \"/lib", &[EACCES, ENOENT], Succeeds, "as above"),
    sometimes(in_all("child openat2 ?", &[EACCES, EAGAIN, ENOENT], Succeeds, "as those whose name can be read")),
    sometimes(in_all("program openat2 ?", &[EACCES, EAGAIN, ENOENT], Succeeds, "as above")),
    only("spawn::init", "child mmap", &[], Succeeds, "without a stack for its last loop an init keeps all its memory"),
    only("spawn::init", "child mprotect", &[], Succeeds, "as above"),
    only("spawn::init", "child openat2 \"self/maps\"", &[], Succeeds, "as above"),
    only("spawn::init", "child unshare 0x200", &[], Succeeds, "it stays in its directory, or nobody shares that"),
    only("spawn::init", "child unshare 0x400", &[], Succeeds, "it keeps its descriptors, or nobody shares them"),
    only("spawn::init_of_a_group", "child ioctl 0x540f", &[], Succeeds, "TIOCGPGRP: there is no terminal to manage"),
    only("spawn::locked_mounts", "child fchdir", &[EACCES], Succeeds, "the fallback"),
    only("spawn::locked_mounts", "child openat2 \"/", &[EACCES], Succeeds, "as above"),
    only("spawn::locked_mounts", "parent getcwd", &[], Succeeds, "as above"),
    in_all("child openat2 \"", &[ENOENT], Succeeds, "a mount point that is missing is made, or left out"),
    only("enter", "parent fstat", &[], Succeeds, "which mount namespace was entered: where that is unknown, every name is looked up with care"),
    only("enter", "parent ioctl 0xff03", &[], Succeeds, "as above"),
    only("enter", "parent ioctl 0x8008b70d", &[], Succeeds, "as above"),
    only("enter", "parent pidfd_open", &[EMFILE], Succeeds, "as above"),
    only("exec::without_the_program", "parent fstat", &[], Succeeds, "as above"),
    only("exec::without_the_program", "parent ioctl 0xff03", &[], Succeeds, "as above"),
    only("exec::without_the_program", "parent ioctl 0x8008b70d", &[], Succeeds, "as above"),
    only("exec::without_the_program", "parent pidfd_open", &[EMFILE], Succeeds, "as above"),
    only("unshare::", "parent fstat", &[], Succeeds, "as above"),
    only("unshare::", "parent ioctl 0xff03", &[], Succeeds, "as above"),
    only("unshare::", "parent ioctl 0x8008b70d", &[], Succeeds, "as above"),
    only("unshare::", "parent pidfd_open", &[EMFILE], Succeeds, "as above"),
    in_all("child openat2 \"", &[EAGAIN], Succeeds, "something was renamed meanwhile: asked again"),
    in_all("program openat2 \"", &[EAGAIN], Succeeds, "as above"),
    only("exec::without_the_program", "parent openat2 \"/no", &[ENOENT], Succeeds, "that is so in any case"),
    in_all("parent getcwd", &[], Says("no step", None), "a directory without a path cannot be looked up again"),
    in_all("parent faccessat \"cgroup.freeze\"", &[], Succeeds, "what cannot be read of a cgroup says nothing of its being frozen"),
    in_all("parent read \"cgroup.", &[], Succeeds, "as above"),
    only("spawn::cgroup", "parent openat \"..\"", &[], Succeeds, "as above"),

    // Children.
    only("spawn::ids", "child prctl 0x2f", &[EINVAL], Succeeds, "a bit that is no capability of this kernel"),
    in_all("helper prctl 0x1", &[], Says("WriteUidMap", Some(EPIPE)), "a helper that might outlive us does not begin"),
    in_all("parent capget", &[], Says("WriteUidMap", None), "without the capability newuidmap(1) is asked, which refuses this map"),
    in_all("parent capget", &[], Says("WriteGidMap", None), "as above, newgidmap(1)"),
    in_all("parent waitid", HIDDEN, Leaves("Wait", "children"), "who may not wait has a zombie"),
    only("unshare::user_by_helper", "parent waitid", HIDDEN, Leaves("Done", "children"), "as above: of the helper"),
    only("spawn::in", "parent waitid", HIDDEN, Leaves("exit status: 0", "children"), "as above: of that or the intermediate process"),
    sometimes(only("spawn::empty_mount_namespace", "parent waitid", HIDDEN, Leaves("Done", "children"), "as above: of the child without a program, from Linux 7.1 on")),
    only("spawn::time", "parent waitid", HIDDEN, Leaves("exit status: 0", "children"), "as above: of that which tells where exec leads"),
    only("spawn::time_until_killed", "parent waitid", HIDDEN, Leaves("Done", "children"), "as above"),
    only("spawn::map_by_helper_until_killed", "parent waitid", HIDDEN, Leaves("Done", "children"), "as above"),
    only("spawn::map", "parent waitid", HIDDEN, Leaves("exit status: 0", "children"), "as above"),
    only("spawn::inside_until_killed", "parent waitid", HIDDEN, Leaves("Done", "children"), "as above"),
    in_all("parent waitid", HIDDEN, Succeeds, "of the helper or the intermediate process"),
    only("enter::on_a_thread", "parent clone3", &[ENOMEM], Says("StartThread", Some(EAGAIN)), "what pthread_create(3) makes of it"),

    // An init that runs already goes on with what it has.
    only("spawn::init", "child capget", &[], Succeeds, "it keeps its capabilities"),
    only("spawn::init", "child capset", &[], Succeeds, "as above"),
    only("spawn::init", "child chdir", &[], Succeeds, "it stays in its directory"),
    only("spawn::init", "child madvise", &[], Succeeds, "it keeps memory"),
    only("spawn::init", "child openat2 \"self/smaps\"", &[], Succeeds, "as above"),
    only("spawn::init", "child read", &[], Succeeds, "as above"),
    only("spawn::init", "child rseq", &[], Succeeds, "as above"),
    only("spawn::init", "child prctl 0x26", &[], Succeeds, "it could gain privileges by an exec, which it never does"),
    only("spawn::init", "child waitid", &[EPERM], Succeeds, "to see who is there, once the program has ended"),
    only("spawn::init", "child waitid", &[EPERM], Comes("exit status: 70"), "an init that may not wait gives up"),
    sometimes(only("spawn::init", "child rt_sigtimedwait", HIDDEN, Comes("exit status: 70"), "as above, where the program is still there")),
    sometimes(only("spawn::init", "child rt_sigtimedwait", HIDDEN, Succeeds, "as above, where nobody asks for its status")),
    only("spawn::init", "parent ppoll", &[], Succeeds, "the pipe alone tells that the init has started"),
    only("spawn::own_code", "parent ppoll", &[], Succeeds, "as above, the caller's code"),
    sometimes(in_all("parent ppoll", &[], Succeeds, "as above, that exec has closed it, where the child has a copy of the memory")),
    sometimes(only("spawn::own_code_until_killed", "child poll", &[], Succeeds, "the caller's code ends")),
    sometimes(only("spawn::own_code_until_killed", "child ppoll", &[], Succeeds, "as above")),
    only("spawn::init", "parent rt_sigaction", &[], Succeeds, "SIGCHLD counts as not ignored"),

    // An init of one's own.
    only("init::armed_in_a_session", "child ioctl 0x540e", &[], Succeeds, "TIOCSCTTY: there may be no terminal to take"),
    only("init::armed_in_a_session", "parent ioctl 0x5422", &[], Succeeds, "TIOCNOTTY: as above, to give away"),
    only("init", "parent rt_sigaction", &[], Succeeds, "SIGCHLD counts as not ignored"),
    only("init::arm", "parent prctl 0x25$", &[], Succeeds, "what was before is not known, and stays changed should a later step fail"),
    only("init::arm", "parent prctl 0x2$", &[], Succeeds, "as above"),
    only("init::arm", "parent pidfd_open", &[], Succeeds, "a /proc that may be of another pid namespace: the others are waited for alone"),
    only("init::arm", "parent openat2 \"", &[], Succeeds, "as above"),
    only("init::arm", "parent read", &[], Succeeds, "as above"),
    sometimes(only("init", "parent rt_sigtimedwait", HIDDEN, Leaves("Wait", "children"), "who may not wait has a zombie, if the program did not end before the first look")),

    // newuidmap(1), and the C library's look for the user's name.
    only("spawn::map_by_tools", "parent capget", HIDDEN, Succeeds, "it is a user without capabilities in any case"),
    only("spawn::map_by_tools", "parent newfstatat", &[], Succeeds, "the user is known by number"),
    only("spawn::map_by_tools", "parent newfstatat", &[], Says("ReadSubIds", None), "for the user without a name nothing is set aside"),
    only("spawn::map_by_tools", "parent openat \"/etc/", &[], Succeeds, "as the first of these"),
    only("spawn::map_by_tools", "parent openat \"/etc/", &[], Says("ReadSubIds", None), "as the second"),
    only("spawn::map_by_tools", "parent read", &[], Succeeds, "as the first"),
    only("spawn::map_by_tools", "parent read", &[], Says("ReadSubIds", None), "as the second"),
    only("spawn::map_by_tools", "parent socket", &[], Succeeds, "no daemon for names"),
    only("spawn::map_by_tools", "parent connect", &[], Succeeds, "as above"),
    only("spawn::map_by_tools", "parent statx", &[], Succeeds, "the tool is looked for in another directory"),
    only("spawn::map_by_tools", "parent statx", &[], Says("WriteUidMap", None), "the tool is not found"),
    only("spawn::map_by_tools", "helper waitid", &[EPERM], Says("WriteUidMap", None), "nothing is known of the tool"),
    only("spawn::map_by_tools", "helper waitid", &[EPERM], Says("WriteGidMap", None), "as above"),
    only("spawn::map_by_tools", "parent waitid", HIDDEN, Says("WriteUidMap", None), "as above, by who filters the helper as well"),
    only("spawn::map_by_tools", "parent waitid", HIDDEN, Leaves("WriteUidMap", "children"), "as above"),
    only("spawn::map_by_tools", "tool ", &[], Says("WriteUidMap", None), "the tool is not run, and so says nothing"),
    only("spawn::map_by_tools", "tool ", &[], Says("WriteGidMap", None), "as above"),

    // What it cannot do is no answer less.
    only("support", "", &[], Succeeds, "what is refused is told to be missing or denied"),
    only("support", "", &[EMFILE], Says("Prepare", Some(EMFILE)), "a full table of descriptors says nothing about the kernel"),
    only("support", "parent clone3", &[EPERM], Comes("Incomplete"), "a kernel that lacks it has another refusal, so it counts as here"),
    only("support", "parent listns", &[ENOMEM], Comes("Incomplete"), "as above"),
    only("support", "parent open_tree \"\"", &[EPERM], Comes("Incomplete"), "as above"),
    only("support", "parent waitid", HIDDEN, Leaves("Done", "children"), "who may not wait has a zombie"),

    // What else is opened.
    only("spawn::init_of_a_group", "program ioctl 0x540f", &[], Succeeds, "TIOCGPGRP: there is no terminal to take"),
    only("spawn::root_of_kept_layers", "child mkdirat \"upper", &[EEXIST], Succeeds, "it is kept from one time to the next"),
    only("handles::program", "parent openat2 \"", &[ENOENT], Says("ReadProc", Some(ESRCH)), "the init has ended"),
    only("handles::program", "parent openat2 \"children\"", &[ENOENT], Says("ReadProc", None), "a kernel without such lists"),

    // Pins.
    only("pin", "parent flock", &[EAGAIN], Says("CreatePinTarget", Some(EEXIST)), "somebody else is at work there"),
    only("pin", "parent flock", &[EAGAIN], Leaves("CreatePinTarget", "file /tmp/sweep-pin"), "as above: then it is the other's"),
    only("pin", "parent flock", &[EAGAIN], Leaves("Done", "file /tmp/sweep-pin"), "as above"),
    only("pin", "parent newfstatat", &[ENOENT], Leaves("Done", "file /tmp/sweep-pin"), "as above"),
    only("pin", "parent openat \"sweep-pin\"", &[ENOENT], Leaves("Done", "file /tmp/sweep-pin"), "as above"),
    only("pin", "parent openat \"", &[ENOENT], Succeeds, "looked at again, or gone as it was to be"),
    only("pin", "parent flock", &[], Succeeds, "unpinned, but the file is somebody else's now"),
    only("pin", "parent newfstatat", &[ENOENT], Says("CreatePinTarget", Some(EEXIST)), "somebody removed it"),
    only("pin", "parent newfstatat", &[ENOENT], Leaves("CreatePinTarget", "file /tmp/sweep-pin"), "as above: what is said to be gone is not removed"),
    only("pin", "parent newfstatat", &[ENOENT], Succeeds, "as above"),
    only("pin::in_a_directory", "parent openat \"one\"", &[ENOENT], Comes("Incomplete"), "unpinned while it was listed"),
    only("pin::in_a_directory", "parent getdents64", &[ENOENT], Succeeds, "the end of a list"),
    only("pin::in_a_directory", "parent getdents64", &[ENOENT], Comes("Incomplete"), "the directory was removed: it is empty"),
    only("pin::and_unpin", "parent ", &[], Leaves("Unpin", "/tmp/sweep-pin"), "what could not be unpinned stays; the error says so"),
    only("pin::and_unpin", "parent ", &[], Leaves("ReadProc", "/tmp/sweep-pin"), "as above"),
    only("pin::dropped", "parent ", &[], Leaves("Done", "/tmp/sweep-pin"), "as above, but a drop cannot say so"),
    only("pin::dropped", "parent ", &[], Succeeds, "as above"),

    // What may not be looked at is no part of a discovery: a gap, or what the kernel lists is used instead.
    only("discover", "parent ", &[], Succeeds, "nothing is missing"),
    only("discover", "parent openat2 \"", &[ENOENT], Comes("Incomplete"), "as if the process had ended meanwhile"),
    only("discover", "parent readlinkat \"", &[ENOENT], Comes("Incomplete"), "as above"),
    only("discover::members", "parent openat2 \"1/ns", UNSEEN, Comes("Incomplete"), "who may not be looked into is left out"),
    only("discover::members", "parent openat2 \"1/ns", &[EAGAIN], Comes("Incomplete"), "as above"),
    only("discover::members", "parent readlinkat \"", UNSEEN, Comes("Incomplete"), "who may not be looked into is left out"),
    only("discover::members", "parent pidfd_open", &[ESRCH], Comes("Incomplete"), "it has ended"),
    only("discover::until_empty", "parent openat2 \"1/ns", UNSEEN, Comes("Incomplete"), "as above"),
    only("discover::until_empty", "parent openat2 \"1/ns", &[EAGAIN], Comes("Incomplete"), "as above"),
    only("discover::until_empty", "parent readlinkat \"", UNSEEN, Comes("Incomplete"), "as above"),
    only("discover::until_empty", "parent pidfd_open", &[ESRCH], Comes("Incomplete"), "as above"),
    only("discover::and_opened", "parent ", UNSEEN, Says("OpenNamespace", None), "nothing else leads there, nor can be told to be it"),
];

/// The steps at which a call, by the first words of what is told of it, may be refused.
#[rustfmt::skip]
pub(crate) const STEPS: &[(&str, &[&str])] = &[
    ("capget", &["KeepCaps", "LockMounts"]),
    ("capset", &["KeepCaps", "LockMounts"]),
    ("chdir", &["ChangeDirectory"]),
    ("chroot", &["ChangeRoot", "Leave"]),
    ("clone", &["Clone", "StartIdMapHelper", "BecomeInit", "StartThread", "WriteUidMap", "WriteGidMap"]),
    ("close_range", &["CloseFds"]),
    ("dup3", &["ConnectStdio"]),
    ("execve", &["Exec"]),
    ("faccessat2", &["Exec"]),
    ("preadv", &["Exec"]),
    ("fchdir", &["ChangeDirectory", "ChangeRoot", "Mount", "PivotRoot", "Leave"]),
    // F_DUPFD_CLOEXEC.
    ("fcntl 0x406", &["OpenSource", "Prepare", "OpenNamespace", "OpenPinDir", "CreateMountPoint", "CreateFile", "Mount"]),
    ("fcntl 0x3", &["OpenPinDir"]),
    ("flock", &["CreatePinTarget", "CreatePinDir", "Unpin"]),
    ("fsconfig", &["Mount"]),
    ("fsmount", &["Mount"]),
    ("fsopen", &["Mount"]),
    ("fstat", &["QueryNamespace", "Prepare", "ReadProc", "CreatePinTarget", "OpenNamespace", "OpenPinDir", "OpenSource", "Unpin"]),
    ("fstatfs", &["ReadProc", "OpenNamespace", "OpenPinDir", "Unpin", "Mount"]),
    ("getdents64", &["OpenPinDir", "ReadProc"]),
    // SIOCGSKNS, before SIOCGIFFLAGS and SIOCSIFFLAGS.
    ("ioctl 0x894c", &["OpenNamespace"]),
    ("ioctl 0x89", &["LoopbackUp"]),
    // Of nsfs.
    ("ioctl 0xb7", &["QueryNamespace", "ReadProc"]),
    ("ioctl 0x8004b7", &["QueryNamespace"]),
    ("ioctl 0x8008b70d", &["QueryNamespace"]),
    ("ioctl 0x8010b7", &["ReadProc"]),
    // Of pidfds.
    ("ioctl 0xff", &["OpenNamespace"]),
    ("listns", &["ReadProc"]),
    ("memfd_create", &["Prepare"]),
    ("mkdirat", &["CreateMountPoint", "CreateFile", "Mount", "CreatePinDir"]),
    ("mknodat", &["CreateMountPoint"]),
    ("mmap", &["Prepare", "StartIdMapHelper", "Clone"]),
    // MS_REC | MS_PRIVATE.
    ("mount \"/\" 0x44000", &["SetPropagation"]),
    ("mount \"/proc/thread-self/fd", &["CreatePinDir"]),
    ("mount \"", &["Mount"]),
    ("mount_setattr", &["MakeReadOnly", "OpenSource", "IdmapMount"]),
    ("move_mount", &["MakeReadOnly", "Mount", "Pin", "CreatePinDir"]),
    ("mprotect", &["Prepare", "StartIdMapHelper"]),
    ("newfstatat", &["CreatePinTarget", "Unpin"]),
    ("open_tree", &["MakeReadOnly", "OpenSource", "Mount", "IdmapMount", "Pin", "CreatePinDir"]),
    ("open \"", &["OpenNamespace"]),
    ("openat \".\"", &["OpenNamespace", "OpenPinDir", "Mount"]),
    ("openat \"/\"", &["OpenNamespace", "OpenSource", "Mount", "CreateFile", "MakeReadOnly"]),
    ("openat \"/etc/sub", &["ReadSubIds"]),
    ("openat \"/dev/null\"", &["Prepare", "OpenSource"]),
    ("openat \"/proc\"", &["ReadProc"]),
    ("openat \"/proc/thread-self/ns/", &["OpenNamespace"]),
    ("openat \"/tmp\"", &["OpenPinDir", "CreatePinDir"]),
    ("openat \"/tmp/sweep-dir\"", &["CreatePinDir"]),
    ("openat \"/run\"", &["CreatePinDir", "OpenPinDir"]),
    ("openat \"netns\"", &["CreatePinDir"]),
    ("openat \"cgroup.procs\"", &["Clone"]),
    ("openat \"one\"", &["CreatePinTarget", "OpenNamespace", "OpenPinDir", "Unpin"]),
    ("openat \"pid\"", &["OpenNamespace", "ReadProc"]),
    ("openat \"sweep", &["CreatePinDir", "CreatePinTarget", "OpenNamespace", "Unpin"]),
    ("openat \"thread-self/", &["ReadProc"]),
    ("openat \"top\"", &["Mount"]),
    ("openat \"true\"", &["Exec"]),
    ("openat \"uts\"", &["OpenNamespace"]),
    ("openat \"", &["OpenSource", "ReadProc", "Mount"]),
    ("openat ?", &["Mount", "Exec"]),
    ("open_by_handle_at", &["OpenNamespace"]),
    ("name_to_handle_at", &["OpenNamespace"]),
    ("openat2 \"self/setgroups\"", &["WriteSetgroups"]),
    ("openat2 \"self/uid_map\"", &["WriteUidMap"]),
    ("openat2 \"self/gid_map\"", &["WriteGidMap"]),
    ("openat2 \"self/timens_offsets\"", &["WriteTimeOffsets"]),
    ("openat2 \"setgroups\"", &["WriteSetgroups"]),
    ("openat2 \"uid_map\"", &["WriteUidMap"]),
    ("openat2 \"gid_map\"", &["WriteGidMap"]),
    ("openat2 \"1/ns\"", &["OpenNamespace"]),
    ("openat2 \"/", &["CreateMountPoint", "CreateFile", "Mount", "MakeReadOnly", "ChangeDirectory", "Exec"]),
    ("openat2 ?", &["CreateMountPoint", "CreateFile", "Mount", "MakeReadOnly", "ChangeDirectory", "Exec"]),
    ("openat2 \"", &["ReadProc", "OpenNamespace", "WriteUidMap", "CreateMountPoint", "CreateFile", "Mount", "MakeReadOnly"]),
    ("pidfd_getfd", &["CopyFd"]),
    ("pidfd_open", &["OpenProcess", "OpenNamespace", "ReadProc"]),
    ("pidfd_send_signal", &["SendSignal"]),
    ("pipe2", &["Prepare"]),
    ("pivot_root", &["PivotRoot"]),
    ("poll", &["ReadOutput"]),
    ("ppoll", &["SetParentDeathSignal", "WriteUidMap", "ReadOutput", "Wait"]),
    // PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NAME, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT.
    ("prctl 0x1", &["SetParentDeathSignal", "BecomeInit"]),
    ("prctl 0x18", &["LockMounts"]),
    ("prctl 0x4", &["SetDumpable"]),
    ("prctl 0x8", &["KeepCaps"]),
    ("prctl 0xf", &["BecomeInit"]),
    // PR_SET_CHILD_SUBREAPER.
    ("prctl 0x24", &["BecomeInit"]),
    ("prctl 0x26", &["NoNewPrivs"]),
    ("prctl 0x2f", &["KeepCaps"]),
    ("read \"", &["ReadProc", "ReadSubIds"]),
    ("read pipe", &["ReadOutput"]),
    ("read socket", &["QueryNamespace"]),
    ("read ?", &["ReadOutput", "ReadProc"]),
    // Of the number by which a helper knows who is to be mapped.
    ("readlinkat \"\"", &["WriteUidMap", "OpenNamespace"]),
    ("readlinkat", &["ReadProc"]),
    ("rt_sigaction 0x11", &["BecomeInit", "ResetSignals", "WriteUidMap", "WriteGidMap"]),
    ("rt_sigaction", &["ResetSignals"]),
    ("rt_sigtimedwait", &["Wait"]),
    ("setdomainname", &["SetDomainname"]),
    ("setfs", &["SetUid"]),
    ("setgroups", &["SetGroups"]),
    ("sethostname", &["SetHostname"]),
    ("setns", &["Enter", "Leave"]),
    ("signalfd4", &["BecomeInit"]),
    ("setpgid", &["SetProcessGroup", "TakeTerminal"]),
    ("setresgid", &["SetGid"]),
    ("setresuid", &["SetUid"]),
    ("setsid", &["NewSession"]),
    ("socket", &["QueryNamespace", "LoopbackUp"]),
    // Whether /dev/null is the device.
    ("statx", &["Prepare", "ReadProc", "Unpin", "OpenSource", "Mount", "CreateMountPoint", "CreateFile", "MakeReadOnly", "ChangeDirectory", "Exec"]),
    ("symlinkat", &["CreateFile"]),
    ("umount2", &["PivotRoot", "Mount", "Unpin"]),
    ("uname", &["ReadUtsNames"]),
    ("unlinkat", &["Unpin"]),
    // CLONE_FILES, by the helper.
    ("unshare 0x400", &["WriteUidMap"]),
    // CLONE_NEWCGROUP of a child that clone(2) made.
    ("unshare 0x2000000", &["Clone"]),
    ("unshare", &["Unshare", "Clone"]),
    // Whether a program has come to exec.
    ("waitid", &["Wait", "Exec"]),
    ("write \"cgroup.procs\"", &["Clone"]),
    ("write \"gid_map\"", &["WriteGidMap"]),
    ("write \"setgroups\"", &["WriteSetgroups"]),
    ("write \"timens_offsets\"", &["WriteTimeOffsets"]),
    ("write \"uid_map\"", &["WriteUidMap"]),
    ("write pipe", &["SpawnFn", "BecomeInit"]),
    ("write socket", &["QueryNamespace"]),
    ("write ?", &["WriteSetgroups", "WriteUidMap", "WriteGidMap", "WriteTimeOffsets", "Clone", "SpawnFn", "BecomeInit"]),
];
