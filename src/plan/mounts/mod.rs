//! Mounts and a root as steps: what the child needs is opened and allocated here.

#![forbid(unsafe_code)]

mod compile;
pub(crate) mod mount_point;
pub(crate) mod overlay;
mod source;

use core::fmt;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, Step};
use crate::mounts::NewFs;
use crate::sys::mount::{MountAttr, RDONLY};

use mount_point::MountPoint;
use overlay::Layers;

pub(crate) use compile::{MountRights, compile};

/// One step in the building of a mount namespace.
#[derive(Debug)]
pub(crate) enum MountOp {
    /// Before anything is mounted, since that may hide it.
    OpenSource(Tree),
    /// In a user namespace where the caller has no id, nor could what it makes have an owner.
    SetFsIds,
    Attach {
        tree: usize,
        what: CString,
        point: MountPoint,
        attr: Attr,
        submounts: Vec<MountPoint>,
    },
    New {
        fs: Fs,
        point: MountPoint,
        attr: Attr,
    },
    Overlay {
        layers: Layers,
        point: MountPoint,
        attr: Attr,
    },
    /// With a tree of `/dev/null`, for a file.
    Mask {
        null: usize,
        empty: Fs,
        point: MountPoint,
    },
    MakeReadOnly(MountPoint),
    CreateDir {
        point: MountPoint,
        mode: u32,
    },
    CreateLink {
        point: MountPoint,
        text: &'static CStr,
    },
    Root {
        base: RootSource,
        attr: Attr,
        submounts: Vec<MountPoint>,
    },
    MakeRootReadOnly,
    PivotRoot,
    ChangeRoot,
}

/// What a new root is made of.
#[derive(Debug)]
pub(crate) enum RootSource {
    Tree { tree: usize, what: CString },
    New(Fs),
    Overlay(Layers),
}

/// A new file system, with its options as `mount(2)` takes them.
#[derive(Debug)]
pub(crate) struct Fs {
    pub(crate) new: NewFs,
    pub(crate) data: CString,
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
    pub(crate) index: usize,
    pub(crate) path: CString,
    pub(crate) is_dir: bool,
    pub(crate) held: OwnedFd,
    /// Whether it is held as a mount that is attached nowhere, made with the rights of the parent.
    pub(crate) is_ready: bool,
    pub(crate) attr: Attr,
}

/// What is changed of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Attr {
    pub(crate) read_only: bool,
    /// One of the flags of `mount(2)`.
    pub(crate) propagation: Option<libc::c_ulong>,
}

impl Attr {
    pub(crate) const READ_ONLY: Self = Self { read_only: true, propagation: None };

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn for_kernel(self) -> MountAttr {
        MountAttr {
            set: if self.read_only { RDONLY } else { 0 },
            #[allow(clippy::useless_conversion, reason = "it has 32 bits on some architectures")]
            propagation: self.propagation.unwrap_or(0).into(),
            ..MountAttr::default()
        }
    }
}

impl MountOp {
    /// Of these, making a mount point comes with `detail` 1.
    pub(crate) fn step(&self, detail: usize) -> Step {
        match self {
            Self::OpenSource(_) => Step::OpenSource,
            Self::CreateDir { .. } | Self::CreateLink { .. } => Step::CreateFile,
            Self::MakeRootReadOnly | Self::MakeReadOnly(_) => Step::MakeReadOnly,
            Self::SetFsIds => Step::SetUid,
            Self::PivotRoot => Step::PivotRoot,
            Self::ChangeRoot => Step::ChangeRoot,
            _ if detail == mount_point::CREATING => Step::CreateMountPoint,
            _ => Step::Mount,
        }
    }

    pub(crate) fn point(&self) -> Option<&MountPoint> {
        match self {
            Self::Attach { point, .. }
            | Self::New { point, .. }
            | Self::Overlay { point, .. }
            | Self::Mask { point, .. }
            | Self::MakeReadOnly(point)
            | Self::CreateDir { point, .. }
            | Self::CreateLink { point, .. } => Some(point),
            _ => None,
        }
    }

    fn point_mut(&mut self) -> Option<&mut MountPoint> {
        match self {
            Self::Attach { point, .. }
            | Self::New { point, .. }
            | Self::Overlay { point, .. }
            | Self::Mask { point, .. }
            | Self::MakeReadOnly(point)
            | Self::CreateDir { point, .. }
            | Self::CreateLink { point, .. } => Some(point),
            _ => None,
        }
    }

    /// The path that an error names.
    fn path(&self) -> Option<&CStr> {
        match self {
            Self::OpenSource(tree) => Some(&tree.path),
            op => op.point().map(MountPoint::path),
        }
    }

    /// With what was done, and where.
    pub(crate) fn refusal(&self, error: Error, step: Step) -> Error {
        let error = if step == Step::CreateMountPoint { error } else { error.on(self.what()) };
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
            Self::MakeRootReadOnly => "the root".to_owned(),
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
            Self::SetFsIds => f.write_str(" for files: 0"),
            Self::CreateLink { text, .. } => write!(f, ": a link to {text:?}"),
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

impl fmt::Display for RootSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree { what, .. } => write!(f, "{what:?}"),
            Self::New(fs) => write!(f, "{}", fs.new.name.to_string_lossy()),
            Self::Overlay(layers) => write!(f, "an overlay ({layers})"),
        }
    }
}
