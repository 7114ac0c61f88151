//! What the tool knows, below one directory: `images/NAME` and `containers/NAME`, each with a file for each fact.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use nix::unistd::geteuid;
use rustix::fs::{FlockOperation, flock};

use crate::Result;

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Image,
    Container,
}

impl Kind {
    fn dir(self) -> &'static str {
        match self {
            Self::Image => "images",
            Self::Container => "containers",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Container => "container",
        }
    }
}

/// A lock of flock(2), which ends with whoever holds it, whatever happens to them.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not used")] File);

impl Store {
    /// Below the home directory, unless told otherwise; for root, where the system keeps such things.
    pub(crate) fn open(dir: Option<PathBuf>) -> Result<Self> {
        let home =
            |name: &str| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        let default = || {
            if geteuid().is_root() {
                return Some("/var/lib/bocker".into());
            }
            let data =
                home("XDG_DATA_HOME").or_else(|| Some(home("HOME")?.join(".local/share")))?;
            Some(data.join("bocker"))
        };
        let dir = dir.or_else(default).ok_or("without a home directory, give --state DIR")?;
        // Files of a container that belong to its root and are setuid are nobody else's business.
        for kind in [Kind::Image, Kind::Container] {
            let dir = dir.join(kind.dir());
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(|error| format!("cannot make {dir:?}: {error}"))?;
            check_owner(&dir, &fs::symlink_metadata(&dir)?)?;
        }
        let dir = fs::canonicalize(dir)?;
        check_owner(&dir, &fs::metadata(&dir)?)?;
        Ok(Self { dir })
    }

    /// Nobody else adds, removes or gives out an address while this is held.
    pub(crate) fn lock(&self) -> Result<Lock> {
        wait_for_lock(&self.dir.join("lock"), "another bocker")
    }

    /// A new image or container. It is being made as long as the lock is held.
    pub(crate) fn add(&self, kind: Kind) -> Result<(Record, Lock)> {
        let mut bytes = [0; 6];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let name = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let dir = self.dir.join(kind.dir()).join(&name);
        // Nobody sees it before it is locked, or who lists the others would lock it for a moment.
        let hidden = dir.with_file_name(format!(".{name}"));
        DirBuilder::new().mode(0o700).create(&hidden)?;
        let lock = try_lock(&hidden.join("lock"))?.ok_or("a new lock is held")?;
        fs::rename(&hidden, &dir)?;
        Ok((Record { name, kind, dir }, lock))
    }

    /// The oldest first.
    pub(crate) fn all(&self, kind: Kind) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.dir.join(kind.dir()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // What is being removed has a dot before its name.
            if !name.starts_with('.') {
                records.push(Record { name, kind, dir: entry.path() });
            }
        }
        records.sort_by_key(|record| (record.created(), record.name.clone()));
        Ok(records)
    }

    /// By its name, or the beginning of it.
    pub(crate) fn find(&self, kind: Kind, name: &str) -> Result<Record> {
        match self.look_up(kind, name)? {
            Some(record) => Ok(record),
            None => Err(format!("there is no {} {name:?}", kind.name()).into()),
        }
    }

    /// As [`find`](Self::find), of whatever kind.
    pub(crate) fn find_any(&self, name: &str) -> Result<Record> {
        let container = self.look_up(Kind::Container, name)?;
        let image = self.look_up(Kind::Image, name)?;
        match (container, image) {
            (Some(_), Some(_)) => Err(format!("{name:?} is both a container and an image").into()),
            (None, None) => Err(format!("there is no container or image {name:?}").into()),
            (Some(record), None) | (None, Some(record)) => Ok(record),
        }
    }

    fn look_up(&self, kind: Kind, name: &str) -> Result<Option<Record>> {
        let mut found = self.all(kind)?;
        found.retain(|record| !name.is_empty() && record.name.starts_with(name));
        if found.len() > 1 {
            return Err(format!("{} {}s begin with {name:?}", found.len(), kind.name()).into());
        }
        Ok(found.pop())
    }
}

/// An image or a container.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    dir: PathBuf,
}

impl Record {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn exists(&self) -> bool {
        self.dir.exists()
    }

    pub(crate) fn get(&self, fact: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.path(fact)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot read {:?}: {error}", self.path(fact)).into()),
        }
    }

    pub(crate) fn require(&self, fact: &str) -> Result<String> {
        let missing = || format!("{} {} is not complete: remove it", self.kind.name(), self.name);
        Ok(self.get(fact)?.ok_or_else(missing)?)
    }

    /// Whole, or not at all.
    pub(crate) fn set(&self, fact: &str, value: &str) -> Result<()> {
        let new = self.path("new");
        fs::write(&new, value)?;
        Ok(fs::rename(new, self.path(fact))?)
    }

    pub(crate) fn forget(&self, fact: &str) -> Result<()> {
        match fs::remove_file(self.path(fact)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Held by who makes it, and by who runs a container.
    pub(crate) fn lock(&self) -> Result<Option<Lock>> {
        try_lock(&self.path("lock"))
    }

    pub(crate) fn wait_until_unlocked(&self) -> Result<Lock> {
        wait_for_lock(&self.path("lock"), &format!("the bocker of {}", self.name))
    }

    pub(crate) fn created(&self) -> Option<SystemTime> {
        // A directory would change its time with every file in it.
        fs::metadata(self.path("lock")).and_then(|about| about.modified()).ok()
    }

    /// Out of sight at once, for whoever has [locked](Store::lock) the store. Answers where it is now.
    pub(crate) fn hide(&self) -> Result<PathBuf> {
        let hidden = self.dir.with_file_name(format!(".{}", self.name));
        fs::rename(&self.dir, &hidden)?;
        Ok(hidden)
    }
}

fn try_lock(path: &Path) -> Result<Option<Lock>> {
    let file = lock_file(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(format!("cannot lock {path:?}: {error}").into()),
    }
}

/// `whom` is named after a second.
fn wait_for_lock(path: &Path, whom: &str) -> Result<Lock> {
    for _ in 0..100 {
        if let Some(lock) = try_lock(path)? {
            return Ok(lock);
        }
        sleep(Duration::from_millis(10));
    }
    eprintln!("bocker: waiting for {whom} to unlock {path:?}");
    let file = lock_file(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(Lock(file))
}

/// Everybody who can open it can lock it, and keep us waiting.
fn lock_file(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path).map_err(|error| format!("cannot open {path:?}: {error}"))?;
    let about = file.metadata()?;
    check_owner(path, &about)?;
    if about.mode() & 0o777 != 0o600 {
        // Those who have it open keep it.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Somebody else's could be exchanged while we use it.
fn check_owner(path: &Path, about: &fs::Metadata) -> Result<()> {
    if about.uid() == geteuid().as_raw() {
        return Ok(());
    }
    Err(format!("{path:?} belongs to uid {}, another user", about.uid()).into())
}
