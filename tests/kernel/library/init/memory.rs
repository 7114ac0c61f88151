//! The memory of an init: whatever the image of its process looks like, it keeps what it runs on, and
//! nothing of the program that it was.

use std::fs;
use std::io::{Read, Write as _};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use linux_namespaces::{Init, Stdio};

use crate::fork::{self, Fork, in_fork};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{Root, UserNamespaces};
use crate::machine::is_root;
use crate::program::{sh, until_ready};

cases! {
    text_may_be_anonymous [UserNamespaces],
    the_stack_may_be_several_mappings [UserNamespaces],
    beside_a_shadow_nothing_is_given_back [Root, UserNamespaces],
    what_others_may_share_stays [Root],
    secrets_are_gone_whatever_their_protection [Root, UserNamespaces],
    secrets_are_gone_whatever_their_file [Root, UserNamespaces],
    the_environment_is_gone [Root, UserNamespaces],
    what_is_executable_stays [Root, UserNamespaces],
    the_arguments_stay [],
}

/// Runs `check` on an init of each kind that came from a process which ran `prepare`.
pub(super) fn in_both_ways(prepare: fn(), check: impl Fn(u32)) {
    born(prepare, &check);
    finished(prepare, &check);
}

/// An init by `Command::init`.
pub(super) fn born(prepare: fn(), check: impl Fn(u32)) {
    in_fork(|| {
        prepare();
        let mut command = sh("echo ready; read line; exit 3");
        command.map_root().init(Init::new()).stdin(Stdio::piped());
        let (mut child, lines) = until_ready(&mut command);
        drop(lines);
        await_loop(child.id());
        check(child.id());
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3));
    });
}

/// An init by `Supervisor::supervise_and_exit`.
pub(super) fn finished(prepare: fn(), check: impl Fn(u32)) {
    let (reader, writer) = std::io::pipe().unwrap();
    let (input, keeper) = std::io::pipe().unwrap();
    let fork = Fork::start(|| {
        fork::close(&keeper);
        fork::close(&reader);
        prepare();
        let mut armed = Init::new().arm().unwrap();
        let mut command = sh("echo ready; read line; exit 3");
        command.stdin(OwnedFd::from(input)).stdout(OwnedFd::from(writer));
        let child = armed.spawn(&mut command).unwrap();
        drop(command);
        armed.supervise_and_exit(child)
    });
    let pid = fork.pid().unsigned_abs();
    (&reader).read_exact(&mut [0; 6]).unwrap();
    await_loop(pid);
    check(pid);
    drop(keeper);
    assert_eq!(fork.wait(), 3 << 8);
}

/// Waits until it sleeps in its loop, or has ended. An ordinary user cannot look into every init.
fn await_loop(pid: u32) {
    if is_root() {
        let waits = format!("{} ", libc::SYS_rt_sigtimedwait);
        kernel::until(|| {
            kernel::state_of(pid) == 'Z'
                || fs::read_to_string(format!("/proc/{pid}/syscall"))
                    .is_ok_and(|call| call.starts_with(&waits))
        });
    }
}

/// Ranges and the rest of the lines of `/proc/PID/maps`.
fn maps(pid: impl std::fmt::Display) -> Vec<(Range<usize>, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let number = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let line = |line: &str| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        (number(start)..number(end), rest.to_owned())
    };
    text.lines().map(line).collect()
}

fn is_mapped(pid: u32, at: usize) -> bool {
    maps(pid).iter().any(|(range, _)| range.contains(&at))
}

fn map(length: usize, protection: i32, flags: i32) -> usize {
    // SAFETY: a new mapping at an address that the kernel chooses.
    let at = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    at.expose_provenance()
}

