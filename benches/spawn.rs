//! Start `/bin/true` and wait for it: this crate beside the shortest system calls for the same effect,
//! and beside what people use today, from a parent of 10 MiB, 1 GiB and 4 GiB in small pages.
//!
//! After criterion's figures come tables of calls that took turns, which are what the ratios are to be
//! read from; `cargo bench --bench spawn -- tables` prints just these. `-- --test` and `-- --quick`
//! take seconds.

#![allow(unsafe_code, reason = "the baseline and the peers are unsafe")]

mod common;
mod spawning;

use std::time::Duration;

use criterion::{Criterion, SamplingMode};
use linux_namespaces::{Command, NamespaceSet};

use common::{at_most, in_turns, is_list, is_short, median, micros, verdict};
use spawning::ballast::Ballast;
use spawning::peers;
use spawning::raw::Raw;

type Set = (&'static str, NamespaceSet);

const SANDBOX: NamespaceSet = NamespaceSet::USER
    .union(NamespaceSet::MOUNT)
    .union(NamespaceSet::PID)
    .union(NamespaceSet::IPC)
    .union(NamespaceSet::UTS);
const SETS: [Set; 5] = [
    ("none", NamespaceSet::empty()),
    ("uts", NamespaceSet::UTS),
    ("user", NamespaceSet::USER),
    ("user,mnt,pid,ipc,uts", SANDBOX),
    ("all eight", NamespaceSet::all()),
];
/// For which the parent's size is varied, in MiB.
const SIZED: [Set; 2] = [SETS[0], SETS[3]];
const SMALL: usize = 10;
const LARGE: usize = 1024;
const HUGE: usize = 4096;

fn main() {
    let sets: Vec<Set> = SETS.into_iter().filter(is_allowed).collect();
    let sized: Vec<Set> = SIZED.into_iter().filter(|set| sets.contains(set)).collect();
    let sizes = if is_short() { vec![SMALL, LARGE] } else { vec![SMALL, LARGE, HUGE] };
    let mut criterion = Criterion::default().configure_from_args();
    for &size in &sizes {
        let Some(_parent) = Ballast::new(size) else {
            continue;
        };
        for &set in if size == SMALL { &sets } else { &sized } {
            compare(&mut criterion, size, set);
        }
    }
    criterion.final_summary();
    if !is_list() {
        beside_raw_calls(&sets);
        by_size_of_parent(&sized, &sizes);
    }
}

fn command(set: NamespaceSet) -> Command {
    let mut command = Command::new("/bin/true");
    command.unshare(set);
    if set.contains(NamespaceSet::USER) {
        command.map_root();
    }
    command
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap_or_else(|error| panic!("{error:#}")).success());
}

fn is_allowed(&(name, set): &Set) -> bool {
    let answer = command(set).status();
    if let Err(error) = &answer {
        println!("{name}: left out, {error:#}");
    }
    answer.is_ok()
}

fn compare(criterion: &mut Criterion, size: usize, (name, set): Set) {
    let mut group = criterion.benchmark_group(format!("{size} MiB: {name}"));
    // Few samples, and time for them: above 10 MiB most peers take that of a fork.
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    let seconds = if size == SMALL { 1 } else { 2 };
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(seconds));
    let mut ours = command(set);
    group.bench_function("this crate", |b| b.iter(|| run(&mut ours)));
    if let Some(raw) = Raw::new(set) {
        group.bench_function("raw calls", |b| b.iter(|| raw.run()));
    }
    for mut peer in peers::all(set) {
        group.bench_function(&peer.name, |b| b.iter(&mut peer.run));
    }
    group.finish();
}

fn beside_raw_calls(sets: &[Set]) {
    let pairs = if is_short() { 2 } else { 1000 };
    let Some(_parent) = Ballast::new(SMALL) else {
        return;
    };
    println!(
        "\nspawn and wait from {SMALL} MiB, medians in microseconds of {pairs} pairs in turns"
    );
    println!("{:24}{:>8}{:>8}{:>8}", "", "ours", "raw", "ratio");
    for &(name, set) in sets {
        let Some(raw) = Raw::new(set) else {
            println!("no raw calls for this architecture");
            return;
        };
        let mut command = command(set);
        let [ours, raw] = in_turns(pairs, 1, || run(&mut command), || raw.run());
        let ratio = ours / raw;
        println!("{name:24}{ours:8.0}{raw:8.0}{ratio:8.3}{}", at_most(ratio, 1.10));
    }
}

/// The times of a parent of one size.
#[derive(Default)]
struct Times {
    ours: Vec<f64>,
    peers: Vec<(String, Vec<f64>)>,
}

/// The sizes take turns too, in passes: it takes a second to grow.
fn by_size_of_parent(sets: &[Set], sizes: &[usize]) {
    let (passes, rounds, peer_rounds) = if is_short() { (1, 2, 1) } else { (4, 100, 5) };
    let mut times: Vec<Vec<Times>> = Vec::new();
    times.resize_with(sizes.len(), || sets.iter().map(|_| Times::default()).collect());
    for _ in 0..passes {
        for (&size, times) in sizes.iter().zip(&mut times) {
            let Some(_parent) = Ballast::new(size) else {
                continue;
            };
            for (&(_, set), times) in sets.iter().zip(times) {
                let mut ours = command(set);
                times.ours.extend((0..rounds).map(|_| micros(1, || run(&mut ours))));
                if size == LARGE {
                    time_peers(set, peer_rounds, &mut times.peers);
                }
            }
        }
    }
    if times[0].iter().any(|times| times.ours.is_empty()) {
        return;
    }
    println!("\nspawn and wait by size of the parent, medians in microseconds of {passes} passes");
    for (at, (name, _)) in sets.iter().enumerate() {
        println!("{name}");
        let small = times[0][at].ours.clone();
        for (size, times) in sizes.iter().zip(&mut times) {
            let Times { ours, peers } = std::mem::take(&mut times[at]);
            if ours.is_empty() {
                continue;
            }
            let (ours, small) = (median(ours), median(small.clone()));
            let ratio = ours / small;
            let goal = if *size == HUGE { at_most(ratio, 1.15) } else { String::new() };
            println!("  {size:5} MiB  {ours:8.0}  {ratio:.3} x {SMALL} MiB{goal}");
            for (peer, theirs) in peers {
                let (theirs, factor) = (median(theirs.clone()), median(theirs) / ours);
                let goal = verdict(factor >= 20., "at least 20");
                println!("             {theirs:8.0}  {factor:.1} x ours: {peer}{goal}");
            }
        }
    }
}

fn time_peers(set: NamespaceSet, rounds: u32, times: &mut Vec<(String, Vec<f64>)>) {
    for (at, mut peer) in peers::all(set).into_iter().enumerate() {
        if times.len() == at {
            times.push((peer.name, Vec::new()));
        }
        times[at].1.extend((0..rounds).map(|_| micros(1, &mut peer.run)));
    }
}
