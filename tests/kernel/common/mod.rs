//! What trials have in common: how one runs, what this machine can do, and what is set up and looked at.

pub(crate) mod fork;
pub(crate) mod harness;
pub(crate) mod kernel;
pub(crate) mod machine;
pub(crate) mod stage;
pub(crate) mod terminal;
