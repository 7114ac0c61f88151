//! Linux namespaces: making them, entering them, keeping them alive, and starting programs in them.
//!
//! A namespace gives the processes in it their own view of one global resource: process numbers,
//! mounts, network devices, user ids, ... There are [eight kinds](Namespace). Containers are made of
//! them, and so are build sandboxes, test fixtures and much of network plumbing. The kernel offers
//! three system calls for them, `clone3`, `unshare` and `setns`, whose rules differ for each kind, for
//! programs with threads, and for users without privileges. This crate knows these rules:
//!
//! ```
//! use linux_namespaces::{Command, Mount, NamespaceSet};
//!
//! // a shell that is root, alone with its processes, in a network of its own
//! let status = Command::new("sh")
//!     .args(["-c", "test $(id -u) = 0 && test $$ = 1"])
//!     .unshare(NamespaceSet::PID | NamespaceSet::IPC)
//!     .map_root()                           // a user namespace: no privileges needed
//!     .hostname("sandbox".parse()?)         // a UTS namespace
//!     .mount(Mount::proc("/proc")?)         // a mount namespace
//!     .loopback_up()                        // a network namespace
//!     .status();
//! match status {
//!     Ok(status) => assert!(status.success()),
//!     Err(error) => eprintln!("{error:#}"), // which step, on what, why, and what to do
//! }
//! # Ok::<(), linux_namespaces::Error>(())
//! ```
//!
//! # What is here
//!
//! - [`Namespace`] is one kind, [`NamespaceSet`] a set of kinds.
//! - [`Command`] starts a program in new or existing namespaces, [`Child`] is the process. It works
//!   from programs with any number of threads and of any size.
//! - [`Unshare`] makes new namespaces for the calling thread.
//! - [`Enter`] moves a thread into existing ones: for good, for a while, or another thread for the
//!   time of a closure. [`CommandExt`] does it for children of std's `Command`.
//! - [`Mount`], [`Rootfs`] and [`Overlay`] say what a new mount namespace shows of files.
//! - [`NsFd`] holds a namespace and answers questions about it; [`PidFd`] holds a process.
//! - [`Pinned`] is a namespace kept at a path by a bind mount; [`PinDir`] is a directory of them, such as
//!   that of `ip netns`.
//! - [`discover`] finds every namespace that can be seen, and [`NsFd::holders`] what keeps one alive.
//!   [`NsFileHandle`] is a value to store, by which to open a namespace again.
//! - [`uts`] reads and sets host names.
//! - [`Init`] is a PID 1: it waits for orphans and passes signals on; [`Supervisor`] is this process as one.
//! - [`Support`] says what this kernel has and this thread may do, found by trying.
//! - [`Plan`] is what a command would do; [`Error`] says which [`Step`] of it failed, and explains.
//!
//! # Whom a call affects
//!
//! Namespaces belong to a *thread*; what a process calls its namespaces are those of its first thread.
//! [`Unshare::apply`], [`NsFd::enter`] and [`Enter::apply`] move the calling thread alone. Threads and
//! processes that it starts afterwards are born where it then is: so a thread pool or a runtime started
//! while an [`EnterGuard`] exists keeps its threads there, and an `async` function that awaits meanwhile continues
//! in other namespaces if another thread resumes it; the guard is not `Send`, so that the compiler
//! sees this. [`NsFd::run`] has none of these traps, and [`Command`] leaves the caller alone altogether.
//!
//! The kernel refuses to one of several threads what would split the process: a new or other user
//! namespace, and another time namespace. [`Command`] does these in the child, where there is but one.
//!
//! # Privileges
//!
//! A user namespace can be made by anybody, unless the administrator or a security policy says
//! otherwise. Who makes one has all capabilities in it, and they count for what the namespace *owns*:
//! the namespaces that its members make. So an ordinary user makes a user namespace together with the
//! others. Three things surprise:
//!
//! - Without an id map the program runs as uid 65534, and exec takes its capabilities away. Hence
//!   [`Command::map_root`].
//! - An ordinary user maps one id, their own. Ranges take `CAP_SETUID` and `CAP_SETGID`, or
//!   `newuidmap(1)` and `newgidmap(1)`, which have them and grant what `/etc/subuid` and `/etc/subgid`
//!   set aside for the user: [`Command::map_auto`], [`SubIds`].
//! - To enter a namespace it is not enough to be in it: `setns` asks for `CAP_SYS_ADMIN` in the user
//!   namespace that owns it *and* in one's own, and for a mount namespace for `CAP_SYS_CHROOT`. [`Enter`]
//!   leaves out what the thread is in already.
//!
//! # Process numbers
//!
//! `unshare` and `setns` never move their caller into a pid namespace. The number of a process is how
//! its parent, its children and its own libc know it; it cannot change under way. What changes is where
//! the caller's *children* are born: [`NsFd::for_children`]. A thread whose children go to another
//! pid namespace can start no other thread, because threads of one process in two pid namespaces cannot
//! be. (`unshare` of a time namespace does not move its caller either, since a clock must not jump; exec
//! does, from Linux 6.2 on. `setns` of one moves its caller at once, and so takes a process with one
//! thread.) [`Command::unshare`] and [`Command::enter`] put the
//! program itself inside.
//!
//! The first process in a new pid namespace is its PID 1, with a double duty:
//!
//! - It adopts orphans: the children of a process inside that has ended, unless an ancestor of theirs in the
//!   same namespace is a subreaper (`PR_SET_CHILD_SUBREAPER`). It should wait for them, or zombies pile up. A
//!   process put inside from outside ([`Command::enter`]) goes to the subreaper or PID 1 of *its parent's*
//!   namespace.
//! - A signal for which it has no handler does not touch it, `SIGTERM` included; only `SIGKILL` and
//!   `SIGSTOP` from outside do, and faults of its own.
//!
//! Hence [`Command::init`]: an [`Init`] of this crate is PID 1, the program a process like any other. The same
//! [`Init`] serves a program that is itself PID 1 of a container, or a subreaper: then orphans of its descendants
//! come to it, instead of to the PID 1 of its pid namespace.
//!
//! A process has a number in its own pid namespace and in each one around that: [`PidFd::pids`] tells them
//! all, [`NsFd::pid_inside`] and [`NsFd::pid_outside`] translate. Within a container it keeps the numbers when
//! the container is moved to another machine, because whoever restores it chooses them:
//! [`Command::set_tid`].
//!
//! When PID 1 ends, the kernel kills all others, at once and surely; PID 1 can be waited for only when
//! they are gone. For one that came in by [`Command::enter`] that means that its parent outside has waited
//! for it: until then a wait for PID 1 blocks. After that the namespace may still exist, but no process can be made in it: the error
//! is `ENOMEM`, which [`Error::explain`] explains.
//!
//! # Mounts, and a root of its own
//!
//! A new mount namespace begins as a copy of the caller's. [`Command::mount`] changes it, and
//! [`Command::rootfs`] gives it another root, out of which no path leads: `pivot_root(2)`, and the old one
//! unmounted. All of that an ordinary user may do in a user namespace, with these limits of the kernel:
//!
//! - What was mounted before stays, in one piece: nothing that a mount hides can be laid bare, no mount loses
//!   a flag such as read-only, and binds take along what is mounted below.
//! - A `proc` takes a pid namespace of the same user namespace, `sysfs` a network namespace, `mqueue` an IPC
//!   namespace, `cgroup2` a cgroup namespace; `proc` and `sysfs` also that nothing of the present one is covered.
//! - Devices cannot be made, but bound: [`Mount::dev`].
//! - Files of ids that are not mapped seem to belong to uid 65534, and no capability inside counts for them; the
//!   ids and supplementary groups that a process brought along still do.
//!
//! The contents of a root are not trusted. Until the program runs, the child has this process's program and
//! descriptors, and links in `/proc` lead to them: `/proc/self/exe`, `/proc/self/fd/7`. So in a new root, in an entered
//! mount namespace and below the mounts of a command, no such link is followed, whether it stands in for the program
//! (CVE-2019-5736), the working directory (CVE-2024-21626) or a mount point. The program's working directory is looked
//! up when everything is mounted, so that it is never one that a mount hides.
//!
//! Masks and read-only mounts hold for a program without `CAP_SYS_ADMIN` over its mount namespace. Root inside a new user
//! namespace has it, and can undo them; [`Command::lock_mounts`] takes it away.
//!
//! Binds are of the files that the caller sees. The child has to find them again, since its mounts are
//! others; it refuses what is not the same file.
//!
//! # A socket of another network
//!
//! A socket belongs for good to the network namespace in which it was made, wherever its owner is. So a
//! program can stay outside and serve inside:
//!
//! ```no_run
//! use linux_namespaces::NsFd;
//! use std::net::TcpListener;
//!
//! let blue = NsFd::open("/run/netns/blue")?;
//! let listener = blue.run(|| TcpListener::bind("127.0.0.1:80"))??;   // this thread never moved
//! assert_eq!(NsFd::of_socket(&listener)?, blue);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When is a namespace destroyed?
//!
//! When nothing refers to it any more. What does:
//!
//! | holder | of which kinds | found by [`NsFd::holders`] |
//! |---|---|---|
//! | a process or thread in it | all | yes |
//! | one that has ended and was not waited for | pid, user | yes |
//! | an open file of it: an [`NsFd`], here or elsewhere, also `O_PATH` | all | yes |
//! | a mount of that file, in any mount namespace | all | yes, if a process is in that one |
//! | a thread whose children are born in it | pid, time | yes |
//! | a namespace inside of it | pid, user | yes, if that one is found |
//! | a namespace that it owns | user | yes, if that one is found |
//! | a mounted proc that shows it | pid | yes, while its PID 1 lives |
//! | a pidfd of a process that was in it, `/proc/PID` of one held open | pid | no |
//! | a file that a member opened, whoever has it now | user | no |
//! | a socket that was made in it | net | no |
//! | a file on its way over a socket | all | no |
//!
//! Also not found are a tun descriptor (net), a shared memory segment that somebody outside has attached (IPC),
//! and what `fsopen(2)` made for a proc (pid) or mqueue (IPC) that is not mounted yet. These hold nothing: a
//! mounted mqueue, sysfs or cgroup file system, a file or directory within its mounts.
//!
//! The file and the mount are the two ways to keep a namespace without any process. A file ends with the
//! processes that have it open, and is handed on to others over a socket. A mount has a name, outlives all
//! processes, and ends when it is unmounted or with the last mount namespace that has it. It takes
//! `CAP_SYS_ADMIN` in the user namespace that owns the mount namespace, and for a mount namespace a process
//! that is not inside. Neither keeps a pid namespace of use when its PID 1 has ended.
//!
//! ```no_run
//! use linux_namespaces::{Command, Namespace, NamespaceSet, NsFd, PinDir, Pinned, Stdio};
//!
//! let mut first = Command::new("cat").stdin(Stdio::piped()).unshare(NamespaceSet::NET).spawn()?;
//! let handle = first.namespace(Namespace::Net)?;               // until it is dropped
//! PinDir::create_netns()?.pin("blue", &handle)?.keep();        // until somebody unpins it
//! first.wait()?;                                               // closes its input, so that it ends
//!
//! // any time later, anybody with the rights
//! NsFd::open("/run/netns/blue")?.run(|| println!("in there"))?;
//! Pinned::open("/run/netns/blue")?.unpin()?;
//! # Ok::<(), linux_namespaces::Error>(())
//! ```
//!
//! Mount, UTS, cgroup and time namespaces are gone the moment the last reference is; network, IPC, pid
//! and user namespaces some 10 to 50 ms later, during which they still count against the limits of
//! `/proc/sys/user`. `cargo run --example keep_alive` shows it for one kind.
//!
//! In the kernel each kind has a table of operations, `proc_ns_operations`: *get* takes a reference for
//! whoever opens `/proc/PID/ns/NAME` ([`NsFd::of_pid`]), *put* gives it back when the last file and mount of it
//! are gone, *install* is what `setns` calls ([`NsFd::enter`]), *owner* is asked by [`NsFd::owner`], and
//! *get_parent*, of pid and user namespaces only, by [`NsFd::parent`].
//!
//! # How a program is started
//!
//! [`Command`] compiles into a [`Plan`]: a list of steps for which everything is allocated. Then the
//! calling thread makes a child that shares its memory and sleeps until the child has run the program
//! or failed (`CLONE_VM` and `CLONE_VFORK`). The child goes on below that thread's frames, as after
//! `vfork(2)`, and executes the steps with system calls and nothing else: no allocation, no lock, no
//! libc. So the cost does not grow with the parent's memory, as a fork's does, and a failed step is
//! known with its error number. Some children get a copy of the memory instead, by the same steps:
//!
//! - an [`Init`], which outlives the spawn, and gives the copy up once it has started the program;
//! - one that runs the caller's code ([`Command::pre_exec`], [`Command::spawn_fn`]), which must not write
//!   into the parent;
//! - one that enters a user or pid namespace: processes there could trace it and read the parent's
//!   memory (CVE-2016-9962), so the copy makes itself untraceable before it enters, and again after each
//!   change of its credentials, which resets this;
//! - one that enters a time namespace, which the kernel refuses to processes that share memory;
//! - one that changes its ids, which would make the parent undumpable;
//! - all, on architectures other than x86_64 and aarch64.
//!
//! Two limits of that. Other processes of the same user can read a child in a *new* user namespace until it
//! execs, also where they could not read the parent because it has capabilities or because of Yama's
//! `ptrace_scope`: the kernel gives the user that creates a user namespace all rights over the processes in it.
//! The child has the parent's memory, shared or as a copy, so a copy does not help. Start such children from a
//! process that holds no secret. And no process can hide from one that has `CAP_SYS_PTRACE` in its user namespace,
//! such as a container's root without a user namespace.
//!
//! Id maps of more than one's own id can be written only from outside the new user namespace. A helper
//! process does it, made before the child and gone before the spawn returns.
//!
//! # Trust in /proc
//!
//! Whoever made the mount namespace that a thread is in decides what it sees as `/proc`. This crate asks
//! pidfds where the kernel can (Linux 6.11), which needs no `/proc`; elsewhere it makes sure that `/proc`
//! is a proc file system, with nothing mounted over the part in use, and holds it while it works. It checks
//! this every time, since another `/proc` can be mounted at any moment. A `/proc` that fails is
//! [`ErrorKind::UntrustedProc`].
//!
//! # Kernels and architectures
//!
//! Linux 5.10 and newer. Nothing is decided by a version number: the newest interface is tried first,
//! and the next one where it is missing or hidden by a filter, as `clone3` is by those of many container
//! engines; `mount(2)` serves where the calls on open mounts are hidden. Where a kernel cannot do a thing at
//! all, the error's kind is [`ErrorKind::Unsupported`].
//!
//! Any architecture but mips, whose sets of signals have another size, and sparc, where `clone(2)` returns a pid to the
//! child, too: building for them says so.
//!
//! # Limits of this version
//!
//! - A new pid namespace inside an entered one, or id maps together with an entered user namespace, take
//!   two steps: enter with one program, and let that make the new one. So do, for an ordinary user, clocks
//!   together with an entered user namespace: the child that hides from who is in there may not set them.
//! - [`EnterGuard`] cannot find out in advance whether the way back will be open.
//! - [`Command::enter`] from a thread whose own next child would be PID 1 of a new pid namespace is
//!   refused.
//! - Someone in an entered user namespace can stop the child before it runs the program; the spawn then
//!   waits until it is continued or killed.
//! - A bind of a file that only the caller's mount namespace shows, in an entered one, is refused.
//!
//! # Where this is proven
//!
//! In the repository `cargo test --test kernel NAME` tries it on the kernel that runs:
//!
//! | what | trials |
//! |---|---|
//! | when a namespace is destroyed, and the two ways to keep one | `pins`; the example `keep_alive` |
//! | what happens to the others when PID 1 ends | `lifetimes::with_pid_1_die_all_others`, `lifetimes::a_dead_pid_namespace_takes_no_process`, `lifetimes::an_entered_child_holds_pid_1_back` |
//! | who adopts orphans | `lifetimes::pid_1_adopts_orphans`, `lifetimes::an_entered_orphan_stays_on_its_parent_s_side`, `init::armed::a_subreaper_gets_orphans_and_others_do_not` |
//! | `unshare` and `setns` never move their caller into a pid namespace | `lifetimes::unshare_never_moves_its_caller_into_a_pid_namespace`, `lifetimes::setns_never_moves_its_caller_into_a_pid_namespace` |
//! | pids of choice, as for a container that is moved | `birth::with_pids_of_choice` |
//! | get, put, install, owner and get_parent | `pins::an_open_file`, `enter::each_kind_is_entered_by_handle_and_by_process`, `handles::owner_and_parent_are_followed` |
//! | no link in a root leads to the caller's program or descriptors | `hostile::image`, `hostile::races` |
//! | root inside cannot undo locked mounts | `hostile::undo` |
//! | the names of `uname(2)` | `unshare::names_change_inside_only`; the example `hostname` |
//! | what each version of the kernel has | `since`; [docs/kernels.md](https://docs.rs/crate/linux-namespaces/latest/source/docs/kernels.md) |
//!
//! # References
//!
//! [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html) and the pages it names,
//! [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html),
//! [unshare(2)](https://man7.org/linux/man-pages/man2/unshare.2.html),
//! [setns(2)](https://man7.org/linux/man-pages/man2/setns.2.html), Michael Kerrisk's series
//! [Namespaces in operation](https://lwn.net/Articles/531114/), and `include/linux/proc_ns.h` of the
//! kernel.

