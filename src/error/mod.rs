//! What went wrong: at which step, on what, why, and what to do.

#![forbid(unsafe_code)]

pub(crate) mod explain;
mod step;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use crate::namespace::{Namespace, NamespaceSet};
use crate::sys::Errno;

pub use step::Step;

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What this crate's calls answer when they fail.
///
/// It says which [step](Self::step) failed and on what; its [source](std::error::Error::source) is
/// the kernel's answer; [`explain`](Self::explain) says what that answer usually means at that step
/// and what to do. `{}` prints the first of these, `{:#}` all three on one line.
///
/// # Examples
///
/// ```
/// use linux_namespaces::{ErrorKind, Hostname, NsFd};
///
/// let error = Hostname::new("x".repeat(65)).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
///
/// let error = NsFd::open("/no/such/file").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.to_string(), "cannot open the namespace file \"/no/such/file\"");
/// ```
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct Error(pub(crate) Box<Repr>);

/// Its `source` field is the kernel's answer. What it prints, with the explanation, is in `diagnosis.rs`.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Repr {
    pub(crate) kind: ErrorKind,
    pub(crate) step: Option<Step>,
    pub(crate) namespace: Option<Namespace>,
    /// All that were asked for, where it is known.
    pub(crate) namespaces: NamespaceSet,
    path: Option<PathBuf>,
    message: Cow<'static, str>,
    pub(crate) errno: Option<Errno>,
    pub(crate) source: Option<io::Error>,
}

/// What kind of failure an [`Error`] is, for a program to decide on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The value cannot be right: the kernel was not asked.
    InvalidInput,
    /// A file or program is not there (`ENOENT`, `ENOTDIR`).
    NotFound,
    /// Something is there already (`EEXIST`).
    AlreadyExists,
    /// The file, or the descriptor, is none of a namespace, or one of another kind.
    NotANamespace,
    /// The process has ended, or never was (`ESRCH`).
    ProcessGone,
    /// A privilege is missing, or a policy forbids it (`EPERM`, `EACCES`).
    PermissionDenied,
    /// The kernel refuses this to a process that has several threads.
    Multithreaded,
    /// The kernel lacks the interface, or a filter hides it (`ENOSYS`, `ENOTTY`, `EOPNOTSUPP`).
    Unsupported,
    /// A limit is reached: of namespaces, processes, descriptors (`ENOSPC`, `EAGAIN`, `EMFILE`,
    /// `ENFILE`, `EUSERS`).
    LimitReached,
    /// What is mounted on `/proc` is not the kernel's process file system, or not all of it.
    UntrustedProc,
    /// The child was killed before it could run the program, or the helper that writes its id maps.
    ChildDied,
    /// The thread could not be brought back to where it was.
    NotRestored,
    /// Anything else that the kernel answers: see [`Error::raw_os_error`].
    Os,
}

impl Error {
    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done, if the kernel was asked at all.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        self.0.step
    }

    /// The kind of namespace concerned, if it was one.
    #[must_use]
    pub fn namespace(&self) -> Option<Namespace> {
        self.0.namespace
    }

    /// The file concerned, if it was one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The kernel's error number.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.errno.map(Errno::raw_os_error)
    }

    pub(crate) fn errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// The kernel refused `step`.
    #[cold]
    #[inline(never)]
    pub(crate) fn os(step: Step, errno: Errno) -> Self {
        Self(Box::new(Repr {
            kind: explain::kind(step, errno),
            step: Some(step),
            namespace: None,
            namespaces: NamespaceSet::empty(),
            path: None,
            message: Cow::Borrowed(""),
            errno: Some(errno),
            source: Some(errno.into()),
        }))
    }

    /// Something is wrong that no error number of the kernel says.
    #[cold]
    #[inline(never)]
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Repr {
            kind,
            step: None,
            namespace: None,
            namespaces: NamespaceSet::empty(),
            path: None,
            message: message.into(),
            errno: None,
            source: None,
        }))
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    pub(crate) fn at_step(mut self, step: Step) -> Self {
        self.0.step = Some(step);
        self
    }

    /// On a kind of namespace.
    pub(crate) fn of(mut self, namespace: Namespace) -> Self {
        self.0.namespace = Some(namespace);
        self
    }

    /// The namespaces that were asked for, for the causes.
    pub(crate) fn concerning(mut self, namespaces: NamespaceSet) -> Self {
        self.0.namespaces = namespaces;
        self
    }

    pub(crate) fn at(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.path = Some(path.into());
        self
    }

    /// More words on the object of the step.
    pub(crate) fn on(mut self, words: impl Into<Cow<'static, str>>) -> Self {
        self.0.message = words.into();
        self
    }
}

impl Repr {
    /// The first of what `{:#}` prints.
    pub(crate) fn sentence(&self) -> String {
        let mut text = match self.step {
            Some(step) if self.errno.is_some() => format!("cannot {step}"),
            _ => self.message.to_string(),
        };
        if self.errno.is_some() && !self.message.is_empty() {
            text.push(' ');
            text.push_str(&self.message);
        }
        if let Some(path) = &self.path {
            text.push_str(&format!(" {path:?}"));
        }
        if let Some(namespace) = self.namespace.filter(|_| self.errno.is_some()) {
            text.push_str(&format!(" ({namespace})"));
        }
        text
    }
}

/// Keeps the kind; the error is the inner one, so nothing is lost.
///
/// # Examples
///
/// ```
/// use linux_namespaces::NsFd;
/// use std::io;
///
/// fn open() -> io::Result<NsFd> {
///     Ok(NsFd::open("/no/such/file")?)
/// }
/// assert_eq!(open().unwrap_err().kind(), io::ErrorKind::NotFound);
/// ```
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match (error.0.errno, error.0.kind) {
            (Some(errno), _) => errno.kind(),
            (None, ErrorKind::InvalidInput | ErrorKind::NotANamespace) => {
                io::ErrorKind::InvalidInput
            }
            (None, ErrorKind::Unsupported) => io::ErrorKind::Unsupported,
            (None, ErrorKind::NotFound | ErrorKind::ProcessGone) => io::ErrorKind::NotFound,
            (None, _) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Adds the step to what a system call answers.
pub(crate) trait AtStep<T> {
    fn at_step(self, step: Step) -> Result<T>;
}

impl<T> AtStep<T> for core::result::Result<T, Errno> {
    fn at_step(self, step: Step) -> Result<T> {
        self.map_err(|errno| Error::os(step, errno))
    }
}
