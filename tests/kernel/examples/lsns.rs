//! The `lsns` example beside util-linux's: the same command lines on the same machine state, and the same
//! output: to the byte that of version 2.38, the same words as later ones, whose columns are of other widths.
//!
//! Where that is compared whole, it is in a pid namespace with a root and a proc of its own, in which
//! nobody else comes and goes.

pub(crate) mod holders;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Output;

use linux_namespaces::{
    Child, Command, Enter, Mount, Namespace, NamespaceSet, Rootfs, Stdio, Unshare,
};
use serde_json::Value;

use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{Example, NetworkPairs, NewProc, Program, UserNamespaces};
use crate::machine::{example, in_path};

cases! {
    it_prints_what_util_linux_s_does
        [UserNamespaces, NewProc, Example("lsns"), Program("lsns"), Program("unshare"), Program("mount")],
    a_terminal_s_width_is_kept
        [UserNamespaces, NewProc, Example("lsns"), Program("lsns"), Program("unshare"), Program("mount")],
    it_tells_the_same_of_namespaces_seen_from_outside
        [UserNamespaces, NewProc, Example("lsns"), Program("lsns"), Program("unshare"), Program("mount")],
    it_tells_the_same_while_processes_come_and_go
        [UserNamespaces, NewProc, Example("lsns"), Program("lsns"), Program("unshare"), Program("mount")],
    what_has_no_process_is_listed
        [UserNamespaces, NewProc, Example("lsns"), Program("unshare"), Program("mount")],
    filters_choose_lines
        [UserNamespaces, NewProc, Example("lsns"), Program("unshare"), Program("mount")],
    what_is_wrong_is_refused [UserNamespaces, Example("lsns")],
    a_network_s_number_is_told
        [UserNamespaces, Example("lsns"), Program("lsns"), Program("ip"), NetworkPairs],
}

/// Processes in namespaces of several kinds: two in one, one user namespace with another one inside and
/// no process of its own, a pid namespace. Each says so when it is where it will stay.
const TREE: &str = "
    ready='echo ready; exec sleep'
    unshare -u sh -c \"$ready 600\" &
    unshare -n -i sh -c \"sleep 610 & $ready 620\" &
    unshare -Ur sh -c \"exec unshare -Ur -u sh -c '$ready 630'\" &
    unshare -pf sh -c \"$ready 640\" &
    unshare -m sh -c \"$ready 650\" &
";

/// A PID 1, and with it all that it started.
pub(crate) struct Stage(Child);

