//! The builder of a child process, and how it becomes a plan.

mod child;
mod parent;
mod pre_exec;
mod std_ext;
mod stdio;

use core::fmt;
use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};

use crate::child::Child;
use crate::enter::Enter;
use crate::error::{Error, Result};
use crate::hostname::Hostname;
use crate::id_map::{IdMap, Setgroups};
use crate::mounts::{Mount, Propagation, c_path};
use crate::namespace::NamespaceSet;
use crate::setup::Setup;
use crate::setup::join::Joins;
use crate::setup::plan::{Op, Plan, PreExec};
use crate::sys::clone::CAN_SHARE_MEMORY;

use parent::Launch;
use stdio::{Direction, Stream};

pub use std_ext::CommandExt;
pub use stdio::Stdio;

/// A process builder, as [`std::process::Command`], for programs in new or other namespaces.
///
/// The child shares the memory of this process until it runs the program, so that a spawn costs the
/// same whether the parent has 10 MiB or 4 GiB; [`plan`](Self::plan) says where it cannot. It may be
/// used from any thread of a program with many.
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
    stdio: [Option<Stdio>; 3],
    setup: Setup,
    enter: Enter,
    new_session: bool,
    process_group: Option<i32>,
    groups: Option<Vec<u32>>,
    gid: Option<u32>,
    uid: Option<u32>,
    no_new_privs: bool,
    kill_on_parent_exit: bool,
    close_other_fds: bool,
    pre_exec: Vec<PreExec>,
}

/// As of [`std::process::Command`].
impl Command {
    /// A command that runs `program` with no arguments, in this process's namespaces, with its
    /// environment, working directory and streams.
    ///
    /// A name without a slash is looked for by the child in the directories of `PATH`: the one that
    /// is set on the command, or else this process's.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arg0: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            env_clear: false,
            current_dir: None,
            stdio: [None, None, None],
            setup: Setup::default(),
            enter: Enter::new(),
            new_session: false,
            process_group: None,
            groups: None,
            gid: None,
            uid: None,
            no_new_privs: false,
            kill_on_parent_exit: false,
            close_other_fds: false,
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
    pub fn env_clear(&mut self) -> &mut Self {
        self.env_clear = true;
        self.env.clear();
        self
    }

    /// The program's working directory, as the child sees the path in its mount namespace. Without
    /// this it is the parent's, or the root of an entered mount namespace.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.current_dir = Some(dir.as_ref().to_owned());
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
    /// # Privileges
    ///
    /// `CAP_SETUID` there, for another id than one's own.
    pub fn uid(&mut self, id: u32) -> &mut Self {
        self.uid = Some(id);
        self
    }

    /// The program's group id, as [`uid`](Self::uid).
    ///
    /// # Privileges
    ///
    /// `CAP_SETGID` there.
    pub fn gid(&mut self, id: u32) -> &mut Self {
        self.gid = Some(id);
        self
    }

    /// The program's supplementary groups, instead of the parent's.
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
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.process_group = Some(group);
        self
    }
}

/// Namespaces.
impl Command {
    /// Makes new namespaces of these kinds for the program, in addition to those named before.
    pub fn unshare(&mut self, namespaces: NamespaceSet) -> &mut Self {
        self.setup.namespaces |= namespaces;
        self
    }

    /// Enters these namespaces first; what is new is made inside them.
    ///
    /// The child gets a copy of the memory where what lives in the namespaces could look into it: for
    /// a user or pid namespace. Nor can they trace it before it runs the program.
    pub fn enter(&mut self, enter: Enter) -> &mut Self {
        self.enter = enter;
        self
    }

    /// Makes the caller's user and group root in a new user namespace: uid 0 inside is the effective
    /// uid outside, and no other id exists there. Denies `setgroups(2)`, as the kernel demands.
    pub fn map_root(&mut self) -> &mut Self {
        self.setup.map_root();
        self
    }

    /// The user ids of a new user namespace.
    ///
    /// # Privileges
    ///
    /// `CAP_SETUID`, for a map of more than the caller's own id.
    pub fn uid_map(&mut self, map: IdMap) -> &mut Self {
        self.setup.set_uid_map(map);
        self
    }

    /// The group ids of a new user namespace.
    ///
    /// # Privileges
    ///
    /// `CAP_SETGID`, for a map of more than the caller's own id.
    pub fn gid_map(&mut self, map: IdMap) -> &mut Self {
        self.setup.set_gid_map(map);
        self
    }

