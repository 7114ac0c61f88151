//! Start `/bin/true` and wait for it: this crate beside the shortest system calls for the same effect,
//! and beside what people use today. With a parent of 10 MiB, 1 GiB and 4 GiB in small pages.
//!
//! `cargo bench --bench spawn` also prints a table of medians of calls that took turns, which is what
//! the ratios are to be read from. `-- --test` runs each once.

#![allow(unsafe_code, reason = "the baseline and the peers are unsafe")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "a bench"
)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "flags and pids")]
#![allow(unreachable_pub, reason = "modules of this bench alone")]

#[path = "common/ballast.rs"]
mod ballast;
mod common;
mod peers;
#[path = "common/raw.rs"]
mod raw;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode};
use linux_namespaces::{Command, NamespaceSet, Stdio};

use ballast::Ballast;
use common::{is_short, medians, micros, ratio};
use raw::Raw;

const SANDBOX: NamespaceSet = NamespaceSet::USER
    .union(NamespaceSet::MOUNT)
    .union(NamespaceSet::PID)
    .union(NamespaceSet::IPC)
    .union(NamespaceSet::UTS);
const SETS: [(&str, NamespaceSet); 5] = [
    ("none", NamespaceSet::empty()),
    ("uts", NamespaceSet::UTS),
    ("user", NamespaceSet::USER),
    ("user,mnt,pid,ipc,uts", SANDBOX),
    ("all eight", NamespaceSet::all()),
];

fn command(set: NamespaceSet) -> Command {
    let mut command = Command::new("/bin/true");
    command.unshare(set).stdin(Stdio::inherit());
    if set.contains(NamespaceSet::USER) {
        command.map_root();
    }
    command
}

fn ours(command: &mut Command) {
    assert!(command.status().unwrap_or_else(|error| panic!("{error:#}")).success());
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let parent = Ballast::new(10);
    for (name, set) in SETS {
        if let Err(error) = command(set).status() {
            println!("{name}: left out, {error:#}");
            continue;
        }
        compare(&mut criterion, &format!("10 MiB: {name}"), set, Duration::from_secs(2));
    }
    drop(parent);
    let sizes: &[usize] = if is_short() { &[64] } else { &[1024, 4096] };
    for &mebibytes in sizes {
        let Some(_parent) = Ballast::new(mebibytes) else {
            println!("{mebibytes} MiB: left out, there is not so much memory");
            continue;
        };
        for (name, set) in [SETS[0], SETS[3]] {
            let group = format!("{mebibytes} MiB: {name}");
            compare(&mut criterion, &group, set, Duration::from_secs(2));
        }
    }
    criterion.final_summary();
    table();
}

fn compare(criterion: &mut Criterion, name: &str, set: NamespaceSet, time: Duration) {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat).sample_size(10).measurement_time(time);
    group.warm_up_time(Duration::from_millis(300));
    let mut spawn = command(set);
    group
        .bench_function(BenchmarkId::from_parameter("this crate"), |b| b.iter(|| ours(&mut spawn)));
    let raw = Raw::new(set.bits());
    group.bench_function(BenchmarkId::from_parameter("raw calls"), |b| {
        b.iter(|| assert!(raw.run()))
    });
    for (peer, run) in peers::all(set) {
        group.bench_function(BenchmarkId::from_parameter(peer), |b| b.iter(|| run(set)));
    }
    group.finish();
}

/// The ratios, each from calls that took turns.
fn table() {
    let rounds = if is_short() { 3 } else { 1000 };
    let parent = Ballast::new(10);
    println!(
        "\nspawn and wait, medians of {rounds} in turns      ours       raw   ratio (goal 1.10)"
    );
    let mut small = Vec::new();
    for (name, set) in SETS {
        let mut spawn = command(set);
        if spawn.status().is_err() {
            continue;
        }
        let raw = Raw::new(set.bits());
        let [ours, raw] = medians(rounds, [&mut || ours(&mut spawn), &mut || assert!(raw.run())]);
        println!(
            "{name:42} {:7.0} us {:7.0} us   {:.3}",
            micros(ours),
            micros(raw),
            ratio(ours, raw)
        );
        small.push((name, ours));
    }
    drop(parent);
    for (mebibytes, goal) in
        if is_short() { [(32, 0.), (64, 0.)] } else { [(1024, 0.), (4096, 1.15)] }
    {
        let Some(_parent) = Ballast::new(mebibytes) else {
            continue;
        };
        for (name, set) in [SETS[0], SETS[3]] {
            let Some(&(_, before)) = small.iter().find(|(known, _)| *known == name) else {
                continue;
            };
            let mut spawn = command(set);
            let [time] = medians(rounds, [&mut || ours(&mut spawn)]);
            let against = ratio(time, before);
            print!(
                "{mebibytes} MiB, {name}: {:.0} us, {against:.3} x our own at 10 MiB",
                micros(time)
            );
            println!("{}", if goal > 0. { format!(" (goal {goal})") } else { String::new() });
            for (peer, run) in peers::all(set) {
                let [theirs] = medians(if is_short() { 1 } else { 15 }, [&mut || run(set)]);
                println!("    {peer}: {:.0} us, {:.1} x ours", micros(theirs), ratio(theirs, time));
            }
        }
    }
}
