//! The builder of a child process, and how it becomes a plan.

mod birth;
mod cgroup;
mod child;
mod compile;
mod exec;
mod news;
mod options;
mod own_code;
mod parent;
mod place;
mod std_ext;
mod stdio;
mod strings;
mod supervised;

use core::fmt;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::Arc;

use crate::child::Child;
use crate::enter::Enter;
use crate::error::Result;
use crate::init::Init;
use crate::setup::Setup;
use crate::setup::plan::{Plan, PreExec};
use crate::setup::run::ExecArgs;

use parent::Launch;
use place::Place;
use stdio::{Direction, Stream};
use strings::CStrings;
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
    place: Place,
    stdio: [Option<Stdio>; 3],
    setup: Setup,
    enter: Enter,
    new_session: bool,
    process_group: Option<i32>,
    groups: Option<Vec<u32>>,
    gid: Option<u32>,
    uid: Option<u32>,
    no_new_privs: bool,
    lock_mounts: bool,
    kill_on_parent_exit: bool,
    close_other_fds: bool,
    set_tid: Vec<u32>,
    cgroup: Option<Arc<OwnedFd>>,
    auto_reap: bool,
    kill_on_drop: bool,
    empty_mount_namespace: bool,
    init: Option<Init>,
    supervised: Option<Supervised>,
    pre_exec: Vec<PreExec>,
}

/// As of [`std::process::Command`].
impl Command {
    /// A command that runs `program` with no arguments, in this process's namespaces, with its
    /// environment, working directory and streams.
    ///
    /// A name without a slash is looked for by the child in the directories of `PATH`: the one that
    /// is set on the command, or else this process's. A process that got privileges from its file
    /// (set-user-ID, set-group-ID, file capabilities: `AT_SECURE` in `getauxval(3)`) does not believe its own
    /// `PATH`, which its caller chose: the directories are then `/bin` and `/usr/bin`. The program still
    /// inherits the environment: see [`env_clear`](Self::env_clear).
    ///
    /// In a root that is not the caller's ([`Rootfs`](crate::Rootfs), [`root_dir_fd`](Self::root_dir_fd), an entered mount
    /// namespace), and below the mounts of this command, the program is looked up without magic links: a link
    /// to `/proc/self/exe` would run the caller's own program inside (CVE-2019-5736). Such a link fails with
    /// `ELOOP`, whether it is the program, a part of its path, the interpreter of a script or that of an ELF file.
    /// There the program is known to `ps` by the name of the file that links lead to, a script by its interpreter's,
    /// and `AT_EXECFN` (see `getauxval(3)`) names a path below `/dev/fd`. A file that may be executed but not read
    /// is refused with `EACCES`, and one that only `binfmt_misc` can run with `ENOEXEC`: name its interpreter as the
    /// program. In the caller's own root `Command::new("/proc/self/exe")` starts this program again.
    ///
    /// The same applies to all commands of a process once one of its threads has entered a mount namespace or
    /// a root by [`Enter`] or [`Unshare`](crate::Unshare).
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arg0: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            env_clear: false,
            current_dir: None,
            current_dir_fallback: None,
            place: Place::default(),
            stdio: [None, None, None],
            setup: Setup::default(),
            enter: Enter::new(),
            new_session: false,
            process_group: None,
            groups: None,
            gid: None,
            uid: None,
            no_new_privs: false,
            lock_mounts: false,
            kill_on_parent_exit: false,
            close_other_fds: false,
            set_tid: Vec::new(),
            cgroup: None,
            auto_reap: false,
            kill_on_drop: false,
            empty_mount_namespace: false,
            init: None,
            supervised: None,
            pre_exec: Vec::new(),
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// What the program sees as its own name, instead of the name it is found by.
    pub fn arg0(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.arg0 = Some(arg.as_ref().to_owned());
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.env.insert(key.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Sets environment variables.
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Self {
        for (key, value) in variables {
            self.env(key, value);
        }
        self
    }

    /// Removes an environment variable.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.env.insert(key.as_ref().to_owned(), None);
        self
    }

    /// Starts from an empty environment instead of this process's; forgets what was set before.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let output = Command::new("/usr/bin/env").env_clear().env("ONLY", "this").output()?;
    /// assert_eq!(output.stdout, b"ONLY=this\n");
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn env_clear(&mut self) -> &mut Self {
        self.env_clear = true;
        self.env.clear();
        self
    }

    /// The program's working directory, as the child sees the path in its mount namespace, after all mounts.
    ///
    /// Without this it is the parent's, or the root of a [`Rootfs`](crate::Rootfs) or of an entered mount
    /// namespace. With [`mount`](Self::mount) the child looks the parent's directory up again by its path when
    /// everything is mounted, so that the program never stays in a directory underneath a mount. If that path no
    /// longer leads anywhere, the spawn fails, unless there is a
    /// [`current_dir_fallback`](Self::current_dir_fallback). If there is a link in that path by now, which leads to
    /// another directory than the parent's, the spawn fails with `ELOOP`.
    ///
    /// In a root that is not the caller's, and below the mounts of this command, a magic link (as
    /// `/proc/self/cwd` or `/proc/self/fd/7`) in the path is refused with `ELOOP`.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let output = Command::new("pwd").current_dir("/proc").output()?;
    /// assert_eq!(output.stdout, b"/proc\n");
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.current_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Where the program starts if the parent's working directory cannot be looked up again after the
    /// [mounts](Self::mount) of this command: it is not there any more, or may not be searched.
    ///
    /// It must be an absolute path. It has no effect where [`current_dir`](Self::current_dir) is an absolute path, or
    /// where nothing is mounted.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount};
    ///
    /// let mut command = Command::new("pwd");
    /// // hides the directory that this program was started in, wherever that is
    /// command.map_root().mount(Mount::tmpfs("/home")?).mount(Mount::tmpfs("/tmp")?);
    /// command.current_dir_fallback("/");
    /// if let Ok(status) = command.status() {
    ///     assert!(status.success());
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn current_dir_fallback(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.current_dir_fallback = Some(dir.as_ref().to_owned());
        self
    }

    /// Standard input: inherited by [`spawn`](Self::spawn) and [`status`](Self::status), nothing for
    /// [`output`](Self::output), unless said otherwise here.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[0] = Some(stdio.into());
        self
    }

