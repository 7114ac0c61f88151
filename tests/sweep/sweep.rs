//! A scenario with all that can happen to it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::calls;
use crate::judge::{self, Verdict};
use crate::point::{Deed, Kind, Role};
use crate::run::{Run, Seen, run};
use crate::scenarios::Scenario;

/// How often a point is tried that a run does not come to: whether a lock is slept for, it decides.
const TRIES: usize = 5;

/// How many runs came to what.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) refusals: usize,
    pub(crate) kills: usize,
    /// Those of both that had an effect which is on the list of exceptions.
    pub(crate) excepted: usize,
    /// Not come to, in several runs.
    pub(crate) missed: usize,
    /// What came otherwise than listed, on another kernel than that of the list.
    pub(crate) unlisted: Vec<String>,
    pub(crate) failures: Vec<String>,
    /// Which exceptions were needed.
    pub(crate) used: BTreeSet<usize>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.refusals += other.refusals;
        self.kills += other.kills;
        self.excepted += other.excepted;
        self.missed += other.missed;
        self.unlisted.extend(other.unlisted);
        self.failures.extend(other.failures);
        self.used.extend(other.used);
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        format!(
            "{} refusals, {} kills, {} by exception, {} not come to, {} not listed, {} wrong",
            self.refusals,
            self.kills,
            self.excepted,
            self.missed,
            self.unlisted.len(),
            self.failures.len()
        )
    }

    /// For [`parse`](Self::parse).
    pub(crate) fn print(&self) -> String {
        let Self { refusals, kills, excepted, missed, .. } = self;
        let failures = self.failures.iter().map(|it| format!("wrong {it}\n"));
        let unlisted = self.unlisted.iter().map(|it| format!("unlisted {it}\n"));
        let used = self.used.iter().map(|it| format!("used {it}\n"));
        format!("counts {refusals} {kills} {excepted} {missed}\n")
            + &failures.chain(unlisted).chain(used).collect::<String>()
    }

    /// The sum of what was printed.
    pub(crate) fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap();
            let mut numbers = rest.split(' ').map_while(|number| number.parse().ok());
            match word {
                "counts" => {
                    all.refusals += numbers.next().unwrap_or(0);
                    all.kills += numbers.next().unwrap_or(0);
                    all.excepted += numbers.next().unwrap_or(0);
                    all.missed += numbers.next().unwrap_or(0);
                }
                "used" => all.used.extend(numbers),
                "unlisted" => all.unlisted.push(rest.to_owned()),
                _ => all.failures.push(rest.to_owned()),
            }
        }
        all
    }
}

/// Of `part` deeds one is done; all, if it is 1.
pub(crate) fn sweep(scenario: &Scenario, part: usize) -> Tally {
    let act = (scenario.make)();
    let mut tally = Tally::default();
    let first = run(&act, None);
    if let Some(what) = judge::undisturbed(&first) {
        tally.failures.push(format!("{}: undisturbed: {what}", scenario.name));
        return tally;
    }
    let mut turn = first_turn(scenario.name) % part;
    let mut filtered = BTreeSet::new();
    for seen in without_repetitions(&first.calls) {
        let Some(errnos) = calls::errnos(seen.point.number) else {
            let told = format!("{}: no row for {}", scenario.name, seen.what);
            if judge::is_listed_kernel() {
                tally.failures.push(told);
            } else {
                tally.unlisted.push(told);
            }
            continue;
        };
        let refusals = errnos.iter().map(|&errno| Deed::Refuse(errno));
        // A thread dies with its process.
        let alive = seen.alive.iter().filter(|role| role.kind != Kind::Thread);
        let kills = alive.map(|&role| Deed::Kill(role));
        let is_first = filtered.insert(seen.point.number) && !errnos.is_empty();
        let filters = [libc::EPERM, libc::ENOSYS].map(Deed::Filter).into_iter();
        let filters = filters.filter(|_| is_first && calls::may_be_filtered(seen.point.number));
        for deed in refusals.chain(filters).chain(kills) {
            turn += 1;
            if turn % part != 0 {
                continue;
            }
            try_at(scenario, &|deed| run(&act, Some((seen.point, deed))), seen, deed, &mut tally);
        }
    }
    tally
}

/// Not the same for all scenarios, nor for another `SWEEP_SEED`, so that in time all is tried in parts, too.
fn first_turn(name: &str) -> usize {
    let seed = std::env::var("SWEEP_SEED").unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (name, seed).hash(&mut hasher);
    hasher.finish() as usize
}

/// Of equal calls of a process, one after the other, the first two and the last: it closes a thousand numbers,
/// and resets all signals.
fn without_repetitions(calls: &[Seen]) -> Vec<&Seen> {
    let mut of_each: BTreeMap<Role, Vec<&Seen>> = BTreeMap::new();
    for seen in calls {
        of_each.entry(seen.point.role).or_default().push(seen);
    }
    let mut picked = Vec::new();
    for calls in of_each.values() {
        for equal in calls.chunk_by(|one, other| {
            one.point.number == other.point.number
                && (one.what == other.what || calls::is_repeated(one.point.number))
        }) {
            picked.extend(equal.iter().take(2));
            picked.extend(equal.iter().skip(2).next_back());
        }
    }
    picked
}

/// Prints the calls of a run in which nothing happens.
pub(crate) fn show(scenario: &Scenario) {
    let first = run(&(scenario.make)(), None);
    let wrong = judge::undisturbed(&first);
    let picked = without_repetitions(&first.calls);
    println!("{}: {} of {} calls, {wrong:?}", scenario.name, picked.len(), first.calls.len());
    for seen in picked {
        println!("    {} {}", seen.point.role, seen.what);
    }
}

fn try_at(
    scenario: &Scenario,
    again: &dyn Fn(Deed) -> Run,
    seen: &Seen,
    deed: Deed,
    tally: &mut Tally,
) {
    if let Some(index) = judge::is_skipped(scenario.name, seen, deed) {
        tally.used.insert(index);
        return;
    }
    let Some(run) = (0..TRIES).map(|_| again(deed)).find(|run| run.reached) else {
        tally.missed += 1;
        return;
    };
    match deed {
        Deed::Refuse(_) | Deed::Filter(_) => tally.refusals += 1,
        Deed::Kill(_) => tally.kills += 1,
    }
    let told = |what| {
        let (name, deed) = (scenario.name, judge::name_of(deed));
        let (role, call, nth) = (seen.point.role, &seen.what, seen.point.nth);
        format!("{name}: {role} {call} (no. {nth}), {deed}: {what}")
    };
    match judge::judge(scenario.name, seen, deed, &run) {
        Verdict::Promised => {}
        Verdict::Excepted(used) => {
            tally.excepted += 1;
            tally.used.extend(used);
        }
        Verdict::Unlisted(what) => tally.unlisted.push(told(what)),
        Verdict::Wrong(what) => tally.failures.push(told(what)),
    }
}