impl Stage {
    /// Of a script that says `ready` so many times.
    pub(crate) fn start(script: &str, count: usize) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{script} echo ready; exec sleep 700")]);
        command.unshare(NamespaceSet::PID).map_root().rootfs(Rootfs::tmpfs());
        for dir in ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"] {
            if Path::new(dir).exists() {
                command.mount(Mount::bind(dir, dir).unwrap());
            }
        }
        let examples = example("lsns").unwrap();
        command.mount(Mount::bind(examples.parent().unwrap(), "/examples").unwrap());
        command.mount(Mount::proc("/proc").unwrap()).mount(Mount::dev("/dev").unwrap());
        command.mount(Mount::tmpfs("/sys").unwrap());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdout(Stdio::piped());
        let mut child = command.kill_on_parent_exit().spawn().unwrap_or_else(|it| panic!("{it:#}"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).filter(|line| line == "ready").take(count + 1);
        assert_eq!(ready.count(), count + 1, "all of the stage's processes are there");
        Self(child)
    }

    pub(crate) fn tree() -> Self {
        Self::start(TREE, 5)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// A program in there, which is another one each time, but one among the others.
    fn command(&self, program: &Path, args: &str) -> Command {
        let set = NamespaceSet::USER | NamespaceSet::MOUNT | NamespaceSet::PID;
        let mut command = Command::new(program);
        command.args(args.split(' ').filter(|it| !it.is_empty())).env("LC_ALL", "C.UTF-8");
        command.enter(Enter::new().process(self.0.pidfd().try_clone().unwrap(), set));
        command
    }

    fn run(&self, program: &Path, args: &str) -> Output {
        self.command(program, args).output().unwrap_or_else(|it| panic!("{it:#}"))
    }

    pub(crate) fn ours(&self, args: &str) -> Output {
        self.run(Path::new("/examples/lsns"), args)
    }

    /// The namespaces of a kind in there, besides that of its PID 1.
    fn others(&self, kind: Namespace) -> Vec<u64> {
        let own = kernel::ns(self.pid(), kind.name());
        let output = self.ours(&format!("-l -n -t {kind} -o NS"));
        let all = text(&output.stdout);
        all.lines().map(|line| line.trim().parse().unwrap()).filter(|ino| *ino != own).collect()
    }

    pub(crate) fn end(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Theirs before and after is the same, so that nothing has changed in between.
fn alike<T: PartialEq + std::fmt::Debug>(ours: impl Fn() -> T, theirs: impl Fn() -> T, what: &str) {
    for _ in 0..50 {
        let (before, our, after) = (theirs(), ours(), theirs());
        if before == after {
            assert_eq!(our, after, "{what}");
            return;
        }
    }
    panic!("{what}: nothing stayed as it was");
}

/// Command lines; `NET` stands for the number of a network namespace with two processes.
const SAME: &[&str] = &[
    "",
    "-l",
    "--list --noheadings",
    "-n",
    "-J",
    "--json --list",
    "-r",
    "-rn",
    "--raw --tree=owner",
    "-T",
    "-Towner",
    "-T=owner",
    "--tree",
    "--tree=parent",
    "-Tparent",
    "-Tprocess",
    "-nTparent",
    "-JT",
    "-J --tree=parent",
    "-J --tree=parent -o TYPE,NS",
    "-T -o TYPE,COMMAND",
    "-u",
    "--notruncate -l",
    "-t uts",
    "-t net",
    "-W -t net",
    "-J -t net",
    "-l --type uts --type ipc --type time",
    "--output-all",
    "--output-all -J",
    "--output-all -r",
    "--output-all --tree",
    "-o NS",
    "-o +PATH,UID",
    "-o +pns,ons -l",
    "-l -o command,Pid,ppid,uid,USER,nprocs",
    "-r -o NETNSID,NSFS,NS",
    "-l -o NETNSID,NSFS,NS",
    "-l -o NS,NETNSID -t net",
    "-p 1",
    "--task 1 -J",
    "--task=1 -l -o NS",
    "--task 999999",
    "-J --task 999999",
    "-r --task 999999",
    "NET",
    "-l NET",
    "-J NET",
    "-r NET",
    "-o +NS,TYPE,PATH NET",
    "NET --tree",
    "NET --tree=parent -o NS,PID",
    "--output-all NET",
    "-n NET -o PID,COMMAND",
];

/// For ours: what has no process is listed by the other one only in trees of namespaces.
fn as_theirs(args: &str) -> String {
    let is_tree = args.split(' ').any(|word| match word.strip_prefix("--") {
        Some(long) => long.starts_with("tree") && !long.ends_with("process"),
        None => word.starts_with('-') && word.contains('T') && !word.ends_with("process"),
    });
    if is_tree { args.to_owned() } else { format!("-QNPROCS>0 {args}") }
}

/// The one that is installed.
fn is_of_later_layout() -> bool {
    let output = std::process::Command::new("lsns").arg("--help").output().unwrap();
    text(&output.stdout).contains("--filter")
}

fn words(lines: &str) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    lines.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn it_prints_what_util_linux_s_does() {
    let stage = Stage::tree();
    let later = is_of_later_layout();
    let net = stage.others(Namespace::Net)[0];
    for args in SAME {
        let args = args.replace("NET", &net.to_string());
        for locale in ["C.UTF-8", "C"] {
            let run = |program: &Path, args: &str| {
                let output = stage.command(program, args).env("LC_ALL", locale).output().unwrap();
                let text = text(&output.stdout);
                (output.status.code(), if later { words(&text) } else { text })
            };
            let (ours, theirs) = (Path::new("/examples/lsns"), in_path("lsns").unwrap());
            alike(|| run(ours, &as_theirs(&args)), || run(&theirs, &args), &args);
        }
    }
    stage.end();
}

/// What a tool prints to a terminal of so many columns.
fn on_terminal(stage: &Stage, program: &Path, args: &str, columns: u16) -> String {
    let size = nix::pty::Winsize { ws_row: 9, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let nix::pty::OpenptyResult { master, slave } = nix::pty::openpty(&size, None).unwrap();
    let mut child =
        stage.command(program, args).stdout(slave).stderr(Stdio::null()).spawn().unwrap();
    let mut text = Vec::new();
    // It ends with an error, when nobody has the other side open any more.
    std::fs::File::from(master).read_to_end(&mut text).ok();
    assert!(child.wait().unwrap().success());
    String::from_utf8_lossy(&text).into_owned()
}

fn a_terminal_s_width_is_kept() {
    let stage = Stage::tree();
    let later = is_of_later_layout();
    for args in ["", "-l", "-T", "-o COMMAND,NS", "-u", "-t net", "-o PATH,NS -l", "-o +PNS"] {
        for columns in [0, 1, 37, 44, 60, 200] {
            let run = |program: &Path, args: &str| on_terminal(&stage, program, args, columns);
            let (ours, theirs) = (Path::new("/examples/lsns"), in_path("lsns").unwrap());
            let what = format!("{args:?} in {columns} columns");
            let widest = run(ours, args).lines().map(|line| line.chars().count()).max().unwrap();
            let fits = widest <= usize::from(columns) || columns < 60 || args == "-u";
            assert!(fits, "{what}: {widest}");
            if later {
                continue;
            }
            alike(|| run(ours, &as_theirs(args)), || run(&theirs, args), &what);
        }
    }
    stage.end();
}

/// The lines of a JSON list by namespace, of those that the stage's processes are in alone.
fn lines(json: &[u8], wanted: &[u64]) -> HashMap<u64, Value> {
    let all: Value = serde_json::from_slice(json).unwrap();
    let lines = all["namespaces"].as_array().unwrap().iter();
    let by_number = lines.map(|line| (line["ns"].as_u64().unwrap(), line.clone()));
    by_number.filter(|(ino, _)| wanted.contains(ino)).collect()
}

/// On the outside.
fn outside(program: &Path) -> Vec<u8> {
    let output =
        std::process::Command::new(program).args(["-lJ", "--output-all"]).output().unwrap();
    output.stdout
}

/// All that the stage made.
fn made(stage: &Stage) -> Vec<u64> {
    let mut all = Vec::new();
    for &kind in Namespace::ALL {
        all.extend(stage.others(kind));
        all.push(kernel::ns(stage.pid(), kind.name()));
    }
    let shared: Vec<_> = kernel::all_ns().into_iter().map(|(_, ino)| ino).collect();
    all.retain(|ino| !shared.contains(ino));
    all
}

fn it_tells_the_same_of_namespaces_seen_from_outside() {
    let stage = Stage::tree();
    let made = made(&stage);
    let run = |program: &Path| lines(&outside(program), &made);
    let (ours, theirs) = (example("lsns").unwrap(), in_path("lsns").unwrap());
    // The one user namespace without a process is known to newer versions alone.
    let with_processes = |mut lines: HashMap<u64, Value>| {
        lines.retain(|_, line| line["nprocs"] != 0);
        lines
    };
    alike(|| with_processes(run(&ours)), || with_processes(run(&theirs)), "from outside");
    let known = with_processes(run(&ours)).len();
    assert!(known >= 10 && run(&ours).len() > known, "{known} of {made:?}");
    stage.end();
}

fn it_tells_the_same_while_processes_come_and_go() {
    let stage = Stage::tree();
    let made = made(&stage);
    let (ours, theirs) = (example("lsns").unwrap(), in_path("lsns").unwrap());
    let expected = lines(&outside(&theirs), &made);
    let churn = "while :; do unshare -ru true & unshare -ri true; wait; done";
    let mut command = Command::new("setsid");
    command.args(["-w", "sh", "-c", churn]).unshare(NamespaceSet::PID).map_root();
    let mut churner = command.kill_on_parent_exit().spawn().unwrap();
    for _ in 0..20 {
        let mut seen = lines(&outside(&ours), &made);
        seen.retain(|ino, _| expected.contains_key(ino));
        assert_eq!(seen, expected);
    }
    churner.kill().unwrap();
    churner.wait().unwrap();
    stage.end();
}

fn what_has_no_process_is_listed() {
    let script = "cd /sys; touch x z; unshare --uts=/sys/x true; unshare --ipc=/sys/x true;
        mkdir 'b c'; touch 'b c/y'; mount --bind x 'b c/y'; unshare --uts=/sys/z true;";
    let stage = Stage::start(script, 0);
    let output = stage.ours("-lPJ -o NS,TYPE,NPROCS,PID,UID,USER,NSFS,COMMAND,ONS");
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of_kind = |kind: &str, point: &str| {
        let all = all["namespaces"].as_array().unwrap();
        let has = |line: &&Value| line["type"] == kind && line["nsfs"].as_str() == Some(point);
        all.iter().find(has).unwrap_or_else(|| panic!("{kind} {point}: {all:#?}")).clone()
    };
    // The one on top, the one below it, and one alone.
    let (top, below) = (of_kind("ipc", "/sys/x\n/sys/b c/y"), of_kind("uts", "/sys/x"));
    let alone = of_kind("uts", "/sys/z");
    let user = kernel::ns(stage.pid(), "user");
    for line in [&top, &alone] {
        assert_eq!((&line["ons"], &line["nprocs"]), (&user.into(), &0.into()));
        assert_eq!((&line["uid"], &line["user"]), (&0.into(), &"root".into()));
        assert!(line["pid"].is_null() && line["command"].is_null(), "{line}");
    }
    // Nobody can ask the one that is covered.
    assert_eq!(below["ons"], 0);
    let told = text(&output.stderr);
    assert!(told.contains("the mount at \"/sys/x\""), "{told}");
    // In several rows, or in one.
    let rows = text(&stage.ours("-P -t ipc -o NSFS,NS").stdout);
    let ino = &top["ns"];
    assert_eq!(rows, format!("NSFS               NS\n/sys/x     {ino}\n/sys/b c/y \n"), "{rows}");
    let row = text(&stage.ours("-PWn -t ipc -o NSFS,NS").stdout);
    assert_eq!(row, format!("/sys/x,/sys/b c/y {ino}\n"));
    let raw = text(&stage.ours("-Prn -t ipc -o NSFS,NS").stdout);
    assert_eq!(raw, format!("/sys/x,/sys/b\\x20c/y {ino}\n"));
    stage.end();
}

fn filters_choose_lines() {
    let stage = Stage::tree();
    let uts = stage.others(Namespace::Uts).len();
    assert_eq!(uts, 2);
    for (filter, expected) in [
        ("TYPE == \"uts\" and NPROCS == 1", 2),
        ("TYPE == 'uts' && NPROCS < 2", 2),
        ("type eq 'uts' AND NPROCS lt 2", 2),
        ("TYPE == \"uts\" or TYPE == \"ipc\"", 5),
        ("(TYPE == \"uts\" or TYPE == \"ipc\") and NPROCS > 2", 2),
        ("TYPE == \"uts\" or TYPE == \"ipc\" and NPROCS > 2", 4),
        ("TYPE =~ \"^(uts|ipc)$\" and NPROCS <= 2", 3),
        ("TYPE =~ 'i|u' and TYPE !~ 'uts|user|time|pid|cgroup|net'", 2),
        ("!(TYPE != 'uts')", 3),
        ("not TYPE != 'uts'", 3),
        ("TYPE == 'uts' and COMMAND == 'sleep 600'", 1),
        ("NPROCS >= 1K", 0),
        ("NPROCS == 1.5", 0),
        ("TYPE == 'user' and !PID", 1),
        ("TYPE == 'user' and PID == 0", 0),
        ("false or TYPE == 'time' and true", 1),
    ] {
        let mut command = stage.command(Path::new("/examples/lsns"), "-lnr -o NS -Q");
        let output = command.arg(filter).output().unwrap();
        let count = text(&output.stdout).lines().count();
        assert_eq!(count, expected, "{filter}: {output:?}");
    }
    stage.end();
}

fn what_is_wrong_is_refused() {
    for (args, word) in [
        ("--nonsense", "--nonsense"),
        ("-t tty", "tty"),
        ("--tree=cousin", "cousin"),
        ("-Tcousin", "cousin"),
        ("-o NS,NONSENSE", "unknown column: NONSENSE"),
        ("-o +", "unknown column"),
        ("x", "'x'"),
        ("7", "not found namespace: 7"),
        ("--holders 7", "not found namespace: 7"),
        ("--holders x", "'x'"),
        ("-J -r", "cannot be used with"),
        ("-l -T", "cannot be used with"),
        ("-p 1 7", "cannot be used with"),
        ("-P -p 1", "cannot be used with"),
        ("-p -1", "-1"),
        ("-Q NPROCS==", "something is missing"),
        ("-Q (NS", "a ) is missing"),
        ("-Q NS)", "unexpected"),
        ("-Q NONSENSE==1", "unknown column: NONSENSE"),
        ("-Q NS=='x", "a quote is not closed"),
        ("-Q NS=~'('", "regex"),
        ("-Q NS=~x", "a pattern in quotes"),
        ("-Q NS==1x", "1x is no number"),
        ("-Q NS==é", "unexpected"),
        ("-Q ?", "unexpected"),
    ] {
        let mut command = std::process::Command::new(example("lsns").unwrap());
        let output = command.args(args.split(' ')).output().unwrap();
        let told = text(&output.stderr);
        let is_told = output.stdout.is_empty() && told.contains(word);
        assert!(output.status.code() == Some(1) && is_told, "{args}: {output:?}");
    }
    for option in ["--help", "--version", "-H"] {
        let output = std::process::Command::new(example("lsns").unwrap()).arg(option).output();
        assert!(output.unwrap().status.success());
    }
}

fn a_network_s_number_is_told() {
    Unshare::new(NamespaceSet::NET).map_root().apply().unwrap();
    let sleeper = || Command::new("sleep").arg("600").unshare(NamespaceSet::NET).spawn().unwrap();
    let children = [sleeper(), sleeper()];
    let pid = children[0].id().to_string();
    let mut ip = std::process::Command::new("ip");
    ip.args(["link", "add", "one", "type", "veth", "peer", "name", "two", "netns", &pid]);
    assert!(ip.status().unwrap().success());
    let numbers = children.each_ref().map(|child| kernel::ns(child.id(), "net"));
    let run = |program: &Path| lines(&outside(program), &numbers);
    let (ours, theirs) = (example("lsns").unwrap(), in_path("lsns").unwrap());
    alike(|| run(&ours), || run(&theirs), "numbers of networks");
    let told = numbers.map(|ino| run(&ours)[&ino]["netnsid"].clone());
    assert_eq!(told, ["0", "unassigned"]);
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
