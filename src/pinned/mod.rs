//! Namespaces kept by a bind mount, without any process or open file.

#![forbid(unsafe_code)]

mod dir;
mod mount;
mod target;

use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::Result;
use crate::ns_fd::NsFd;

pub use dir::{PinDir, PinState};

use target::PinTarget;
pub(crate) use target::{open_path, parent};

/// A namespace pinned at a path: its file is mounted there, so that it exists without any process or
/// open file, and other programs find it with [`NsFd::open`].
///
/// Dropping this unpins the namespace, without a word if that fails; [`unpin`](Self::unpin) says so, and
/// [`keep`](Self::keep) leaves the namespace where it is, for others or for later.
///
/// The mount is made in the mount namespace of the calling thread, and belongs to it: others see it as
/// far as mounts propagate to them, and it is gone with the last mount namespace that has it.
///
/// This value holds the mount itself, which is found also under another name. Until it is dropped or kept,
/// `umount(8)` of the path fails with `EBUSY` unless it is given `--lazy`; `ip netns delete` works.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Namespace, NamespaceSet, NsFd, Unshare};
///
/// // a UTS namespace, and mounts that nobody else sees
/// let set = NamespaceSet::UTS | NamespaceSet::MOUNT;
/// if let Err(error) = Unshare::new(set).map_root().apply() {
///     return Ok(eprintln!("{error:#}"));
/// }
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("blue");
/// let pinned = NsFd::current(Namespace::Uts)?.pin(&path)?;
/// assert_eq!(NsFd::open(&path)?, *pinned.namespace());
/// pinned.unpin()?;
/// assert!(!path.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html), "Namespace lifetime";
/// [open_tree(2)](https://man7.org/linux/man-pages/man2/open_tree.2.html),
/// [move_mount(2)](https://man7.org/linux/man-pages/man2/move_mount.2.html),
/// [umount2(2)](https://man7.org/linux/man-pages/man2/umount.2.html)
#[derive(Debug)]
#[must_use = "dropping it unpins the namespace; keep() leaves it pinned"]
pub struct Pinned {
    namespace: NsFd,
    /// The mount itself, which the name leads to only as long as the owner of the directory leaves it there.
    mount: OwnedFd,
    place: PinTarget,
    /// Whether the end is to unmount it.
    mounted: bool,
}

