//! The `unshare` example beside util-linux's: the same command lines, the same exit status, and the same
//! seen by the program inside.

pub(crate) mod keep;
pub(crate) mod life;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::beside::Against::{Differs, Newer, Same};
use super::beside::{self, Row};
use crate::fork::in_fork;
use crate::harness::cases;
use crate::machine::Need::{Example, Ordinary, OtherIds, Program, Root, UserNamespaces};
use crate::machine::{example, in_path};
use crate::stage;
use crate::sub_ids::as_nobody;

cases! {
    it_does_what_util_linux_s_does_for_root [Root, UserNamespaces, OtherIds, Example("unshare"), Program("unshare")],
    it_does_what_util_linux_s_does_for_an_ordinary_user
        [Ordinary, UserNamespaces, Example("unshare"), Program("unshare")],
    ids_that_are_set_aside_are_mapped
        [Root, OtherIds, Example("unshare"), Program("unshare"), Program("newuidmap")],
    the_root_is_that_of_the_new_mounts [Root, UserNamespaces, Example("unshare"), Program("unshare")],
    what_is_refused_names_its_reason [UserNamespaces, Example("unshare")],
}

/// What a program can see of where it is.
const REPORT: &str = r#"
    links=$(ls -n /proc/self/ns 2>/dev/null)
    while read -r _ _ _ _ _ _ _ _ name _ link; do
        case " $OUTSIDE " in *" $link "*) echo $name shared;; *) echo $name ${link:+new};; esac
    done <<END
