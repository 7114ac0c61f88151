//! What may be said of a mount beyond what and where.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{HidePid, Mount, MountKind, Propagation};
use crate::error::{Error, Result};
use crate::ns_fd::NsFd;

/// Options.
impl Mount {
    /// Nothing can be written, in a bind not in what is mounted below it either.
    ///
    /// # Kernel
    ///
    /// Linux 5.12; before that each mount below a bind is changed on its own, as many as were there when the
    /// command was compiled. One that the child may not search for then stays as it is.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// How many bytes a [`tmpfs`](Self::tmpfs) holds at most, rounded up to pages; half of the memory without
    /// this.
    ///
    /// # Errors
    ///
    /// The plan returns [`InvalidInput`](crate::ErrorKind::InvalidInput) for 0, which means "no limit" to the
    /// kernel, and for more than `i64::MAX`.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        // The kernel rounds the highest numbers up to 0.
        self.bad_size = (bytes == 0 || i64::try_from(bytes).is_err()).then_some(bytes);
        self.option(c"tmpfs", "size is an option of tmpfs", c"size", bytes.to_string())
    }

    /// The permissions of the root directory of a [`tmpfs`](Self::tmpfs), as of `chmod(2)`.
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        self.option(c"tmpfs", "mode is an option of tmpfs", c"mode", format!("{:o}", mode & 0o7777))
    }

    /// What a [`proc`](Self::proc) hides.
    ///
    /// # Kernel
    ///
    /// Linux 5.8: before that all mounts of one pid namespace have the same options.
    #[must_use]
    pub fn hidepid(self, hide: HidePid) -> Self {
        let value = hide.number().to_owned();
        self.option(c"proc", "hidepid is an option of proc", c"hidepid", value)
    }

    /// A [`proc`](Self::proc) with nothing in it but processes. Linux 5.8; from 7.2 on it is allowed also where
    /// the present `/proc` is covered in part.
    #[must_use]
    pub fn subset_pid(self) -> Self {
        self.option(c"proc", "subset_pid is an option of proc", c"subset", "pid".to_owned())
    }

    /// Whether mounts made below it later pass to other namespaces and from them.
    #[must_use]
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = Some(propagation);
        self
    }

    /// A bind in which files have other owners, by the id maps of a user namespace: if its 0 is 100000
    /// outside, what is root's on disk belongs to 100000 here, which is root inside of that namespace; and what
    /// that root makes is root's on disk. What is mounted below is not taken along.
    ///
    /// The mount is made by the caller when the command is compiled, with the caller's rights.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Mount, Namespace, NsFd, Step};
    ///
    /// // the first user namespace changes nothing, so that the kernel refuses it
    /// let first = NsFd::current(Namespace::User)?;
    /// let mut command = Command::new("true");
    /// let error = command.mount(Mount::bind("/etc", "/mnt")?.idmapped(first)).plan().unwrap_err();
    /// assert_eq!(error.step(), Some(Step::IdmapMount));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The plan of a command answers `EPERM` for the first user namespace and for callers without
    /// `CAP_SYS_ADMIN` over the file system; `EINVAL` for a file system that cannot do it.
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_ADMIN` in the user namespace in which the file system was mounted: root's, for a disk.
    ///
    /// # Kernel
    ///
    /// Linux 5.12; tmpfs 6.3. There is no other way before.
    ///
    /// # References
    ///
    /// [mount_setattr(2)](https://man7.org/linux/man-pages/man2/mount_setattr.2.html), "ID-mapped mounts"
    #[doc(alias = "MOUNT_ATTR_IDMAP")]
    #[must_use]
    pub fn idmapped(mut self, namespace: NsFd) -> Self {
        self.idmap = Some(Arc::new(namespace));
        self
    }

    fn option(
        mut self,
        of: &core::ffi::CStr,
        misplaced: &'static str,
        key: &'static core::ffi::CStr,
        value: String,
    ) -> Self {
        match self.kind {
            MountKind::New(fs) if fs.name == of => self.kind = MountKind::New(fs.with(key, value)),
            _ => self.misplaced = Some(misplaced),
        }
        self
    }

    /// Options that cannot be meant.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(misplaced) = self.misplaced {
            return Err(Error::invalid(format!("{misplaced}, not of {self}")));
        }
        if let Some(bytes) = self.bad_size {
            return Err(Error::invalid(format!(
                "size {bytes} means no limit to the kernel, for {self}; use 1 to {} bytes",
                i64::MAX
            )));
        }
        if self.idmap.is_some() && !matches!(self.kind, MountKind::Bind(_)) {
            return Err(Error::invalid(format!("idmapped is an option of bind, not of {self}")));
        }
        let no_options = matches!(self.kind, MountKind::Dev | MountKind::Mask | MountKind::Protect);
        if no_options && (self.read_only || self.propagation.is_some()) {
            return Err(Error::invalid(format!("{self} has no options")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_of_one_kind() {
        let fs = |mount: Mount| match mount.kind {
            MountKind::New(fs) => fs.data(),
            _ => unreachable!(),
        };
        let tmpfs = Mount::tmpfs("/tmp").unwrap().mode(0o755).size(4096).size(8192);
        assert_eq!(fs(tmpfs), c"mode=755,size=8192".to_owned());
        let proc = Mount::proc("/proc").unwrap().hidepid(HidePid::Ptraceable).subset_pid();
        assert_eq!(fs(proc), c"hidepid=4,subset=pid".to_owned());
        assert!(Mount::proc("/proc").unwrap().size(1).check().is_err());
        assert!(Mount::bind("/", "/a").unwrap().subset_pid().check().is_err());
        assert!(Mount::mask("/a").unwrap().read_only().check().is_err());
        assert!(Mount::bind("/", "/a").unwrap().read_only().check().is_ok());
    }
}
