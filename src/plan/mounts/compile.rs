//! From mounts as values to steps: sources are opened, and names laid out.

#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::mount_point::{Create, EarlierMount, MountPoint};
use super::overlay::{Layers, TOP, Upper};
use super::{Attr, MountOp, source};
use crate::diagnosis::is_nested;
use crate::error::{AtStep, Error, Result, Step};
use crate::mounts::{self, Mount, MountKind, MountTarget, NewFs, Overlay, Rootfs, c_path};
use crate::namespace::NamespaceSet;
use crate::ns_fd::NsFd;
use crate::plan::setup::Setup;
use crate::sys::features;
use crate::sys::file::{NULL_DEVICE, is_device};

/// What the process that mounts is allowed, beyond what its new namespaces say.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MountRights {
    /// It has to become root for it.
    pub(crate) as_root: bool,
    /// Its capabilities are those of a user namespace that it has entered.
    pub(crate) of_entered_user: bool,
}

/// Steps under way.
#[derive(Default)]
struct Compiler {
    sources: Vec<MountOp>,
    steps: Vec<MountOp>,
    /// The steps that mount something, by the path where they do, in order.
    mounted: HashMap<CString, Vec<usize>>,
    /// Where missing mount points are made: below these.
    own: HashSet<CString>,
    has_root: bool,
    /// Whether the child's capabilities are those of a user namespace alone.
    is_nested: bool,
}

/// The steps for all mounts, below a new root or the present one.
pub(crate) fn compile(setup: &Setup, rights: MountRights) -> Result<Vec<MountOp>> {
    if !setup.has_mounts() {
        return Ok(Vec::new());
    }
    let mut compiler = Compiler {
        has_root: setup.rootfs.is_some(),
        is_nested: setup.namespaces.contains(NamespaceSet::USER)
            || rights.of_entered_user
            || is_nested(),
        ..Compiler::default()
    };
    compiler.steps.extend(rights.as_root.then_some(MountOp::SetFsIds));
    if let Some(rootfs) = &setup.rootfs {
        compiler.root(rootfs)?;
    }
    setup.mounts.iter().try_for_each(|mount| compiler.mount(mount))?;
    if let Some(rootfs) = &setup.rootfs {
        if rootfs.read_only && !matches!(rootfs.base, mounts::Base::Dir(_)) {
            compiler.steps.push(MountOp::MakeRootReadOnly);
        }
        compiler.steps.push(if rootfs.chroot { MountOp::ChangeRoot } else { MountOp::PivotRoot });
    }
    number(&mut compiler.steps);
    compiler.sources.append(&mut compiler.steps);
    Ok(compiler.sources)
}

/// Numbers those mounts in which a later step lies, and replaces the indices of steps by these numbers.
fn number(steps: &mut [MountOp]) {
    let places = steps.iter_mut().filter_map(MountOp::point_mut);
    let bases = places.flat_map(|point| point.bases.iter().map(|base| base.mount));
    let needed: BTreeSet<usize> = bases.collect();
    let numbers: HashMap<usize, usize> = needed.into_iter().zip(0..).collect();
    for (index, step) in steps.iter_mut().enumerate() {
        let Some(point) = step.point_mut() else { continue };
        if let Some(&number) = numbers.get(&index) {
            point.number = Some(number);
        }
        for base in &mut point.bases {
            base.mount = numbers.get(&base.mount).copied().unwrap_or(usize::MAX);
        }
    }
}

impl Compiler {
    fn root(&mut self, rootfs: &Rootfs) -> Result<()> {
        let attr = Attr { read_only: rootfs.read_only, propagation: None };
        let (base, attr, submounts) = match &rootfs.base {
            mounts::Base::Dir(path) => {
                let (tree, submounts) = self.tree(path, attr, rootfs.idmap.as_ref())?;
                (super::RootSource::Tree { tree, what: c_path(path)? }, attr, submounts)
            }
            mounts::Base::Tmpfs => {
                (super::RootSource::New(NewFs::tmpfs(0o755).into()), Attr::default(), Vec::new())
            }
            mounts::Base::Overlay(overlay) => {
                (super::RootSource::Overlay(self.layers(overlay)?), Attr::default(), Vec::new())
            }
        };
        if rootfs.idmap.is_some() && !matches!(base, super::RootSource::Tree { .. }) {
            return Err(Error::invalid("idmapped is an option of a root that is a directory"));
        }
        self.steps.push(MountOp::Root { base, attr, submounts });
        Ok(())
    }

