//! Images: a directory of files each, in `rootfs`.

use std::fs;
use std::path::Path;

use linux_namespaces::{Command, Mount, Overlay};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2, statvfs};
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, mount_remount, move_mount, open_tree,
};

use crate::store::{Kind, Record, Store};
use crate::{Result, containers, sandbox};

/// A copy of a directory.
pub(crate) fn init(store: &Store, dir: &Path) -> Result<()> {
    let dir = fs::canonicalize(dir).map_err(|error| format!("cannot find {dir:?}: {error}"))?;
    if !dir.is_dir() {
        return Err(format!("{dir:?} is no directory").into());
    }
    let mut copy = Command::new(std::env::current_exe()?);
    sandbox::own_mounts(&mut copy)?;
    add(store, &dir.to_string_lossy(), &dir, copy)
}

/// A copy of what a container sees, without what is mounted there.
pub(crate) fn commit(store: &Store, name: &str) -> Result<()> {
    let container = store.find(Kind::Container, name)?;
    let image = store.find(Kind::Image, &container.require("image")?)?;
    let merged = container.path("merged");
    fs::create_dir_all(&merged)?;
    let mut copy = Command::new(std::env::current_exe()?);
    // The container's own files are only read, so that it may go on with them.
    let files = Overlay::new([container.path("files"), image.path("rootfs")])?;
    copy.mount(Mount::overlay(&merged, files)?);
    sandbox::map_ids(&mut copy)?;
    add(store, &format!("container {}", container.name), &merged, copy)
}

pub(crate) fn list(store: &Store) -> Result<()> {
    println!("IMAGE         CREATED         SOURCE");
    for image in store.all(Kind::Image)? {
        let source = image.get("source")?.unwrap_or_else(|| "(not complete)".to_owned());
        println!("{:12}  {:14}  {}", image.name, containers::age(&image), source.escape_debug());
    }
    Ok(())
}

/// Its source is told last.
pub(crate) fn check(image: &Record) -> Result<()> {
    image.require("source").map(drop)
}

pub(crate) fn check_unused(store: &Store, image: &Record) -> Result<()> {
    if image.lock()?.is_none() {
        return Err(format!("image {} is being made", image.name).into());
    }
    for container in store.all(Kind::Container)? {
        if container.get("image")?.is_some_and(|name| name == image.name) {
            return Err(format!("container {} is made of it", container.name).into());
        }
    }
    Ok(())
}

fn add(store: &Store, source: &str, dir: &Path, mut copy: Command) -> Result<()> {
    let (image, lock) = store.add(Kind::Image)?;
    copy.arg("--state").arg(&store.dir).arg("copy").arg(dir).arg(&image.name);
    let copied = copy.status();
    drop(lock);
    if !matches!(copied, Ok(status) if status.success()) {
        containers::remove(store, &image.name, false)?;
        return Err(match copied {
            Ok(_) => format!("{source} could not be copied").into(),
            Err(error) => error.into(),
        });
    }
    fs::remove_dir(image.path("from"))?;
    image.set("source", source)?;
    println!("{}", image.name);
    Ok(())
}

/// What [`add`] started to become `cp(1)`, with mounts of its own. The owner of the files may exchange a directory and
/// a link while they are copied: on these mounts no link is followed, neither to what is read nor to what is written.
pub(crate) fn copy(store: &Store, dir: &Path, image: &str) -> Result<u8> {
    let image = store.find(Kind::Image, image)?;
    let (here, from) = (image.path(""), image.path("from"));
    bind(&here, &here, MountFlags::empty())?;
    fs::create_dir(&from)?;
    bind(dir, &from, MountFlags::RDONLY)?;
    let mut cp = Command::new("cp");
    cp.args(["-a", "--reflink=auto", "--"]).arg(from.join(".")).arg(image.path("rootfs"));
    Err(cp.exec().into())
}

/// Mounts a directory, without what is mounted below it, where no link is followed.
fn bind(dir: &Path, target: &Path, flags: MountFlags) -> Result<()> {
    let mount = || {
        let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat2(CWD, dir, how, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
        let how = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(dir, "", how | OpenTreeFlags::AT_EMPTY_PATH)?;
        move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        let restricted = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let flags = flags | restricted | MountFlags::NOSYMFOLLOW | MountFlags::BIND;
        mount_remount(target, flags, "")?;
        statvfs(target)
    };
    let about = mount().map_err(|error| format!("cannot mount {dir:?} for a copy: {error}"))?;
    // Before Linux 5.10 the flag means nothing.
    const ST_NOSYMFOLLOW: u64 = 0x2000;
    if about.f_flag.bits() & ST_NOSYMFOLLOW == 0 {
        return Err("this kernel has no mounts without links: Linux 5.10 has".into());
    }
    Ok(())
}