$links
END
    id -u; uname -n; pwd; echo "$0"; export -p
    for file in uid_map gid_map; do
        while read -r inside outside count; do echo " $inside $outside $count"; done </proc/self/$file | sort
    done
    read -r setgroups </proc/self/setgroups; echo $setgroups
    test $$ = 1; echo "PID 1: $?"; test $PPID = "$CALLER"; echo "child of the caller: $?"
    { read -r up _ </proc/uptime; } 2>/dev/null; up=${up%.*}; echo clock $((${up:-0} > 500000000))
    grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|SigIgn|SigBlk|SigCgt)' /proc/self/status
    awk '/shared:/ { s++ } /master:/ { m++ } / - proc / { p++ } END { print s, m, p }' /proc/self/mountinfo
    set -- /proc/self/fd/*; echo $#; tr '\0' ' ' </proc/1/cmdline
"#;

fn prepare(program: &Path, args: &str) -> Command {
    let links = fs::read_dir("/proc/self/ns").unwrap().flatten();
    let links =
        links.filter_map(|entry| fs::read_link(entry.path()).ok()?.to_str().map(str::to_owned));
    let mut command = beside::prepare(program, args, REPORT);
    command.env("OUTSIDE", links.collect::<Vec<_>>().join(" "));
    command
}

fn ours() -> std::path::PathBuf {
    example("unshare").unwrap()
}

fn compare(rows: &[Row]) {
    let run = |program: &Path, args: &str| prepare(program, args).output().unwrap();
    beside::compare("unshare", &["unshare: "], rows, run);
}

/// For everybody who can make a user namespace: `-r` in front of what takes privileges.
const FOR_ALL: &[Row] = &[
    // Namespaces.
    ("", Same),
    ("-U", Same),
    ("-r", Same),
    ("-c", Same),
    ("-Um", Same),
    ("-ru", Same),
    ("--map-root-user --ipc --net", Same),
    ("--map-root -n", Same),
    ("-rC", Same),
    ("-rT", Same),
    ("-rp", Same),
    ("-rpf", Same),
    ("-rmuinCTpf", Same),
    ("-rmuinCTpf --mount-proc", Same),
    ("-rf --pid --mount-proc=/proc", Same),
    ("-r --mount-proc", Same),
    ("-f", Same),
    ("-rf", Same),
    ("-cf -m", Same),
    // Ids.
    ("--map-user=5", Same),
    ("--map-user 5 --map-group 6", Same),
    ("--map-user=daemon --map-group=daemon", Same),
    ("--map-user=5 -r", Same),
    ("-r --map-user=5", Same),
    ("-c -r -c", Same),
    ("--map-group=6", Same),
    ("-r --setgroups deny", Differs("it is denied already", 0, "deny")),
    ("-r --setgroups=allow", Same),
    ("-U --setgroups=allow", Same),
    ("-U --setgroups=deny", Same),
    ("-r --setuid 0", Same),
    ("-r -S 5", Same),
    ("-r -G 0", Same),
    ("--map-user=nobody-at-all", Same),
    ("--map-users=nonsense", Same),
    ("--setgroups=maybe", Same),
    // Mounts and directories.
    ("-rm --propagation private", Same),
    ("-rm --propagation=slave", Same),
    ("-rm --propagation shared", Same),
    ("-rm --propagation unchanged", Same),
    ("-r --propagation shared", Same),
    ("-rm --propagation nonsense", Same),
    ("-w /usr", Same),
    ("-rm --wd=/usr", Same),
    ("-r --wd=/no/such", Same),
    ("-r --root=/", Same),
    ("-rf --root=/", Same),
    ("-r -R / -w /usr", Same),
    ("-rmf --root=/", Same),
    ("-rmpf --root=/ --mount-proc -w /usr", Same),
    ("-r --root=/no/such", Same),
    ("-r --root=/usr -- true", Same),
    // Clocks.
    ("-rT --boottime 1000000000", Same),
    ("-rT --boottime 1000000000 -f", Same),
    ("-rT --monotonic=-5 --boottime=5", Same),
    ("-rTpf --monotonic 7 -- cat /proc/self/timens_offsets", Same),
    ("-rT --boottime 7 -- cat /proc/self/timens_offsets", Same),
    ("--boottime 7", Same),
    ("-rT --boottime seven", Same),
    ("-rT --boottime=-1000000000", Same),
    // Capabilities and environment.
    ("-c --keep-caps", Same),
    ("-U --keep-caps", Same),
    ("-cf --keep-caps", Same),
    ("--keep-caps", Same),
    ("--clear-env -- echo ${MARK:-none}", Newer("--clear-env", "none")),
    ("-rpf --clear-env -- echo ${MARK:-none}", Newer("--clear-env", "none")),
    (
        "--whitelist-env MARK,CALLER -- echo $MARK${SHELL:-none}",
        Newer("--whitelist-env", "herenone"),
    ),
    // What becomes of the program.
    ("-- exit 7", Same),
    ("-rpf -- exit 7", Same),
    ("-rpf --kill-child -- exit 7", Same),
    ("--kill-child=TERM -- exit 7", Same),
    ("--kill-child=SIGINT -- exit 7", Same),
    ("--kill-child=2 -- exit 7", Differs("numbers name signals, too", 7, "")),
    ("--kill-child=NONSENSE -- exit 7", Same),
    ("-f -- kill -TERM $$", Same),
    ("-f -- kill -INT $$", Same),
    ("-f -- kill -USR1 $$", Same),
    ("-- kill -KILL $$", Same),
    ("-rpf -- kill -TERM $$; exit 9", Same),
    ("-f -- trap '' TERM; kill -TERM $$; exit 255", Same),
    (
        "-p --forward-signals -r -- echo $$; exit 9",
        Differs("the program has an init above it", 9, "2"),
    ),
    ("--forward-signals -- echo $$ >/dev/null; echo ran", Newer("--forward-signals", "ran")),
    ("-- /no/such/program", Same),
    ("-f -- /no/such/program", Same),
    ("-rpf -- /no/such/program", Same),
    ("-- /etc", Same),
    ("-f -- /etc/passwd", Same),
    ("-- ", Same),
    ("-f -- ", Same),
    // The rest.
    ("--nonsense", Same),
    ("-x", Same),
    ("--setgroups=deny", Same),
];

/// In the help of versions from 2.39 on.
const LATER: &str = ":<count>";

fn it_does_what_util_linux_s_does_for_root() {
    compare(FOR_ALL);
    compare(&[
        ("--setgroups=allow", Same),
        ("-m", Same),
        ("-muinCT", Same),
        ("-muinCTpf --mount-proc", Same),
        ("-S 5 -G 6", Same),
        ("-muf --setuid=5 --setgid=6", Same),
        ("-mf --root=/ -S 5", Same),
        ("-T --boottime 1000000000", Same),
        // By newuidmap before 2.39, also for root, who need not stand in /etc/subuid.
        ("--map-users=0,0,1000 --map-groups=0,0,1000", Newer(LATER, " 0 0 1000")),
        ("--map-users=100,0,10 --map-groups=200,0,20 -S 0 -G 0", Newer(LATER, " 0 200 20")),
        ("--map-users=100,0,10 --map-groups=200,0,20 -S 3 -f --keep-caps", Newer(LATER, "3")),
        ("--map-users=0:100:10 --map-groups=0:200:10 -S 3 -- id -u", Newer(LATER, "3")),
        ("--map-users=0,0,10 --map-users=100,100,5", Newer(LATER, " 100 100 5")),
        ("--map-users=0,0,10 --map-user=20", Newer(LATER, " 0 1 9")),
        ("--map-users all --map-groups=all", Newer("--map-subids", " 0 0 4294967295")),
        (
            "--map-users=0,0,10 --map-groups=0,0,10 --setgroups=deny -- cat /proc/self/setgroups",
            Differs("it is denied before the map is written, as the kernel wants it", 0, "deny"),
        ),
    ]);
}

fn it_does_what_util_linux_s_does_for_an_ordinary_user() {
    compare(FOR_ALL);
    compare(&[
        ("-m", Same),
        ("--setgroups=allow", Differs("it is allowed already", 0, "")),
        ("-n -f", Same),
        ("-pf", Same),
        ("-T --boottime 7", Same),
        ("-S 5", Same),
        ("-G 5", Same),
        ("--root=/", Same),
        ("--map-auto", Same),
        ("--map-users=0,0,10", Same),
    ]);
}

const SET_ASIDE: &str = "nobody:100000:65536\nnobody:300000:10\n";

fn ids_that_are_set_aside_are_mapped() {
    // Where the user can see it.
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("unshare");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(ours(), &copy).unwrap();
    as_nobody(SET_ASIDE, SET_ASIDE, || {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var("LINUX_NAMESPACES_EXAMPLES", dir.path()) };
        compare(&[
            ("--map-auto", Same),
            ("--map-auto -S 0 -G 0", Same),
            ("--map-auto -f -S 3", Same),
            ("--map-users=auto", Same),
            ("--map-groups=auto", Same),
            ("--map-users=auto --map-group=0", Same),
            ("--map-users=100000,0,1000 --map-user=5", Same),
            ("--map-users=100000,0,1000 --map-user=2000", Same),
            ("--map-users=100000,0,10 --map-users=300000,10,10", Newer(LATER, " 0 100000 10")),
            ("--map-users=500000,0,10", Same),
            ("--map-auto -r", Differs("the installed one wastes an id", 0, " 1 100000 65536")),
            ("--map-auto -rf", Differs("the installed one wastes an id", 0, " 1 100000 65536")),
            ("--map-auto -c", Differs("the installed one wastes an id", 0, " 65535 165534 2")),
            ("--map-users=subids", Newer("subids", " 100000 100000 65536")),
            ("--map-subids -r", Newer("--map-subids", " 100000 100000 65536")),
            ("--map-auto -rmpf --mount-proc -- touch x; id -u", Same),
        ]);
    });
}

fn the_root_is_that_of_the_new_mounts() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap().to_owned();
    in_fork(|| {
        stage::new(libc::CLONE_NEWNS);
        stage::private();
        stage::bind("/", &root);
        let procs =
            || fs::read_to_string("/proc/self/mountinfo").unwrap().matches(" - proc ").count();
        let before = procs();
        for options in ["-m", "-mf", "-mpf --mount-proc", "-rmpf --mount-proc", "-mpf --wd=/usr"] {
            let args = format!("--root={root} {options}");
            let output = [ours(), in_path("unshare").unwrap()]
                .map(|program| prepare(&program, &args).output().unwrap());
            assert!(output[0].status.success(), "{args}: {output:#?}");
            assert_eq!(output[0].stdout, output[1].stdout, "{args}: {output:#?}");
        }
        // Not outside of the root.
        assert_eq!(procs(), before);
    });
}

fn what_is_refused_names_its_reason() {
    for (args, word) in [
        ("-rm --mount-proc --propagation shared", "could appear outside"),
        ("-r --load-interp :x:M::x:x::", "binfmt_misc"),
        ("-r --mount-binfmt", "binfmt_misc"),
        ("--owner 5:5", "another owner"),
        ("-r --map-users=0:0:1:1", "invalid mapping"),
        ("--map-users=0,0,10 --map-users=5,20,10", "overlap outside"),
        ("-rT --boottime=-99999999999", "0 to 4611686018"),
        ("-rf --mount-proc=/no/such", "\"/no/such\""),
        ("-r --mount-proc=/no/such", "\"/no/such\""),
        ("-r --root=/no/such", "root directory to '/no/such'"),
        ("-rf --wd=/no/such", "\"/no/such\""),
        ("-r --map-root-user=5", "map-root-user"),
    ] {
        let output = prepare(&ours(), args).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        let named = told.starts_with("unshare: ") && told.contains(word);
        assert!(output.status.code() == Some(1) && named, "{args}: {output:?}");
    }
    // Nor does it wait for somebody to open the other end.
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let output = prepare(&ours(), &format!("-r --root={}", fifo.display())).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("Not a directory"), "{told}");
    let output = prepare(&ours(), "-rp --kill-child=TERM -- exit 6").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(6) && told.contains("will be PID 1"), "{output:?}");
    for option in ["--help", "--version"] {
        let output = prepare(&ours(), option).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("unshare "), "{output:?}");
    }
}
