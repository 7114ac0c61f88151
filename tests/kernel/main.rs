//! The crate against the real kernel: every trial in a process of its own, as root and as an
//! ordinary user. `STRICT=1` turns what the machine cannot do from *ignored* into a failure.
//! `LINUX_NAMESPACES_COUNTED=packages` prints the packages of programs that are not here and runs nothing.

#![allow(unsafe_code, reason = "the trials ask the kernel past the crate")]
#![allow(clippy::incompatible_msrv, reason = "running the tests takes a current Rust")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "plain calls on this process")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "flags and pids")]

mod around;
mod birth;
mod bocker;
mod clocks;
mod command;
mod contained;
mod container;
mod counts;
mod credentials;
mod discover;
mod enter;
mod errors;
mod faults;
mod handles;
mod harness;
mod hostile;
mod init;
mod kernel;
mod lifetimes;
mod limits;
mod lsns_tool;
mod machine;
mod mounts;
mod nsenter;
mod own_code;
mod pinned;
mod pins;
mod place;
mod secure_exec;
mod since;
mod special_values;
mod stage;
mod stress;
mod sub_ids;
mod support;
mod unshare;
mod unshare_tool;

#[global_allocator]
static ALLOCATOR: faults::blocked::Watching = faults::blocked::Watching;

const CASES: &[&[harness::Case]] = &[
    around::CASES,
    birth::CASES,
    bocker::CASES,
    clocks::CASES,
    command::CASES,
    command::namespaces::CASES,
    contained::CASES,
    container::CASES,
    counts::CASES,
    credentials::CASES,
    discover::CASES,
    discover::reuse::CASES,
    discover::sight::CASES,
    enter::CASES,
    errors::CASES,
    faults::CASES,
    faults::blocked::CASES,
    faults::callers::CASES,
    faults::calls::CASES,
    faults::kills::CASES,
    handles::CASES,
    hostile::CASES,
    hostile::covered::CASES,
    hostile::fuse::CASES,
    hostile::image::CASES,
    hostile::moving::CASES,
    hostile::races::CASES,
    hostile::same::CASES,
    hostile::stopped::CASES,
    hostile::undo::CASES,
    init::CASES,
    init::armed::CASES,
    init::memory::CASES,
    init::shed::CASES,
    init::stops::CASES,
    init::terminal::CASES,
    init::tools::CASES,
    lifetimes::CASES,
    limits::CASES,
    lsns_tool::CASES,
    lsns_tool::holders::CASES,
    mounts::CASES,
    mounts::layers::CASES,
    mounts::roots::CASES,
    mounts::undone::CASES,
    own_code::CASES,
    nsenter::CASES,
    pinned::CASES,
    pinned::dir::CASES,
    pinned::owners::CASES,
    pinned::races::CASES,
    pins::CASES,
    place::CASES,
    secure_exec::CASES,
    since::CASES,
    special_values::CASES,
    stress::CASES,
    sub_ids::CASES,
    support::CASES,
    unshare::CASES,
    unshare_tool::CASES,
    unshare_tool::keep::CASES,
    unshare_tool::life::CASES,
];

fn main() -> std::process::ExitCode {
    match std::env::var(counts::ACTION).as_deref() {
        Ok("packages") => harness::print_packages(CASES),
        Ok(action) => counts::act(action),
        Err(_) => harness::main(CASES),
    }
}