const PRIVATE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// What tools do that put text into huge pages.
fn make_text_anonymous() {
    for (range, rest) in maps("self") {
        if !rest.starts_with("r-xp") || !rest.contains('/') {
            continue;
        }
        let copy = map(range.len(), libc::PROT_READ | libc::PROT_WRITE, PRIVATE);
        let at = ptr::with_exposed_provenance_mut::<libc::c_void>(copy);
        let text = ptr::with_exposed_provenance_mut::<libc::c_void>(range.start);
        // SAFETY: the same bytes lie there before and after.
        unsafe {
            ptr::copy_nonoverlapping(text.cast::<u8>(), at.cast(), range.len());
            assert_eq!(libc::mprotect(at, range.len(), libc::PROT_READ | libc::PROT_EXEC), 0);
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            assert_eq!(libc::mremap(at, range.len(), range.len(), flags, text), text);
        }
    }
}

fn text_may_be_anonymous() {
    in_both_ways(make_text_anonymous, |_| ());
}

/// The kernel lets the stack grow so far.
#[inline(never)]
fn grow_the_stack() {
    std::hint::black_box(&[1_u8; 512 << 10]);
}

/// Every second page becomes a mapping of its own, those in use too.
#[inline(never)]
fn split_the_stack() {
    // Its frame, below which the calls here have theirs, is gone when the lowest page is protected.
    grow_the_stack();
    let (stack, _) = maps("self").into_iter().find(|(_, rest)| rest.ends_with("[stack]")).unwrap();
    for page in stack.clone().step_by(8192).skip(1) {
        let at = ptr::with_exposed_provenance_mut(page);
        // SAFETY: what lies there stays as it is.
        assert_eq!(unsafe { libc::madvise(at, 4096, libc::MADV_DONTDUMP) }, 0);
    }
    let at = ptr::with_exposed_provenance_mut(stack.start);
    // SAFETY: so far down nothing is written any more.
    assert_eq!(unsafe { libc::mprotect(at, 4096, libc::PROT_READ) }, 0);
}

fn the_stack_may_be_several_mappings() {
    in_both_ways(split_the_stack, |_| ());
}

const FAR: usize = if cfg!(target_pointer_width = "64") { (1_u64 << 45) as usize } else { 1 << 29 };
const STEP: usize = if cfg!(target_pointer_width = "64") { 1 << 30 } else { 1 << 24 };

