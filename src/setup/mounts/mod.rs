//! Mounts and a root as steps: what the child needs is opened and allocated here.

#![forbid(unsafe_code)]

mod compile;
mod overlay;
mod place;
mod run;

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, Step};
use crate::mounts::NewFs;
use crate::sys::file::{self, Fd, Kept};
use crate::sys::in_root::{is_mount_root, mount_id};
use crate::sys::mount::{MountAttr, RDONLY};
use crate::sys::{Errno, Result};

use overlay::Layers;
use place::Place;

pub(crate) use compile::{MountRights, compile};
pub(super) use run::run;

/// One step in the building of a mount namespace.
#[derive(Debug)]
pub(crate) enum MountOp {
    /// Before anything is mounted, since that may hide it.
    Take(Tree),
    /// In a user namespace where the caller has no id, nor could what it makes have an owner.
    ActAsRoot,
    Attach {
        tree: usize,
        what: CString,
        place: Place,
        attr: Attr,
        below: Vec<Place>,
    },
    New {
        fs: Fs,
        place: Place,
        attr: Attr,
    },
    Overlay {
        layers: Layers,
        place: Place,
        attr: Attr,
    },
    /// With a tree of `/dev/null`, for a file.
    Mask {
        null: usize,
        empty: Fs,
        place: Place,
    },
    Protect(Place),
    MakeDir {
        place: Place,
        mode: u32,
    },
    MakeLink {
        place: Place,
        text: &'static CStr,
    },
    Root {
        base: Base,
        attr: Attr,
        below: Vec<Place>,
    },
    ReadOnlyRoot,
    Pivot,
    Chroot,
}

/// What a new root is made of.
#[derive(Debug)]
pub(crate) enum Base {
    Tree { tree: usize, what: CString },
    New(Fs),
    Overlay(Layers),
}

/// A new file system, with its options as `mount(2)` takes them.
#[derive(Debug)]
pub(crate) struct Fs {
    new: NewFs,
    data: CString,
}

impl From<NewFs> for Fs {
    fn from(new: NewFs) -> Self {
        Self { data: new.data(), new }
    }
}

/// A part of the file system, held open by the parent. The child finds it again in its own mount
/// namespace, which has other mounts of the same files.
#[derive(Debug)]
pub(crate) struct Tree {
    index: usize,
    path: CString,
    is_dir: bool,
    held: OwnedFd,
    /// Whether it is held as a mount that is attached nowhere, made with the rights of the parent.
    is_ready: bool,
    attr: Attr,
}

/// What is changed of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Attr {
    read_only: bool,
    /// One of the flags of `mount(2)`.
    propagation: Option<libc::c_ulong>,
}

impl Attr {
    const READ_ONLY: Self = Self { read_only: true, propagation: None };

    fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn for_kernel(self) -> MountAttr {
        MountAttr {
            set: if self.read_only { RDONLY } else { 0 },
            #[allow(clippy::useless_conversion, reason = "it has 32 bits on some architectures")]
            propagation: self.propagation.unwrap_or(0).into(),
            ..MountAttr::default()
        }
    }
}

/// What the steps pass on to each other: descriptors of whoever executes them.
#[derive(Debug)]
pub(crate) struct Workshop {
    /// The new root; none while the present one is worked in.
    root: Kept,
    trees: Vec<Cell>,
    mounts: Vec<Mounted>,
    /// The ids of all mounts that were attached by now; 0 where none was yet.
    attached: Vec<AtomicU64>,
}

#[derive(Debug)]
struct Cell {
    mount: Kept,
    /// Whether it is a mere descriptor of the source, where `open_tree(2)` is hidden.
    is_source: AtomicBool,
    /// Whether its attributes are still to be changed, where `mount_setattr(2)` is missing.
    is_late: AtomicBool,
}

/// A mount in which a later step has something to find.
#[derive(Debug)]
struct Mounted {
    top: Kept,
    id: AtomicU64,
}

