//! What a later step needs, begun beside the steps before that: most suites keep one processor busy.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::suites;
use crate::shell::{Failure, On, Result, code, command};

type Job = fn() -> Result;

/// By name, since each is a process of its own: this program again.
const JOBS: &[(&str, Job)] = &[
    ("optimized", suites::build_optimized),
    ("portable", suites::build_portable),
    ("s390x", suites::on_s390x),
];

/// Jobs end with this: each sees the end of its standard input.
pub(super) struct Jobs {
    dir: PathBuf,
    begun: BTreeMap<&'static str, Child>,
}

impl Jobs {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, begun: BTreeMap::new() }
    }

    pub(super) fn begin(&mut self, name: &'static str) -> Result {
        let path = self.dir.join(name);
        let log = File::create(&path).on(&path)?;
        let mut job = command(std::env::current_exe()?, ["job", name]);
        job.stdin(Stdio::piped()).stderr(log.try_clone()?).stdout(log).process_group(0);
        self.begun.insert(name, job.spawn()?);
        Ok(())
    }

    /// Waits for its end, and shows what it printed.
    pub(super) fn end(&mut self, name: &'static str) -> Result {
        if !self.begun.contains_key(name) {
            self.begin(name)?;
        }
        let Some(mut job) = self.begun.remove(name) else { return Ok(()) };
        // The wait would close it.
        let stdin = job.stdin.take();
        let status = job.wait()?;
        drop(stdin);
        let path = self.dir.join(name);
        std::io::stdout().write_all(&fs::read(&path).on(&path)?)?;
        match code(status) {
            0 => Ok(()),
            code => Err(Failure { message: format!("{name}: {status}"), code }),
        }
    }
}

/// The process of a job, which leads a process group.
pub(crate) fn job(name: &str) -> Result {
    let (_, job) = JOBS.iter().find(|(known, _)| *known == name).ok_or("no such job")?;
    std::thread::spawn(|| {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        // With all that it started.
        command("sh", ["-c", "kill -TERM 0"]).status().ok();
    });
    job()
}

/// A command of a job, whose standard input is not for others.
pub(super) fn quiet(mut command: Command) -> Command {
    command.stdin(Stdio::null());
    command
}
