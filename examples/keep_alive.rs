//! When is a namespace destroyed? When nobody is in it and nobody holds it.
//!
//! ```sh
//! cargo run --example keep_alive
//! ```
//!
//! A UTS namespace loses its last process, is kept by an `NsFd` alone, then by a bind mount alone, is used once
//! more each time, and is gone when it is unpinned and the handle is dropped. Proven, not claimed: a user namespace is told to allow a single UTS
//! namespace, so that a second one can be made if and only if the first is gone. Needs no privileges.

use std::io::{BufRead, BufReader};
use std::process::ExitCode;

use linux_namespaces::{
    Command, Enter, ErrorKind, Namespace, NamespaceSet, NsFd, Pinned, Stdio, Unshare,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    if let Err(error) = story() {
        eprintln!("keep_alive: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn story() -> Result {
    // Mounts of our own, which an ordinary user may change, too.
    Unshare::new(NamespaceSet::USER | NamespaceSet::MOUNT).map_root().apply()?;
    // The place of the proof: a user namespace in which root allows one UTS namespace and no more.
    let limit = "echo 1 > /proc/sys/user/max_uts_namespaces && echo ready && cat";
    let mut warden = Command::new("sh");
    warden.args(["-c", limit]).map_root().stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut warden = warden.spawn()?;
    let answers = warden.stdout.take().ok_or("no pipe from the shell that sets the limit")?;
    let ready = BufReader::new(answers).lines().next().transpose()?;
    if ready.as_deref() != Some("ready") {
        return Err("the limit could not be set, so there is no proof".into());
    }
    let here = || -> Result<Enter> {
        Ok(Enter::new().process(warden.pidfd().try_clone()?, NamespaceSet::USER))
    };

    let mut first = Command::new("sleep");
    first.arg("60").enter(here()?).hostname("kept".parse()?).kill_on_parent_exit();
    let mut first = first.spawn()?;
    let handle = first.namespace(Namespace::Uts)?;
    println!("A process is in UTS namespace {}.", handle.id()?.ino);

    first.kill()?;
    first.wait()?;
    println!("It has ended, and been waited for. Nobody is in the namespace.");
    print!("Can a second one be made where one is allowed? ");
    tell(second(here()?)?, Answer::StillThere)?;

    println!("We hold the first, so we can go back to it. Its name: {}", name(here()?, &handle)?);
    print!("The same question again, while we hold it: ");
    tell(second(here()?)?, Answer::StillThere)?;

    let dir = tempfile::tempdir()?;
    let pinned = handle.pin(dir.path().join("first"))?;
    println!("We pin it at {} and drop the handle.", pinned.path().display());
    pinned.keep();
    drop(handle);
    print!("The same question, while nothing but a mount refers to it: ");
    tell(second(here()?)?, Answer::StillThere)?;
    let pinned = Pinned::open(dir.path().join("first"))?;
    println!(
        "Whoever knows the path can go there. Its name: {}",
        name(here()?, pinned.namespace())?
    );

    pinned.unpin()?;
    println!("We unpin it.");
    print!("The same question: ");
    tell(second(here()?)?, Answer::Gone)?;

    drop(warden.stdin.take());
    warden.wait()?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    StillThere,
    Gone,
}

/// Prints what was observed; an error if it is not what the header of this file says.
fn tell(observed: Answer, expected: Answer) -> Result {
    println!(
        "{}",
        match observed {
            Answer::StillThere => "no, the first still exists.",
            Answer::Gone => "yes, the first is gone.",
        }
    );
    if observed == expected { Ok(()) } else { Err("that is not what was to be shown".into()) }
}

/// The hostname in a UTS namespace, as a program in there sees it.
fn name(here: Enter, namespace: &NsFd) -> Result<String> {
    let inside = here.namespace(namespace.try_clone()?);
    let output = Command::new("uname").arg("-n").enter(inside).output()?;
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// Tries to make another UTS namespace, for a program that ends at once.
fn second(here: Enter) -> Result<Answer> {
    match Command::new("true").enter(here).unshare(NamespaceSet::UTS).status() {
        Ok(_) => Ok(Answer::Gone),
        Err(error) if error.kind() == ErrorKind::LimitReached => Ok(Answer::StillThere),
        Err(error) => Err(error.into()),
    }
}