impl Pinned {
    /// Takes over what another program, or this one earlier, pinned at a path: by [`NsFd::pin`],
    /// `ip netns add`, or `unshare --net=FILE`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use linux_namespaces::Pinned;
    ///
    /// Pinned::open("/run/netns/blue")?.unpin()?;       // as ip netns delete blue
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound); [`NotANamespace`](crate::ErrorKind::NotANamespace) if no
    /// namespace is mounted there, also for a symbolic link, which is not followed as the path's last part;
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc) if `/proc` cannot be believed, by way of which is opened what
    /// was found.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let place = PinTarget::of(path.as_ref())?;
        let namespace = place.namespace()?;
        let mount = namespace.try_clone()?.into();
        Ok(Self { namespace, mount, place, mounted: true })
    }

    fn at(place: PinTarget, namespace: &NsFd) -> Result<Self> {
        let namespace = namespace.try_clone()?;
        let target = place.claim()?;
        let mount = match mount::attach(&namespace, &target) {
            Ok(Some(mount)) => Ok(mount),
            // By the file beneath, whatever its name is, the kernel unmounts what is on top.
            Ok(None) => place.mount_of(&namespace).inspect_err(|_| drop(mount::detach(&target))),
            Err(error) => Err(error),
        };
        match mount {
            Ok(mount) => Ok(Self { namespace, mount, place, mounted: true }),
            Err(error) => {
                place.give_up(target);
                Err(error.of(namespace.kind()).at(place.path()))
            }
        }
    }

    /// Where it is pinned, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// A handle of the namespace.
    #[must_use]
    pub fn namespace(&self) -> &NsFd {
        &self.namespace
    }

    /// Leaves the namespace pinned. It can be taken over again with [`open`](Self::open).
    pub fn keep(mut self) {
        self.mounted = false;
    }

    /// Unmounts the namespace's file, and removes the file below.
    ///
    /// The namespace lives on while something else refers to it. The file below is removed if it is as
    /// [`NsFd::pin`] and `ip netns add` make it: empty, without any permission. Another one is left, and so is
    /// the file if the owner of the directory has renamed it, or lets nobody search the directory: the namespace
    /// is unmounted all the same.
    ///
    /// # Errors
    ///
    /// [`NotANamespace`](crate::ErrorKind::NotANamespace) if another namespace or file was mounted over it
    /// in the meantime, or it is not mounted any more and another one is at its path: these are left alone.
    /// [`NotFound`](crate::ErrorKind::NotFound) if it is not mounted any more and nothing is at its path.
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied).
    /// `EINVAL` if the mount belongs to another mount namespace than the calling thread's.
    /// [`UntrustedProc`](crate::ErrorKind::UntrustedProc): `umount2(2)` takes no descriptor, so it is told
    /// what to unmount by way of `/proc`.
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_ADMIN` in the user namespace that owns the mount namespace.
    pub fn unpin(mut self) -> Result<()> {
        self.mounted = false;
        self.place.release(&self.mount)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.mounted {
            drop(self.place.release(&self.mount));
        }
    }
}

/// Keeping a namespace without a process.
impl NsFd {
    /// Mounts the namespace's file at a path, which keeps the namespace alive and lets others find it.
    ///
    /// The file to mount on is made, and must not exist: what somebody else has there is never covered or
    /// replaced. What an interrupted call left is recognised, an empty file of this user without any
    /// permission, and used. The directory is looked up once and held. Of several processes that pin at
    /// the same path at once, one succeeds.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use linux_namespaces::{Command, Namespace, NamespaceSet, Stdio};
    ///
    /// // a network that outlives its first program, which stays until its input ends
    /// let mut child = Command::new("cat").stdin(Stdio::piped()).unshare(NamespaceSet::NET).spawn()?;
    /// child.namespace(Namespace::Net)?.pin("/run/netns/blue")?.keep();
    /// child.wait()?;
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`AlreadyExists`](crate::ErrorKind::AlreadyExists): a namespace is pinned there, or something
    ///   else is there, or another process is pinning there right now.
    /// - [`PermissionDenied`](crate::ErrorKind::PermissionDenied) without the privilege, in particular in a
    ///   user namespace made after the mount namespace.
    /// - `ELOOP`, from older calls `EINVAL`, for a mount namespace that the calling thread is in, or that
    ///   is older than that one: a loop of namespaces that keep each other could never be destroyed. A
    ///   process that stayed outside has to pin it. (Linux 6.18 takes some newer ones for older, since it
    ///   numbers them by processor.)
    /// - `EINVAL` for a mount namespace, if the directory lies on a mount that propagates to others:
    ///   [`PinDir::create`] makes one that does not. For any namespace, if the directory lies in another
    ///   mount namespace than the calling thread's.
    ///
    /// # Privileges
    ///
    /// `CAP_SYS_ADMIN` in the user namespace that owns the mount namespace, and write access to the
    /// directory. So an ordinary user pins inside of a user and mount namespace of their own.
    ///
    /// # Limits
    ///
    /// A user who owns the directory, or may write to it, decides what its names mean: in a mount namespace without
    /// this mount, the file can be renamed, exchanged for another pin, or removed, which unmounts it everywhere.
    /// [`Pinned::unpin`] and a drop find the mount by another name, too; who opens it by path does not. Pin in
    /// directories that only trusted users may write to.
    ///
    /// A pid namespace cannot be opened, and so not pinned, before its first process exists (before Linux 6.11,
    /// see [`for_children`](Self::for_children)). It takes no process any more when its PID 1 has ended, pinned
    /// or not.
    #[doc(alias = "bind")]
    pub fn pin(&self, path: impl AsRef<Path>) -> Result<Pinned> {
        Pinned::at(PinTarget::of(path.as_ref())?, self)
    }
}
