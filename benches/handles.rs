//! Handles of namespaces, and entering them on a thread, beside the raw calls. Entering takes root;
//! what the kernel refuses is left out, with the reason.
//!
//! After criterion's figures comes a table of calls that took turns, which is what the ratios are to be
//! read from; `cargo bench --bench handles -- table` prints just that. `-- --test` and `-- --quick`
//! take seconds.

#![allow(unsafe_code, reason = "the raw calls")]

mod common;

use std::ffi::CStr;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::thread;
use std::time::Duration;

use criterion::Criterion;
use linux_namespaces::{Namespace, NamespaceSet, NsFd, PidFd, Result, Unshare};
use rustix::ioctl::{Opcode, opcode};

use common::{at_most, in_turns, is_list, is_short};

/// This crate's way and the raw one to the same effect.
struct Pair {
    name: String,
    ours: Box<dyn FnMut()>,
    raw: Box<dyn FnMut()>,
    /// How many calls are timed together, so that the clock is small beside them.
    batch: u32,
    /// The most that ours may cost, in raw calls.
    limit: Option<f64>,
}

fn main() {
    let mut pairs = asking();
    pairs.extend(KINDS.into_iter().flat_map(entering));
    let mut criterion = Criterion::default().configure_from_args();
    for Pair { name, ours, raw, .. } in &mut pairs {
        let mut group = criterion.benchmark_group(name.as_str());
        group.sample_size(20).warm_up_time(Duration::from_millis(200));
        group.measurement_time(Duration::from_secs(1));
        group.bench_function("this crate", |b| b.iter(&mut *ours));
        group.bench_function("raw calls", |b| b.iter(&mut *raw));
        group.finish();
    }
    criterion.final_summary();
    if !is_list() {
        table(&mut pairs);
    }
}

fn table(pairs: &mut [Pair]) {
    let rounds = if is_short() { 2 } else { 2000 };
    println!("\nmedians in microseconds of {rounds} rounds in turns");
    println!("{:24}{:>8}{:>8}{:>8}", "", "ours", "raw", "ratio");
    for Pair { name, ours, raw, batch, limit } in pairs {
        let [ours, raw] = in_turns(rounds, *batch, ours, raw);
        let ratio = ours / raw;
        let goal = limit.map_or_else(String::new, |limit| at_most(ratio, limit));
        println!("{name:24}{ours:8.2}{raw:8.2}{ratio:8.3}{goal}");
    }
}

