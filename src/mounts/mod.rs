//! Mounts and roots as values: what is to be mounted where, and nothing done yet.

#![forbid(unsafe_code)]

// The documentation shows methods in this order.
mod mount;
mod file_systems;
mod masks;
mod options;

mod hide_pid;
mod new_fs;
mod overlay;
mod propagation;
mod rootfs;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use crate::error::{Error, Result};

pub use hide_pid::HidePid;
pub use mount::Mount;
pub use overlay::Overlay;
pub use propagation::Propagation;
pub use rootfs::Rootfs;

pub(crate) use mount::MountKind;
pub(crate) use new_fs::NewFs;
pub(crate) use rootfs::Base;

/// A path for the kernel.
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::invalid(format!("the path {path:?} has a NUL byte")))
}

/// Where something is mounted: below a root, so that no working directory and no `..` has a part in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MountTarget {
    names: Vec<CString>,
}

impl MountTarget {
    fn new(path: &Path) -> Result<Self> {
        let mut components = path.components();
        if components.next() != Some(Component::RootDir) {
            return Err(Error::invalid(format!("the mount point {path:?} is no absolute path")));
        }
        let name = |component| match component {
            Component::Normal(name) => c_path(Path::new(name)),
            _ => Err(Error::invalid(format!("the mount point {path:?} has a `..`"))),
        };
        let names: Vec<_> = components.map(name).collect::<Result<_>>()?;
        if names.is_empty() {
            return Err(Error::invalid(
                "the root directory as a mount point would be out of sight: use a Rootfs",
            ));
        }
        Ok(Self { names })
    }

    /// A place below it.
    pub(crate) fn join(&self, name: &str) -> Self {
        let name = CString::new(name).unwrap_or_default();
        Self { names: self.names.iter().cloned().chain([name]).collect() }
    }

    pub(crate) fn names(&self) -> &[CString] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_lies_below_the_root() {
        for bad in ["", "usr", "./usr", "/", "//", "/a/../b", "/..", "/a\0b"] {
            assert!(MountTarget::new(Path::new(bad)).is_err(), "{bad:?}");
        }
        let names = |path| MountTarget::new(Path::new(path)).unwrap().names;
        assert_eq!(names("//a/./b/"), [c"a".to_owned(), c"b".to_owned()]);
    }

    #[test]
    fn a_name_below_is_one_more() {
        let target = |path| MountTarget::new(Path::new(path)).unwrap();
        assert_eq!(target("/a").join("b"), target("/a/b"));
    }
}
