//! The `unshare` example while its program runs: which signals reach the program, and who outlives whom.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Stdio};

use super::{ours, prepare};
use crate::fork::wait_for_all;
use crate::harness::cases;
use crate::machine::Need::{Example, NewProc, UserNamespaces};

cases! {
    forwarded_signals_reach_the_program [UserNamespaces, NewProc, Example("unshare")],
    without_forwarding_the_program_is_asked [UserNamespaces, Example("unshare")],
    an_ignored_signal_stays_ignored [UserNamespaces, Example("unshare")],
    orphans_are_waited_for [UserNamespaces, NewProc, Example("unshare")],
    the_program_dies_with_us [UserNamespaces, Example("unshare")],
}

/// Started, and past its first line, "ready".
fn start(args: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command = prepare(&ours(), args);
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "{args}");
    (child, output)
}

fn send(child: &Child, signal: i32) {
    // SAFETY: our own child, which was not waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

const LOOP: &str = "echo ready; while :; do sleep 0.05; done";

fn forwarded_signals_reach_the_program() {
    let sleep = "echo ready; exec sleep 600";
    for signal in [libc::SIGTERM, libc::SIGINT] {
        for forked in ["", "-f "] {
            // PID 1 would be deaf to it: there is an init, which tells as a shell does.
            let (mut child, _) = start(&format!("-rp {forked}--forward-signals -- {sleep}"));
            send(&child, signal);
            assert_eq!(child.wait().unwrap().code(), Some(128 + signal));
        }
        let (mut child, _) = start(&format!("-r --forward-signals -- {sleep}"));
        send(&child, signal);
        assert_eq!(child.wait().unwrap().signal(), Some(signal));
        for namespaces in ["-r", "-rp", "-rmp --root=/ --mount-proc"] {
            let name = if signal == libc::SIGTERM { "TERM" } else { "INT" };
            let script = format!("trap 'echo got; exit 5' {name}; {LOOP}");
            let (mut child, mut output) =
                start(&format!("{namespaces} --forward-signals -- {script}"));
            send(&child, signal);
            let mut rest = String::new();
            output.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "got\n");
            assert_eq!(child.wait().unwrap().code(), Some(5));
        }
    }
}

fn without_forwarding_the_program_is_asked() {
    for args in ["-rf", "-rpf", "-r --kill-child"] {
        let (mut child, _) = start(&format!("{args} -- echo ready; read line; exit 4"));
        send(&child, libc::SIGTERM);
        send(&child, libc::SIGINT);
        // The end of its input.
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(4), "{args}");
    }
    for signal in [libc::SIGKILL, libc::SIGSEGV, libc::SIGPIPE, libc::SIGRTMIN()] {
        let args = format!("-rf -- kill -{signal} $$; exit 3");
        let output = prepare(&ours(), &args).output().unwrap();
        assert_eq!(output.status.signal(), Some(signal), "{output:?}");
    }
}

fn an_ignored_signal_stays_ignored() {
    for args in ["-r", "-rf", "-rp --forward-signals"] {
        let mut command = prepare(&ours(), &format!("{args} -- cat /proc/self/status"));
        // SAFETY: one call in the child.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGINT, libc::SIG_IGN);
                libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                Ok(())
            });
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let bit = |signal: i32| 1_u64 << (signal - 1);
        let ours = u64::from_str_radix(&crate::kernel::status("SigIgn"), 16).unwrap();
        // Deafness to SIGCHLD ends here, as in the original, and std takes back its own to SIGPIPE.
        let kept = (ours | bit(libc::SIGINT)) & !bit(libc::SIGCHLD) & !bit(libc::SIGPIPE);
        let ignored = crate::kernel::fields(&text, &["SigIgn"]);
        assert_eq!(ignored, [format!("{kept:016x}")], "{args}: {output:?}");
    }
}

fn orphans_are_waited_for() {
    let script =
        "orphan=$(sh -c 'true & echo $!'); while test -e /proc/$orphan; do :; done; echo gone $$";
    let args = format!("-rp --mount-proc --forward-signals -- {script}");
    let output = prepare(&ours(), &args).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "gone 2\n", "{output:?}");
}

/// After our end, the program's comes, with these last words.
fn the_program_dies_with_us() {
    let trap = |signal: &str| format!("trap 'echo got; exit' {signal}; {LOOP}");
    for (args, words) in [
        ("-rpf --kill-child -- echo ready; sleep 600".to_owned(), ""),
        (format!("-r --kill-child -- {}", trap("TERM")), ""),
        (format!("-r --kill-child=TERM -- {}", trap("TERM")), "got\n"),
        (format!("-rm --root=/ --kill-child=HUP -- {}", trap("HUP")), "got\n"),
        (format!("-rp --forward-signals --kill-child=SIGTERM -- {}", trap("TERM")), "got\n"),
        ("-rp --forward-signals --kill-child -- echo ready; sleep 600".to_owned(), ""),
    ] {
        let (mut child, mut output) = start(&args);
        send(&child, libc::SIGKILL);
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        let mut rest = String::new();
        // Its end is that of all who could write there.
        output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, words, "{args}");
        wait_for_all();
    }
}
