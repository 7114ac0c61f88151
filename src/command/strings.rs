//! Arguments and environment in the form that `execve(2)` takes.

#![forbid(unsafe_code)]

use core::ffi::c_char;
use core::ptr;
use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, Result};

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
        let mut all = Self::default();
        let own = if clear { None } else { Some(env::vars_os()) };
        let kept = own.into_iter().flatten().filter(|(key, _)| !changes.contains_key(key));
        for (key, value) in kept {
            all.push_variable(&key, &value)?;
        }
        for (key, value) in changes {
            if let Some(value) = value {
                all.push_variable(key, value)?;
            }
        }
        Ok(all)
    }

    fn push_variable(&mut self, key: &OsStr, value: &OsStr) -> Result<()> {
        self.push(&[key, OsStr::new("="), value], "environment variable")
    }

    fn push(&mut self, parts: &[&OsStr], what: &str) -> Result<()> {
        let start = self.bytes.len();
        for part in parts {
            self.bytes.extend_from_slice(part.as_bytes());
        }
        if self.bytes[start..].contains(&0) {
            let text = OsStr::from_bytes(&self.bytes[start..]);
            return Err(Error::invalid(format!("the {what} {text:?} has a NUL byte")));
        }
        self.bytes.push(0);
        self.starts.push(start);
        Ok(())
    }

    /// The strings, and a null pointer at the end. Valid as long as self lives.
    pub(super) fn pointers(&self) -> Vec<*const c_char> {
        let pointer = |&start: &usize| self.bytes[start..].as_ptr().cast();
        self.starts.iter().map(pointer).chain([ptr::null()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{CStr, OsString};

    use super::CStrings;

    /// What lies there, up to each NUL.
    fn texts(strings: &CStrings) -> Vec<&str> {
        let at = |&start: &usize| CStr::from_bytes_until_nul(&strings.bytes[start..]).unwrap();
        strings.starts.iter().map(|start| at(start).to_str().unwrap()).collect()
    }

    #[test]
    fn strings_lie_one_behind_the_other() {
        let args = ["", "one", "two words", ""].map(OsString::from);
        let strings = CStrings::of_args(&args).unwrap();
        assert_eq!(texts(&strings), ["", "one", "two words", ""]);
        let pointers = strings.pointers();
        assert_eq!(pointers.len(), 5);
        assert_eq!(pointers[0], strings.bytes.as_ptr().cast());
        assert!(pointers[4].is_null());
    }

    #[test]
    fn changes_of_the_environment_win() {
        let path = || OsString::from("PATH");
        let change = |value: Option<&str>| [(path(), value.map(OsString::from))].into();
        let of_path = |strings: &CStrings| {
            let texts = texts(strings);
            let all: Vec<String> = texts
                .iter()
                .filter(|text| text.starts_with("PATH="))
                .map(|&text| text.into())
                .collect();
            (all, texts.len())
        };
        let own = CStrings::of_env(false, &[].into()).unwrap();
        let (_, count) = of_path(&own);
        let (set, _) = of_path(&CStrings::of_env(false, &change(Some("/x"))).unwrap());
        assert_eq!(set, ["PATH=/x"]);
        let (removed, left) = of_path(&CStrings::of_env(false, &change(None)).unwrap());
        assert_eq!((removed.len(), left), (0, count - 1));
        let (alone, left) = of_path(&CStrings::of_env(true, &change(Some(""))).unwrap());
        assert_eq!((alone, left), (vec!["PATH=".to_owned()], 1));
    }
}
