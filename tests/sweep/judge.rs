//! What may come of a run.

use std::collections::BTreeSet;

use crate::calls;
use crate::exceptions::{self, EXCEPTIONS, Exception, Outcome, STEPS};
use crate::machine;
use crate::point::{Deed, Kind, Role};
use crate::run::{Run, Seen};
use crate::subject::Report;

pub(crate) enum Verdict {
    /// As the crate promises to all.
    Promised,
    /// As the exceptions of these numbers say.
    Excepted(Vec<usize>),
    /// On another kernel than the one whose list that is, but nothing is left.
    Unlisted(String),
    Wrong(String),
}

/// Whether the calls here are those for which the list of exceptions was written.
pub(crate) fn is_listed_kernel() -> bool {
    exceptions::KERNEL == machine::kernel_version()
}

pub(crate) fn name_of(deed: Deed) -> String {
    match deed {
        Deed::Refuse(errno) => calls::errno_name(errno),
        Deed::Filter(errno) => format!("{} from here on", calls::errno_name(errno)),
        Deed::Kill(role) => format!("{role} killed"),
    }
}

/// What is wrong with a run in which nothing happened.
pub(crate) fn undisturbed(run: &Run) -> Option<String> {
    let report = match usual(run) {
        Err(what) => return Some(what),
        Ok(report) => report,
    };
    let fine = succeeded(report) && report.left.is_empty();
    (!fine).then(|| format!("{report:?}"))
}

fn succeeded(report: &Report) -> bool {
    ["Done", "exit status: 0"].contains(&report.outcome.as_str())
}

/// The report of a run that came to its end.
fn usual(run: &Run) -> Result<&Report, String> {
    if let Some(stuck) = &run.stuck {
        return Err(format!("it hung: {stuck}"));
    }
    match &run.report {
        Some(report) if run.status == 0 => Ok(report),
        _ => Err(format!("the parent ended with {:#x}, {:?}", run.status, run.report)),
    }
}

/// The exceptions for what is refused there, with their numbers.
fn matching(
    scenario: &str,
    seen: &Seen,
    deed: Deed,
) -> impl Iterator<Item = (usize, &'static Exception)> {
    let at = format!("{:?} {}", seen.point.role.kind, seen.what).to_lowercase();
    let scenario = scenario.to_owned();
    EXCEPTIONS.iter().enumerate().filter(move |(_, exception)| {
        let (Deed::Refuse(errno) | Deed::Filter(errno)) = deed else {
            return false;
        };
        let errnos = exception.errnos;
        (errnos.is_empty() || errnos.contains(&errno))
            && scenario.starts_with(exception.scenario)
            && match exception.at.to_lowercase().strip_suffix('$') {
                Some(whole) => at == whole,
                None => at.starts_with(&exception.at.to_lowercase()),
            }
    })
}

/// The exceptions that nothing needs.
pub(crate) fn unused(used: &BTreeSet<usize>) -> impl Iterator<Item = String> {
    let unused =
        EXCEPTIONS.iter().enumerate().filter(|(index, it)| it.always && !used.contains(index));
    unused.map(|(_, it)| {
        format!("no run needs the exception {:?} {:?}: {}", it.scenario, it.at, it.why)
    })
}

pub(crate) fn is_skipped(scenario: &str, seen: &Seen, deed: Deed) -> Option<usize> {
    let mut all = matching(scenario, seen, deed);
    all.find(|(_, it)| matches!(it.outcome, Outcome::NotTried)).map(|(index, _)| index)
}