    /// Standard output: inherited by [`spawn`](Self::spawn) and [`status`](Self::status), a pipe for
    /// [`output`](Self::output), unless said otherwise here.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[1] = Some(stdio.into());
        self
    }

    /// Standard error: as [`stdout`](Self::stdout).
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[2] = Some(stdio.into());
        self
    }

    /// The program's user id, as seen in its user namespace. The child gets a copy of the memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, ErrorKind};
    ///
    /// match Command::new("id").uid(65534).gid(65534).groups([]).status() {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The plan returns [`InvalidInput`](crate::ErrorKind::InvalidInput) for 4294967295: to the kernel that is
    /// -1, "leave the id as it is". The spawn returns `EINVAL` for an id that the program's user namespace does
    /// not map.
    ///
    /// # Privileges
    ///
    /// `CAP_SETUID` there, for another id than one's own.
    pub fn uid(&mut self, id: u32) -> &mut Self {
        self.uid = Some(id);
        self
    }

    /// The program's group id, as [`uid`](Self::uid).
    ///
    /// # Errors
    ///
    /// As of `uid`.
    ///
    /// # Privileges
    ///
    /// `CAP_SETGID` there.
    pub fn gid(&mut self, id: u32) -> &mut Self {
        self.gid = Some(id);
        self
    }

    /// The program's supplementary groups, instead of the parent's. Without this, a command with a
    /// [`uid`](Self::uid), or inside an [entered](Self::enter) user namespace, has none if it may drop them.
    ///
    /// # Errors
    ///
    /// As of [`uid`](Self::uid).
    ///
    /// # Privileges
    ///
    /// `CAP_SETGID`, and `setgroups(2)` not denied: see [`setgroups`](Self::setgroups).
    pub fn groups(&mut self, groups: impl Into<Vec<u32>>) -> &mut Self {
        self.groups = Some(groups.into());
        self
    }

    /// The program's process group; 0 for a new one. Without effect with
    /// [`new_session`](Self::new_session), which makes a new one.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// assert!(Command::new("true").process_group(0).status()?.success());
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The plan returns [`InvalidInput`](crate::ErrorKind::InvalidInput) for a negative number; the spawn `EPERM`
    /// for a group that does not exist in this session.
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.process_group = Some(group);
        self
    }
}

