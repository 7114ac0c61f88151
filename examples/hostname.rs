//! The UTS namespace: a name of one's own.
//!
//! ```sh
//! cargo run --example hostname
//! ```
//!
//! Shows the machine's names as `uname(2)` tells them, gives this program a UTS namespace with another
//! name, and shows who sees which: this program, a program started from it, and a witness that stayed
//! outside. Needs no privileges: who is not root makes a user namespace, too.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, ExitCode};

use linux_namespaces::{Command, ErrorKind, Namespace, NamespaceSet, NsFd, Stdio, Unshare, uts};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    if let Err(error) = story() {
        eprintln!("hostname: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn story() -> Result {
    println!("This machine is called {}, its NIS domain {}.", uts::hostname()?, uts::domainname()?);
    let outside = NsFd::current(Namespace::Uts)?;
    println!("That is what UTS namespace {} says.", outside.id()?.ino);
    let mut witness = Witness::new()?;

    let other = Unshare::new(NamespaceSet::UTS).hostname("somewhere-else".parse()?);
    match other.apply() {
        // Only root may make a UTS namespace alone; anybody may make a user namespace that owns one.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => other.map_root().apply()?,
        answer => answer?,
    }

    let inside = NsFd::current(Namespace::Uts)?;
    println!("\nNow this program is in UTS namespace {}.", inside.id()?.ino);
    println!("uname(2) says here:          {}", uts::hostname()?);
    let output = Command::new("uname").arg("-n").output()?;
    print!("A program started here sees: {}", String::from_utf8_lossy(&output.stdout));
    println!("A witness outside sees:      {}", witness.ask()?);

    uts::set_hostname(&"renamed-again".parse()?)?;
    println!("\nWe rename the host.");
    println!("uname(2) says here:          {}", uts::hostname()?);
    println!("A witness outside sees:      {}", witness.ask()?);
    Ok(())
}

/// A process that stays in the namespaces of before, and tells the host's name whenever asked.
struct Witness {
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Witness {
    fn new() -> Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", "while read question; do uname -n; done"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let questions = child.stdin.take().ok_or("no pipe to the witness")?;
        let answers = child.stdout.take().ok_or("no pipe from the witness")?;
        Ok(Self { questions, answers: BufReader::new(answers) })
    }

    fn ask(&mut self) -> Result<String> {
        writeln!(self.questions, "which name?")?;
        let mut name = String::new();
        self.answers.read_line(&mut name)?;
        Ok(name.trim_end().to_owned())
    }
}
