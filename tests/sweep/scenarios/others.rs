//! An init of one's own, names, and what the kernel can do.

use linux_namespaces::{Command, Hostname, Init, Signal, Support, uts};

use super::{Scenario, own_mounts, scenario};
use crate::machine::Need::{Root, UserNamespaces};
use crate::subject::{Act, Came, begin};

pub(super) const ALL: &[Scenario] = &[
    scenario("init::arm", &[], arm),
    scenario("init::armed", &[], armed),
    scenario("init::armed_in_a_session", &[], armed_in_a_session),
    scenario("uts::names", &[Root], names),
    scenario("support::probe", &[UserNamespaces], probe),
];

fn run(init: fn() -> Init) -> Act {
    Act::new(move || {
        let mut command = Command::new("/bin/true");
        begin();
        let mut armed = init().arm()?;
        let child = armed.spawn(&mut command)?;
        armed.supervise(child).map(Came::Ended)
    })
}

fn arm() -> Act {
    Act::new(|| {
        begin();
        Init::new().subreaper().parent_death_signal(Signal::TERM).arm().map(|_| Came::Done)
    })
    // SAFETY: ignores a signal.
    .staged(|| unsafe { _ = libc::signal(libc::SIGCHLD, libc::SIG_IGN) })
    .becoming()
}

fn armed() -> Act {
    run(|| Init::new().subreaper()).keeping("prctl")
}

fn armed_in_a_session() -> Act {
    run(|| Init::new().session())
}

fn names() -> Act {
    Act::new(|| {
        let name: Hostname = "sweep".parse().unwrap();
        begin();
        uts::hostname()?;
        uts::set_hostname(&name)?;
        uts::set_domainname(&name)?;
        uts::domainname().map(|_| Came::Done)
    })
    .staged(|| {
        own_mounts();
        // SAFETY: this process alone.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWUTS) }, 0);
    })
}

/// It says less where it is refused more.
fn probe() -> Act {
    Act::new(|| {
        begin();
        Support::probe().map(|_| Came::Done)
    })
}