    /// Whether `setgroups(2)` may be called in a new user namespace. Without this it is denied where
    /// the kernel demands it for the gid map, and left as it is otherwise.
    pub fn setgroups(&mut self, setgroups: Setgroups) -> &mut Self {
        self.setup.set_setgroups(setgroups);
        self
    }

    /// What becomes of the mounts of a new mount namespace: private, unless said otherwise here.
    pub fn propagation(&mut self, propagation: Propagation) -> &mut Self {
        self.setup.set_propagation(propagation);
        self
    }

    /// Mounts a file system in a new mount namespace. In the order of the calls.
    pub fn mount(&mut self, mount: Mount) -> &mut Self {
        self.setup.add_mount(mount);
        self
    }

    /// The hostname of a new UTS namespace.
    pub fn hostname(&mut self, name: Hostname) -> &mut Self {
        self.setup.set_hostname(name);
        self
    }

    /// The NIS domain name of a new UTS namespace.
    pub fn domainname(&mut self, name: Hostname) -> &mut Self {
        self.setup.set_domainname(name);
        self
    }

    /// Brings up `lo` in a new network namespace, which has it down.
    pub fn loopback_up(&mut self) -> &mut Self {
        self.setup.set_loopback_up();
        self
    }
}

/// What else becomes of the program.
impl Command {
    /// Starts the program in a new session, without a controlling terminal: it cannot push
    /// characters into the parent's.
    #[doc(alias = "setsid")]
    pub fn new_session(&mut self) -> &mut Self {
        self.new_session = true;
        self
    }

    /// Kills the program when its parent ends: when the thread that spawned it does.
    ///
    /// A program that gains privileges by exec sheds this.
    ///
    /// # References
    ///
    /// [`PR_SET_PDEATHSIG`](https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html)
    #[doc(alias = "PR_SET_PDEATHSIG")]
    pub fn kill_on_parent_exit(&mut self) -> &mut Self {
        self.kill_on_parent_exit = true;
        self
    }

    /// Neither the program nor anything it starts can gain privileges by exec: set-user-ID bits and
    /// file capabilities count for nothing.
    #[doc(alias = "PR_SET_NO_NEW_PRIVS")]
    pub fn no_new_privs(&mut self) -> &mut Self {
        self.no_new_privs = true;
        self
    }

    /// Gives the program no descriptors but the three standard streams, whatever this process has
    /// open without close-on-exec.
    ///
    /// Code given to [`pre_exec`](Self::pre_exec) still has them all (not on Linux 5.10).
    #[doc(alias = "close_range")]
    pub fn close_other_fds(&mut self) -> &mut Self {
        self.close_other_fds = true;
        self
    }

    /// What a spawn would do, step by step, without doing it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for what no spawn could do: a NUL byte in an
    /// argument or path, an unknown bit in a set, id maps together with an entered user namespace, a
    /// new pid namespace together with an entered one;
    /// and what [`Enter::apply`] answers for namespaces that cannot be looked at.
    pub fn plan(&self) -> Result<Plan> {
        let namespaces = self.setup.checked()?;
        let joins = self.enter.joins()?;
        let maps = self.setup.id_maps()?;
        let has_maps = !maps.inside.is_empty() || !maps.outside.is_empty();
        if has_maps && joins.set().contains(NamespaceSet::USER) {
            return Err(Error::invalid(
                "id maps for a new user namespace inside an entered one: enter it first, then spawn",
            ));
        }
        if joins.set().contains(NamespaceSet::PID) && namespaces.contains(NamespaceSet::PID) {
            return Err(Error::invalid(
                "a new pid namespace inside an entered one: the kernel makes it only for a process \
                 that is inside; start one there that makes it",
            ));
        }
        let hide = joins.set().intersects(NamespaceSet::USER | NamespaceSet::PID);
        let mut ops = Vec::new();
        if self.new_session {
            ops.push(Op::NewSession);
        } else {
            ops.extend(self.process_group.map(Op::SetProcessGroup));
        }
        ops.extend(self.setup.ops(&maps));
        ops.push(Op::ConnectStdio);
        ops.extend(self.groups.clone().map(Op::SetGroups));
        ops.extend(self.gid.map(Op::SetGid));
        ops.extend(self.uid.map(Op::SetUid));
        if let Some(dir) = &self.current_dir {
            ops.push(Op::ChangeDirectory(c_path(dir)?));
        }
        let flags = [
            (self.no_new_privs, Op::NoNewPrivs),
            // Behind every change of ids, which would undo it.
            (self.kill_on_parent_exit, Op::DieWithParent),
            (self.close_other_fds, Op::CloseFds),
            (true, Op::ResetSignals),
        ];
        ops.extend(flags.into_iter().filter_map(|(wanted, op)| wanted.then_some(op)));
        ops.extend(self.pre_exec.iter().cloned().map(Op::PreExec));
        ops.push(Op::Exec(self.candidates()?));
        Ok(Plan {
            copy: self.why_copy(&joins),
            hide,
            joins,
            namespaces,
            maps_inside: !maps.inside.is_empty(),
            maps_outside: maps.outside,
            die_with_parent: self.kill_on_parent_exit,
            ops,
        })
    }

