//! Calls that take turns: a busy moment of the machine then falls on all of them alike, and the ratio
//! of their medians holds where those of two separate runs would not.

#![allow(dead_code, reason = "each bench takes what it needs")]

use std::time::{Duration, Instant};

/// Whether a few seconds have to do, so that figures mean nothing: `cargo bench -- --test` or
/// `-- --quick`, and `cargo test --benches`.
pub(crate) fn is_short() -> bool {
    let has = |flag| std::env::args().any(|argument| argument == flag);
    has("--test") || has("--quick") || !has("--bench")
}

/// Whether nothing is to be run: `cargo bench -- --list`.
pub(crate) fn is_list() -> bool {
    std::env::args().any(|argument| argument == "--list")
}

/// How long `batch` calls take, in microseconds for one.
pub(crate) fn micros(batch: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..batch {
        call();
    }
    as_micros(start.elapsed()) / f64::from(batch)
}

fn as_micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The medians, in microseconds for one call, of `rounds` batches of each, which take turns.
pub(crate) fn in_turns(
    rounds: u32,
    batch: u32,
    mut one: impl FnMut(),
    mut other: impl FnMut(),
) -> [f64; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        // Each comes first half of the time: what one leaves to the kernel to do falls on the next.
        if round % 2 == 0 {
            times[0].push(micros(batch, &mut one));
            times[1].push(micros(batch, &mut other));
        } else {
            times[1].push(micros(batch, &mut other));
            times[0].push(micros(batch, &mut one));
        }
    }
    times.map(median)
}

pub(crate) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The last column of a table: `limit` is the most that `ratio` may be.
pub(crate) fn at_most(ratio: f64, limit: f64) -> String {
    verdict(ratio <= limit, &format!("at most {limit:.2}"))
}

/// The last column of a table: the goal, and whether it is met.
pub(crate) fn verdict(is_met: bool, goal: &str) -> String {
    let word = match (is_short(), is_met) {
        (true, _) => "a short run does not tell",
        (false, true) => "met",
        (false, false) => "MISSED",
    };
    format!("  goal {goal}: {word}")
}
