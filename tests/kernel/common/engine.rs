//! The ways in which a spawn makes its child.

use linux_namespaces::{Command, NamespaceSet};

use super::fork::in_fork;
use super::kernel;
use super::machine::Need::UserNamespaces;
use super::machine::{SHARES_MEMORY, is_root};
use super::program::Held;

/// The ways in which a child is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// It shares the parent's memory.
    Sharing,
    /// It has a copy, because the caller's code runs in it.
    Copying,
    /// It shares, and is made by an intermediate process that entered a namespace.
    SharingInside,
    /// It has a copy, and is made by an intermediate process that entered a user namespace.
    CopyingInside,
}

use Engine::{Copying, CopyingInside, Sharing, SharingInside};

pub(crate) const ALL: &[Engine] = &[Sharing, Copying, SharingInside, CopyingInside];
/// For id maps, which an entered user namespace excludes.
pub(crate) const FRESH: &[Engine] = &[Sharing, Copying];
/// For a change of ids, which takes a copy.
pub(crate) const COPIES: &[Engine] = &[Copying, CopyingInside];

impl Engine {
    pub(crate) fn is_available(self) -> bool {
        match self {
            Sharing | Copying => true,
            SharingInside => is_root(),
            CopyingInside => UserNamespaces.missing().is_none(),
        }
    }

    /// Something to be entered, where this engine enters.
    pub(crate) fn place(self) -> Option<Held> {
        match self {
            Sharing | Copying => None,
            SharingInside => Some(Held::new(NamespaceSet::UTS)),
            CopyingInside => Some(Held::new(NamespaceSet::UTS | NamespaceSet::USER)),
        }
    }

    /// Has the command carried out this way.
    pub(crate) fn choose(self, command: &mut Command, place: Option<&Held>) {
        if let Some(place) = place {
            command.enter(place.enter_all());
        }
        if self == Copying {
            // SAFETY: does nothing.
            unsafe { command.pre_exec(|| Ok(())) };
        }
        let Ok(plan) = command.plan() else {
            return;
        };
        let shares = plan.to_string().contains("sharing the parent's memory");
        assert_eq!(shares, SHARES_MEMORY && matches!(self, Sharing | SharingInside), "{plan}");
    }
}

pub(crate) fn available(engines: &[Engine]) -> impl Iterator<Item = Engine> {
    engines.iter().copied().filter(|engine| engine.is_available())
}

pub(crate) fn each_engine(work: impl Fn(&dyn Fn(&mut Command))) {
    for engine in FRESH.iter().copied() {
        work(&move |command| engine.choose(command, None));
    }
    in_fork(|| {
        kernel::refuse(libc::SYS_clone3, libc::ENOSYS);
        work(&|command| Sharing.choose(command, None));
    });
}
