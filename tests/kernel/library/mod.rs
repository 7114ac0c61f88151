//! The trials of the crate.

pub(crate) mod around;
pub(crate) mod birth;
pub(crate) mod clocks;
pub(crate) mod command;
pub(crate) mod contained;
pub(crate) mod counts;
pub(crate) mod credentials;
pub(crate) mod discover;
pub(crate) mod enter;
pub(crate) mod errors;
pub(crate) mod faults;
pub(crate) mod handles;
pub(crate) mod hostile;
pub(crate) mod init;
pub(crate) mod lifetimes;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod own_code;
pub(crate) mod pinned;
pub(crate) mod pins;
pub(crate) mod place;
pub(crate) mod secure_exec;
pub(crate) mod since;
pub(crate) mod special_values;
pub(crate) mod stress;
pub(crate) mod sub_ids;
pub(crate) mod support;
pub(crate) mod unshare;

use crate::harness::Case;

pub(crate) const CASES: &[&[Case]] = &[
    around::CASES,
    birth::CASES,
    clocks::CASES,
    command::CASES,
    command::namespaces::CASES,
    contained::CASES,
    counts::CASES,
    credentials::CASES,
    discover::CASES,
    discover::mounts::CASES,
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
    handles::proc::CASES,
    hostile::CASES,
    hostile::covered::CASES,
    hostile::covered::opened::CASES,
    hostile::fuse::CASES,
    hostile::image::CASES,
    hostile::image::directories::CASES,
    hostile::image::programs::CASES,
    hostile::image::threads::CASES,
    hostile::moving::CASES,
    hostile::races::CASES,
    hostile::same::CASES,
    hostile::same::directories::CASES,
    hostile::stopped::CASES,
    hostile::undo::CASES,
    init::CASES,
    init::armed::CASES,
    init::memory::CASES,
    init::shed::CASES,
    init::stops::CASES,
    lifetimes::CASES,
    limits::CASES,
    mounts::CASES,
    mounts::layers::CASES,
    mounts::roots::CASES,
    mounts::undone::CASES,
    own_code::CASES,
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
];