#[cfg(not(target_os = "linux"))]
compile_error!("namespaces are a feature of Linux");

// In the order in which the documentation shows the methods of a type that has them in several files.
mod command;
mod child;
mod namespace;
mod id_map;
mod sub_ids;
mod mounts;
mod hostname;
pub mod uts;
mod time_offsets;
mod unshare;
mod ns_fd;
mod enter;
mod discover;
mod pinned;
mod identity;
mod pid_fd;
mod init;
mod signal;
mod support;
mod error;
mod diagnosis;

mod plan;
mod engine;
mod mountinfo;
mod process_state;
mod proc_fs;
mod sys;

pub use child::Child;
pub use command::{Command, CommandExt, Stdio};
pub use diagnosis::Cause;
pub use discover::{Discovery, Gap, Holder, Holders, NamespaceInfo, ProcessInfo, discover};
pub use enter::{Enter, EnterGuard};
pub use error::{Error, ErrorKind, Result, Step};
pub use hostname::Hostname;
pub use id_map::{IdExtent, IdMap, Setgroups};
pub use identity::NsFileHandle;
pub use init::Init;
pub use init::policy::{RemainingProcesses, Verbosity};
pub use init::supervisor::{Event, Supervisor};
pub use mounts::{HidePid, Mount, Overlay, Propagation, Rootfs};
pub use namespace::{Namespace, NamespaceSet};
pub use ns_fd::{NsFd, NsId};
pub use pid_fd::PidFd;
pub use pinned::{PinDir, PinState, Pinned};
pub use plan::Plan;
pub use signal::Signal;
pub use sub_ids::SubIds;
pub use support::{Availability, Interface, Support};
pub use time_offsets::{Clock, ClockOffset};
pub use unshare::Unshare;
