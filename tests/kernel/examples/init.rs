//! The `init` example beside tini and dumb-init: the same command lines and signals, the same exit status,
//! and the same said by the programs inside.

pub(crate) mod terminal;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::fork::wait_for_all;
use crate::harness::cases;
use crate::machine::Need::{Example, Program, Root, UserNamespaces};
use crate::machine::{example, in_path};

cases! {
    it_does_what_tini_does [Example("init"), Program("tini"), Program("ps"), Program("setsid")],
    it_does_what_dumb_init_does [Example("init"), Program("dumb-init"), Program("ps"), Program("setsid")],
    it_does_what_tini_does_as_pid_1 [Example("init"), Program("tini"), Program("ps"), Program("setsid"), Program("unshare"), UserNamespaces],
    it_does_what_dumb_init_does_as_pid_1
        [Example("init"), Program("dumb-init"), Program("ps"), Program("setsid"), Program("unshare"), UserNamespaces],
    its_rules_are_checked [Example("init")],
    it_keeps_mask_and_ignored_signals_where_dumb_init_does_not [Example("init"), Program("dumb-init"), Root],
}

/// How our answer relates to the installed one's.
enum Against {
    Same,
    /// The reason, and ours.
    Differs(&'static str, &'static str),
}
use Against::{Differs, Same};

