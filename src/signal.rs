//! Signal numbers.

#![forbid(unsafe_code)]

use core::fmt;

use crate::error::{Error, Result};

/// A signal, by its number: 1 to 64.
///
/// # Examples
///
/// ```
/// use linux_namespaces::Signal;
///
/// assert_eq!(Signal::new(15)?, Signal::TERM);
/// assert!(Signal::new(65).is_err());
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # References
///
/// [signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(i32);

impl Signal {
    /// `SIGHUP`
    pub const HUP: Self = Self(libc::SIGHUP);
    /// `SIGINT`
    pub const INT: Self = Self(libc::SIGINT);
    /// `SIGQUIT`
    pub const QUIT: Self = Self(libc::SIGQUIT);
    /// `SIGKILL`
    pub const KILL: Self = Self(libc::SIGKILL);
    /// `SIGUSR1`
    pub const USR1: Self = Self(libc::SIGUSR1);
    /// `SIGUSR2`
    pub const USR2: Self = Self(libc::SIGUSR2);
    /// `SIGTERM`
    pub const TERM: Self = Self(libc::SIGTERM);
    /// `SIGCHLD`
    pub const CHLD: Self = Self(libc::SIGCHLD);
    /// `SIGCONT`
    pub const CONT: Self = Self(libc::SIGCONT);
    /// `SIGSTOP`
    pub const STOP: Self = Self(libc::SIGSTOP);

    /// The signal with this number.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) unless it is 1 to 64.
    pub fn new(number: i32) -> Result<Self> {
        if !(1..=64).contains(&number) {
            return Err(Error::invalid(format!("{number} is no signal: they go from 1 to 64")));
        }
        Ok(Self(number))
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signal {}", self.0)
    }
}
