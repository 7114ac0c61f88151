//! Signal numbers.

#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;

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
    /// `SIGTSTP`
    pub const TSTP: Self = Self(libc::SIGTSTP);
    /// `SIGTTIN`
    pub const TTIN: Self = Self(libc::SIGTTIN);
    /// `SIGTTOU`
    pub const TTOU: Self = Self(libc::SIGTTOU);

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

/// Those that have a name, as `signal(7)` lists them.
const NAMES: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
    ("POLL", libc::SIGPOLL),
];

/// `SIGTERM`, or `signal 40` for one without a name.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// A name with or without `SIG`, in upper or lower case, or a number.
///
/// # Examples
///
/// ```
/// use linux_namespaces::Signal;
///
/// for text in ["TERM", "SIGTERM", "sigterm", "15"] {
///     assert_eq!(text.parse::<Signal>()?, Signal::TERM);
/// }
/// assert!("SIGNOTHING".parse::<Signal>().is_err());
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) for anything else.
impl FromStr for Signal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(number) = text.parse() {
            return Self::new(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        match NAMES.iter().find(|(known, _)| *known == name) {
            Some(&(_, number)) => Ok(Self(number)),
            None => Err(Error::invalid(format!("{text:?} is no signal: signal(7) lists them"))),
        }
    }
}
