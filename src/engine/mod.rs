//! Carries plans out, here or in a child, and makes the processes that it takes.

pub(crate) mod child;
pub(crate) mod exec_here;
pub(crate) mod failure;
pub(crate) mod supervise_and_exit;
pub(crate) mod cgroup;
pub(crate) mod handshake;
pub(crate) mod helper;
pub(crate) mod intermediate;
pub(crate) mod join;
pub(crate) mod init_process;
pub(crate) mod map_tool;
pub(crate) mod mounts;
pub(crate) mod prepare;
pub(crate) mod run;
pub(crate) mod slot;
pub(crate) mod spawn;
pub(crate) mod steps;
pub(crate) mod watch;
