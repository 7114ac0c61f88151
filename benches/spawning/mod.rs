//! The parts of the bench of spawns: what makes the parent large, and who competes.

pub(crate) mod ballast;
mod inside;
pub(crate) mod peers;
pub(crate) mod raw;
