//! The files that a path names in an image of others.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;

use linux_namespaces::{ErrorKind, Namespace, NsFd, Step};

use super::cover;
use crate::files::dir;
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel::refuse;
use crate::library::hostile::image::into;
use crate::machine::Need::UserNamespaces;

cases! {
    a_namespace_is_opened_inside [UserNamespaces],
    a_namespace_is_opened_inside_without_openat2 [UserNamespaces],
}

/// A network namespace that this process holds, and what an image has by the names of pins.
fn opened_inside(without_openat2: Option<i32>) {
    let image = dir();
    let file = |name: &str| image.path().join(name);
    let held = NsFd::current(Namespace::Net).unwrap();
    let id = held.id().unwrap();
    let fd = held.as_raw_fd();
    fs::create_dir(file("pins")).unwrap();
    fs::create_dir(file("tmp")).unwrap();
    fs::write(file("pins/text"), "text").unwrap();
    symlink("pins", file("link")).unwrap();
    symlink(format!("/proc/thread-self/fd/{fd}"), file("pins/blue")).unwrap();
    symlink("/proc/self/ns/net", file("pins/green")).unwrap();
    symlink("/proc/self/fd", file("fd")).unwrap();
    symlink("pin", file("pins/other name")).unwrap();
    // The text of a link in proc, which the kernel follows to something else here.
    symlink(format!("net:[{}]", id.ino), file("pins/net")).unwrap();
    symlink(format!("/proc/self/fd/{fd}"), file(&format!("pins/net:[{}]", id.ino))).unwrap();
    in_fork(|| {
        let pid = std::process::id();
        symlink(format!("/proc/{pid}/fd/{fd}"), file("pins/red")).unwrap();
        into(image.path()).apply().unwrap();
        if let Some(errno) = without_openat2 {
            refuse(libc::SYS_openat2, errno);
        }
        let own = format!("/proc/self/fd/{fd}");
        let by_fd = [own, format!("/fd/{fd}"), "/proc/self/root/proc/self/ns/net".to_owned()];
        let by_pin = ["blue", "red", "green", "net"].map(|name| format!("/link/{name}"));
        for path in by_fd.iter().chain(&by_pin) {
            let error = NsFd::open(path).unwrap_err();
            let got = (error.step(), error.raw_os_error());
            assert_eq!(got, (Some(Step::OpenNamespace), Some(libc::ELOOP)), "{path}: {error:?}");
            assert!(error.explain().unwrap().contains("link"), "{error:#}");
        }
        for path in ["/link/text", "/pins", "/", "/link/.."] {
            let error = NsFd::open(path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotANamespace, "{path}: {error:?}");
        }
        assert_eq!(NsFd::open("/link/no").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(NsFd::open("/no/no").unwrap_err().kind(), ErrorKind::NotFound);
        for task in ["self", "thread-self", &pid.to_string(), &format!("{pid}/task/{pid}")] {
            for &kind in Namespace::ALL {
                let file = NsFd::open(format!("/proc/{task}/ns/{kind}")).unwrap();
                assert_eq!(file.id().unwrap(), NsFd::current(kind).unwrap().id().unwrap());
            }
            NsFd::open(format!("/proc/{task}/ns/pid_for_children")).unwrap();
        }
        std::env::set_current_dir("/proc/self/ns").unwrap();
        assert_eq!(NsFd::open("net").unwrap(), held);
        // What is mounted over the file is not believed.
        let cover =
            cover(&format!("/proc/{pid}/task/{pid}/ns/uts"), &format!("/proc/self/fd/{fd}"));
        let error = NsFd::open("/proc/thread-self/ns/uts").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UntrustedProc, "{error:?}");
        drop(cover);
        let pinned = NsFd::current(Namespace::Uts).unwrap().pin("/pins/pin").unwrap();
        assert_eq!(NsFd::open("/link/pin").unwrap(), *pinned.namespace());
        let other_name = NsFd::open("/link/other name");
        assert_eq!(other_name.is_ok(), without_openat2.is_none(), "{other_name:?}");
        pinned.unpin().unwrap();
        fs::remove_file("/pins/red").unwrap();
    });
    // At home names are the caller's.
    assert_eq!(NsFd::open(file("pins/blue")).unwrap(), held);
}

fn a_namespace_is_opened_inside() {
    opened_inside(None);
}

fn a_namespace_is_opened_inside_without_openat2() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        opened_inside(Some(errno));
    }
}
