//! Ids that were set aside for a user, mapped by the real newuidmap and newgidmap. As root, who can put a
//! directory of the trial's own over `/etc`, and become the user.

use std::fs;

use linux_namespaces::{Command, ErrorKind, NamespaceSet, Setgroups, Step, Unshare};

use crate::engine::{FRESH, available};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{OtherIds, Program, Root, UserNamespaces};
use crate::program::{is_of, refused, text};
use crate::stage;
use crate::sub_ids::{NOBODY, as_nobody, with_files};

cases! {
    all_ids_of_a_user_are_mapped [Root, OtherIds, Program("newuidmap")],
    the_user_may_stand_there_by_number [Root, OtherIds, Program("newuidmap")],
    this_thread_gets_them_too [Root, OtherIds, Program("newuidmap")],
    the_programs_are_waited_for_where_sigchld_is_ignored [Root, OtherIds, Program("newuidmap")],
    chosen_ranges_are_mapped [Root, OtherIds, Program("newuidmap")],
    root_needs_no_program [Root, UserNamespaces, OtherIds],
    nothing_is_set_aside [Root, OtherIds],
    ranges_that_overlap [Root, OtherIds],
    a_range_of_somebody_else [Root, OtherIds, Program("newuidmap")],
    a_program_that_is_missing [Root, OtherIds, Program("newuidmap")],
    a_program_without_its_privilege [Root, OtherIds, Program("newuidmap")],
}

const USUAL: &str =
    "# comment\nother:1:5\nnobody:100000:65536\nbad line\nnobody:x:1\nnobody:300000:10\n";

fn maps(command: &mut Command) -> Vec<Vec<u32>> {
    command.args(["-c", "cat /proc/self/uid_map /proc/self/gid_map"]);
    let numbers = |line: &str| line.split_whitespace().map(|it| it.parse().unwrap()).collect();
    text(command).lines().map(numbers).collect()
}

fn usual_maps() -> Vec<Vec<u32>> {
    let one = [vec![0, NOBODY, 1], vec![1, 100_000, 65_536], vec![65_537, 300_000, 10]];
    [one.clone(), one].concat()
}

fn all_ids_of_a_user_are_mapped() {
    as_nobody(USUAL, USUAL, || {
        for engine in available(FRESH) {
            let mut command = Command::new("sh");
            command.map_auto();
            engine.choose(&mut command, None);
            let plan = command.plan().unwrap().to_string();
            assert!(plan.contains("newuidmap") && plan.contains("newgidmap"), "{plan}");
            let before = kernel::census();
            assert_eq!(maps(&mut command), usual_maps());
            assert_eq!(kernel::census(), before);
        }
        // What they are good for: files of several owners, and groups.
        let dir = tempfile::tempdir().unwrap();
        let script = "cat /proc/self/setgroups && touch file && chown 5:7 file && stat -c %u:%g file && rm file";
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(dir.path()).map_auto();
        let output = command.output().unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "allow\n5:7\n");
        let mut denied = Command::new("cat");
        denied.arg("/proc/self/setgroups").map_auto().setgroups(Setgroups::Deny);
        assert_eq!(denied.output().unwrap().stdout, b"deny\n");
    });
}

fn the_user_may_stand_there_by_number() {
    let file = "65534:100000:65536\nnobody:300000:10\n";
    as_nobody(file, file, || {
        assert_eq!(maps(Command::new("sh").map_auto()), usual_maps());
    });
}

fn this_thread_gets_them_too() {
    as_nobody(USUAL, USUAL, || {
        Unshare::new(NamespaceSet::USER).map_auto().apply().unwrap();
        assert_eq!(maps(&mut Command::new("sh")), usual_maps());
    });
}

/// The kernel keeps no exit status of this process's children, nor of those of who inherits that.
fn the_programs_are_waited_for_where_sigchld_is_ignored() {
    as_nobody(USUAL, USUAL, || {
        // SAFETY: this process alone.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        Unshare::new(NamespaceSet::USER).map_auto().apply().unwrap();
        let map = fs::read_to_string("/proc/self/uid_map").unwrap();
        assert_eq!(map.lines().count(), 3, "{map}");
    });
}

