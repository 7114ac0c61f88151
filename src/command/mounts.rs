//! What a new mount namespace contains.

#![forbid(unsafe_code)]

use super::Command;
use crate::mounts::{Mount, Propagation, Rootfs};

/// Mounts of a new mount namespace.
impl Command {
    /// Mounts something in a new mount namespace. In the order of the calls.
    pub fn mount(&mut self, mount: Mount) -> &mut Self {
        self.setup.add_mount(mount);
        self
    }

    /// The root of a new mount namespace, with the [mounts](Self::mount) of this command below it, and nothing
    /// else of the machine's files. The program is looked for in there, and starts in `/` unless
    /// [`current_dir`](Self::current_dir) says otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, Rootfs};
    ///
    /// let mut command = Command::new("/bin/pwd");
    /// match command.map_root().rootfs(Rootfs::dir("/")?.read_only()).output() {
    ///     Ok(output) => assert_eq!(output.stdout, b"/\n"),
    ///     Err(error) => eprintln!("{error:#}"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The plan answers [`InvalidInput`](crate::ErrorKind::InvalidInput) together with
    /// [`root_dir_fd`](Self::root_dir_fd) and [`current_dir_fd`](Self::current_dir_fd): a directory that was opened
    /// outside would lead out.
    #[doc(alias = "pivot_root")]
    pub fn rootfs(&mut self, rootfs: Rootfs) -> &mut Self {
        self.setup.set_rootfs(rootfs);
        self
    }

    /// The propagation of the mounts of a new mount namespace: private, unless set here.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Command, NamespaceSet, Propagation};
    ///
    /// let mut command = Command::new("true");
    /// command.unshare(NamespaceSet::USER).propagation(Propagation::Slave);
    /// assert!(command.plan()?.to_string().contains("mounts: slave"));
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    pub fn propagation(&mut self, propagation: Propagation) -> &mut Self {
        self.setup.set_propagation(propagation);
        self
    }
}
