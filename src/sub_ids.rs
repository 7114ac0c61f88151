//! The ids that the administrator set aside for a user: `/etc/subuid` and `/etc/subgid`.

#![forbid(unsafe_code)]

use core::fmt;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{fs, io};

use crate::error::{Error, ErrorKind, Result, Step};
use crate::id_map::{IdExtent, IdMap};
use crate::process_state;
use crate::sys::{Errno, users};

/// The subordinate ids of a user: ranges of user or group ids that the administrator set aside in `/etc/subuid` or
/// `/etc/subgid`.
///
/// # Examples
///
/// ```
/// use linux_namespaces::SubIds;
///
/// // several ranges for a user, a comment, a bad line, and another user
/// let file = "# set aside\nann:100000:65536\n1000:300000:10\nann:nonsense\nbob:200000:65536\n";
/// let ids = SubIds::parse(file.as_bytes(), Some("ann".as_ref()), 1000);
/// assert_eq!(ids.to_string(), "100000 65536, 300000 10");
/// // "root here is me", and as many others as there are
/// assert_eq!(ids.to_id_map(1000)?.to_string(), "0 1000 1\n1 100000 65536\n65537 300000 10\n");
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [subuid(5)](https://man7.org/linux/man-pages/man5/subuid.5.html)
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[doc(alias = "subuid")]
#[doc(alias = "subgid")]
pub struct SubIds(Vec<Range>);

/// `count` ids from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Range {
    first: u32,
    count: u32,
}

impl SubIds {
    /// Reads `/etc/subuid`: the subordinate user ids of this process's user.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there are none; [`InvalidInput`](crate::ErrorKind::InvalidInput) in
    /// a thread that entered another mount namespace or root, where others may have written the file.
    pub fn read_subuid() -> Result<Self> {
        Self::of_this_user("/etc/subuid")
    }

    /// Reads `/etc/subgid`: the subordinate group ids of this process's *user*.
    ///
    /// # Errors
    ///
    /// The same as for [`read_subuid`](Self::read_subuid).
    pub fn read_subgid() -> Result<Self> {
        Self::of_this_user("/etc/subgid")
    }

    /// Parses the text of such a file: the ranges of a user, which the file may name by name or uid.
    ///
    /// Lines that are not three fields, `user:first:count`, are passed over, as `newuidmap(1)` does; so
    /// are ranges of no ids or beyond id 4294967294.
    #[must_use]
    pub fn parse(file: &[u8], name: Option<&std::ffi::OsStr>, uid: u32) -> Self {
        let number = uid.to_string();
        let is_user = |owner: &[u8]| {
            owner == number.as_bytes() || name.is_some_and(|name| owner == name.as_bytes())
        };
        let lines = file.split(|&byte| byte == b'\n');
        Self(lines.filter_map(|line| range_of(line, &is_user)).collect())
    }

    /// The ranges, in the order of the file.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::SubIds;
    ///
    /// let ids = SubIds::parse(b"ann:100000:65536\nann:300000:10\n", Some("ann".as_ref()), 1000);
    /// assert!(ids.ranges().eq([100_000..165_536, 300_000..300_010]));
    /// ```
    pub fn ranges(&self) -> impl Iterator<Item = core::ops::Range<u32>> + '_ {
        self.0.iter().map(|range| range.first..range.first + range.count)
    }

    /// The map in which id 0 is `own`, and 1, 2, 3, ... are these ids: that of
    /// [`Command::map_auto`](crate::Command::map_auto).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if ranges overlap each other or `own`, or are too
    /// many: see [`IdMap::new`].
    pub fn to_id_map(&self, own: u32) -> Result<IdMap> {
        let mut extents = vec![IdExtent { inside: 0, outside: own, count: 1 }];
        let mut inside = 1_u32;
        for range in &self.0 {
            extents.push(IdExtent { inside, outside: range.first, count: range.count });
            inside = inside.checked_add(range.count).ok_or_else(|| {
                Error::invalid("more ids are set aside for the user than there are ids")
            })?;
        }
        IdMap::new(extents)
    }

    fn of_this_user(path: &str) -> Result<Self> {
        // libc, too, would load code from there to find the user's name.
        if process_state::is_in_other_root() {
            return Err(Error::invalid(format!(
                "this thread is in another root, whose {path} says nothing about this process: read it from a \
                 thread that is in the root of the process, or give an IdMap"
            ))
            .at_step(Step::ReadSubIds));
        }
        let uid = crate::sys::ids::getuid();
        let name = users::name_of(uid);
        let file = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                return Err(Error::os(Step::ReadSubIds, errno).at(path));
            }
            Ok(file) => file,
        };
        let ids = Self::parse(&file, name.as_deref(), uid);
        if ids.0.is_empty() {
            return Err(nothing_for(path, name, uid));
        }
        Ok(ids)
    }
}

fn nothing_for(path: &str, name: Option<OsString>, uid: u32) -> Error {
    let who = name
        .map_or_else(|| format!("uid {uid}"), |name| format!("user {}", name.to_string_lossy()));
    let message = format!(
        "no ids are set aside for {who}: a line such as \"{uid}:100000:65536\" is missing in"
    );
    Error::new(ErrorKind::NotFound, message).at_step(Step::ReadSubIds).at(Path::new(path))
}

fn range_of(line: &[u8], is_user: &impl Fn(&[u8]) -> bool) -> Option<Range> {
    let mut fields = line.split(|&byte| byte == b':');
    let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || !is_user(owner) {
        return None;
    }
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.trim().parse::<u32>().ok();
    let range = Range { first: number(first)?, count: number(count)? };
    (range.count > 0 && range.first.checked_add(range.count).is_some()).then_some(range)
}

/// Each range by its first id and how many.
impl fmt::Display for SubIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for range in &self.0 {
            write!(f, "{separator}{} {}", range.first, range.count)?;
            separator = ", ";
        }
        Ok(())
    }
}
