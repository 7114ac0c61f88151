//! Linux namespaces.

#[cfg(not(target_os = "linux"))]
compile_error!("namespaces are a feature of Linux");

mod sys;

mod error;
mod hostname;
mod id_map;
mod mounts;
mod namespace;
mod signal;

mod ns_fd;
mod pid_fd;
mod proc_fs;
pub mod uts;

mod setup;

mod enter;
mod unshare;

mod child;
mod command;

pub use child::Child;
pub use command::{Command, CommandExt, Stdio};
pub use enter::{Enter, Scoped};
pub use error::{Error, ErrorKind, Result, Step};
pub use hostname::Hostname;
pub use id_map::{IdExtent, IdMap, Setgroups};
pub use mounts::{Mount, Propagation};
pub use namespace::{Namespace, NamespaceSet};
pub use ns_fd::{NsFd, NsId};
pub use pid_fd::PidFd;
pub use setup::plan::Plan;
pub use signal::Signal;
pub use unshare::Unshare;
