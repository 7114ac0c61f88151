//! How far the clocks of a time namespace are from those around it.

#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use crate::error::{Error, Result};

/// A clock that a time namespace has of its own. The wall clock is the same everywhere.
///
/// # Examples
///
/// ```
/// use linux_namespaces::Clock;
///
/// assert_eq!(Clock::Boottime.to_string(), "boottime");
/// ```
///
/// # References
///
/// [time_namespaces(7)](https://man7.org/linux/man-pages/man7/time_namespaces.7.html)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clock {
    /// `CLOCK_MONOTONIC`, and its coarse and raw forms.
    #[doc(alias = "CLOCK_MONOTONIC")]
    Monotonic,
    /// `CLOCK_BOOTTIME`, which `/proc/uptime` shows.
    #[doc(alias = "CLOCK_BOOTTIME")]
    Boottime,
}

impl Clock {
    const fn word(self) -> &'static str {
        match self {
            Self::Monotonic => "monotonic",
            Self::Boottime => "boottime",
        }
    }
}

/// The name of the clock in `/proc/PID/timens_offsets`.
impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What [`Display`](fmt::Display) prints.
impl FromStr for Clock {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        [Self::Monotonic, Self::Boottime].into_iter().find(|it| it.word() == word).ok_or_else(
            || {
                Error::invalid(format!(
                    "the clocks of a time namespace are monotonic and boottime, not {word:?}"
                ))
            },
        )
    }
}

/// What a clock in a time namespace shows more than the machine's own, or less.
///
/// # Examples
///
/// ```
/// use linux_namespaces::ClockOffset;
/// use std::time::Duration;
///
/// assert_eq!(ClockOffset::ahead(Duration::from_millis(1500))?.to_string(), "1 500000000");
/// // nanoseconds count forward, as the kernel has it
/// assert_eq!(ClockOffset::behind(Duration::from_millis(1500))?.to_string(), "-2 500000000");
/// assert!(ClockOffset::new(5_000_000_000, 0).is_err());
/// # Ok::<(), linux_namespaces::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClockOffset {
    seconds: i64,
    nanoseconds: u32,
}

impl ClockOffset {
    /// The most seconds, ahead or behind, that can make sense: the kernel's clocks show 0 to
    /// 4611686018 seconds in a time namespace, which is 146 years.
    pub const MAX_SECONDS: i64 = 4_611_686_018;

    /// `seconds` and `nanoseconds` more. Also with negative seconds the nanoseconds are added.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for more than
    /// [`MAX_SECONDS`](Self::MAX_SECONDS) either way, or a whole second of nanoseconds.
    pub fn new(seconds: i64, nanoseconds: u32) -> Result<Self> {
        let max = Self::MAX_SECONDS;
        if !(-max..=max).contains(&seconds) {
            return Err(Error::invalid(format!(
                "an offset of {seconds} s: the kernel's clocks go from 0 to {max} s"
            )));
        }
        if nanoseconds > 999_999_999 {
            return Err(Error::invalid(format!(
                "{nanoseconds} ns are more than a second: the kernel takes 0 to 999999999"
            )));
        }
        Ok(Self { seconds, nanoseconds })
    }

    /// The clock shows so much more.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    pub fn ahead(by: Duration) -> Result<Self> {
        Self::new(by.as_secs().try_into().unwrap_or(i64::MAX), by.subsec_nanos())
    }

    /// The clock shows so much less. It must not come out below zero: the kernel refuses that.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    pub fn behind(by: Duration) -> Result<Self> {
        let seconds = i64::try_from(by.as_secs()).map_or(i64::MIN, |seconds| -seconds);
        match by.subsec_nanos() {
            0 => Self::new(seconds, 0),
            nanoseconds => Self::new(seconds.saturating_sub(1), 1_000_000_000 - nanoseconds),
        }
    }

    /// The whole seconds, rounded down: negative if the clock is behind.
    #[must_use]
    pub const fn as_secs(&self) -> i64 {
        self.seconds
    }

    /// The nanoseconds that are added to the seconds.
    #[must_use]
    pub const fn subsec_nanos(&self) -> u32 {
        self.nanoseconds
    }
}

/// Seconds and nanoseconds, as in `/proc/PID/timens_offsets`.
impl fmt::Display for ClockOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.seconds, self.nanoseconds)
    }
}

/// What [`Display`](fmt::Display) prints, with any spaces between the numbers.
impl FromStr for ClockOffset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_ascii_whitespace();
        match [words.next(), words.next(), words.next()] {
            [Some(seconds), Some(nanoseconds), None] => {
                seconds.parse().ok().zip(nanoseconds.parse().ok())
            }
            _ => None,
        }
        .ok_or_else(|| {
            Error::invalid(format!("an offset is seconds and nanoseconds, not {text:?}"))
        })
        .and_then(|(seconds, nanoseconds)| Self::new(seconds, nanoseconds))
    }
}

/// The offsets of a new time namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TimeOffsets {
    monotonic: Option<ClockOffset>,
    boottime: Option<ClockOffset>,
}

impl TimeOffsets {
    pub(crate) fn set(&mut self, clock: Clock, offset: ClockOffset) {
        match clock {
            Clock::Monotonic => self.monotonic = Some(offset),
            Clock::Boottime => self.boottime = Some(offset),
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The text of `/proc/PID/timens_offsets`.
impl fmt::Display for TimeOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(Clock::Monotonic, self.monotonic), (Clock::Boottime, self.boottime)];
        all.into_iter()
            .filter_map(|(clock, offset)| Some((clock, offset?)))
            .try_for_each(|(clock, offset)| writeln!(f, "{clock} {offset}"))
    }
}
