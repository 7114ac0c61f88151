//! The part of `docs/kernels.md` that a run writes.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::table::{Machine, Outcome, Table};
use crate::shell::{On, Result, command, output};

const BEGIN: &str = "<!-- What `.ci/matrix -r` writes begins here. -->\n";
const END: &str = "<!-- It ends here. -->\n";

/// What is run: the tree may change until the end.
pub(super) fn commit() -> Result<String> {
    output(&mut command("git", ["describe", "--always", "--dirty"]))
}

pub(super) fn write(path: &Path, table: &Table, arguments: &[&str], commit: &str) -> Result {
    let date = output(&mut command("date", ["-u", "+%F"]))?;
    let text = fs::read_to_string(path).on(path)?;
    let (before, rest) = text.split_once(BEGIN).ok_or("docs/kernels.md has no place for it")?;
    let (_, after) = rest.split_once(END).ok_or("docs/kernels.md has no place for it")?;
    let record = markdown(table, &arguments.join(" "), date.trim(), commit.trim());
    fs::write(path, format!("{before}{BEGIN}\n{record}\n{END}{after}")).on(path)
}

fn markdown(table: &Table, arguments: &str, date: &str, commit: &str) -> String {
    let mut text = format!("`.ci/matrix {arguments}` on {date}, at {commit}:\n\n");
    let mut row = |head: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: String = cells.map(|cell| format!(" {cell} |")).collect();
        writeln!(text, "| {head} |{cells}").ok();
    };
    let machines = || table.machines.iter();
    row(
        "Trials of root and of uid 65534",
        &mut machines().map(|machine| machine.kernel().to_owned()),
    );
    row("---", &mut machines().map(|_| "---".to_owned()));
    let count = |outcome| move |machine: &Machine| machine.count(outcome).to_string();
    row("passed", &mut machines().map(count(Outcome::Ok)));
    row("ignored", &mut machines().map(count(Outcome::Ignored)));
    for (reason, counts) in table.ignored() {
        let count = |count| if count == 0 { String::new() } else { format!("{count}") };
        row(&format!("— {reason}"), &mut counts.into_iter().map(count));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record() {
        let mut table = Table::default();
        table.add("== kernel #1 SMP Debian 6.1.176-1 x\n== root\ntest a ... ok\ntest [old] b ... ignored\n");
        table.add("== kernel #1 SMP Debian 7.0-1 x\n== root\ntest a ... ok\ntest b ... ok\n");
        let expected = "`.ci/matrix -r` on 2026-01-02, at abc:\n\n\
            | Trials of root and of uid 65534 | 6.1.176 | 7.0 |\n| --- | --- | --- |\n\
            | passed | 1 | 2 |\n| ignored | 1 | 0 |\n| — old | 1 |  |\n";
        assert_eq!(markdown(&table, "-r", "2026-01-02", "abc"), expected);
    }
}
