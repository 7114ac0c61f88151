//! The fault sweep: each scenario is run once for every system call that it makes, in whichever process, and
//! every number that the call may answer; once for every call that a filter may hide from there on; and once
//! for every process that may be killed at that moment. Each time it succeeds in a way that is listed in
//! `exceptions.rs`, or says what was refused; and nothing is left.
//!
//! ```sh
//! cargo test --test sweep                     # all of it: a minute or two
//! cargo test --test sweep spawn::init         # the scenarios with such names
//! SWEEP_PART=10 cargo test --test sweep       # every tenth run
//! SWEEP_CALLS=1 cargo test --test sweep       # runs nothing but shows which calls there are
//! ```
//!
//! Processes with one thread each do it by `ptrace(2)`, `SWEEP_WORKERS` of them at a time.

#![allow(unsafe_code, reason = "it traces processes")]
#![allow(clippy::incompatible_msrv, reason = "running the tests takes a current Rust")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "plain calls on this process")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "words of registers")]

mod calls;
#[path = "../kernel/common/mod.rs"]
#[allow(dead_code, unused, reason = "the kernel trials use the rest")]
mod common;
mod exceptions;
mod judge;
mod point;
mod run;
mod scenarios;
mod subject;
mod sweep;
mod trace;
mod workers;

use std::process::ExitCode;

use common::{harness, kernel, machine, stage};
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if cfg!(not(any(target_arch = "x86_64", target_arch = "aarch64"))) {
        println!("ignored: how a call is refused here, is not known");
        return ExitCode::SUCCESS;
    }
    let strict = std::env::var_os("STRICT").is_some_and(|value| value == "1");
    let all: Vec<_> =
        scenarios::all().filter(|it| harness::is_wanted(&arguments, it.name)).collect();
    let summary = harness::missing_programs(&all.iter().map(|it| it.needs).collect::<Vec<_>>());
    if arguments.list {
        all.iter().for_each(|it| println!("{}: test", it.name));
        return ExitCode::SUCCESS;
    }
    let mut possible = Vec::new();
    let mut failures = Vec::new();
    for scenario in all {
        let Some((need, reason)) =
            scenario.needs.iter().find_map(|need| Some((need, need.missing()?)))
        else {
            possible.push(scenario);
            continue;
        };
        println!("{}: ignored: {reason}", scenario.name);
        // Another run, as another user, is there for these.
        if strict && !need.is_about_the_user() {
            failures.push(format!("{}: ignored, but STRICT=1: {reason}", scenario.name));
        }
    }
    if std::env::var_os("SWEEP_CALLS").is_some() {
        prepare();
        possible.into_iter().for_each(sweep::show);
        return ExitCode::SUCCESS;
    }
    let part = number("SWEEP_PART", 1);
    let tally = workers::sweep_all(&possible, number("SWEEP_WORKERS", 4), part);
    println!("{} scenarios: {}", possible.len(), tally.line());
    let is_whole = part == 1 && possible.len() == scenarios::all().count();
    if is_whole && judge::is_listed_kernel() {
        failures.extend(judge::unused(&tally.used));
    }
    if tally.missed * 50 > tally.refusals + tally.kills {
        failures.push("too many points were not come to".to_owned());
    }
    failures.iter().for_each(|it| println!("wrong: {it}"));
    summary.iter().for_each(|it| println!("{it}"));
    ExitCode::from(u8::from(!failures.is_empty() || !tally.failures.is_empty()))
}

/// What a variable says.
fn number(variable: &str, otherwise: usize) -> usize {
    let value = std::env::var(variable).ok().and_then(|value| value.parse().ok());
    value.filter(|&number| number > 0).unwrap_or(otherwise)
}

/// Orphans come to this process, and its waits are interrupted every second.
fn prepare() {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: all zero bytes are an action without flags, so that calls are interrupted.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        let second = libc::timeval { tv_sec: 1, tv_usec: 0 };
        let timer = libc::itimerval { it_interval: second, it_value: second };
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
    }
}
