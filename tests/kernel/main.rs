//! The crate against the real kernel: every trial in a process of its own, as root and as an
//! ordinary user. `STRICT=1` turns what the machine cannot do from *ignored* into a failure.
//! `LINUX_NAMESPACES_ACTION=packages` prints the packages of programs that are not here and runs nothing.

#![allow(unsafe_code, reason = "the trials ask the kernel past the crate")]
#![allow(clippy::incompatible_msrv, reason = "running the tests takes a current Rust")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "plain calls on this process")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "flags and pids")]

mod act;
mod common;
mod examples;
mod library;
mod names;

use common::{
    action, engine, files, fork, harness, kernel, machine, program, sandbox, stage, sub_ids,
    terminal,
};
use library::faults;

#[global_allocator]
static ALLOCATOR: faults::blocked::Watching = faults::blocked::Watching;

fn cases() -> Vec<&'static [harness::Case]> {
    [library::CASES, examples::CASES, &[names::CASES]].concat()
}

fn main() -> std::process::ExitCode {
    match std::env::var(action::ACTION).as_deref() {
        Ok("packages") => harness::print_packages(&cases()),
        Ok(action) => act::act(action),
        Err(_) => harness::main(&cases()),
    }
}
