//! The kernel suite on other kernels: boots Debian's kernels in qemu, without acceleration, runs the suite there as root
//! and as an ordinary user, and prints a table of the outcome of each trial on each kernel.

mod debian;
mod machine;
mod options;
mod record;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::shell::{Failure, On, Result, command, missing, output};
use debian::Debian;
use options::Options;
use table::Table;

/// The exit code where the run was not possible.
const IMPOSSIBLE: u8 = 2;

fn give_up(why: impl Into<String>) -> Failure {
    Failure { message: format!("matrix: {}", why.into()), code: IMPOSSIBLE }
}

pub(crate) fn main(arguments: &[&str]) -> Result {
    let options = Options::parse(arguments).map_err(give_up)?;
    let lacks = missing(&options.arch.needs());
    if !lacks.is_empty() {
        return Err(give_up(format!("install first: {}", lacks.join(" "))));
    }
    let work = target_dir()?.join("matrix");
    for dir in ["kernels", "log"] {
        let dir = work.join(dir);
        fs::create_dir_all(&dir).on(&dir)?;
    }
    let commit = if options.records { record::commit()? } else { String::new() };
    let debian = Debian::new(&work, &options.arch)?;
    debian.make_root()?;
    for kernel in &options.kernels {
        debian.fetch_kernel(kernel)?;
    }
    machine::add_suite(&debian, &options)?;
    boot_all(&debian, &options)?;
    let logs: Vec<PathBuf> = options.kernels.iter().map(|kernel| debian.log(kernel)).collect();
    let table = read(&logs)?;
    print!("{table}");
    if table.failed() {
        return Err("".into());
    }
    if options.records {
        record::write("docs/kernels.md".as_ref(), &table, arguments, &commit)?;
    }
    Ok(())
}

/// The table of what machines wrote: of all trials, or with `-d` of those whose outcome differs.
pub(crate) fn show(arguments: &[&str]) -> Result {
    let (options, logs): (Vec<&str>, Vec<&str>) =
        arguments.iter().partition(|it| it.starts_with('-'));
    let mut table = read(&logs.iter().map(PathBuf::from).collect::<Vec<_>>())?;
    table.only_differing = options.contains(&"-d");
    print!("{table}");
    if table.failed() { Err("".into()) } else { Ok(()) }
}

fn read(logs: &[PathBuf]) -> Result<Table> {
    let mut table = Table::default();
    for log in logs {
        let text = fs::read(log).on(log)?;
        table.add(&String::from_utf8_lossy(&text));
    }
    Ok(table)
}

fn target_dir() -> Result<PathBuf> {
    let metadata =
        output(&mut command("cargo", ["metadata", "--format-version", "1", "--no-deps"]))?;
    let rest =
        metadata.split_once("\"target_directory\":\"").ok_or("cargo tells no target directory")?.1;
    Ok(Path::new(rest.split('"').next().unwrap_or_default()).to_owned())
}

/// As many machines at once as are wanted.
fn boot_all(debian: &Debian, options: &Options) -> Result {
    let waiting = Mutex::new(options.kernels.iter());
    let next = || waiting.lock().ok().and_then(|mut kernels| kernels.next());
    std::thread::scope(|scope| {
        let work = || std::iter::from_fn(next).try_for_each(|kernel| machine::boot(debian, kernel));
        let workers: Vec<_> = (0..options.jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err("a thread has panicked".into()))
        })
    })
}
