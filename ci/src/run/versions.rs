//! Every version of Linux that the documentation names has a row that a trial holds against the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::Run;
use crate::shell::{On, Result};

/// What is older than the floor needs no proof.
const FLOOR: (u32, u32) = (5, 10);

const ROWS: [&str; 2] = ["tests/kernel/library/since.rs", "src/support/interface.rs"];

pub(super) fn check(_: &mut Run) -> Result {
    let mut named = BTreeSet::new();
    collect("src".as_ref(), &mut named)?;
    collect("README.md".as_ref(), &mut named)?;
    let rows: Vec<String> = ROWS
        .iter()
        .map(|path| fs::read_to_string(path).on(path.as_ref()))
        .collect::<Result<_>>()?;
    for (major, minor) in named.into_iter().filter(|version| *version > FLOOR) {
        let row = format!("({major}, {minor})");
        if !rows.iter().any(|text| text.contains(&row)) {
            return Err(format!(
                "Linux {major}.{minor} is documented, and {} has no row for it",
                ROWS[0]
            )
            .into());
        }
    }
    Ok(())
}

fn collect(path: &Path, named: &mut BTreeSet<(u32, u32)>) -> Result {
    if path.is_dir() {
        for entry in fs::read_dir(path).on(path)? {
            collect(&entry?.path(), named)?;
        }
        return Ok(());
    }
    named.extend(versions(&fs::read_to_string(path).on(path)?));
    Ok(())
}

/// From 5 to 9, as others name something else.
fn versions(text: &str) -> impl Iterator<Item = (u32, u32)> {
    text.split("Linux ").skip(1).filter_map(|rest| {
        let (major, rest) = rest.split_once('.')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major = major.parse().ok().filter(|major| (5..=9).contains(major))?;
        Some((major, rest[..end].parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::versions;

    #[test]
    fn versions_of_a_text() {
        let text = "Linux 5.12, Linux 6.1.\nBefore Linux 6.12.41 and Linux 4.9; Linux 6 or Linux x.y, Linux 7.3";
        assert_eq!(versions(text).collect::<Vec<_>>(), [(5, 12), (6, 1), (6, 12), (7, 3)]);
    }
}
