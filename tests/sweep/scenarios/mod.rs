//! What is swept.

mod handles;
mod others;
mod spawn;
mod thread;

use std::{fs, io};

use linux_namespaces::{Child, Command, Enter, NamespaceSet};

use crate::machine::{Need, is_root};
use crate::stage;
use crate::subject::{Act, Answer, Changes};

/// One thing done with the crate.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [Need],
    /// Made once; it may hold what is to be there in all runs.
    pub(crate) make: fn() -> Act,
}

pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    [spawn::ALL, thread::ALL, handles::ALL, others::ALL].into_iter().flatten()
}

const fn scenario(name: &'static str, needs: &'static [Need], make: fn() -> Act) -> Scenario {
    Scenario { name, needs, make }
}

impl Act {
    fn new(work: impl Fn() -> Answer + 'static) -> Self {
        let changes = Changes::Nothing;
        Self { flags: 0, stage: Box::new(|| ()), changes, keeps: "", work: Box::new(work) }
    }

    fn staged(self, stage: impl Fn() + 'static) -> Self {
        Self { stage: Box::new(stage), ..self }
    }

    /// In new namespaces from the start.
    fn inside(self, flags: i32) -> Self {
        Self { flags, ..self }
    }

    fn keeping(self, keeps: &'static str) -> Self {
        Self { keeps, ..self }
    }

    /// Success changes the thread.
    fn changing(self) -> Self {
        Self { changes: Changes::IfDone, ..self }
    }

    /// Success makes this process something for others.
    fn becoming(self) -> Self {
        Self { changes: Changes::FlagsIfDone, ..self }
    }

    /// A failure, too.
    fn changing_in_any_case(self) -> Self {
        Self { changes: Changes::Always, ..self }
    }
}

/// A process in new namespaces, to be entered; killed at the end.
struct Place {
    child: Child,
    set: NamespaceSet,
}

impl Place {
    fn new(set: NamespaceSet) -> Self {
        let mut command = Command::new("sleep");
        command.arg("6000").unshare(set);
        if set.contains(NamespaceSet::USER) {
            command.map_root();
        }
        Self { child: command.spawn().unwrap_or_else(|error| panic!("{error:#}")), set }
    }

    fn enter(&self) -> Enter {
        Enter::new().process(self.child.pidfd().try_clone().unwrap(), self.set)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Mounts of this process's own, which root has in any case; as an ordinary user by way of a user namespace.
fn own_mounts() {
    // SAFETY: asks for numbers.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    if !is_root() {
        // SAFETY: this process has one thread.
        let made = unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWUSER) };
        assert_eq!(made, 0, "{}", io::Error::last_os_error());
        let [uids, gids] = [uid, gid].map(|id| format!("0 {id} 1"));
        for (file, text) in [("setgroups", "deny"), ("uid_map", &uids), ("gid_map", &gids)] {
            fs::write(format!("/proc/self/{file}"), text).unwrap();
        }
        stage::private();
    }
    stage::tmpfs("/tmp");
}
