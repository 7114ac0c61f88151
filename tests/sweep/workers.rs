//! Several processes that sweep, each with one thread and tracees of its own.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::FromRawFd;
use std::time::Instant;

use crate::scenarios::Scenario;
use crate::sweep::{self, Tally};

/// Sweeps all; the next one goes to who is free.
pub(crate) fn sweep_all(scenarios: &[&Scenario], workers: usize, part: usize) -> Tally {
    let (next, mut queue) = std::io::pipe().unwrap();
    let numbers: Vec<u8> = (0..scenarios.len()).map(|at| at.try_into().unwrap()).collect();
    queue.write_all(&numbers).unwrap();
    drop(queue);
    let mut workers: Vec<_> = (0..workers)
        .map(|_| {
            let answers = unnamed_file();
            // SAFETY: this process has one thread, so the child may do anything.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                work(&next, &answers, scenarios, part);
            }
            (pid, answers)
        })
        .collect();
    let mut all = Tally::default();
    for (pid, answers) in &mut workers {
        let mut status = 0;
        // SAFETY: a child of ours; the timer's signal interrupts the wait.
        while unsafe { libc::waitpid(*pid, &raw mut status, 0) } != *pid {}
        let mut text = String::new();
        answers.rewind().unwrap();
        answers.read_to_string(&mut text).unwrap();
        all.add(Tally::parse(&text));
        if status != 0 {
            let failure = format!("a process that sweeps ended with {status:#x}");
            println!("wrong: {failure}");
            all.failures.push(failure);
        }
    }
    all
}

fn unnamed_file() -> File {
    // SAFETY: a C string, and a descriptor that the kernel has just made.
    unsafe {
        let fd = libc::memfd_create(c"sweep".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        File::from_raw_fd(fd)
    }
}

fn work(
    mut next: &std::io::PipeReader,
    mut answers: &File,
    scenarios: &[&Scenario],
    part: usize,
) -> ! {
    let mut number = [0];
    let mut failed = 0;
    while matches!(next.read(&mut number), Ok(1)) {
        let scenario = scenarios[usize::from(number[0])];
        // What one finds out of the kernel and keeps, such as whether /proc is to be believed, the next one is
        // to ask again: else its calls depend on who came before.
        // SAFETY: this process has one thread, so the child may do anything.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            crate::prepare();
            let begin = Instant::now();
            let tally = sweep::sweep(scenario, part);
            println!("{}: {}; {:.1} s", scenario.name, tally.line(), begin.elapsed().as_secs_f64());
            tally.unlisted.iter().for_each(|it| println!("not listed: {it}"));
            tally.failures.iter().for_each(|it| println!("wrong: {it}"));
            answers.write_all(tally.print().as_bytes()).unwrap();
            // SAFETY: ends the process without what the test binary registered for its end.
            unsafe { libc::_exit(0) }
        }
        let mut status = 0;
        // SAFETY: a child of ours.
        while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {}
        if status != 0 {
            println!("wrong: {}: the process that sweeps it ended with {status:#x}", scenario.name);
            failed = 1;
        }
    }
    // SAFETY: as above.
    unsafe { libc::_exit(failed) }
}