/// Far from everything else, and the same in each process that prepares itself.
fn fixed(index: usize, length: usize, protection: i32, flags: i32) -> usize {
    let at = FAR + index * STEP;
    let hint = ptr::without_provenance_mut(at);
    let flags = flags | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: a new mapping where there is none.
    let mapped = unsafe { libc::mmap(hint, length, protection, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return 0;
    }
    mapped.addr()
}

fn make_a_shadow() {
    make_a_mapping();
    // No shadow memory is that small, but elsewhere nothing is given back in any case.
    let length = if cfg!(target_pointer_width = "64") { 1_u64 << 40 } else { 1 << 28 };
    map(length as usize, libc::PROT_NONE, PRIVATE | libc::MAP_NORESERVE);
}

fn beside_a_shadow_nothing_is_given_back() {
    in_both_ways(make_a_shadow, |pid| {
        assert!(is_mapped(pid, FAR), "{:?}", maps(pid));
    });
}

/// As the filter of a container engine, behind which a process cannot tell whether it has its memory to itself.
fn what_others_may_share_stays() {
    let begin = || {
        make_a_mapping();
        kernel::refuse(libc::SYS_unshare, libc::EPERM);
    };
    finished(begin, |pid| assert!(is_mapped(pid, FAR), "{:?}", maps(pid)));
    if crate::machine::SHARES_MEMORY {
        finished(make_a_mapping, |pid| assert!(!is_mapped(pid, FAR), "{:?}", maps(pid)));
    }
}

fn make_a_mapping() {
    assert_ne!(fixed(0, 4096, libc::PROT_READ | libc::PROT_WRITE, PRIVATE), 0);
}

fn make_secrets() {
    let shared = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let both = libc::PROT_READ | libc::PROT_WRITE;
    assert_ne!(fixed(0, 4096, libc::PROT_NONE, PRIVATE), 0);
    assert_ne!(fixed(1, 4096, libc::PROT_READ, PRIVATE), 0);
    assert_ne!(fixed(2, 4096, both, PRIVATE), 0);
    assert_ne!(fixed(3, 4096, both, shared), 0);
    // Where the machine has huge pages.
    fixed(4, 2 << 20, both, PRIVATE | libc::MAP_HUGETLB);
    // One beside another, of which the kernel makes one mapping or several.
    fixed(5, 8192, both, PRIVATE);
}

fn secrets_are_gone_whatever_their_protection() {
    if !crate::machine::SHARES_MEMORY {
        return;
    }
    in_both_ways(make_secrets, |pid| {
        for index in 0..6 {
            assert!(!is_mapped(pid, FAR + index * STEP), "{index}: {:?}", maps(pid));
        }
        // Its own stack, and what it was started with.
        let anonymous = |rest: &str| rest.starts_with("rw-p") && rest.contains(" 00:00 0");
        let left = maps(pid).into_iter().filter(|(_, rest)| anonymous(rest));
        assert!(left.map(|(range, _)| range.len()).sum::<usize>() <= 80 << 10, "{:?}", maps(pid));
    });
}

/// A page of a file far from everything else, with something written to it.
fn fixed_of(index: usize, file: i32, flags: i32) {
    let hint = ptr::without_provenance_mut(FAR + index * STEP);
    let flags = flags | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: a new mapping where there is none.
    unsafe {
        let at = libc::mmap(hint, 4096, libc::PROT_READ | libc::PROT_WRITE, flags, file, 0);
        assert_eq!(at, hint, "{}", std::io::Error::last_os_error());
        at.cast::<u8>().write(b's');
        assert_eq!(libc::mprotect(at, 4096, if index == 3 { 0 } else { libc::PROT_READ }), 0);
    }
}

fn make_secrets_in_files() {
    let (private, shared) = (libc::MAP_PRIVATE, libc::MAP_SHARED);
    for (index, flags) in [private, shared, private, private, shared].into_iter().enumerate() {
        let file = if index < 2 {
            let flags = rustix::fs::MemfdFlags::CLOEXEC;
            fs::File::from(rustix::fs::memfd_create(c"secret", flags).unwrap())
        } else {
            tempfile::tempfile().unwrap()
        };
        file.set_len(4096).unwrap();
        fixed_of(index, file.as_raw_fd(), flags);
    }
}

/// What was written to a private mapping is in no file, and a file in memory may have no name.
fn secrets_are_gone_whatever_their_file() {
    if !crate::machine::SHARES_MEMORY {
        return;
    }
    in_both_ways(make_secrets_in_files, |pid| {
        for index in 0..5 {
            assert!(!is_mapped(pid, FAR + index * STEP), "{index}: {:?}", maps(pid));
        }
    });
}

/// It lies behind the arguments, on the same page.
fn the_environment_is_gone() {
    if !crate::machine::SHARES_MEMORY {
        return;
    }
    assert!(!fs::read("/proc/self/environ").unwrap().is_empty());
    in_both_ways(
        || (),
        |pid| {
            let left = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            assert!(left.iter().all(|&byte| byte == 0), "{:?}", String::from_utf8_lossy(&left));
        },
    );
}

fn make_code() {
    assert_ne!(fixed(0, 4096, libc::PROT_READ | libc::PROT_EXEC, PRIVATE), 0);
}

fn what_is_executable_stays() {
    in_both_ways(make_code, |pid| {
        assert!(is_mapped(pid, FAR), "{:?}", maps(pid));
    });
}

/// For who lists processes.
fn the_arguments_stay() {
    let arguments = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let own = arguments("self");
    assert!(!own.is_empty());
    finished(|| (), |pid| assert_eq!(arguments(&pid.to_string()), own));
}
