//! The trials of the examples: `cargo test` builds these, and some replace tools that are run beside them.

mod beside;
pub(crate) mod bocker;
pub(crate) mod container;
pub(crate) mod init;
pub(crate) mod lsns;
pub(crate) mod nsenter;
pub(crate) mod special_values;
pub(crate) mod unshare;

use crate::harness::Case;

pub(crate) const CASES: &[&[Case]] = &[
    bocker::CASES,
    bocker::hostile::CASES,
    container::CASES,
    init::CASES,
    init::terminal::CASES,
    lsns::CASES,
    lsns::holders::CASES,
    nsenter::CASES,
    special_values::CASES,
    unshare::CASES,
    unshare::keep::CASES,
    unshare::life::CASES,
];
