//! Discovery beside `lsns(8)`: 1,000 processes, each in a namespace of its own; and ten times as many, to
//! see that nothing grows faster than what there is to find. Making namespaces takes root.
//!
//! `cargo bench --bench discover`; `-- --test` takes a second and tells nothing.

#![allow(unsafe_code, reason = "the raw calls")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "plain calls on children of this process")]

mod common;

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::process::{Command, Stdio};

use linux_namespaces::{Discovery, Namespace, discover};

use common::{at_most, is_list, is_short, median, not_installed};

const KINDS: [i32; 3] = [libc::CLONE_NEWUTS, libc::CLONE_NEWIPC, libc::CLONE_NEWNET];

fn main() {
    if is_list() {
        return;
    }
    let (few, rounds) = if is_short() { (30, 1) } else { (1000, 21) };
    let mut sleepers = Sleepers(Vec::new());
    if let Err(error) = sleepers.grow(few) {
        println!("discover: left out, no namespaces can be made: {error}");
        return;
    }
    println!("medians of {rounds} rounds in turns, in milliseconds of processor time");
    let (mut ours, mut alike, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    let has_lsns = Command::new("lsns").arg("--version").output().is_ok();
    for _ in 0..rounds {
        ours.push(walk());
        alike.push(timed(libc::RUSAGE_SELF, || drop(Discovery::without_fds().unwrap())));
        theirs.extend(has_lsns.then(lsns));
    }
    let (one_tenth, alike) = (median(ours), median(alike));
    println!("{few} processes: {one_tenth:.2}, without descriptors {alike:.2}");
    if has_lsns {
        let theirs = median(theirs);
        let (whole, without) = (one_tenth / theirs, alike / theirs);
        println!("lsns: {theirs:.2}; ratio {whole:.3}, without descriptors {without:.3}");
        // Before 2.41 it does not look at descriptors.
        let ratio = if lsns_version() >= (2, 41) { whole } else { without };
        println!("for the same work: {ratio:.3}{}", at_most(ratio, 0.2));
    } else {
        println!("{}", not_installed("lsns", "util-linux"));
    }
    if Discovery::from_listns().is_ok() && has_lsns {
        let list = || timed(libc::RUSAGE_SELF, || drop(Discovery::from_listns().unwrap()));
        let listed = median((0..rounds).map(|_| list()).collect());
        let ratio = listed / median((0..rounds.min(5)).map(|_| lsns()).collect());
        println!("as the kernel lists them: {listed:.2}; ratio {ratio:.3}{}", at_most(ratio, 0.05));
    }
    sleepers.grow(few * 9).unwrap();
    let all = discover().unwrap();
    assert!(all.namespaces().len() >= 10 * few, "all were found");
    let ours = median((0..rounds).map(|_| walk()).collect());
    let ratio = ours / one_tenth;
    println!("{} processes: {ours:.2}; ratio {ratio:.2}{}", few * 10, at_most(ratio, 11.0));
    let kinds: BTreeSet<Namespace> = all.namespaces().map(|found| found.kind()).collect();
    assert_eq!(kinds.len(), 8);
}

/// Of `lsns from util-linux 2.38.1`.
fn lsns_version() -> (u32, u32) {
    let output = Command::new("lsns").arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.rsplit(' ').next().unwrap_or_default().split('.');
    let mut number = || numbers.next().and_then(|it| it.trim().parse().ok()).unwrap_or(0);
    (number(), number())
}

fn walk() -> f64 {
    timed(libc::RUSAGE_SELF, || drop(discover().unwrap()))
}

/// Version 2.38 gives up when a process ends under its eyes.
fn lsns() -> f64 {
    for _ in 0..20 {
        let mut done = false;
        let time = timed(libc::RUSAGE_CHILDREN, || {
            let status = Command::new("lsns").stdout(Stdio::null()).status().unwrap();
            done = status.success();
        });
        if done {
            return time;
        }
    }
    panic!("lsns does not succeed");
}

fn timed(whose: libc::c_int, work: impl FnOnce()) -> f64 {
    let before = processor_time(whose);
    work();
    processor_time(whose) - before
}

/// Of this process, or of its children that were waited for, in milliseconds: the machine's other work is
/// not in it.
fn processor_time(of: libc::c_int) -> f64 {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the kernel writes one struct rusage.
    assert_eq!(unsafe { libc::getrusage(of, usage.as_mut_ptr()) }, 0);
    // SAFETY: the call succeeded, so it wrote all of it.
    let usage = unsafe { usage.assume_init() };
    let millis = |time: libc::timeval| time.tv_sec as f64 * 1e3 + time.tv_usec as f64 / 1e3;
    millis(usage.ru_utime) + millis(usage.ru_stime)
}

/// Processes that do nothing, each in a new namespace of one of the kinds.
struct Sleepers(Vec<libc::pid_t>);

impl Sleepers {
    fn grow(&mut self, count: usize) -> io::Result<()> {
        let [reader, writer] = pipe()?;
        for kind in KINDS.into_iter().cycle().take(count) {
            // SAFETY: this process has one thread; the child calls nothing but the kernel.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: as above; the byte lives through the call.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    let answer = [u8::from(libc::unshare(kind) == 0)];
                    libc::write(writer, answer.as_ptr().cast(), 1);
                    libc::close(writer);
                    libc::close(reader);
                    loop {
                        libc::pause();
                    }
                }
            }
            self.0.push(pid);
            let mut answer = [0_u8];
            // SAFETY: room for one byte.
            unsafe { libc::read(reader, answer.as_mut_ptr().cast(), 1) };
            if answer != [1] {
                return Err(io::Error::from_raw_os_error(libc::EPERM));
            }
        }
        // SAFETY: made above, used by nobody else.
        unsafe {
            libc::close(reader);
            libc::close(writer);
        }
        Ok(())
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for pid in &self.0 {
            // SAFETY: children that nobody has waited for.
            unsafe {
                libc::kill(*pid, libc::SIGKILL);
                libc::waitpid(*pid, std::ptr::null_mut(), 0);
            }
        }
    }
}

fn pipe() -> io::Result<[libc::c_int; 2]> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    match unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } {
        0 => Ok(ends),
        _ => Err(io::Error::last_os_error()),
    }
}
