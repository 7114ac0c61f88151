//! From what was found to a handle of it.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result, Step};
use crate::namespace::Namespace;
use crate::ns_fd::{NsFd, NsId};
use crate::proc_fs::ProcFs;
use crate::sys::{self, Errno, abi, nsfs};

use super::processes::DIR;
use super::scan::{self, unless_exhausted};
use super::{Discovery, Holder, NamespaceInfo, mounts};

impl Discovery {
    /// Opens a namespace that was found, by way of what holds it or by its unique id.
    ///
    /// It is the same namespace or an error: where the kernel tells a [unique id](NamespaceInfo::unique_id), by
    /// that; before Linux 6.18 by kind and inode number, which another one may have got since.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Namespace, NsFd, discover};
    ///
    /// let all = discover()?;
    /// let mine = NsFd::current(Namespace::Net)?;
    /// let found = all.get(mine.id()?).expect("I am in it");
    /// assert_eq!(all.open(found)?, mine);
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if nothing that held it leads to it any more, or nothing
    /// that this process may follow; [`UntrustedProc`](crate::ErrorKind::UntrustedProc) if `/proc` cannot
    /// be believed; [`LimitReached`](crate::ErrorKind::LimitReached) without descriptors for it.
    pub fn open(&self, found: &NamespaceInfo) -> Result<NsFd> {
        let opener = Opener { all: self, proc: ProcFs::open()? };
        let name = format!("{}:[{}]", found.kind, found.id.ino);
        match opener.to(found) {
            Ok(Some(file)) => NsFd::try_from(file),
            Ok(None) => {
                let why = "nothing that held it leads to it any more, or not this process";
                let text = format!("cannot open the namespace {name}: {why}");
                Err(Error::new(ErrorKind::NotFound, text).at_step(Step::OpenNamespace))
            }
            Err(errno) => Err(Error::os(Step::OpenNamespace, errno).on(name)),
        }
    }
}

struct Opener<'a> {
    all: &'a Discovery,
    proc: ProcFs,
}

impl Opener<'_> {
    /// Pid and user namespaces lie inside each other, 32 deep at most, so this ends.
    fn to(&self, found: &NamespaceInfo) -> sys::Result<Option<OwnedFd>> {
        let by_holder = found.holders.iter().map(|holder| self.by(holder, found));
        let by_id = found.unique_id.into_iter().map(|id| {
            let ino = found.id.ino.try_into().map_err(|_| Errno::OVERFLOW)?;
            nsfs::open_by_handle(id, found.kind.flag(), ino)
        });
        for opened in by_holder.chain(by_id) {
            match opened {
                Ok(file) if is_it(&file, found) => return Ok(Some(file)),
                Ok(_) => {}
                Err(errno) => unless_exhausted(errno)?,
            }
        }
        Ok(None)
    }

    fn by(&self, holder: &Holder, found: &NamespaceInfo) -> sys::Result<OwnedFd> {
        let name = found.kind.name();
        match holder {
            Holder::Process { pid } => self.link(&format!("{pid}/ns"), name),
            Holder::Thread { pid, tid } => self.link(&format!("{pid}/task/{tid}/ns"), name),
            Holder::ForChildren { pid, tid } => {
                self.link(&format!("{pid}/task/{tid}/ns"), &format!("{name}_for_children"))
            }
            Holder::Fd { pid, fd } => {
                let dir = self.proc.open_below(self.proc.as_fd(), &format!("{pid}/fd"), DIR)?;
                self.namespace_at(&self.proc.open_target(dir.as_fd(), &fd.to_string())?, found)
            }
            Holder::BindMount { mount_namespace, path } => {
                self.mounted(*mount_namespace, path, found)
            }
            Holder::ProcMount { .. } => Err(Errno::NOENT),
            Holder::ChildNamespace { id } => self.relative(*id, abi::NS_GET_PARENT),
            Holder::OwnedNamespace { id } => self.relative(*id, abi::NS_GET_USERNS),
        }
    }

    fn link(&self, dir: &str, name: &str) -> sys::Result<OwnedFd> {
        let dir = self.proc.open_below(self.proc.as_fd(), dir, DIR)?;
        self.proc.namespace_in(dir.as_fd(), name)
    }

    /// Any file may be there by now, so it is not opened before it is known.
    fn namespace_at(&self, place: &OwnedFd, found: &NamespaceInfo) -> sys::Result<OwnedFd> {
        let namespace = scan::open_place(&self.proc, found.id.dev, place)?;
        namespace.map(|(_, _, file)| file).ok_or(Errno::NOENT)
    }

    fn mounted(&self, id: NsId, path: &Path, found: &NamespaceInfo) -> sys::Result<OwnedFd> {
        let members = self.all.get(id).map(mounts::members).unwrap_or_default();
        for task in members {
            let dir = self.proc.open_below(self.proc.as_fd(), &task, DIR);
            let place = dir
                .and_then(|dir| mounts::root_of(&self.proc, &dir))
                .and_then(|root| mounts::open(&root, path.as_os_str().as_bytes()));
            match place.and_then(|place| self.namespace_at(&place, found)) {
                Ok(file) if is_it(&file, found) => return Ok(file),
                Ok(_) => {}
                Err(errno) => unless_exhausted(errno)?,
            }
        }
        Err(Errno::NOENT)
    }

    fn relative(&self, from: NsId, number: rustix::ioctl::Opcode) -> sys::Result<OwnedFd> {
        let from = self.all.get(from).ok_or(Errno::NOENT)?;
        let file = self.to(from)?.ok_or(Errno::NOENT)?;
        nsfs::get_fd(file.as_raw_fd(), number)
    }
}

fn is_it(file: &OwnedFd, found: &NamespaceInfo) -> bool {
    let about = rustix::fs::fstat(file);
    let id = about.map(|about| NsId { dev: about.st_dev, ino: about.st_ino });
    let kind = nsfs::get_type(file.as_raw_fd()).map(Namespace::from_flag);
    id == Ok(found.id)
        && kind == Ok(Some(found.kind))
        && found.unique_id.is_none_or(|id| nsfs::get_id(file.as_raw_fd()) == Ok(id))
}
