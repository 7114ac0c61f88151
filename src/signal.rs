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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

impl Signal {
    /// The signal with this number: real-time signals have no name.
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

/// The signals that have a name, in the order of `signal(7)`. The first of two names for one number prints.
macro_rules! names {
    ($($name:ident = $number:expr,)*) => {
        impl Signal {
            $(#[doc = concat!("`SIG", stringify!($name), "`")]
            pub const $name: Self = Self($number);)*
        }

        const NAMES: &[(&str, i32)] = &[$((stringify!($name), $number),)*];
    };
}

names! {
    HUP = libc::SIGHUP,
    INT = libc::SIGINT,
    QUIT = libc::SIGQUIT,
    ILL = libc::SIGILL,
    TRAP = libc::SIGTRAP,
    ABRT = libc::SIGABRT,
    BUS = libc::SIGBUS,
    FPE = libc::SIGFPE,
    KILL = libc::SIGKILL,
    USR1 = libc::SIGUSR1,
    SEGV = libc::SIGSEGV,
    USR2 = libc::SIGUSR2,
    PIPE = libc::SIGPIPE,
    ALRM = libc::SIGALRM,
    TERM = libc::SIGTERM,
    // On every architecture that this crate supports; libc does not have it on all.
    STKFLT = 16,
    CHLD = libc::SIGCHLD,
    CONT = libc::SIGCONT,
    STOP = libc::SIGSTOP,
    TSTP = libc::SIGTSTP,
    TTIN = libc::SIGTTIN,
    TTOU = libc::SIGTTOU,
    URG = libc::SIGURG,
    XCPU = libc::SIGXCPU,
    XFSZ = libc::SIGXFSZ,
    VTALRM = libc::SIGVTALRM,
    PROF = libc::SIGPROF,
    WINCH = libc::SIGWINCH,
    IO = libc::SIGIO,
    POLL = libc::SIGPOLL,
    PWR = libc::SIGPWR,
    SYS = libc::SIGSYS,
}

/// `SIGTERM`, or `40` for a signal without a name.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.pad(&format!("SIG{name}")),
            None => f.pad(&self.0.to_string()),
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
