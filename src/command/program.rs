//! The program, its arguments, environment, working directory and streams.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use super::Command;
use super::clone3::Clone3;
use super::credentials::Credentials;
use super::open_dirs::OpenDirs;
use super::process::Process;
use super::stdio::Stdio;
use crate::enter::Enter;
use crate::plan::setup::Setup;

/// The program, its arguments, environment, working directory and streams.
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
            open_dirs: OpenDirs::default(),
            stdio: [None, None, None],
            setup: Setup::default(),
            enter: Enter::new(),
            credentials: Credentials::default(),
            process: Process::default(),
            cgroup: None,
            clone3: Clone3::default(),
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
        if self.env_clear {
            self.env.remove(key.as_ref());
        } else {
            self.env.insert(key.as_ref().to_owned(), None);
        }
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
}
