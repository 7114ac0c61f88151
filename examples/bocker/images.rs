//! Images: a directory of files each, in `rootfs`.

use std::fs;
use std::path::Path;

use linux_namespaces::{Command, Mount, Overlay};

use crate::store::{Kind, Record, Store};
use crate::{Result, containers, sandbox};

/// A copy of a directory.
pub(crate) fn init(store: &Store, dir: &Path) -> Result<()> {
    let dir = fs::canonicalize(dir).map_err(|error| format!("cannot find {dir:?}: {error}"))?;
    if !dir.is_dir() {
        return Err(format!("{dir:?} is no directory").into());
    }
    add(store, &dir.to_string_lossy(), &dir, Command::new("cp"))
}

/// A copy of what a container sees, without what is mounted there.
pub(crate) fn commit(store: &Store, name: &str) -> Result<()> {
    let container = store.find(Kind::Container, name)?;
    let image = store.find(Kind::Image, &container.require("image")?)?;
    let merged = container.path("merged");
    fs::create_dir_all(&merged)?;
    let mut cp = Command::new("cp");
    // The container's own files are only read, so that it may go on with them.
    let files = Overlay::new([container.path("files"), image.path("rootfs")])?;
    cp.mount(Mount::overlay(&merged, files)?);
    sandbox::map_ids(&mut cp)?;
    add(store, &format!("container {}", container.name), &merged, cp)
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

fn add(store: &Store, source: &str, dir: &Path, mut cp: Command) -> Result<()> {
    let (image, lock) = store.add(Kind::Image)?;
    cp.args(["-a", "--reflink=auto", "--"]).arg(dir.join(".")).arg(image.path("rootfs"));
    let copied = cp.status();
    drop(lock);
    if !matches!(copied, Ok(status) if status.success()) {
        containers::remove(store, &image.name, false)?;
        return Err(match copied {
            Ok(_) => format!("{source} could not be copied").into(),
            Err(error) => error.into(),
        });
    }
    image.set("source", source)?;
    println!("{}", image.name);
    Ok(())
}