/// The end of the chain.
impl Command {
    /// Starts the program and answers when it runs: an error of any step up to `execve(2)` is
    /// answered here, and then nothing is left of the child.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Step};
    ///
    /// let mut child = Command::new("true").spawn()?;
    /// assert!(child.wait()?.success());
    /// let error = Command::new("/etc").spawn().unwrap_err();
    /// assert_eq!(error.step(), Some(Step::Exec));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::step`](crate::Error::step) says what failed. [`NotFound`](crate::ErrorKind::NotFound) for a program that
    /// is not there, [`PermissionDenied`](crate::ErrorKind::PermissionDenied) for one that may not be
    /// run, or for namespaces that may not be made; [`ChildDied`](crate::ErrorKind::ChildDied) if the
    /// child was killed on its way; what [`plan`](Self::plan) answers.
    ///
    /// # Privileges
    ///
    /// None for a new user namespace and others made together with it; `CAP_SYS_ADMIN` for others.
    pub fn spawn(&mut self) -> Result<Child> {
        self.launch([Stdio::inherit(), Stdio::inherit(), Stdio::inherit()])
    }

    /// Starts the program and waits for its end.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// assert_eq!(Command::new("sh").args(["-c", "exit 3"]).status()?.code(), Some(3));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`spawn`](Self::spawn) and [`Child::wait`].
    pub fn status(&mut self) -> Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Starts the program, reads what it writes, and waits for its end.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// assert_eq!(Command::new("echo").arg("hello").output()?.stdout, b"hello\n");
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`spawn`](Self::spawn) and [`Child::wait_with_output`]. The program is killed if its output
    /// cannot be read.
    pub fn output(&mut self) -> Result<Output> {
        let mut child = self.launch([Stdio::null(), Stdio::piped(), Stdio::piped()])?;
        child.output().inspect_err(|_| {
            // Nobody else has it.
            drop(child.kill().and_then(|()| child.wait()));
        })
    }

    fn launch(&self, defaults: [Stdio; 3]) -> Result<Child> {
        self.launcher(self.plan()?, defaults)?.spawn()
    }

    fn launcher(&self, plan: Plan, defaults: [Stdio; 3]) -> Result<Launch> {
        let name = self.arg0.as_ref().unwrap_or(&self.program);
        let stream = |at: usize, direction| {
            Stream::open(self.stdio[at].as_ref().unwrap_or(&defaults[at]), direction)
        };
        Ok(Launch {
            exec: ExecArgs {
                args: CStrings::of_args([name].into_iter().chain(&self.args))?.for_exec(),
                env: CStrings::of_env(self.env_clear, &self.env)?.for_exec(),
            },
            streams: [
                stream(0, Direction::In)?,
                stream(1, Direction::Out)?,
                stream(2, Direction::Out)?,
            ],
            plan,
            mask: self.supervised.map(|by| by.mask),
        })
    }
}

/// The program and its arguments, as [`std::process::Command`] prints them.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.program)?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg:?}"))
    }
}
