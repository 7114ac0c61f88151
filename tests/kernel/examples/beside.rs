//! An example beside the tool of util-linux that it replaces: the same command lines, the same exit status, and the
//! same written by the program inside.

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::machine::{example, in_path};

/// How our result relates to that of the installed tool.
pub(super) enum Against {
    Same,
    /// The installed one may lack this option. Where it does, ours writes this line.
    Newer(&'static str, &'static str),
    /// The reason, our exit status, and a line that we write.
    Differs(&'static str, i32, &'static str),
}
use Against::{Differs, Newer, Same};

/// Arguments, with the report for a program unless there is a `--`.
pub(super) type Row = (&'static str, Against);

/// With options and, behind `-- `, a program's path, nothing for the default, or a script.
pub(super) fn prepare(program: &Path, args: &str, report: &str) -> Command {
    let (options, rest) = match args.split_once("-- ") {
        Some((options, rest)) => (options, Some(rest)),
        None => (args, None),
    };
    let mut command = Command::new(program);
    command.args(options.split(' ').filter(|it| !it.is_empty()));
    match rest {
        Some(rest) if rest.starts_with('/') => command.arg(rest),
        Some("") => &mut command,
        Some(rest) => command.args(["sh", "-c", rest]),
        None => command.args(["sh", "-c", report]),
    };
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("MARK", "here")
        .env("CALLER", std::process::id().to_string())
        .env("SHELL", "/bin/sh")
        .current_dir("/proc/sys")
        .stdin(Stdio::null());
    command
}

/// Where ours refuses, it says why, behind one of these words.
pub(super) fn compare(
    name: &str,
    words: &[&str],
    rows: &[Row],
    run: impl Fn(&Path, &str) -> Output,
) {
    let (ours, theirs) = (example(name).unwrap(), in_path(name).unwrap());
    let known = Command::new(&theirs).arg("--help").output().unwrap();
    let known = String::from_utf8(known.stdout).unwrap();
    let mut wrong = String::new();
    for (args, against) in rows {
        let our = run(&ours, args);
        let text = String::from_utf8_lossy(&our.stdout);
        if our.status.code() == Some(1) && !text.contains('\n') {
            let told = String::from_utf8_lossy(&our.stderr);
            let is_named = words.iter().any(|word| told.starts_with(word));
            assert!(is_named && told.len() > 25, "{args}: {told}");
        }
        let has = |line: &str| line.is_empty() || text.lines().any(|it| it == line);
        match against {
            Newer(option, line) if !known.contains(option) => {
                if !our.status.success() || !has(line) {
                    writeln!(wrong, "{args}: no line {line:?}: {our:#?}").unwrap();
                }
            }
            Differs(why, status, line) => {
                if our.status.code() != Some(*status) || !has(line) {
                    writeln!(wrong, "{args}: although {why}: {our:#?}").unwrap();
                }
            }
            Same | Newer(..) => {
                let their = run(&theirs, args);
                let how = |output: &Output| (output.status.code(), output.status.signal());
                if how(&our) != how(&their) || our.stdout != their.stdout {
                    writeln!(wrong, "{args}: ours {our:#?}, theirs {their:#?}").unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