impl Workshop {
    pub(crate) fn of<'a>(ops: impl IntoIterator<Item = &'a MountOp>) -> Self {
        let (mut trees, mut mounts, mut attached) = (Vec::new(), Vec::new(), Vec::new());
        for op in ops {
            if op.place().is_some() {
                attached.push(AtomicU64::new(0));
            }
            if matches!(op, MountOp::Take(_)) {
                trees.push(Cell {
                    mount: Kept::none(),
                    is_source: AtomicBool::new(false),
                    is_late: AtomicBool::new(false),
                });
            } else if op.place().is_some_and(|place| place.number().is_some()) {
                mounts.push(Mounted { top: Kept::none(), id: AtomicU64::new(0) });
            }
        }
        Self { root: Kept::none(), trees, mounts, attached }
    }

    fn cell(&self, tree: usize) -> Result<&Cell> {
        self.trees.get(tree).ok_or(Errno::INVAL)
    }

    fn mounted(&self, number: usize) -> Option<RawFd> {
        self.mounts.get(number)?.top.get()
    }

    /// Whether a mount was attached by an earlier step, or is the root.
    fn is_earlier(&self, mount: RawFd) -> Result<bool> {
        let id = mount_id(mount)?;
        if let Some(root) = self.root.get() {
            if mount_id(root)? == id {
                return Ok(true);
            }
        }
        Ok(self.attached.iter().any(|earlier| earlier.load(SeqCst) == id))
    }

    /// Notes what was mounted at a place, if something is to be found in it. If it covers an earlier mount, which a
    /// link led to, it stands for that one, too.
    fn note(&self, place: &Place, mount: Fd, target: &Fd) -> Result<()> {
        let id = mount_id(mount.raw())?;
        if let Some(free) = self.attached.iter().find(|earlier| earlier.load(SeqCst) == 0) {
            free.store(id, SeqCst);
        }
        let is_kept = |mounted: &&Mounted| mounted.top.get().is_some();
        if self.mounts.iter().any(|it| is_kept(&it)) && is_mount_root(target.raw())? {
            let covered = mount_id(target.raw())?;
            for earlier in self.mounts.iter().filter(is_kept) {
                if earlier.id.load(SeqCst) == covered {
                    earlier.top.keep(file::copy(mount.raw())?);
                    earlier.id.store(id, SeqCst);
                }
            }
        }
        if let Some(own) = place.number().and_then(|number| self.mounts.get(number)) {
            own.id.store(id, SeqCst);
            own.top.keep(mount);
        }
        Ok(())
    }

    /// When all is mounted, or has failed in a process that goes on.
    pub(crate) fn close(&self) {
        let trees = self.trees.iter().map(|cell| &cell.mount);
        let mounts = self.mounts.iter().map(|mounted| &mounted.top);
        trees.chain(mounts).chain([&self.root]).for_each(|kept| drop(kept.take()));
    }
}

impl MountOp {
    /// Of these, making a mount point comes with `detail` 1.
    pub(crate) fn step(&self, detail: usize) -> Step {
        match self {
            Self::Take(_) => Step::OpenSource,
            Self::MakeDir { .. } | Self::MakeLink { .. } => Step::MakeFile,
            Self::ReadOnlyRoot | Self::Protect(_) => Step::MakeReadOnly,
            Self::ActAsRoot => Step::SetUid,
            Self::Pivot => Step::PivotRoot,
            Self::Chroot => Step::ChangeRoot,
            _ if detail == place::MAKING => Step::MakeMountPoint,
            _ => Step::Mount,
        }
    }

    fn place(&self) -> Option<&Place> {
        match self {
            Self::Attach { place, .. }
            | Self::New { place, .. }
            | Self::Overlay { place, .. }
            | Self::Mask { place, .. }
            | Self::Protect(place)
            | Self::MakeDir { place, .. }
            | Self::MakeLink { place, .. } => Some(place),
            _ => None,
        }
    }

    fn place_mut(&mut self) -> Option<&mut Place> {
        match self {
            Self::Attach { place, .. }
            | Self::New { place, .. }
            | Self::Overlay { place, .. }
            | Self::Mask { place, .. }
            | Self::Protect(place)
            | Self::MakeDir { place, .. }
            | Self::MakeLink { place, .. } => Some(place),
            _ => None,
        }
    }

    /// The path that an error names.
    fn path(&self) -> Option<&CStr> {
        match self {
            Self::Take(tree) => Some(&tree.path),
            op => op.place().map(Place::path),
        }
    }

    /// With what was done, and where.
    pub(crate) fn refusal(&self, error: Error, step: Step) -> Error {
        let error = if step == Step::MakeMountPoint { error } else { error.on(self.what()) };
        match self.path() {
            Some(path) => error.at(OsStr::from_bytes(path.to_bytes())),
            None => error,
        }
    }

    /// What is mounted there.
    fn what(&self) -> String {
        match self {
            Self::Attach { what, .. } => format!("{what:?} on"),
            Self::New { fs, .. } => format!("{} on", fs.new.name.to_string_lossy()),
            Self::Overlay { .. } => "an overlay on".to_owned(),
            Self::Mask { .. } => "a mask on".to_owned(),
            Self::Root { base, .. } => format!("{base} as the root"),
            Self::ReadOnlyRoot => "the root".to_owned(),
            _ => String::new(),
        }
    }
}

/// What the step is done to.
impl fmt::Display for MountOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, path) = (self.what(), self.path());
        if !what.is_empty() {
            write!(f, " {what}")?;
        }
        if let Some(path) = path {
            write!(f, " {path:?}")?;
        }
        match self {
            Self::New { fs, attr, .. } if fs.data.is_empty() => write!(f, "{attr}"),
            Self::New { fs, attr, .. } => write!(f, "{attr}, {}", fs.data.to_string_lossy()),
            Self::Attach { attr, .. } | Self::Root { attr, .. } => write!(f, "{attr}"),
            Self::Overlay { layers, attr, .. } => write!(f, "{attr}: {layers}"),
            Self::ActAsRoot => f.write_str(" for files: 0"),
            Self::MakeLink { text, .. } => write!(f, ": a link to {text:?}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.read_only { ", read-only" } else { "" })?;
        f.write_str(match self.propagation {
            Some(libc::MS_SHARED) => ", shared",
            Some(libc::MS_SLAVE) => ", slave",
            Some(_) => ", private",
            None => "",
        })
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree { what, .. } => write!(f, "{what:?}"),
            Self::New(fs) => write!(f, "{}", fs.new.name.to_string_lossy()),
            Self::Overlay(layers) => write!(f, "an overlay ({layers})"),
        }
    }
}
