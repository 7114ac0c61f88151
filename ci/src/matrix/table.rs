//! The outcome of each trial on each kernel, from what the machines wrote. A cell has one sign for root and one for the
//! ordinary user.

use std::collections::HashMap;
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    Ignored,
    Failed,
}

/// A machine, which is a column.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// The version of its kernel's package.
    pub(super) version: String,
    has_ended: bool,
    /// By trial and user.
    cells: HashMap<(usize, usize), char>,
    counts: [usize; 3],
    /// Where the sweep came to something that is not listed.
    unlisted: Option<usize>,
}

impl Machine {
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.counts[outcome as usize]
    }

    pub(super) fn kernel(&self) -> &str {
        self.version.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default()
    }

    /// The signs of both users.
    fn cell(&self, trial: usize) -> [char; 2] {
        [0, 1].map(|user| self.cells.get(&(trial, user)).copied().unwrap_or('?'))
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) only_differing: bool,
    pub(super) machines: Vec<Machine>,
    trials: Vec<String>,
    /// Why trials were ignored; the sign of each is a letter.
    reasons: Vec<String>,
    /// What failures say.
    told: Vec<String>,
    failures: usize,
}

impl Table {
    /// What one machine wrote.
    pub(super) fn add(&mut self, log: &str) {
        let mut machine = Machine::default();
        let mut user = 0;
        let mut is_telling = false;
        for line in log.lines().map(|line| line.trim_end_matches('\r')) {
            match line {
                "== root" => user = 0,
                "== user" => user = 1,
                _ if line.starts_with("== done") => machine.has_ended = true,
                "failures:" => is_telling = true,
                _ if line.starts_with("test result: ") => is_telling = false,
                _ => {}
            }
            // The firmware leaves something before it on the line.
            if let Some(version) =
                line.split_once("== kernel ").and_then(|(_, rest)| rest.rsplit_once("Debian "))
            {
                machine.version = version.1.split(' ').next().unwrap_or_default().to_owned();
            }
            // The list at the end of a suite, and the sweep.
            if is_telling && !line.trim().is_empty() || line.starts_with("wrong: ") {
                self.told.push(format!("{}: {line}", machine.version));
            }
            if let Some(count) = unlisted(line) {
                *machine.unlisted.get_or_insert(0) += count;
            }
            if let Some((trial, reason, outcome)) = trial(line) {
                self.outcome(&mut machine, user, trial, reason, outcome);
            }
        }
        self.machines.push(machine);
    }

    fn outcome(
        &mut self,
        machine: &mut Machine,
        user: usize,
        trial: &str,
        reason: &str,
        outcome: Outcome,
    ) {
        let number = index_of(&mut self.trials, trial);
        let sign = match outcome {
            Outcome::Ok => '+',
            Outcome::Failed => 'F',
            Outcome::Ignored if matches!(reason, "for root" | "for an ordinary user") => '.',
            Outcome::Ignored => letter(index_of(&mut self.reasons, reason)),
        };
        if machine.cells.insert((number, user), sign).is_none() {
            machine.counts[outcome as usize] += 1;
        }
        self.failures += usize::from(outcome == Outcome::Failed);
    }

    /// Whether a trial failed, was not reached, or a machine did not come to its end.
    pub(super) fn failed(&self) -> bool {
        let is_missing = |machine: &Machine| {
            (0..self.trials.len()).any(|trial| machine.cell(trial).contains(&'?'))
        };
        let is_bad = |machine: &Machine| !machine.has_ended || is_missing(machine);
        self.failures > 0 || self.trials.is_empty() || self.machines.iter().any(is_bad)
    }

    /// Why trials were ignored, and how many on each machine, for either user.
    pub(super) fn ignored(&self) -> impl Iterator<Item = (&str, Vec<usize>)> {
        self.reasons.iter().enumerate().map(|(number, reason)| {
            let count = |machine: &Machine| {
                machine.cells.values().filter(|sign| **sign == letter(number)).count()
            };
            (reason.as_str(), self.machines.iter().map(count).collect())
        })
    }

    fn differs(&self, trial: usize) -> bool {
        let mut cells = self.machines.iter().map(|machine| machine.cell(trial));
        cells.next().is_some_and(|first| cells.any(|cell| cell != first))
    }
}

/// Its index in the list, at whose end it is put if it is not there.
fn index_of(list: &mut Vec<String>, text: &str) -> usize {
    list.iter().position(|known| known == text).unwrap_or_else(|| {
        list.push(text.to_owned());
        list.len() - 1
    })
}

fn letter(reason: usize) -> char {
    ('a'..='z').chain('A'..='Z').filter(|it| *it != 'F').nth(reason).unwrap_or('*')
}

/// `test [for root] a::trial ... ignored`
fn trial(line: &str) -> Option<(&str, &str, Outcome)> {
    let (rest, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let outcome = match outcome {
        "ok" => Outcome::Ok,
        "ignored" => Outcome::Ignored,
        "FAILED" => Outcome::Failed,
        _ => return None,
    };
    let (reason, name) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once("] ")?,
        None => ("", rest),
    };
    Some((name.split_whitespace().next()?, reason, outcome))
}

