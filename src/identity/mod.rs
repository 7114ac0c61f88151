//! Other ways than [`NsId`](crate::NsId) to say which namespace it is.

// The documentation shows methods in this order: the newest last.
mod netnsid;
mod by_unique_id;
mod file_handle;

pub use file_handle::NsFileHandle;
