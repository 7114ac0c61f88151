//! The kernel boundary: system calls, their constants and structures. No policy, no allocation.
//!
//! Everything here may run in a child that shares its parent's memory. So nothing here touches
//! `errno`, takes a lock, allocates or panics: the calls are made by [`syscall`], not by libc.
//! Calls that only the parent makes, and that rustix offers, are made through rustix instead.

#![allow(
    unsafe_code,
    reason = "system calls take raw pointers and numbers; each block says which fact makes it right"
)]

pub(crate) mod abi;
mod args;
pub(crate) mod c_library;
pub(crate) mod caps;
pub(crate) mod children;
pub(crate) mod clock;
pub(crate) mod clone;
mod elf;
mod entry;
pub(crate) mod create;
pub(crate) mod exec;
pub(crate) mod exec_inside;
pub(crate) mod features;
pub(crate) mod file;
pub(crate) mod futex;
pub(crate) mod ids;
pub(crate) mod image;
pub(crate) mod in_child;
pub(crate) mod in_root;
mod mappings;
pub(crate) mod memory;
pub(crate) mod mount;
pub(crate) mod namespaces;
pub(crate) mod net;
pub(crate) mod nsfs;
mod path_buffer;
pub(crate) mod pidfd;
pub(crate) mod prctl;
pub(crate) mod process;
mod rseq;
pub(crate) mod probe;
mod script;
pub(crate) mod scm_credentials;
pub(crate) mod signal;
pub(crate) mod span;
pub(crate) mod stack;
mod syscall;
pub(crate) mod stat;
pub(crate) mod terminal;
pub(crate) mod users;
pub(crate) mod uts;
pub(crate) mod valgrind;
pub(crate) mod wait;

pub(crate) use rustix::io::Errno;

/// What a system call answers.
pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// Whether descriptors or memory have run out, which says nothing about what was asked for.
pub(crate) fn is_exhausted(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}
