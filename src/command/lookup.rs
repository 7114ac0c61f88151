//! Where the program is looked up.

#![forbid(unsafe_code)]

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::Command;
use crate::error::{Error, Result};
use crate::namespace::NamespaceSet;
use crate::plan::joins::Joins;
use crate::plan::op::Lookup;
use crate::process_state;
use crate::sys::c_library;

impl Command {
    /// Whether the program's root is laid out by somebody else.
    pub(super) fn has_other_root(&self, joins: &Joins) -> bool {
        self.setup.rootfs.is_some()
            || process_state::is_in_other_root()
            || self.open_dirs.has_root()
            || joins.set().contains(NamespaceSet::MOUNT)
    }

    /// Below mounts and in open directories.
    pub(super) fn has_other_files(&self) -> bool {
        self.setup.has_mounts() || self.open_dirs.is_open()
    }

    /// Among other files, too, unless the caller has named an open file by proc.
    pub(super) fn program_lookup(&self, joins: &Joins) -> Lookup {
        let is_inside = self.has_other_root(joins)
            || (self.has_other_files() && !names_open_file(self.program.as_bytes()));
        if is_inside { Lookup::Inside } else { Lookup::Plain }
    }

    /// The paths to try, in order.
    pub(super) fn candidates(&self) -> Result<Vec<CString>> {
        let program = c_string(&self.program, "program")?;
        if program.is_empty() || program.to_bytes().contains(&b'/') {
            return Ok(vec![program]);
        }
        let set = self.env.get(OsStr::new("PATH"));
        let path = match set {
            Some(path) => path.clone(),
            None if self.env_clear || c_library::is_secure() => None,
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

/// `/proc/self/exe`, `/proc/self/fd/7` and the like: what the path leads to is the last magic link's, so that no link of
/// anybody else is followed.
fn names_open_file(path: &[u8]) -> bool {
    let names: Vec<_> = path.split(|&byte| byte == b'/').collect();
    match names[..] {
        [b"", b"proc", process, b"exe"] | [b"", b"proc", process, b"fd", _] => process != b"..",
        _ => false,
    }
}

fn c_string(text: &OsStr, what: &str) -> Result<CString> {
    CString::new(text.as_bytes())
        .map_err(|_| Error::invalid(format!("the {what} {text:?} has a NUL byte")))
}
