//! What this kernel has, what this user may do with it, and what is in the way.
//!
//! ```sh
//! cargo run --example doctor
//! ```
//!
//! Tries to make a namespace of each kind in a throw-away child and asks for each interface that not
//! every kernel has. Then says what restricts this program (a sysctl, a chroot, a seccomp filter, a
//! missing capability, ...) and what to do about it. Run it where a program fails that needs
//! namespaces: as the same user, in the same container. Changes nothing and needs no privileges.

use std::error::Error;
use std::process::ExitCode;

use linux_namespaces::{Availability, Interface, Namespace, NsFd, Result, Support};

fn main() -> ExitCode {
    match Support::probe().and_then(|support| report(&support)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("doctor: {error:#}");
            for cause in error.causes() {
                eprintln!("  {cause}: {}", cause.remedy());
            }
            ExitCode::FAILURE
        }
    }
}

fn report(support: &Support) -> Result<()> {
    let uid = nix::unistd::geteuid();
    let user = NsFd::current(Namespace::User)?.id()?.ino;
    println!("Uid {uid} in user namespace {user}.");

    println!("\nNamespaces (and the Linux version that brought them)");
    for &kind in Namespace::ALL {
        let (major, minor) = kind.since();
        let since = format!("{major}.{minor}");
        println!("  {kind:30} {since:>5}   {}", verdict(support.availability(kind)));
    }

    println!("\nInterfaces");
    for &interface in Interface::ALL {
        let (major, minor) = interface.since();
        let since = format!("{major}.{minor}");
        let here = if support.has(interface) { "yes" } else { "no" };
        println!("  {interface:30} {since:>5}   {here}");
    }

    print_refusals(support);

    println!("\nWhat restricts this program");
    for cause in support.causes() {
        println!("  {cause}\n      {}", cause.remedy());
    }
    for advice in advice(support) {
        println!("  {advice}");
    }
    if support.causes().is_empty() && advice(support).is_empty() {
        println!("  nothing that can be seen from here");
    }
    Ok(())
}

/// One entry for all kinds that were refused for the same reason.
fn print_refusals(support: &Support) {
    let mut reasons: Vec<(Vec<&str>, String)> = Vec::new();
    for &kind in Namespace::ALL {
        let Availability::Denied(error) = support.availability(kind) else { continue };
        let why = error.source().map(|why| format!("{why}; ")).unwrap_or_default();
        let why = format!("{why}{}", error.explain().unwrap_or_default());
        match reasons.iter_mut().find(|(_, other)| *other == why) {
            Some((kinds, _)) => kinds.push(kind.name()),
            None => reasons.push((vec![kind.name()], why)),
        }
    }
    if !reasons.is_empty() {
        println!("\nWhat was refused");
    }
    for (kinds, why) in reasons {
        println!("  {}: {why}", kinds.join(", "));
    }
}

fn verdict(availability: &Availability) -> String {
    match availability {
        Availability::Available => "yes".to_owned(),
        Availability::WithUserNamespace => "yes, together with a user namespace".to_owned(),
        Availability::Missing => "no, this kernel has none".to_owned(),
        Availability::Denied(error) => {
            let number = error.raw_os_error().map(nix::errno::Errno::from_raw);
            match number {
                Some(number) => format!("no, {number:?}: see below"),
                None => "no: see below".to_owned(),
            }
        }
        other => format!("{other:?}"),
    }
}

/// What no file in /proc says.
fn advice(support: &Support) -> Vec<&'static str> {
    let mut all = Vec::new();
    if !support.has(Interface::Clone3) {
        all.push(
            "clone3 is hidden, as Docker's seccomp filter does it for containers without CAP_SYS_ADMIN: \
             programs are started with clone(2) instead",
        );
    }
    let missing = |kind| matches!(support.availability(kind), Availability::Missing);
    if Namespace::ALL.iter().copied().any(missing) {
        all.push("kinds of namespace are missing: the kernel's options CONFIG_*_NS bring them");
    }
    let refused = |kind| !support.availability(kind).is_available();
    if refused(Namespace::User) && refused(Namespace::Mount) {
        all.push("without user namespaces, making the others takes CAP_SYS_ADMIN: run as root");
    }
    all
}