    fn mount(&mut self, mount: &Mount) -> Result<()> {
        mount.check()?;
        let propagation = mount.propagation.and_then(mounts::Propagation::flag);
        let attr = Attr { read_only: mount.read_only, propagation };
        let target = &mount.target;
        match &mount.kind {
            MountKind::Bind(source) => {
                self.bind(source, target, attr, mount.idmap.as_ref())?;
            }
            MountKind::New(fs) => self.new_fs(fs.clone(), target, attr),
            MountKind::Overlay(overlay) => {
                let layers = self.layers(overlay)?;
                let point = self.point(target, Create::Dir);
                self.mounts_on(&point, true);
                self.steps.push(MountOp::Overlay { layers, point, attr });
            }
            MountKind::Dev => self.dev(target)?,
            MountKind::Mask => {
                let (null, _) = self.tree(Path::new("/dev/null"), Attr::default(), None)?;
                self.unless_other_device(NULL_DEVICE)?;
                let empty = NewFs::tmpfs(0o555).into();
                let point = self.point(target, Create::Nothing);
                self.mounts_on(&point, false);
                self.steps.push(MountOp::Mask { null, empty, point });
            }
            MountKind::Protect => {
                let point = self.point(target, Create::Nothing);
                self.mounts_on(&point, false);
                self.steps.push(MountOp::MakeReadOnly(point));
            }
        }
        Ok(())
    }

    /// A target, with the earlier mounts in which it lies: what is mounted over another one hides that.
    fn point(&self, target: &MountTarget, create: Create) -> MountPoint {
        let mut point = MountPoint::of(target.names().to_vec(), create);
        let above = point.paths.len().saturating_sub(1);
        let is_own =
            self.has_root || point.paths[..above].iter().any(|path| self.own.contains(path));
        if !is_own {
            point.create = Create::Nothing;
        }
        let mut bases: Vec<EarlierMount> = Vec::new();
        for (path, depth) in point.paths.iter().zip(1..) {
            let steps = self.mounted.get(path).into_iter().flatten();
            bases.extend(steps.map(|&mount| EarlierMount { mount, depth }));
        }
        bases.sort_unstable_by_key(|base| core::cmp::Reverse(base.mount));
        point.bases = bases;
        point
    }

    /// The next step mounts something there; what is missing in it can be made if it is our own.
    fn mounts_on(&mut self, point: &MountPoint, is_own: bool) {
        let path = point.path().to_owned();
        if is_own {
            self.own.insert(path.clone());
        }
        self.mounted.entry(path).or_default().push(self.steps.len());
    }

    fn bind(
        &mut self,
        source: &Path,
        target: &MountTarget,
        attr: Attr,
        idmap: Option<&Arc<NsFd>>,
    ) -> Result<()> {
        let (tree, submounts) = self.tree(source, attr, idmap)?;
        let is_dir = matches!(self.sources.last(), Some(MountOp::OpenSource(tree)) if tree.is_dir);
        let point = self.point(target, if is_dir { Create::Dir } else { Create::File });
        let what = c_path(source)?;
        self.mounts_on(&point, false);
        self.steps.push(MountOp::Attach { tree, what, point, attr, submounts });
        Ok(())
    }

    fn new_fs(&mut self, fs: NewFs, target: &MountTarget, attr: Attr) {
        let point = self.point(target, Create::Dir);
        self.mounts_on(&point, true);
        self.steps.push(MountOp::New { fs: fs.into(), point, attr });
    }

