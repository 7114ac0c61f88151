//! The builder of a child process, and how it becomes a plan.

// The documentation shows methods in this order.
mod program;
mod spawn;
mod exec;
mod compile;
mod namespaces;
mod id_maps;
mod mounts;
mod supervised;
mod credentials;
mod process;
mod cgroup;
mod open_dirs;
mod getters;
mod closures;
mod clone3;

mod check;
mod lookup;
mod route;
mod std_ext;
mod stdio;
mod strings;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::enter::Enter;
use crate::init::Init;
use crate::plan::op::PreExec;
use crate::plan::setup::Setup;

use clone3::Clone3;
use credentials::Credentials;
use open_dirs::OpenDirs;
use process::Process;
use supervised::Supervised;

pub use std_ext::CommandExt;
pub use stdio::Stdio;

/// A process builder, as [`std::process::Command`], for programs in new or other namespaces.
///
/// The child shares the memory of this process until it runs the program, so that a spawn costs the
/// same whether the parent has 10 MiB or 4 GiB; [`plan`](Self::plan) says where it cannot. It may be
/// used from any thread of a program with many.
///
/// Methods that add something accumulate: arguments, variables, [`unshare`](Self::unshare),
/// [`enter`](Self::enter), [`mount`](Self::mount), [`pre_exec`](Self::pre_exec). A method that sets one value, or
/// one list such as [`groups`](Self::groups) and [`set_tid`](Self::set_tid), replaces that of an earlier call, as
/// std's do; of [`map_root`](Self::map_root), [`map_current_user`](Self::map_current_user),
/// [`map_auto`](Self::map_auto), [`uid_map`](Self::uid_map) and [`gid_map`](Self::gid_map) the last one counts for
/// each map.
///
/// Entering and making a pid namespace put the program itself inside. In a new one it is PID 1: the
/// kernel gives it no signal that it has no handler for, except `SIGKILL` and `SIGSTOP` from outside,
/// and all of the namespace dies with it.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Command, NamespaceSet, Stdio};
///
/// let output = Command::new("sh")
///     .args(["-c", "hostname 2>/dev/null || cat /proc/sys/kernel/hostname; id -u; echo $$"])
///     .unshare(NamespaceSet::USER | NamespaceSet::PID)
///     .map_root()
///     .hostname("box".parse()?)        // brings a UTS namespace
///     .output();
/// match output {
///     Ok(output) => assert_eq!(output.stdout, b"box\n0\n1\n"),
///     Err(error) => eprintln!("{error:#}"),        // says why, for example a security policy
/// }
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html),
/// [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html)
#[doc(alias = "clone3")]
#[doc(alias = "fork")]
#[doc(alias = "spawn")]
pub struct Command {
    program: OsString,
    arg0: Option<OsString>,
    args: Vec<OsString>,
    env: BTreeMap<OsString, Option<OsString>>,
    env_clear: bool,
    current_dir: Option<PathBuf>,
    current_dir_fallback: Option<PathBuf>,
    open_dirs: OpenDirs,
    stdio: [Option<Stdio>; 3],
    setup: Setup,
    enter: Enter,
    credentials: Credentials,
    process: Process,
    cgroup: Option<Arc<OwnedFd>>,
    clone3: Clone3,
    init: Option<Init>,
    supervised: Option<Supervised>,
    pre_exec: Vec<PreExec>,
}