/// Options; a script, or another program with a slash in front; signals to send when it is ready.
type Row = (&'static str, &'static str, &'static [i32], Against);

/// Says which signals it gets, and ends at SIGTERM.
const LISTENS: &str = "for s in HUP INT QUIT USR1 USR2 ALRM CONT WINCH; do trap \"echo $s\" $s; done; \
                       trap 'echo TERM; exit 7' TERM; echo ready; while :; do sleep 0.01; done";
/// Leaves one behind in its process group, and one in another session that ends after the first.
const LEAVES: &str = "f=$(mktemp); \
                      (trap 'echo term; exit' TERM; echo up; while kill -0 $$; do sleep 0.01; done; \
                      sleep 0.3; echo stayed) 2>&- | \
                      setsid sh -c \"read line; echo \\$line; rm $f; cat; echo elsewhere\" & \
                      while [ -e $f ]; do sleep 0.01; done; exit 5";

const EVERY: &[i32] = &[
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGCONT,
    libc::SIGWINCH,
    libc::SIGTERM,
];

fn prepare(program: &Path, options: &str, payload: &str) -> Command {
    let mut command = Command::new(program);
    command.args(options.split(' ').filter(|it| !it.is_empty()));
    if payload.starts_with('/') {
        command.arg(payload);
    } else if !payload.is_empty() {
        command.args(["sh", "-c", payload]);
    }
    command
        .env_remove("TINI_SUBREAPER")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn line(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line
}

/// What is seen from outside.
fn observe(mut command: Command, signals: &[i32]) -> String {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    if !signals.is_empty() {
        assert_eq!(line(&mut lines), "ready\n");
        for &signal in signals {
            send(&child, signal);
            // Before the next one, since which comes first is not said.
            said.push_str(&line(&mut lines));
        }
    }
    let status = child.wait().unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    write!(said, "{rest}status {:?}", status.code().or(status.signal())).unwrap();
    said.replace('\n', " ")
}

fn send(child: &Child, signal: i32) {
    // SAFETY: a child that was not waited for.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), signal) }, 0);
}

fn compare(ours: &Path, theirs: &Path, rows: &[Row], wrap: fn(Command) -> Command) {
    let mut wrong = String::new();
    for (options, payload, signals, against) in rows {
        let of = |program| observe(wrap(prepare(program, options, payload)), signals);
        let (ours, theirs) = (of(ours), of(theirs));
        let right = match against {
            Same => ours == theirs,
            Differs(why, expected) => {
                assert!(!why.is_empty());
                ours == *expected && theirs != *expected
            }
        };
        if !right {
            writeln!(wrong, "{options:?} {payload:?}: ours {ours:?}, theirs {theirs:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    // What an init left behind has become ours.
    wait_for_all();
}

const TINI: &[Row] = &[
    ("--", "exit 3", &[], Same),
    ("", "exit 3", &[], Differs("it takes an option of the program for its own", "status Some(3)")),
    ("-s --", "kill -TERM $$", &[], Same),
    ("-s --", "kill -KILL $$", &[], Same),
    ("-s -e 143 --", "kill -TERM $$", &[], Same),
    ("-s -e 143 -e 7 --", "exit 7", &[], Same),
    ("-s -e 7 --", "exit 8", &[], Same),
    ("-e 256 --", "exit 8", &[], Same),
    ("-e x --", "exit 8", &[], Same),
    ("-p SIGTERM --", "exit 4", &[], Same),
    ("-p SIGNONE --", "exit 4", &[], Same),
    ("-s -vvv -w --", "exit 4", &[], Differs("it says more, on standard output", "status Some(4)")),
    ("-z", "exit 4", &[], Same),
    ("", "", &[], Same),
    ("-s --", "/no/such/program", &[], Same),
    ("-s --", "/etc/passwd", &[], Same),
    ("-s --", LISTENS, EVERY, Same),
    ("-s -g --", LISTENS, EVERY, Same),
    ("-s --", LEAVES, &[], Same),
    ("-s -g --", LEAVES, &[], Same),
    ("--", LEAVES, &[], Same),
    ("-s --", "ps -o pgid= -p $$ | tr -d ' ' | sed s/^$$\\$/own/", &[], Same),
];

fn it_does_what_tini_does() {
    compare(&example("init").unwrap(), &in_path("tini").unwrap(), TINI, |command| command);
}

/// PID 1 of a new pid namespace.
fn as_pid_1(command: Command) -> Command {
    let mut outer = Command::new("unshare");
    outer.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    outer.arg(command.get_program()).args(command.get_args());
    outer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    outer
}

fn it_does_what_tini_does_as_pid_1() {
    let rows: &[Row] = &[
        ("--", "exit 3", &[], Same),
        ("--", "kill -TERM $$", &[], Same),
        ("-e 143 --", "kill -TERM $$", &[], Same),
        ("--", "kill -TERM 1; sleep 1", &[], Same),
        ("--", "trap 'echo hup; exit 6' HUP; kill -HUP 1; sleep 1", &[], Same),
        ("--", LEAVES, &[], Same),
        ("--", "(sleep 0.1 & sleep 0.1 &) ; sleep 0.3; ps -e -o stat= | grep -c Z", &[], Same),
        ("--", "/no/such/program", &[], Same),
    ];
    compare(&example("init").unwrap(), &in_path("tini").unwrap(), rows, as_pid_1);
}

/// The example by the other's name.
fn called_dumb_init() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dumb-init");
    std::os::unix::fs::symlink(example("init").unwrap(), &path).unwrap();
    (dir, path)
}

fn it_does_what_dumb_init_does() {
    let (_dir, ours) = called_dumb_init();
    let rows: &[Row] = &[
        ("", "exit 3", &[], Same),
        ("--", "exit 3", &[], Same),
        ("-c", "exit 3", &[], Same),
        ("--single-child", "kill -TERM $$", &[], Same),
        ("", "kill -TERM $$", &[], Same),
        ("-v", "kill -KILL $$", &[], Same),
        (
            "-V",
            "",
            &[],
            Differs(
                "it says so on standard error",
                concat!("dumb-init ", env!("CARGO_PKG_VERSION"), " status Some(0)"),
            ),
        ),
        ("", "", &[], Same),
        ("--nonsense", "exit 3", &[], Same),
        ("", "/no/such/program", &[], Same),
        ("", "/etc/passwd", &[], Same),
        ("", LISTENS, EVERY, Same),
        ("-c", LISTENS, EVERY, Same),
        ("-r 1:10 -r 2:15", LISTENS, &[1, 2], Same),
        ("--rewrite 15:1 -r 3:15", LISTENS, &[15, 2, 3], Same),
        ("-r 15:0 -r 1:15", LISTENS, &[2, 1], Same),
        ("-r 15:99", "exit 3", &[], Same),
        ("-r 15", "exit 3", &[], Same),
        ("-r a:b", "exit 3", &[], Same),
        ("", LEAVES, &[], Same),
        ("-c", LEAVES, &[], Same),
        ("", "ps -o sid= -p $$ | tr -d ' ' | sed s/^$$\\$/own/", &[], Same),
    ];
    compare(&ours, &in_path("dumb-init").unwrap(), rows, |command| command);
}

fn it_does_what_dumb_init_does_as_pid_1() {
    let (_dir, ours) = called_dumb_init();
    let rows: &[Row] = &[
        ("", "exit 3", &[], Same),
        ("", "kill -TERM $$", &[], Same),
        ("", "kill -TERM 1; sleep 1", &[], Same),
        ("-r 15:1", "trap 'echo hup; exit 6' HUP; kill -TERM 1; sleep 1", &[], Same),
        ("-c", LEAVES, &[], Same),
        ("", "(sleep 0.1 & sleep 0.1 &) ; sleep 0.3; ps -e -o stat= | grep -c Z", &[], Same),
    ];
    compare(&ours, &in_path("dumb-init").unwrap(), rows, as_pid_1);
}

fn its_rules_are_checked() {
    let (_dir, ours) = called_dumb_init();
    for rule in ["9:15", "17:15", "19:0", "15:65", "x", "15:"] {
        let mut command = prepare(&ours, "", "exit 3");
        command = {
            let mut with = Command::new(command.get_program());
            with.args(["-r", rule]).args(command.get_args());
            with
        };
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{rule}");
        assert!(!output.stderr.is_empty(), "{rule}");
    }
}

fn it_keeps_mask_and_ignored_signals_where_dumb_init_does_not() {
    let (_dir, ours) = called_dumb_init();
    let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status";
    let wrapped = |program: &Path| {
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' HUP INT; exec \"$@\"", "sh"])
            .arg(program)
            .args(["sh", "-c", script]);
        command.stdout(Stdio::piped());
        observe(command, &[])
    };
    let plain = wrapped(Path::new("/usr/bin/env"));
    assert!(plain.contains("3 status"), "{plain}");
    assert_eq!(wrapped(&ours), plain);
    assert_ne!(wrapped(&in_path("dumb-init").unwrap()), plain);
}