    fn dev(&mut self, target: &MountTarget) -> Result<()> {
        self.new_fs(NewFs::tmpfs(0o755), target, Attr::default());
        let devices = [
            ("null", NULL_DEVICE),
            ("zero", (1, 5)),
            ("full", (1, 7)),
            // Administrators put the one in the place of the other.
            ("random", (1, 8)),
            ("urandom", (1, 9)),
            ("tty", (5, 0)),
        ];
        for (device, numbers) in devices {
            let source = Path::new("/dev").join(device);
            self.bind(&source, &target.join(device), Attr::default(), None)?;
            self.unless_other_device(numbers)?;
        }
        let links: [(&str, &'static CStr); 5] = [
            ("fd", c"/proc/self/fd"),
            ("stdin", c"/proc/self/fd/0"),
            ("stdout", c"/proc/self/fd/1"),
            ("stderr", c"/proc/self/fd/2"),
            ("ptmx", c"pts/ptmx"),
        ];
        for (name, text) in links {
            let point = self.point(&target.join(name), Create::Nothing);
            self.steps.push(MountOp::CreateLink { point, text });
        }
        let point = self.point(&target.join("shm"), Create::Nothing);
        self.steps.push(MountOp::CreateDir { point, mode: 0o1777 });
        self.new_fs(NewFs::devpts(), &target.join("pts"), Attr::default());
        Ok(())
    }

    /// In a root that others laid out, any file may have the name of a device.
    fn unless_other_device(&self, numbers: (u32, u32)) -> Result<()> {
        let Some(MountOp::OpenSource(tree)) = self.sources.last() else {
            return Ok(());
        };
        let refused = |error: Error| error.at(OsStr::from_bytes(tree.path.to_bytes()));
        let alike = [(1, 8), (1, 9)];
        let allowed = if alike.contains(&numbers) { &alike[..] } else { &[numbers] };
        for &numbers in allowed {
            if is_device(&tree.held, numbers).at_step(Step::OpenSource).map_err(refused)? {
                return Ok(());
            }
        }
        let (major, minor) = numbers;
        let message = format!(
            "this is not the character device {major}:{minor}, as null(4) and others have it"
        );
        Err(refused(Error::invalid(message).at_step(Step::OpenSource)))
    }

    fn layers(&mut self, overlay: &Overlay) -> Result<Layers> {
        let idmap = overlay.idmap.as_ref();
        let mut lowers = Vec::new();
        for lower in &overlay.lowers {
            let (tree, _) = self.tree(lower, Attr::default(), idmap)?;
            lowers.push((tree, c_name(&lowers.len().to_string())));
        }
        let mode = match self.sources.iter().nth_back(lowers.len() - 1) {
            Some(MountOp::OpenSource(tree)) => {
                let about = rustix::fs::fstat(&tree.held);
                about
                    .map_err(|errno| {
                        Error::os(Step::OpenSource, errno)
                            .at(OsStr::from_bytes(tree.path.to_bytes()))
                    })?
                    .st_mode
            }
            _ => 0o755,
        };
        let names: Vec<_> = (0..lowers.len()).map(|index| index.to_string()).collect();
        let top = TOP.to_string_lossy();
        let mut data = format!("lowerdir={}", names.join(":"));
        let upper = match &overlay.upper {
            None => {
                data.push_str(&format!(",upperdir={top}/upper,workdir={top}/work"));
                None
            }
            Some(upper) => {
                let dir = upper.parent().filter(|dir| !dir.as_os_str().is_empty());
                let (tree, _) = self.tree(dir.unwrap_or(Path::new(".")), Attr::default(), None)?;
                let name = upper.file_name().unwrap_or_default();
                let mut work = name.to_owned();
                work.push(".work");
                let name = c_path(Path::new(name))?;
                Some(Upper { tree, name, work: c_path(Path::new(&work))? })
            }
        };
        let mut data = data.into_bytes();
        if let Some(upper) = &upper {
            let [top, name, work] = [TOP, &upper.name, &upper.work].map(CStr::to_bytes);
            data.extend([b",upperdir=", top, b"/", name, b",workdir=", top, b"/", work].concat());
        }
        if self.is_nested {
            data.extend(b",userxattr");
        }
        let text = match &overlay.upper {
            Some(upper) => format!("{upper:?} over {:?}", overlay.lowers),
            None => format!("memory over {:?}", overlay.lowers),
        };
        let stage = NewFs::tmpfs(0o755).into();
        Ok(Layers {
            stage,
            lowers,
            upper,
            mode: mode & 0o7777,
            data: CString::new(data).unwrap_or_default(),
            text,
        })
    }

    /// The number of a new tree, and what is mounted below it if that has to be changed one by one.
    fn tree(
        &mut self,
        path: &Path,
        attr: Attr,
        idmap: Option<&Arc<NsFd>>,
    ) -> Result<(usize, Vec<MountPoint>)> {
        let index = self.sources.len();
        let tree = source::open(index, path, attr, idmap)?;
        let one_by_one = tree.is_dir && !attr.is_empty() && !features::mount_setattr();
        let submounts = if one_by_one { source::submounts_of(path)? } else { Vec::new() };
        self.sources.push(MountOp::OpenSource(tree));
        Ok((index, submounts))
    }
}

fn c_name(name: &str) -> CString {
    CString::new(name).unwrap_or_default()
}