    /// Starts the program and answers when it runs: an error of any step up to `execve(2)` is
    /// answered here, and then nothing is left of the child.
    ///
    /// # Errors
    ///
    /// [`Error::step`] says what failed. [`NotFound`](crate::ErrorKind::NotFound) for a program that
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
    /// # Errors
    ///
    /// As of [`spawn`](Self::spawn) and [`Child::wait`].
    pub fn status(&mut self) -> Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Starts the program, reads what it writes, and waits for its end.
    ///
    /// # Errors
    ///
    /// As of [`spawn`](Self::spawn) and [`Child::wait_with_output`].
    pub fn output(&mut self) -> Result<Output> {
        self.launch([Stdio::null(), Stdio::piped(), Stdio::piped()])?.wait_with_output()
    }

    fn launch(&self, defaults: [Stdio; 3]) -> Result<Child> {
        let plan = self.plan()?;
        let name = self.arg0.as_ref().unwrap_or(&self.program);
        let args = [name].into_iter().chain(&self.args).map(|arg| c_string(arg, "argument"));
        let stream = |at: usize, direction| {
            Stream::open(self.stdio[at].as_ref().unwrap_or(&defaults[at]), direction)
        };
        let launch = Launch {
            args: args.collect::<Result<_>>()?,
            env: self.environment()?,
            streams: [
                stream(0, Direction::In)?,
                stream(1, Direction::Out)?,
                stream(2, Direction::Out)?,
            ],
            plan,
        };
        launch.spawn()
    }

    /// Why the child cannot share our memory.
    fn why_copy(&self, joins: &Joins) -> Option<&'static str> {
        if !CAN_SHARE_MEMORY {
            Some("this architecture has no other way")
        } else if !self.pre_exec.is_empty() {
            Some("the caller's code must not write into it")
        } else if joins.set().intersects(NamespaceSet::USER | NamespaceSet::PID) {
            Some("what lives in the entered namespaces could read it")
        } else if joins.set().contains(NamespaceSet::TIME) {
            Some("a time namespace lets none in that share it")
        } else if self.uid.is_some() || self.gid.is_some() {
            Some("a change of ids would make the parent undumpable")
        } else {
            None
        }
    }

    fn environment(&self) -> Result<Vec<CString>> {
        let mut all: BTreeMap<OsString, OsString> =
            if self.env_clear { BTreeMap::new() } else { env::vars_os().collect() };
        for (key, value) in &self.env {
            match value {
                Some(value) => drop(all.insert(key.clone(), value.clone())),
                None => drop(all.remove(key)),
            }
        }
        let pair = |(mut key, value): (OsString, OsString)| {
            key.push("=");
            key.push(value);
            c_string(&key, "environment variable")
        };
        all.into_iter().map(pair).collect()
    }

    /// The paths to try, in order.
    fn candidates(&self) -> Result<Vec<CString>> {
        let program = c_string(&self.program, "program")?;
        if program.is_empty() || program.to_bytes().contains(&b'/') {
            return Ok(vec![program]);
        }
        let set = self.env.get(OsStr::new("PATH"));
        let path = match set {
            Some(path) => path.clone(),
            None if self.env_clear => None,
            None => env::var_os("PATH"),
        };
        let path = path.unwrap_or_else(|| OsString::from("/bin:/usr/bin"));
        let in_dir = |dir: &[u8]| {
            // An empty entry is the working directory.
            let dir = if dir.is_empty() { b"." } else { dir };
            let candidate = [dir, b"/", program.to_bytes()].concat();
            c_string(&OsString::from_vec(candidate), "path")
        };
        path.as_bytes().split(|&byte| byte == b':').map(in_dir).collect()
    }
}

fn c_string(text: &OsStr, what: &str) -> Result<CString> {
    CString::new(text.as_bytes())
        .map_err(|_| Error::invalid(format!("the {what} {text:?} has a NUL byte")))
}

/// The program and its arguments, as [`std::process::Command`] prints them.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.program)?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg:?}"))
    }
}
