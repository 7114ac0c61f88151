//! The kernel gives the number of a namespace away again, also while somebody looks around.

use std::ffi::CStr;
use std::io::{BufReader, Write, pipe};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;

use linux_namespaces::{Discovery, Namespace, NamespaceSet, Stdio, Unshare, discover};

use super::{find, holders, id, id_of, process};
use crate::harness::cases;
use crate::kernel::{self, HeldCall, hold};
use crate::machine::Need::{Program, UserNamespaces};
use crate::program::{Held, next_line, sh};

cases! {
    a_namespace_is_not_taken_for_the_last_one_of_its_number [UserNamespaces, Program("unshare")],
}

/// Discovery, with something done just before it opens a path for the first time.
pub(crate) fn discover_with(opens: &str, work: impl FnOnce()) -> Discovery {
    let (tell, told) = mpsc::channel();
    let (end, writer) = pipe().unwrap();
    let thread = thread::spawn(move || {
        tell.send(hold(libc::SYS_openat2)).unwrap();
        let all = discover().unwrap();
        drop(writer);
        all
    });
    let listener = told.recv().unwrap();
    let mut work = Some(work);
    while let Some(call) = HeldCall::next(listener.as_fd(), end.as_fd()) {
        // SAFETY: a C string of a thread of this process, which sleeps in its call.
        let path = unsafe { CStr::from_ptr(call.arguments[1] as *const libc::c_char) };
        if path.to_bytes() == opens.as_bytes() {
            work.take().into_iter().for_each(|work| work());
        }
        call.release(listener.as_fd());
    }
    assert!(work.is_none(), "{opens} was opened");
    thread.join().unwrap()
}

/// Goes from one new namespace to the next when it is told a number, until one has it: the number is free again
/// some time after the end of the last namespace that had it.
fn mover() -> Held {
    const SCRIPT: &str = r#"
        if [ "$(readlink /proc/self/ns/uts)" = "uts:[$1]" ] || [ "$2" = 100 ]; then
            echo
            exec sleep 600
        fi
        exec unshare -u sh -c "$3" sh "$1" "$(($2 + 1))" "$3""#;
    let mut command = sh("read -r number; exec sh -c \"$0\" sh \"$number\" 0 \"$0\"");
    Held::of(command.arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::piped()))
}

fn move_on(mover: &mut Held, ino: u64) {
    writeln!(mover.stdin.take().unwrap(), "{ino}").unwrap();
    next_line(&mut BufReader::new(mover.stdout.take().unwrap()));
}

fn a_namespace_is_not_taken_for_the_last_one_of_its_number() {
    Unshare::new(NamespaceSet::USER).map_root().apply().unwrap();
    // Others may make a namespace at the same time, and get the number.
    for _ in 0..50 {
        let first = Held::new(NamespaceSet::USER | NamespaceSet::UTS);
        let mut second = mover();
        let (pid, ino) = (second.id(), kernel::ns(first.id(), "uts"));
        if first.id() > pid {
            continue;
        }
        let all = discover_with(&format!("{pid}/ns"), || {
            drop(first);
            move_on(&mut second, ino);
        });
        let unique_id = second.namespace(Namespace::Uts).unwrap().unique_id().unwrap();
        let is_same = kernel::ns(pid, "uts") == ino;
        drop(second);
        if is_same {
            let found = find(&all, id(ino));
            assert_eq!(holders(found), [process(pid)]);
            assert_eq!(found.unique_id(), unique_id);
            assert_eq!(found.owner(), Some(id_of("self", "user")));
            return;
        }
    }
    panic!("no number was given twice");
}
