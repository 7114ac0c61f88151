//! `lsns --holders`: each kind of what holds a namespace is told.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread;

use linux_namespaces::{Command, Mount, Namespace, NamespaceSet, Stdio, Unshare};

use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{Example, NewProc, Program, UserNamespaces};
use crate::machine::example;
use crate::program::{Held, output, sh, sleeper};
use crate::stage;

cases! {
    processes_and_what_they_show_are_told [UserNamespaces, NewProc, Example("lsns")],
    an_open_file_and_a_mount_are_told [UserNamespaces, Example("lsns")],
    a_thread_is_told [UserNamespaces, Example("lsns")],
    where_children_will_be_born_is_told [UserNamespaces, Example("lsns")],
    namespaces_inside_and_owned_are_told [UserNamespaces, Example("lsns"), Program("unshare")],
    of_many_a_few_are_told [UserNamespaces, Example("lsns")],
}

/// What it says of a namespace, line by line.
fn told(ino: u64) -> Vec<String> {
    let mut command = Command::new(example("lsns").unwrap());
    let text = output(command.args(["--holders", &ino.to_string()]));
    text.lines().map(str::to_owned).collect()
}

/// The first line and those that follow, from the second on.
fn expect(ino: u64, kind: &str, holders: &[&str]) {
    let lines = told(ino);
    assert!(lines[0].starts_with(&format!("{kind}:[{ino}]")), "{lines:#?}");
    assert_eq!(lines[1], "It is alive because of");
    assert_eq!(lines[2..], *holders);
}

fn me() -> u32 {
    std::process::id()
}

fn processes_and_what_they_show_are_told() {
    let mut command = sleeper();
    command.unshare(NamespaceSet::PID).map_root().mount(Mount::proc("/proc").unwrap());
    let child = Held::of(&mut command);
    let [pid, mounts, user] = ["pid", "mnt", "user"].map(|name| kernel::ns(child.id(), name));
    expect(
        pid,
        "pid",
        &[
            "- processes in it, until they end:",
            &format!("    process {}: sleep 600", child.id()),
            "- mounted proc file systems that show it:",
            &format!("    shown by proc at \"/proc\" in mount namespace {mounts}"),
        ],
    );
    assert!(told(pid)[0].ends_with(&format!("owned by user:[{user}]")));
}

fn an_open_file_and_a_mount_are_told() {
    Unshare::new(NamespaceSet::USER | NamespaceSet::MOUNT).map_root().apply().unwrap();
    let handle = stage::uts_of_nobody();
    let ino = handle.id().unwrap().ino;
    let descriptor = format!("    descriptor {} of process {}", handle.as_raw_fd(), me());
    expect(ino, "uts", &["- open files of it, until they are closed:", &descriptor]);
    stage::private();
    stage::tmpfs("/sys");
    std::fs::write("/sys/a b", "").unwrap();
    stage::bind(format!("/proc/self/fd/{}", handle.as_raw_fd()), "/sys/a b");
    drop(handle);
    let mounts = kernel::ns("self", "mnt");
    let mount = format!("    mounted at \"/sys/a b\" in mount namespace {mounts}");
    expect(ino, "uts", &["- mounts of its file, until they are unmounted:", &mount]);
}

fn a_thread_is_told() {
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    let (tell, hear) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        Unshare::new(NamespaceSet::UTS).apply().unwrap();
        // SAFETY: asks for a number.
        tell.send((unsafe { libc::gettid() }, kernel::ns("thread-self", "uts"))).unwrap();
        stopped.recv().ok();
    });
    let (tid, ino) = hear.recv().unwrap();
    let line = format!("    thread {tid} of process {}", me());
    let sort = "- threads in it, of processes elsewhere, until they end or leave:";
    expect(ino, "uts", &[sort, &line]);
    drop(stop);
    thread.join().unwrap();
}

fn where_children_will_be_born_is_told() {
    Unshare::new(NamespaceSet::TIME).map_root().apply().unwrap();
    let line = format!("    children of process {}", me());
    let ino = kernel::ns("thread-self", "time_for_children");
    // The tool is one of these children.
    let lines = told(ino);
    assert_eq!(lines[2..4], ["- threads whose children will be born in it:", &line]);
}

fn namespaces_inside_and_owned_are_told() {
    let mut command = Command::new("unshare");
    command.args(["-r", "sleep", "600"]).unshare(NamespaceSet::UTS).map_root();
    let child = Held::of(&mut command);
    kernel::until(|| command_of(child.id()).starts_with("sleep"));
    let inner = child.namespace(Namespace::User).unwrap();
    let outer = inner.parent().unwrap().id().unwrap().ino;
    let (inner, uts) = (inner.id().unwrap().ino, kernel::ns(child.id(), "uts"));
    let process = format!("with process {}: sleep 600", child.id());
    let mut lines = told(outer);
    lines[2..].sort();
    let mut expected = [
        "- namespaces inside of it:".to_owned(),
        format!("    user:[{inner}], {process}"),
        "- namespaces that it owns:".to_owned(),
        format!("    uts:[{uts}], {process}"),
    ];
    expected.sort();
    assert_eq!(lines[2..], expected);
}

fn command_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap()
}

fn of_many_a_few_are_told() {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11; do sleep 600 & done; echo; wait";
    let mut command = sh(script);
    command.unshare(NamespaceSet::PID | NamespaceSet::UTS).map_root().stdout(Stdio::piped());
    let mut child = Held::of(&mut command);
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let lines = told(kernel::ns(child.id(), "uts"));
    assert_eq!(lines.len(), 14, "{lines:#?}");
    assert_eq!(lines[13], "    and 2 more");
}
