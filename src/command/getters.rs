//! What was set on a command.

#![forbid(unsafe_code)]

use core::fmt;
use std::ffi::OsStr;
use std::path::Path;

use super::Command;

/// What was set on the command, as [`std::process::Command`] returns it. [`plan`](Command::plan) shows the rest.
impl Command {
    /// The program that was given to [`new`](Self::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::Command;
    ///
    /// let mut command = Command::new("ls");
    /// command.arg("-l").env("LANG", "C").current_dir("/");
    /// assert_eq!(command.get_program(), "ls");
    /// assert!(command.get_args().eq(["-l"]));
    /// assert_eq!(format!("{command:?}"), r#"cd "/" && LANG="C" "ls" "-l""#);
    /// ```
    #[must_use]
    pub fn get_program(&self) -> &OsStr {
        &self.program
    }

    /// The arguments, without the name that the program sees as its own.
    #[must_use]
    pub fn get_args(&self) -> impl ExactSizeIterator<Item = &OsStr> {
        self.args.iter().map(|arg| &**arg)
    }

    /// The environment variables that were set, with their values, and those that were removed, with `None`. Variables
    /// that the program inherits are not among them.
    #[must_use]
    pub fn get_envs(&self) -> impl ExactSizeIterator<Item = (&OsStr, Option<&OsStr>)> {
        self.env.iter().map(|(key, value)| (&**key, value.as_deref()))
    }

    /// Whether [`env_clear`](Self::env_clear) was called.
    #[must_use]
    pub fn get_env_clear(&self) -> bool {
        self.env_clear
    }

    /// The working directory, if [`current_dir`](Self::current_dir) was called.
    #[must_use]
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.current_dir.as_deref()
    }
}

/// Like [`std::process::Command`]: a line for a shell, or with `{:#?}` a structure.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return f
                .debug_struct("Command")
                .field("program", &self.program)
                .field("arg0", &self.arg0)
                .field("args", &self.args)
                .field("env_clear", &self.env_clear)
                .field("env", &self.env)
                .field("current_dir", &self.current_dir)
                .finish_non_exhaustive();
        }
        if let Some(dir) = &self.current_dir {
            write!(f, "cd {dir:?} && ")?;
        }
        let mut removed = self.get_envs().filter(|(_, value)| value.is_none()).peekable();
        if self.env_clear {
            f.write_str("env -i ")?;
        } else if removed.peek().is_some() {
            f.write_str("env ")?;
        }
        for (key, _) in removed {
            write!(f, "-u {} ", key.to_string_lossy())?;
        }
        for (key, value) in self.get_envs() {
            if let Some(value) = value {
                write!(f, "{}={value:?} ", key.to_string_lossy())?;
            }
        }
        if let Some(arg0) = self.arg0.as_ref().filter(|arg0| **arg0 != self.program) {
            write!(f, "[{:?}] {arg0:?}", self.program)?;
        } else {
            write!(f, "{:?}", self.program)?;
        }
        self.args.iter().try_for_each(|arg| write!(f, " {arg:?}"))
    }
}
