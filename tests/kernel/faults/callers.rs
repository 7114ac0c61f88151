//! x
use crate::harness::cases;
cases! {"callers":}