/// A kind of namespace that any thread can enter, with its `clone(2)` flag and its file.
type Kind = (Namespace, i32, &'static CStr);

const KINDS: [Kind; 2] = [
    (Namespace::Uts, libc::CLONE_NEWUTS, c"/proc/thread-self/ns/uts"),
    (Namespace::Net, libc::CLONE_NEWNET, c"/proc/thread-self/ns/net"),
];
/// `NS_GET_ID` and `PIDFD_GET_UTS_NAMESPACE`, which libc lacks.
const GET_ID: Opcode = opcode::read::<u64>(0xb7, 13);
const GET_UTS: Opcode = opcode::none(0xff, 10);

fn pair<A, B>(
    name: impl Into<String>,
    mut ours: impl FnMut() -> A + 'static,
    mut raw: impl FnMut() -> B + 'static,
) -> Pair {
    let ours = Box::new(move || drop(black_box(ours())));
    let raw = Box::new(move || drop(black_box(raw())));
    Pair { name: name.into(), ours, raw, batch: 16, limit: None }
}

/// What takes no privileges.
fn asking() -> Vec<Pair> {
    let mut pairs = Vec::from(KINDS.map(|(kind, _, path)| {
        let ours = move || NsFd::current(kind).unwrap();
        pair(format!("current {kind}"), ours, move || close(open(path)))
    }));
    let current = || NsFd::current(Namespace::Uts).unwrap();
    let (one, other) = (current(), current());
    pairs.push(pair("id", move || one.id().unwrap(), move || inode(other.as_raw_fd())));
    let (one, other) = (current(), current());
    match one.unique_id() {
        Ok(Some(_)) => {
            let ours = move || one.unique_id().unwrap();
            pairs.push(pair("unique_id", ours, move || unique_id(other.as_raw_fd())));
        }
        answer => println!("unique_id: left out, the kernel answers {answer:?}"),
    }
    let [one, other] = [PidFd::current().unwrap(), PidFd::current().unwrap()];
    if get_uts(other.as_raw_fd()) < 0 {
        println!("of_process: left out, a pidfd of this kernel does not tell");
    } else {
        let ours = move || NsFd::of_process(&one, Namespace::Uts).unwrap();
        pairs.push(pair("of_process", ours, move || close(get_uts(other.as_raw_fd()))));
    }
    pairs
}

/// Into another namespace of this kind, and back.
fn entering((kind, flag, path): Kind) -> Vec<Pair> {
    let other = match another(kind) {
        Ok(other) => other,
        Err(error) => {
            println!("entering {kind}: left out, {error:#}");
            return Vec::new();
        }
    };
    // The handles live as long as the bench.
    let other: &'static NsFd = Box::leak(Box::new(other));
    let own: &'static NsFd = Box::leak(Box::new(NsFd::current(kind).unwrap()));
    let (there, here) = (other.as_raw_fd(), own.as_raw_fd());
    let enter = pair(
        format!("enter {kind}"),
        // One's own, so that the next measurement starts at home.
        || own.enter().unwrap(),
        move || setns(here, flag),
    );
    let mut scoped = pair(
        format!("scoped {kind} and leave"),
        || other.scoped().unwrap().leave().unwrap(),
        move || {
            let back = open(path);
            setns(there, flag);
            setns(back, flag);
            close(back);
        },
    );
    scoped.limit = Some(1.05);
    let mut run = pair(
        format!("run in {kind} on a thread"),
        || other.run(|| 1).unwrap(),
        move || {
            let work = move || {
                setns(there, flag);
                1
            };
            thread::spawn(work).join().unwrap()
        },
    );
    run.batch = 1;
    vec![enter, scoped, run]
}

/// A new namespace, kept by its handle.
fn another(kind: Namespace) -> Result<NsFd> {
    let make = move || {
        Unshare::new(NamespaceSet::from(kind)).apply()?;
        NsFd::current(kind)
    };
    thread::spawn(make).join().unwrap()
}

fn open(path: &CStr) -> RawFd {
    // SAFETY: a C string; no mode is read without O_CREAT.
    unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) }
}

/// For what `open` and `get_uts` answered.
fn close(fd: RawFd) {
    // SAFETY: the descriptor was made by the caller and is used by nobody else.
    assert_eq!(unsafe { libc::close(fd) }, 0);
}

fn setns(fd: RawFd, flag: i32) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::setns(fd, flag) }, 0);
}

fn inode(fd: RawFd) -> libc::ino_t {
    let mut about = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes one struct stat.
    assert_eq!(unsafe { libc::fstat(fd, about.as_mut_ptr()) }, 0);
    // SAFETY: the call succeeded, so it wrote all of it.
    unsafe { about.assume_init() }.st_ino
}

fn unique_id(fd: RawFd) -> u64 {
    let mut id = 0_u64;
    // SAFETY: the number says that the kernel writes 8 bytes.
    assert_eq!(unsafe { libc::syscall(libc::SYS_ioctl, fd, GET_ID as usize, &raw mut id) }, 0);
    id
}

/// A new descriptor, or -1.
fn get_uts(pidfd: RawFd) -> RawFd {
    // SAFETY: the call takes no argument.
    let answer = unsafe { libc::syscall(libc::SYS_ioctl, pidfd, GET_UTS as usize, 0) };
    RawFd::try_from(answer).unwrap()
}
