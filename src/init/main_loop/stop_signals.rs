//! What an init does with the signals that stop a job.

#![forbid(unsafe_code)]

use crate::init::policy::{Placement, Role};

/// What an init does with `SIGTSTP`, `SIGTTIN` or `SIGTTOU`: what it to_program to the program, and by what it to_self
/// itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StopAction {
    to_program: ToProgram,
    to_self: ToSelf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ToProgram {
    /// The terminal has sent it to the program, too.
    Nothing,
    /// What the policy says.
    Received,
    /// The same, but `SIGSTOP` for the signal itself: the kernel lets none of the three stop a session whose
    /// leader's parent is outside of it.
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ToSelf {
    Never,
    /// By the received signal, which the kernel ignores where no shell would continue us.
    Received,
    /// By `SIGSTOP`.
    Stop,
}

impl StopAction {
    /// The table of [`Init`](super::Init).
    pub(super) fn of(placement: Placement, role: Role, from_terminal: bool) -> Self {
        let to_program = match (placement, role) {
            (Placement::Same, _) if from_terminal => ToProgram::Nothing,
            (Placement::Session, Role::Subreaper | Role::Parent) => ToProgram::Stop,
            _ => ToProgram::Received,
        };
        let to_self = match role {
            // The kernel does not let it, nor would anybody learn of it.
            Role::First => ToSelf::Never,
            _ if from_terminal => ToSelf::Received,
            _ => ToSelf::Stop,
        };
        Self { to_program, to_self }
    }

    /// The signals for the program and for this process. `sent` is what the policy says.
    pub(super) fn signals(self, received: i32, sent: Option<i32>) -> (Option<i32>, Option<i32>) {
        let to_program = match self.to_program {
            ToProgram::Nothing => None,
            ToProgram::Received => sent,
            ToProgram::Stop if sent == Some(received) => Some(libc::SIGSTOP),
            ToProgram::Stop => sent,
        };
        // A policy that passes nothing on has the signal do nothing. One that passes on another signal leaves the
        // shell what it asked for, as dumb-init does.
        let concerns_us = self.to_program == ToProgram::Nothing || to_program.is_some();
        let to_self = match self.to_self {
            ToSelf::Never => None,
            ToSelf::Received => Some(received),
            ToSelf::Stop => Some(libc::SIGSTOP),
        };
        (to_program, to_self.filter(|_| concerns_us))
    }
}

pub(super) fn is_stop(signal: i32) -> bool {
    matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)
}

#[cfg(test)]
mod tests {
    use super::{Placement, Role, StopAction, ToProgram, ToSelf};

    #[test]
    fn the_table_of_stops() {
        use Placement::{Group, Same, Session};
        let received = (ToProgram::Received, ToSelf::Never);
        for (placement, role, from_terminal, (to_program, to_self)) in [
            (Same, Role::First, true, (ToProgram::Nothing, ToSelf::Never)),
            (Same, Role::First, false, received),
            (Group, Role::First, true, received),
            (Group, Role::First, false, received),
            (Session, Role::First, true, received),
            (Session, Role::First, false, received),
            (Same, Role::Parent, true, (ToProgram::Nothing, ToSelf::Received)),
            (Same, Role::Parent, false, (ToProgram::Received, ToSelf::Stop)),
            (Group, Role::Parent, true, (ToProgram::Received, ToSelf::Received)),
            (Group, Role::Parent, false, (ToProgram::Received, ToSelf::Stop)),
            (Session, Role::Parent, true, (ToProgram::Stop, ToSelf::Received)),
            (Session, Role::Parent, false, (ToProgram::Stop, ToSelf::Stop)),
        ] {
            let expected = StopAction { to_program, to_self };
            assert_eq!(StopAction::of(placement, role, from_terminal), expected, "{expected:?}");
            if role == Role::Parent {
                assert_eq!(StopAction::of(placement, Role::Subreaper, from_terminal), expected);
            }
        }
    }

    #[test]
    fn rewritten_stops() {
        let session = StopAction::of(Placement::Session, Role::Parent, false);
        let (tstp, stop, term) = (libc::SIGTSTP, libc::SIGSTOP, libc::SIGTERM);
        assert_eq!(session.signals(tstp, Some(tstp)), (Some(stop), Some(stop)));
        assert_eq!(session.signals(tstp, Some(libc::SIGTTIN)), (Some(libc::SIGTTIN), Some(stop)));
        assert_eq!(session.signals(tstp, Some(term)), (Some(term), Some(stop)));
        assert_eq!(session.signals(tstp, None), (None, None));
        // It was stopped, whatever the policy.
        let same = StopAction::of(Placement::Same, Role::Parent, true);
        assert_eq!(same.signals(tstp, None), (None, Some(tstp)));
    }
}
