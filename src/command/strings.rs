//! Arguments and environment in the form that `execve(2)` takes.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, Result};
use crate::sys::exec::CStringArray;

/// C strings, one behind the other: an allocation for each would cost more than the system calls of a
/// spawn.
#[derive(Debug, Default)]
pub(super) struct CStrings {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl CStrings {
    pub(super) fn of_args<'a>(args: impl IntoIterator<Item = &'a OsString>) -> Result<Self> {
        let mut all = Self::default();
        for arg in args {
            all.push(&[arg], "argument")?;
        }
        Ok(all)
    }

    /// This process's environment, unless it is to be cleared, with these changes.
    pub(super) fn of_env(
        clear: bool,
        changes: &BTreeMap<OsString, Option<OsString>>,
    ) -> Result<Self> {
        // Those of ours come from C strings.
        let mut all = if clear { Self::default() } else { Self::own_env(changes) };
        for (key, value) in changes {
            if let Some(value) = value {
                all.push(&[key, OsStr::new("="), value], "environment variable")?;
            }
        }
        Ok(all)
    }

    /// This process's environment without these variables. Half the time of a spawn that is not the
    /// kernel's goes here, so the memory is measured first.
    fn own_env(without: &BTreeMap<OsString, Option<OsString>>) -> Self {
        let own: Vec<_> = env::vars_os().filter(|(key, _)| !without.contains_key(key)).collect();
        let length = own.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
        let mut bytes = Vec::with_capacity(length);
        let mut starts = Vec::with_capacity(own.len());
        for (key, value) in &own {
            starts.push(bytes.len());
            bytes.extend_from_slice(key.as_bytes());
            bytes.push(b'=');
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        }
        Self { bytes, starts }
    }

    fn push(&mut self, parts: &[&OsStr], what: &str) -> Result<()> {
        if let Some(part) = parts.iter().find(|part| part.as_bytes().contains(&0)) {
            return Err(Error::invalid(format!("the {what} {part:?} has a NUL byte")));
        }
        self.starts.push(self.bytes.len());
        for part in parts {
            self.bytes.extend_from_slice(part.as_bytes());
        }
        self.bytes.push(0);
        Ok(())
    }

    pub(super) fn for_exec(self) -> CStringArray {
        CStringArray::new(self.bytes, &self.starts)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::CStrings;

    #[test]
    fn changes_of_the_environment_win() {
        let path = || OsString::from("PATH");
        let change = |value: Option<&str>| [(path(), value.map(OsString::from))].into();
        let of_path = |strings: CStrings| {
            let texts = strings.for_exec().texts();
            let all: Vec<String> =
                texts.iter().filter(|text| text.starts_with("PATH=")).cloned().collect();
            (all, texts.len())
        };
        let own = CStrings::of_env(false, &[].into()).unwrap();
        let (_, count) = of_path(own);
        let (set, _) = of_path(CStrings::of_env(false, &change(Some("/x"))).unwrap());
        assert_eq!(set, ["PATH=/x"]);
        let (removed, left) = of_path(CStrings::of_env(false, &change(None)).unwrap());
        assert_eq!((removed.len(), left), (0, count - 1));
        let (alone, left) = of_path(CStrings::of_env(true, &change(Some(""))).unwrap());
        assert_eq!((alone, left), (vec!["PATH=".to_owned()], 1));
    }
}
