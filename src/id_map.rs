//! Maps of user and group ids, checked before the kernel sees them.

#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;

use crate::error::{Error, Result};

/// Which ids of a new user namespace are which ids of the namespace around it.
///
/// The kernel takes up to 340 extents, in less than one page of text, which may not overlap on
/// either side. All of that is checked here, so that a map which exists can be written.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{IdExtent, IdMap};
///
/// // root inside is uid 1000 outside; 1 to 65536 inside are a range set aside for that user
/// let map = IdMap::new([
///     IdExtent { inside: 0, outside: 1000, count: 1 },
///     IdExtent { inside: 1, outside: 100_000, count: 65_536 },
/// ])?;
/// assert_eq!(map.to_string(), "0 1000 1\n1 100000 65536\n");
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [user_namespaces(7)](https://man7.org/linux/man-pages/man7/user_namespaces.7.html), "User and
/// group ID mappings"
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdMap(Vec<IdExtent>);

/// `count` ids from `inside` on, as the namespace sees them, are those from `outside` on, as the
/// namespace around it sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "the three fields are the kernel's file format")]
pub struct IdExtent {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The kernel's `UID_GID_MAP_MAX_EXTENTS`.
const MAX_EXTENTS: usize = 340;
/// A map is written at once, and the kernel refuses a whole page. Pages of 4 KiB are the smallest.
const MAX_BYTES: usize = 4095;

impl IdMap {
    /// A map of these extents, in this order.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is none or more than 340, if one is
    /// empty, goes beyond id 4294967294 or overlaps another one on either side, or if the text is
    /// longer than 4095 bytes.
    pub fn new(extents: impl IntoIterator<Item = IdExtent>) -> Result<Self> {
        let map = Self(extents.into_iter().collect());
        if map.0.is_empty() {
            return Err(Error::invalid("an id map needs at least one extent"));
        }
        if map.0.len() > MAX_EXTENTS {
            let count = map.0.len();
            return Err(Error::invalid(format!(
                "{count} extents: an id map has at most {MAX_EXTENTS}"
            )));
        }
        for extent in &map.0 {
            extent.check()?;
        }
        no_overlap(&map.0, "inside", |extent| extent.inside)?;
        no_overlap(&map.0, "outside", |extent| extent.outside)?;
        let bytes = map.to_string().len();
        if bytes > MAX_BYTES {
            return Err(Error::invalid(format!(
                "the id map has {bytes} bytes, the kernel takes {MAX_BYTES}"
            )));
        }
        Ok(map)
    }

    /// One id: `inside` is `outside`.
    ///
    /// This is the map that a process without privileges may write for its own id.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::IdMap;
    ///
    /// assert_eq!(IdMap::single(0, 1000)?.to_string(), "0 1000 1\n");
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for id 4294967295, which means "none".
    pub fn single(inside: u32, outside: u32) -> Result<Self> {
        Self::new([IdExtent { inside, outside, count: 1 }])
    }

    /// The extents.
    #[must_use]
    pub fn extents(&self) -> &[IdExtent] {
        &self.0
    }

    /// Whether it has root inside, but not this id of outside.
    pub(crate) fn leaves_out(&self, id: u32) -> bool {
        let has =
            |first: u32, count: u32, id: u32| id.checked_sub(first).is_some_and(|it| it < count);
        self.0.iter().any(|extent| extent.inside == 0)
            && !self.0.iter().any(|extent| has(extent.outside, extent.count, id))
    }

    /// Whether it maps `id` alone, which its holder may write without privileges.
    pub(crate) fn maps_only(&self, id: u32) -> bool {
        matches!(self.0[..], [IdExtent { outside, count: 1, .. }] if outside == id)
    }
}

impl IdExtent {
    fn check(self) -> Result<()> {
        if self.count == 0 {
            return Err(Error::invalid(format!("the extent \"{self}\" maps no id")));
        }
        // 4294967295 is (uid_t)-1, no id.
        for first in [self.inside, self.outside] {
            if first.checked_add(self.count).is_none() {
                return Err(Error::invalid(format!(
                    "the extent \"{self}\" goes beyond id 4294967294"
                )));
            }
        }
        Ok(())
    }
}

fn no_overlap(extents: &[IdExtent], side: &str, first: fn(&IdExtent) -> u32) -> Result<()> {
    let mut sorted: Vec<&IdExtent> = extents.iter().collect();
    sorted.sort_unstable_by_key(|extent| first(extent));
    for pair in sorted.windows(2) {
        if first(pair[0]) + pair[0].count > first(pair[1]) {
            let (one, other) = (pair[0], pair[1]);
            return Err(Error::invalid(format!(
                "the extents \"{one}\" and \"{other}\" overlap {side}"
            )));
        }
    }
    Ok(())
}

/// The kernel's file format: inside, outside, count.
impl fmt::Display for IdExtent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.inside, self.outside, self.count)
    }
}

/// The text of `/proc/PID/uid_map`.
impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|extent| writeln!(f, "{extent}"))
    }
}

/// One line of `/proc/PID/uid_map`, with any spaces between the numbers.
impl FromStr for IdExtent {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = line.split_ascii_whitespace().map(str::parse);
        match [words.next(), words.next(), words.next(), words.next()] {
            [Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count)), None] => {
                Ok(Self { inside, outside, count })
            }
            _ => Err(Error::invalid(format!("{line:?} is no extent of an id map"))),
        }
    }
}

/// The text of `/proc/PID/uid_map`, as the kernel writes it. It is empty for a user namespace without a map,
/// which is an error here.
impl FromStr for IdMap {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text.lines().map(str::parse).collect::<Result<Vec<_>>>()?)
    }
}

/// Whether processes of a new user namespace may call `setgroups(2)`.
///
/// Whoever can drop a group may gain access to files that deny that group, so the kernel wants it
/// denied before a process without privileges maps a gid.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{Command, Setgroups};
///
/// let plan = Command::new("true").setgroups(Setgroups::Deny).plan()?;
/// assert!(plan.to_string().contains("setgroups file: deny"));
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [user_namespaces(7)](https://man7.org/linux/man-pages/man7/user_namespaces.7.html), "The
/// /proc/pid/setgroups file"
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the kernel's file takes these two words")]
pub enum Setgroups {
    /// `setgroups(2)` works once a gid map is written.
    Allow,
    /// It is refused in this user namespace and in all below it, for good.
    Deny,
}

impl Setgroups {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// The text of `/proc/PID/setgroups`.
impl fmt::Display for Setgroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What [`Display`](fmt::Display) prints.
impl FromStr for Setgroups {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        [Self::Allow, Self::Deny]
            .into_iter()
            .find(|it| it.word() == word)
            .ok_or_else(|| Error::invalid(format!("setgroups is allow or deny, not {word:?}")))
    }
}
