//! Which traits the public types have: what does not compile fails.

use std::error::Error as StdError;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::panic::UnwindSafe;
use std::str::FromStr;

use linux_namespaces::{
    Availability, Cause, Child, Clock, ClockOffset, Command, Discovery, Enter, EnterGuard, Error,
    ErrorKind, Event, Gap, HidePid, Holder, Holders, Hostname, IdExtent, IdMap, Init, Interface,
    Mount, Namespace, NamespaceInfo, NamespaceSet, NsFd, NsFileHandle, NsId, Overlay, PidFd,
    PinDir, PinState, Pinned, Plan, ProcessInfo, Propagation, RemainingProcesses, Rootfs,
    Setgroups, Signal, Stdio, Step, SubIds, Supervisor, Support, Unshare, Verbosity,
};

/// `each!(has::<A + B>: X, Y)` holds if X and Y have these traits.
macro_rules! each {
    ($($bound:path),+ ; $($type:ty),+ $(,)?) => {
        const _: () = {
            const fn has<T: $($bound +)+ ?Sized>() {}
            $(has::<$type>();)+
        };
    };
}

// Of the thread that entered, or that blocks the signals.
each!(Debug; EnterGuard, Supervisor);

each!(
    Debug, Send, Sync;
    Availability, Cause, Child, Clock, ClockOffset, Command, Discovery, Enter, Error, ErrorKind, Event, Gap,
    HidePid, Holder, Holders, Hostname, IdExtent, IdMap, Init, Interface, Mount, Namespace, NamespaceInfo,
    NamespaceSet, NsFd, NsFileHandle, NsId, Overlay, PidFd, PinDir, PinState, Pinned, Plan, ProcessInfo,
    Propagation, RemainingProcesses, Rootfs, Setgroups, Signal, Stdio, Step, SubIds, Support, Unshare, Verbosity,
);

// Those without a descriptor or an error inside.
each!(
    Clone, PartialEq, Eq;
    Cause, Clock, ClockOffset, ErrorKind, Event, Gap, HidePid, Holder, Holders, Hostname, IdExtent, IdMap,
    Interface, Mount, Namespace, NamespaceInfo, NamespaceSet, NsFileHandle, NsId, Overlay, PinState, ProcessInfo,
    Propagation, RemainingProcesses, Rootfs, Setgroups, Signal, Step, SubIds, Verbosity,
);
each!(
    Hash;
    Cause, Clock, ClockOffset, ErrorKind, Gap, HidePid, Holder, Hostname, IdExtent, IdMap, Interface, Mount,
    Namespace, NamespaceSet, NsFd, NsFileHandle, NsId, Overlay, PidFd, PinState, ProcessInfo, Propagation,
    RemainingProcesses, Rootfs, Setgroups, Signal, Step, SubIds, Verbosity,
);
each!(Eq; NsFd, PidFd);
each!(Ord; ClockOffset, Interface, Namespace, NamespaceSet, NsId, Signal, Verbosity);
each!(Clone; Discovery, Enter, Init, Unshare);
each!(Default; ClockOffset, Enter, Init, NamespaceSet, Propagation, RemainingProcesses, SubIds, Unshare, Verbosity);

each!(
    Display, FromStr;
    Clock, ClockOffset, HidePid, Hostname, IdExtent, IdMap, Namespace, NamespaceSet, NsFileHandle, NsId,
    Propagation, Setgroups, Signal,
);
each!(Display; Cause, Error, Gap, Holder, Interface, Mount, Plan, Step, SubIds);
each!(StdError; Error);
each!(Into<std::io::Error>; Error);

each!(AsFd, AsRawFd; Child, NsFd, PidFd, PinDir, Supervisor);
each!(Into<OwnedFd>, TryFrom<OwnedFd>, IntoRawFd; NsFd, PidFd);
each!(
    Into<Stdio>;
    OwnedFd, std::fs::File, std::io::Stdout, std::io::Stderr, std::process::ChildStdin,
    std::process::ChildStdout, std::process::ChildStderr,
);
each!(UnwindSafe; NsFd, PidFd, Pinned, PinDir, Child, Mount, Rootfs, Unshare, Enter, Discovery);

/// Ambiguous, and so no program, for a type that has the trait.
macro_rules! none {
    ($bound:path ; $($type:ty),+) => {
        $(const _: fn() = || {
            trait IfNot<A> {
                fn check() {}
            }
            impl<T: ?Sized> IfNot<()> for T {}
            struct Has;
            impl<T: ?Sized + $bound> IfNot<Has> for T {}
            <$type as IfNot<_>>::check();
        };)+
    };
}

none!(Send; EnterGuard, Supervisor);
none!(Sync; EnterGuard, Supervisor);
