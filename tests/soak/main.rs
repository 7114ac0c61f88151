//! Spawns from eight threads, in every way in which a child is made, for as long as is asked, in a process that
//! also forks, allocates, takes signals and changes its own namespaces: `cargo test --test soak -- SECONDS`.
//!
//! The first round is to warm up. After each of the others the process has as many descriptors, mappings, threads
//! and children as after that one, and hardly more memory.

#![allow(unsafe_code, reason = "it forks and takes signals past the crate")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "plain calls on this process")]
#![allow(clippy::incompatible_msrv, reason = "running the tests takes a current Rust")]

mod census;
mod limits;
mod modes;
mod noise;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use linux_namespaces::{NamespaceSet, Unshare};

use census::Census;
use modes::Modes;

const SPAWNERS: usize = 8;
/// Among the tests of a plain run.
const SHORT: Duration = Duration::from_millis(1500);
const LONGEST_ROUND: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut length = SHORT;
    for argument in std::env::args().skip(1) {
        match argument.parse() {
            Ok(seconds) => length = Duration::from_secs(seconds),
            Err(_) if argument == "--nocapture" => {}
            // For other tests of the run.
            Err(_) => return ExitCode::SUCCESS,
        }
    }
    // SAFETY: asks for a number.
    let is_root = unsafe { libc::geteuid() == 0 } && modes::needs_no_user_namespace();
    let ready = if is_root {
        modes::try_maps()
    } else {
        // Threads may change their namespaces then.
        Unshare::new(NamespaceSet::USER).map_root().apply()
    };
    if let Err(error) = ready {
        println!("soak: ignored, since this user may not: {error:#}");
        return ExitCode::from(u8::from(std::env::var_os("STRICT").is_some()));
    }
    println!("soak: {}", limits::near_them());
    soak(length, is_root);
    ExitCode::SUCCESS
}

fn soak(length: Duration, is_root: bool) {
    noise::take_signals();
    let modes = Modes::new(is_root);
    // One to warm up, and at least one to compare.
    let rounds = u32::try_from(length.as_secs() / LONGEST_ROUND.as_secs()).unwrap().max(2);
    let mut warm = None;
    let mut spawned = 0;
    for round in 1..=rounds {
        spawned += one_round(&modes, spawned, length / rounds);
        let now = Census::take();
        println!("soak: round {round} of {rounds}, {spawned} spawns, {now}");
        warm.get_or_insert(now).compare(&now);
    }
    for (mode, count) in modes.counts() {
        println!("soak: {count:8} {mode}");
        assert!(count > 0, "there was no time for {mode}");
    }
    println!("soak: {} signals taken", noise::signals());
}

/// Answers how many there were. All threads are over then.
fn one_round(modes: &Modes, before: usize, length: Duration) -> usize {
    let end = Instant::now() + length;
    let next = AtomicUsize::new(before);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        noise::start(scope, &over);
        let spawners: Vec<_> = (0..SPAWNERS)
            .map(|_| {
                scope.spawn(|| {
                    while Instant::now() < end {
                        modes.spawn(next.fetch_add(1, Relaxed));
                    }
                })
            })
            .collect();
        let outcomes: Vec<_> = spawners.into_iter().map(|spawner| spawner.join()).collect();
        over.store(true, Relaxed);
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
    });
    next.into_inner() - before
}