fn chosen_ranges_are_mapped() {
    as_nobody(USUAL, USUAL, || {
        let map = stage::id_map(&[(7, 100_010, 5), (0, NOBODY, 1)]);
        let mut command = Command::new("sh");
        command.uid_map(map.clone()).gid_map(map);
        let both = vec![vec![7, 100_010, 5], vec![0, NOBODY, 1]];
        assert_eq!(maps(&mut command), [both.clone(), both].concat());
    });
}

fn root_needs_no_program() {
    let file = "root:100000:65536\n";
    with_files(file, file, || {
        let mut command = Command::new("sh");
        command.map_auto();
        assert!(!command.plan().unwrap().to_string().contains("newuidmap"));
        let one = vec![vec![0, 0, 1], vec![1, 100_000, 65_536]];
        assert_eq!(maps(&mut command), [one.clone(), one].concat());
    });
}

fn nothing_is_set_aside() {
    as_nobody("other:1:5\n", USUAL, || {
        let error = refused(Command::new("true").map_auto());
        is_of(&error, Step::ReadSubIds, ErrorKind::NotFound);
        assert_eq!(error.path().unwrap().to_str(), Some("/etc/subuid"));
        assert!(error.to_string().contains("for user nobody"), "{error}");
        assert!(Unshare::new(NamespaceSet::USER).map_auto().apply().is_err());
    });
    as_nobody(USUAL, "", || {
        let error = refused(Command::new("true").map_auto());
        assert_eq!(error.step(), Some(Step::ReadSubIds));
        assert_eq!(error.path().unwrap().to_str(), Some("/etc/subgid"));
    });
}

fn ranges_that_overlap() {
    for file in ["nobody:1000:10\nnobody:1009:10\n", "nobody:65530:10\n"] {
        as_nobody(file, USUAL, || {
            let error = refused(Command::new("true").map_auto());
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("overlap outside"), "{error}");
        });
    }
    // Beyond the last id: passed over as a bad line.
    as_nobody("nobody:4294967290:100\n", USUAL, || {
        assert_eq!(refused(Command::new("true").map_auto()).kind(), ErrorKind::NotFound);
    });
}

fn a_range_of_somebody_else() {
    as_nobody(USUAL, USUAL, || {
        for engine in available(FRESH) {
            let mut command = Command::new("true");
            command.uid_map(stage::id_map(&[(0, 500_000, 10)]));
            engine.choose(&mut command, None);
            let error = refused(&mut command);
            is_of(&error, Step::WriteUidMap, ErrorKind::PermissionDenied);
            // The program's own words.
            let text = error.to_string();
            assert!(text.contains("newuidmap") && text.contains("500000"), "{text}");
        }
        let error = refused(Command::new("true").gid_map(stage::id_map(&[(0, 500_000, 10)])));
        assert_eq!(error.step(), Some(Step::WriteGidMap));
        let unshare = Unshare::new(NamespaceSet::USER).uid_map(stage::id_map(&[(0, 500_000, 10)]));
        assert_eq!(unshare.apply().unwrap_err().kind(), ErrorKind::NotRestored);
    });
}

fn a_program_that_is_missing() {
    as_nobody_without_program(|| {
        let error = refused(Command::new("true").map_auto());
        is_of(&error, Step::WriteUidMap, ErrorKind::NotFound);
        assert!(error.to_string().contains("newuidmap"), "{error}");
    });
}

fn as_nobody_without_program(work: impl FnOnce()) {
    let path = crate::machine::in_path("newuidmap").unwrap();
    let path = fs::canonicalize(path).unwrap();
    in_fork(|| {
        stage::new(libc::CLONE_NEWNS);
        stage::private();
        stage::bind("/dev/null", &path);
        as_nobody(USUAL, USUAL, work);
    });
}

fn a_program_without_its_privilege() {
    as_nobody(USUAL, USUAL, || {
        // SAFETY: this process alone.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let error = refused(Command::new("true").map_auto());
        is_of(&error, Step::WriteUidMap, ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("no_new_privs"), "{error}");
    });
}
