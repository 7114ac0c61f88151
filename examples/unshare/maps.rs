//! Id maps out of blocks of ids, and one id that has its own place among them.

use core::ops::Range;
use std::fs;
use std::str::FromStr;

use linux_namespaces::{IdExtent, IdMap, Result as LibraryResult, SubIds};

use crate::failure::Failure;

/// What `--map-users` and `--map-groups` take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Block {
    /// The first ids that are set aside for the user, as those from 0 on.
    Auto,
    /// The same, as themselves.
    Subids,
    /// All ids that there are, as themselves.
    All,
    Given(IdExtent),
}

impl FromStr for Block {
    type Err = String;

    /// `INSIDE:OUTSIDE:COUNT`, or `OUTSIDE,INSIDE,COUNT` as it was before util-linux 2.39.
    fn from_str(word: &str) -> Result<Self, String> {
        let three = |separator| {
            let numbers: Result<Vec<u32>, _> = word.split(separator).map(str::parse).collect();
            numbers.ok().and_then(|numbers| <[u32; 3]>::try_from(numbers).ok())
        };
        match (word, three(':'), three(',')) {
            ("auto", ..) => Ok(Self::Auto),
            ("subids", ..) => Ok(Self::Subids),
            ("all", ..) => Ok(Self::All),
            (_, Some([inside, outside, count]), _) | (_, _, Some([outside, inside, count])) => {
                Ok(Self::Given(IdExtent { inside, outside, count }))
            }
            _ => Err(format!("invalid mapping '{word}'")),
        }
    }
}

/// Where the ids of one kind are found.
pub(crate) struct Source {
    pub(crate) set_aside: fn() -> LibraryResult<SubIds>,
    pub(crate) current: &'static str,
}

pub(crate) const USERS: Source =
    Source { set_aside: SubIds::read_subuid, current: "/proc/self/uid_map" };
pub(crate) const GROUPS: Source =
    Source { set_aside: SubIds::read_subgid, current: "/proc/self/gid_map" };

/// The map of these blocks, with `own` outside as `inside` if that is asked for.
pub(crate) fn map(
    source: &Source,
    inside: Option<u32>,
    own: u32,
    blocks: &[Block],
) -> Result<Option<IdMap>, Failure> {
    let single = inside.map(|inside| IdExtent { inside, outside: own, count: 1 });
    let mut extents: Vec<IdExtent> = single.into_iter().collect();
    for block in blocks {
        for (extent, may_shift) in resolve(*block, source)? {
            extents.extend(around(extent, may_shift, single));
        }
    }
    Ok(if extents.is_empty() { None } else { Some(IdMap::new(extents)?) })
}

/// The block's extents, and whether the ids inside may move to make room for one.
fn resolve(block: Block, source: &Source) -> Result<Vec<(IdExtent, bool)>, Failure> {
    let set_aside = || -> Result<Range<u32>, Failure> {
        // As of util-linux: the first line of the file that is about the user.
        let all = (source.set_aside)()?;
        all.ranges().next().ok_or_else(|| Failure::new("no ids are set aside for the user"))
    };
    Ok(match block {
        Block::Given(extent) => vec![(extent, false)],
        Block::Auto => {
            let Range { start, end } = set_aside()?;
            vec![(IdExtent { inside: 0, outside: start, count: end - start }, true)]
        }
        Block::Subids => {
            let Range { start, end } = set_aside()?;
            vec![(IdExtent { inside: start, outside: start, count: end - start }, false)]
        }
        Block::All => {
            let text = fs::read_to_string(source.current)?;
            text.lines().filter_map(line).map(|extent| (extent, false)).collect()
        }
    })
}

/// A line of the current map: what is an id here is the same inside.
fn line(line: &str) -> Option<IdExtent> {
    let mut words = line.split_whitespace();
    let first = words.next()?.parse().ok()?;
    let count = words.nth(1)?.parse().ok()?;
    Some(IdExtent { inside: first, outside: first, count })
}

/// The extent without the one id, on either side: the others move up, and the last one may be left over.
fn around(extent: IdExtent, may_shift: bool, single: Option<IdExtent>) -> Vec<IdExtent> {
    let Some(single) = single else {
        return vec![extent];
    };
    let ids = |first: u32| u64::from(first)..u64::from(first) + u64::from(extent.count);
    let mut inside = ids(extent.inside);
    if may_shift && inside.contains(&single.inside.into()) {
        inside.end += 1;
    }
    let mut inside = without(inside, single.inside);
    let mut outside = without(ids(extent.outside), single.outside);
    let mut extents = Vec::new();
    while let (Some(one), Some(other)) = (inside.first_mut(), outside.first_mut()) {
        let count = (one.end - one.start).min(other.end - other.start);
        let numbers =
            [one.start, other.start, count].map(|id| u32::try_from(id).unwrap_or(u32::MAX));
        let [first_inside, first_outside, number] = numbers;
        if count > 0 {
            extents.push(IdExtent { inside: first_inside, outside: first_outside, count: number });
        }
        one.start += count;
        other.start += count;
        inside.retain(|range| !range.is_empty());
        outside.retain(|range| !range.is_empty());
    }
    extents
}

fn without(ids: Range<u64>, hole: u32) -> Vec<Range<u64>> {
    let hole = u64::from(hole);
    if !ids.contains(&hole) {
        return vec![ids];
    }
    [ids.start..hole, hole + 1..ids.end].into_iter().filter(|range| !range.is_empty()).collect()
}
