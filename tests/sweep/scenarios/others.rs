//! An init of one's own, names, and what the kernel can do.

use std::os::fd::AsRawFd;

use linux_namespaces::{Command, Event, Hostname, Init, Interface, Signal, Support, uts};

use super::{Scenario, own_mounts, scenario};
use crate::machine::Need::{Root, UserNamespaces};
use crate::subject::{Act, Came, begin};

pub(super) const ALL: &[Scenario] = &[
    scenario("init::arm", &[], arm),
    scenario("init::armed", &[], armed),
    scenario("init::armed_in_a_session", &[], armed_in_a_session),
    scenario("init::armed_with_events", &[], events),
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
    run(|| Init::new().new_session())
}

/// By the caller's own loop.
fn events() -> Act {
    Act::new(|| {
        let mut command = Command::new("/bin/true");
        begin();
        let mut armed = Init::new().arm()?;
        let child = armed.spawn(&mut command)?;
        loop {
            let mut ready =
                libc::pollfd { fd: armed.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one of them.
            unsafe { libc::poll(&raw mut ready, 1, -1) };
            while let Some(event) = armed.next_event()? {
                if let Event::Ended { pid, status, .. } = event {
                    assert_eq!(pid, child.id());
                    return Ok(Came::Ended(status));
                }
            }
        }
    })
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

/// It says less where it is refused more, and never more.
fn probe() -> Act {
    Act::new(|| {
        let before = Support::probe().unwrap();
        begin();
        let after = Support::probe()?;
        let more = Interface::ALL.iter().any(|&it| after.has(it) && !before.has(it));
        let is_less = !more && before.available().contains(after.available());
        Ok(if is_less { Came::Done } else { Came::Incomplete })
    })
}