pub(crate) fn judge(scenario: &str, seen: &Seen, deed: Deed, run: &Run) -> Verdict {
    if let Deed::Kill(role) = deed {
        if role.kind == Kind::Parent {
            return match &run.stuck {
                Some(stuck) => Verdict::Wrong(format!("it hung: {stuck}")),
                None => Verdict::Promised,
            };
        }
    }
    let report = match usual(run) {
        Ok(report) => report,
        Err(what) => return Verdict::Wrong(what),
    };
    let mut used = Vec::new();
    let mut excused = |fits: &dyn Fn(&Outcome) -> bool| {
        let found = matching(scenario, seen, deed).find(|(_, it)| fits(&it.outcome));
        used.extend(found.map(|(index, _)| index));
        found.is_some()
    };
    let promised = match deed {
        Deed::Refuse(errno) => is_answer(seen, errno, report),
        // Whatever it is that serves instead.
        Deed::Filter(errno) => {
            succeeded(report) || report.outcome == "Told" || report.errno == Some(errno)
        }
        Deed::Kill(role) => is_death(scenario, seen, role, report),
    };
    let is_listed = promised || excused(&|outcome| is_as_said(outcome, report));
    if !is_listed && is_listed_kernel() {
        return Verdict::Wrong(format!("{report:?}"));
    }
    for line in &report.left {
        if !excused(&|it| leaves(it, report, line)) {
            return Verdict::Wrong(format!("left: {report:?}"));
        }
    }
    match used {
        _ if !is_listed => Verdict::Unlisted(format!("{report:?}")),
        used if used.is_empty() => Verdict::Promised,
        used => Verdict::Excepted(used),
    }
}

fn leaves(outcome: &Outcome, report: &Report, line: &str) -> bool {
    matches!(outcome, Outcome::Leaves(after, what) if report.outcome == *after && line.contains(what))
}

fn is_as_said(outcome: &Outcome, report: &Report) -> bool {
    match *outcome {
        Outcome::Succeeds => succeeded(report),
        Outcome::Says(step, errno) => report.outcome == step && report.errno == errno,
        Outcome::Comes(how) => report.outcome == how,
        Outcome::NotTried | Outcome::Leaves(..) => false,
    }
}

/// The steps that make such a call.
fn steps(seen: &Seen) -> impl Iterator<Item = &'static str> {
    let of_call = STEPS.iter().filter(|(call, _)| seen.what.starts_with(call));
    of_call.flat_map(|(_, steps)| steps.iter().copied())
}

/// An error of this number, at a step that makes such a call.
fn is_answer(seen: &Seen, errno: i32, report: &Report) -> bool {
    // Who was interrupted tries again.
    let interrupted = errno == libc::EINTR && succeeded(report);
    let is_said = report.errno == Some(errno) && steps(seen).any(|step| step == report.outcome);
    interrupted || is_said || report.outcome == "Told"
}

/// It is told who died, and at which step if it was at one; or it was all the same, which it cannot be for who
/// is killed at a call of its own before its end.
fn is_death(scenario: &str, seen: &Seen, role: Role, report: &Report) -> bool {
    let killed = ["signal: 9 (SIGKILL)", "exit status: 137"].contains(&report.outcome.as_str());
    let is_elsewhere = role != seen.point.role;
    // Processes that try things out: what kills them is no more than an answer, or has one step.
    let tries = ["support", "spawn::time"].iter().any(|it| scenario.starts_with(it));
    let is_at_its_end = seen.what.starts_with("exit");
    // An init, and what runs the caller's code, have started before they end.
    let may_have_started =
        ["spawn::init", "spawn::own_code"].iter().any(|it| scenario.starts_with(it));
    let has_step = !is_elsewhere && steps(seen).next().is_some();
    let at_step = !has_step || steps(seen).any(|step| step == report.outcome);
    let died = report.kind == "ChildDied" && (at_step || (tries && report.outcome == "Unshare"));
    match role.kind {
        Kind::Helper if report.errno == Some(libc::EPIPE) => report.outcome == "WriteUidMap",
        Kind::Tool if ["WriteUidMap", "WriteGidMap"].contains(&report.outcome.as_str()) => true,
        _ if died => true,
        Kind::Child if killed || report.outcome == "Done" => {
            is_elsewhere || may_have_started || tries
        }
        Kind::Program => killed || succeeded(report),
        _ => succeeded(report) && (is_elsewhere || is_at_its_end || tries),
    }
}
