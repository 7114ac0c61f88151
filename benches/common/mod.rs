//! What both benches use: medians of calls that take turns, so that a busy moment of the machine falls
//! on all of them alike, and the memory that makes a parent large.

use std::time::{Duration, Instant};

/// Whether this is a short run: `cargo bench -- --test`, or `cargo test --benches`.
pub fn is_short() -> bool {
    std::env::args().any(|argument| argument == "--test")
        || !std::env::args().any(|argument| argument == "--bench")
}

/// The medians of `rounds` calls of each, taken in turns.
pub fn medians<const N: usize>(rounds: usize, mut calls: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let mut times: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        for (call, times) in calls.iter_mut().zip(&mut times) {
            let start = Instant::now();
            call();
            times.push(start.elapsed());
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    })
}

pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

pub fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
