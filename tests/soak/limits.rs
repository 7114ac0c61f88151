//! Near a limit on namespaces, where the kernel gives the place of one that has ended free only later.

use std::fs;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use linux_namespaces::{Command, ErrorKind, Namespace, NamespaceSet, Unshare};

/// Says how it went.
pub(crate) fn near_them() -> String {
    let (mut told, mut tell) = io::pipe().unwrap();
    // SAFETY: this process has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        drop(told);
        // The limits of a user namespace of our own are ours.
        Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
        let told = if is_read_only() {
            "the limits on namespaces cannot be written here".to_owned()
        } else {
            [Namespace::User, Namespace::Net, Namespace::Pid].map(near).join("; ")
        };
        tell.write_all(told.as_bytes()).unwrap();
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    drop(tell);
    let mut text = String::new();
    told.read_to_string(&mut text).unwrap();
    // SAFETY: the child made above.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    // A panic in there was printed.
    assert!(!text.is_empty(), "near a limit on namespaces it went wrong");
    text
}

/// As in containers.
fn is_read_only() -> bool {
    let limit = fs::OpenOptions::new().write(true).open("/proc/sys/user/max_net_namespaces");
    limit.is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
}

fn near(kind: Namespace) -> String {
    fs::write(format!("/proc/sys/user/max_{}_namespaces", kind.name()), "2").unwrap();
    let mut refused = 0;
    for _ in 0..10 {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let mut command = Command::new("/bin/true");
            match command.unshare(kind.into()).status() {
                Ok(status) => break assert!(status.success()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::LimitReached, "{error:#}");
                    let why = error.explain().unwrap();
                    assert!(why.contains("only some 50 ms after its end"), "{why}");
                    assert!(Instant::now() < end, "{error:#}");
                    refused += 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }
    format!("10 {} namespaces under a limit of 2, {refused} times not at once", kind.name())
}
