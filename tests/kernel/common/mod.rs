//! What trials have in common: how one runs, what this machine can do, and what is set up and looked at.

pub(crate) mod action;
pub(crate) mod engine;
pub(crate) mod files;
pub(crate) mod fork;
pub(crate) mod harness;
pub(crate) mod kernel;
pub(crate) mod machine;
pub(crate) mod program;
pub(crate) mod sandbox;
pub(crate) mod stage;
pub(crate) mod sub_ids;
pub(crate) mod terminal;