/// `31 scenarios: ..., 7 not listed, 0 wrong`
fn unlisted(line: &str) -> Option<usize> {
    let (scenarios, rest) = line.split_once(" scenarios: ")?;
    scenarios.parse::<usize>().ok()?;
    rest.split_once(" not listed")?.0.rsplit(' ').next()?.parse().ok()
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows =
            (0..self.trials.len()).filter(|trial| !self.only_differing || self.differs(*trial));
        let rows: Vec<_> = rows.collect();
        let width = rows.iter().map(|trial| self.trials[*trial].len()).max().unwrap_or(0);
        let mut row = |head: &str, cell: &dyn Fn(&Machine) -> String| {
            write!(out, "{head:width$}")?;
            self.machines.iter().try_for_each(|machine| write!(out, " {:>8}", cell(machine)))?;
            writeln!(out)
        };
        row("", &|machine| machine.kernel().to_owned())?;
        for trial in rows {
            row(&self.trials[trial], &|machine| machine.cell(trial).iter().collect())?;
        }
        for (head, outcome) in
            [("ok", Outcome::Ok), ("ignored", Outcome::Ignored), ("FAILED", Outcome::Failed)]
        {
            row(head, &|machine| machine.count(outcome).to_string())?;
        }
        if self.machines.iter().any(|machine| machine.unlisted.is_some()) {
            row("not listed, of the sweep", &|machine| machine.unlisted.unwrap_or(0).to_string())?;
        }
        writeln!(out, "\nThe first sign is root's, the second that of uid 65534.")?;
        writeln!(
            out,
            "+  passed\nF  failed\n.  the other of the two runs it\n?  it did not come to this trial"
        )?;
        for (number, reason) in self.reasons.iter().enumerate() {
            writeln!(out, "{}  {reason}", letter(number))?;
        }
        if !self.told.is_empty() {
            writeln!(out, "\n{}", self.told.join("\n"))?;
        }
        if self.trials.is_empty() {
            writeln!(out, "No trial has run.")?;
        }
        for (number, machine) in
            self.machines.iter().enumerate().filter(|(_, machine)| !machine.has_ended)
        {
            writeln!(
                out,
                "The machine of column {} ({}) did not come to its end.",
                number + 1,
                machine.version
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "firmware== kernel #1 SMP Debian 6.1.176-1 (2026-07-02)\r\n== root\r\n\
        test                   a::one ... ok\r\ntest [before Linux 9]  a::two ... ignored\r\n\
        test [for an ordinary user] a::three ... ignored\r\ntest the_suite ... ok\r\n== user\r\n\
        test a::one ... FAILED\r\ntest [before Linux 9] a::two ... ignored\r\ntest a::three ... ok\r\n\
        failures:\r\n\r\n---- a::one ----\r\nit broke\r\ntest result: FAILED. 2 passed\r\ntest the_suite ... FAILED\r\n\
        3 scenarios: 9 refusals, 0 not come to, 7 not listed, 0 wrong\r\n== done\r\n";
    const NEW: &str = "== kernel #1 SMP Debian 9.0-1 (2030-01-01)\n== root\ntest a::one ... ok\n";

    fn table(logs: &[&str]) -> Table {
        let mut table = Table::default();
        logs.iter().for_each(|log| table.add(log));
        table
    }

    #[test]
    fn lines_of_trials() {
        assert_eq!(trial("test a::b ... ok"), Some(("a::b", "", Outcome::Ok)));
        assert_eq!(
            trial("test [x y]   a::b   ... ignored"),
            Some(("a::b", "x y", Outcome::Ignored))
        );
        assert_eq!(trial("test a::b ... what it prints"), None);
        assert_eq!(trial("running 5 tests"), None);
    }

    #[test]
    fn cells_counts_and_what_failures_say() {
        let table = table(&[OLD]);
        let machine = &table.machines[0];
        assert_eq!((machine.version.as_str(), machine.kernel()), ("6.1.176-1", "6.1.176"));
        let cells: Vec<_> = (0..table.trials.len()).map(|trial| machine.cell(trial)).collect();
        assert_eq!(cells, [['+', 'F'], ['a', 'a'], ['.', '+'], ['+', 'F']]);
        let counts =
            [Outcome::Ok, Outcome::Ignored, Outcome::Failed].map(|outcome| machine.count(outcome));
        assert_eq!((counts, machine.unlisted), ([3, 3, 2], Some(7)));
        assert_eq!(table.ignored().collect::<Vec<_>>(), [("before Linux 9", vec![2])]);
        assert!(table.told.contains(&"6.1.176-1: it broke".to_owned()), "{:?}", table.told);
        assert!(table.failed());
    }

    #[test]
    fn what_is_missing_is_a_failure() {
        let one = OLD.replace("FAILED", "ok");
        assert!(!table(&[&one]).failed());
        let both = table(&[&one, NEW]);
        assert!(both.failed());
        let text = both.to_string();
        assert!(text.contains("column 2 (9.0-1) did not come to its end"), "{text}");
        let row = text.lines().find(|line| line.starts_with("a::two")).unwrap();
        assert!(row.ends_with("       aa       ??"), "{text}");
        assert!(table(&[]).failed());
    }

    #[test]
    fn only_rows_that_differ() {
        let mut table = table(&[OLD, &OLD.replace("a::one ... ok", "a::one ... FAILED")]);
        table.only_differing = true;
        let text = table.to_string();
        assert!(text.contains("\na::one") && !text.contains("\na::two"), "{text}");
    }
}
