//! Handles of namespaces, and entering them on a thread, beside the raw calls.
//!
//! `cargo bench --bench handles` also prints a table of medians of calls that took turns. Entering takes
//! root; what is refused is left out, with the reason. `-- --test` runs each once.

#![allow(unsafe_code, reason = "the raw calls")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "a bench"
)]
#![allow(unreachable_pub, reason = "modules of this bench alone")]

mod common;

use std::hint::black_box;

use criterion::Criterion;
use linux_namespaces::{Namespace, NsFd, PidFd};

use common::{is_short, medians, micros, ratio};

const UTS: &std::ffi::CStr = c"/proc/thread-self/ns/uts";

fn open() -> i32 {
    unsafe { libc::open(UTS.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) }
}

fn close(fd: i32) {
    unsafe { libc::close(fd) };
}

fn setns(fd: i32) {
    assert_eq!(unsafe { libc::setns(fd, libc::CLONE_NEWUTS) }, 0);
}

fn fstat(fd: i32) -> u64 {
    unsafe {
        let mut about = std::mem::zeroed::<libc::stat>();
        libc::fstat(fd, &raw mut about);
        about.st_ino
    }
}

fn current() -> NsFd {
    NsFd::current(Namespace::Uts).unwrap()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let namespace = current();
    let me = PidFd::current().unwrap();
    let fd = open();
    let may_enter = namespace.enter();

    criterion.bench_function("current: this crate", |b| b.iter(|| black_box(current())));
    criterion.bench_function("current: open and close", |b| b.iter(|| close(open())));
    criterion.bench_function("of_process: this crate", |b| {
        b.iter(|| NsFd::of_process(&me, Namespace::Uts).unwrap());
    });
    criterion.bench_function("id: this crate", |b| b.iter(|| namespace.id().unwrap()));
    criterion.bench_function("id: fstat", |b| b.iter(|| fstat(fd)));
    match &may_enter {
        Err(error) => println!("entering is left out: {error:#}"),
        Ok(()) => {
            criterion
                .bench_function("enter: this crate", |b| b.iter(|| namespace.enter().unwrap()));
            criterion.bench_function("enter: setns", |b| b.iter(|| setns(fd)));
            criterion.bench_function("scoped: this crate", |b| {
                b.iter(|| namespace.scoped().unwrap().leave().unwrap());
            });
            criterion.bench_function("scoped: open, setns, setns, close", |b| {
                b.iter(|| there_and_back(fd))
            });
        }
    }
    criterion
        .bench_function("run on a thread: this crate", |b| b.iter(|| namespace.run(|| 1).unwrap()));
    criterion
        .bench_function("run on a thread: std", |b| b.iter(|| on_a_thread(fd, may_enter.is_ok())));
    criterion.final_summary();
    table(&namespace, fd, may_enter.is_ok());
    close(fd);
}

fn there_and_back(fd: i32) {
    let back = open();
    setns(fd);
    setns(back);
    close(back);
}

fn on_a_thread(fd: i32, enter: bool) -> i32 {
    let work = move || {
        if enter {
            setns(fd);
        }
        1
    };
    std::thread::spawn(work).join().unwrap()
}

fn table(namespace: &NsFd, fd: i32, may_enter: bool) {
    let rounds = if is_short() { 10 } else { 20_000 };
    println!("\nmedians of {rounds} in turns                ours         raw   ratio");
    let line = |name: &str, ours: &mut dyn FnMut(), raw: &mut dyn FnMut()| {
        let [ours, raw] = medians(rounds, [ours, raw]);
        println!(
            "{name:34} {:7.2} us  {:7.2} us   {:.3}",
            micros(ours),
            micros(raw),
            ratio(ours, raw)
        );
    };
    line("current", &mut || drop(current()), &mut || close(open()));
    line("id", &mut || drop(namespace.id()), &mut || _ = black_box(fstat(fd)));
    if may_enter {
        line("enter", &mut || namespace.enter().unwrap(), &mut || setns(fd));
        let mut scoped = || namespace.scoped().unwrap().leave().unwrap();
        line("scoped, there and back (goal 1.05)", &mut scoped, &mut || there_and_back(fd));
    }
}
