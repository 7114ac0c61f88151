//! The example `bocker`: all of its commands in one story, as whoever runs the suite; and what it refuses.

pub(crate) mod hostile;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{self, Output};

use linux_namespaces::{Command, Enter, Namespace, NamespaceSet, NsFd};
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, waitpid};
use tempfile::TempDir;

use crate::harness::cases;
use crate::kernel::until;
use crate::machine::Need::{
    Example, NewProc, Overlays, Program, Root, UnifiedCgroup, UserNamespaces,
};
use crate::machine::{example, in_path, is_root, unified_cgroup, user_attributes};

cases! {
    all_of_its_commands_in_one_story [UserNamespaces, NewProc, Overlays, Example("bocker"), Program("busybox")],
    containers_on_a_bridge [Root, Overlays, Example("bocker"), Program("busybox"), Program("ip")],
    limits_that_hold_or_are_refused [UserNamespaces, Overlays, Example("bocker"), Program("busybox")],
    limits_are_out_of_reach_and_cgroups_do_not_stay
        [Root, UserNamespaces, UnifiedCgroup, Overlays, Example("bocker"), Program("busybox")],
    a_monitor_that_is_killed_takes_its_container_along
        [UserNamespaces, NewProc, Overlays, Example("bocker"), Program("busybox")],
    what_cannot_be_done_is_told
        [UserNamespaces, NewProc, Overlays, Example("bocker"), Program("busybox")],
}

/// A state directory, a root file system of busybox, and a network namespace for what root does to the network.
struct Bocker {
    dir: TempDir,
    net: Option<NsFd>,
}

impl Bocker {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("root/bin");
        fs::create_dir_all(&bin).unwrap();
        let busybox = in_path("busybox").unwrap();
        fs::copy(&busybox, bin.join("busybox")).unwrap();
        fs::set_permissions(bin.join("busybox"), fs::Permissions::from_mode(0o755)).unwrap();
        let applets = process::Command::new(busybox).arg("--list").output().unwrap();
        for applet in String::from_utf8(applets.stdout).unwrap().lines() {
            symlink("busybox", bin.join(applet)).ok();
        }
        Self { dir, net: is_root().then(net) }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(example("bocker").unwrap());
        command.arg("--state").arg(self.dir.path().join("state")).args(args);
        if let Some(net) = &self.net {
            command.enter(Enter::new().namespace(net.try_clone().unwrap()));
        }
        command
    }

    fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// What it prints when all goes well.
    fn text(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {}: {errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The name that it prints.
    fn name(&self, args: &[&str]) -> String {
        let text = self.text(args);
        let name = text.strip_suffix('\n').unwrap();
        assert!(name.len() == 12 && name.bytes().all(|it| it.is_ascii_hexdigit()), "{text:?}");
        name.to_owned()
    }

    fn image(&self) -> String {
        self.name(&["init", self.root().to_str().unwrap()])
    }

    /// Its exit status and its words.
    fn refusal(&self, args: &[&str]) -> (i32, String) {
        let output = self.output(args);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn cgroup(&self, container: &str) -> PathBuf {
        let fact = self.dir.path().join("state/containers").join(container).join("cgroup");
        fs::read_to_string(fact).unwrap().into()
    }

    /// The status of a container, as `ps` tells it.
    fn status(&self, container: &str) -> String {
        let list = self.text(&["ps"]);
        let line = list.lines().find(|line| line.starts_with(container)).unwrap_or_default();
        line.get(44..).unwrap_or_default().split("  ").next().unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Bocker {
    /// What looked after containers in the background is this process's by now, as every orphan below it.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            until(|| waitpid(None, Some(WaitPidFlag::WNOHANG)) == Err(Errno::ECHILD));
        }
    }
}

fn net() -> NsFd {
    let mut keeper = Command::new("sleep");
    let mut keeper = keeper.arg("600").unshare(NamespaceSet::NET).loopback_up().spawn().unwrap();
    let net = keeper.namespace(Namespace::Net).unwrap();
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    net
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

fn all_of_its_commands_in_one_story() {
    let bocker = Bocker::new();
    let image = bocker.image();
    assert!(bocker.text(&["images"]).contains(&image));

    // In the foreground, with namespaces, a name and an init of its own.
    let script = "echo $$; id -u; hostname; cat /proc/1/comm; for ns in /proc/self/ns/*; do readlink $ns; done; echo kept >/file; \
                  echo wrong >&2; exit 7";
    let output = bocker.output(&["run", "--network", "none", &image, "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stderr, b"wrong\n");
    let list = bocker.text(&["ps"]);
    let first = list.lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!(bocker.status(&first), "exited 7");
    let text = String::from_utf8(output.stdout).unwrap();
    let (facts, links) = text.split_at(text.find("cgroup:").unwrap());
    assert_eq!(facts, format!("2\n0\n{first}\ninit\n"));
    for &kind in Namespace::ALL {
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let is_shared = links.contains(own.to_str().unwrap());
        assert_eq!(is_shared, kind == Namespace::Time, "{kind}: {links}");
    }
    let log = bocker.text(&["logs", &first]);
    assert!(log.contains("init\n") && log.contains("wrong\n"), "{log}");

    // What it wrote is its own, until it is made an image.
    assert_eq!(bocker.text(&["run", "--rm", &image, "ls", "/"]), "bin\ndev\nproc\nsys\n");
    let second = bocker.name(&["commit", &first]);
    assert_eq!(bocker.text(&["run", "--rm", &second, "cat", "/file"]), "kept\n");

    // In the background; another program inside; orphans of that do not stay.
    let (replaced, look) = if user_attributes() {
        ("mkdir /file", "test -d /file && ls /file")
    } else {
        ("true", "! test -e /file")
    };
    let script = format!("echo started; rm -r /bin/vi /file; {replaced}; exec sleep 1000");
    let running = bocker.name(&["run", "-d", &second, "sh", "-c", &script]);
    assert_eq!(bocker.status(&running), "running");
    until(|| bocker.text(&["logs", &running[..6]]) == "started\n");
    until(|| bocker.text(&["exec", &running, "ps", "-o", "args"]).contains("\nsleep 1000\n"));
    assert_eq!(bocker.text(&["exec", &running, "hostname"]), format!("{running}\n"));
    assert_eq!(bocker.output(&["exec", &running, "sh", "-c", "exit 3"]).status.code(), Some(3));
    for _ in 0..5 {
        bocker.text(&["exec", &running, "sh", "-c", "true & true"]);
    }
    until(|| {
        let processes = bocker.text(&["exec", &running, "ps", "-o", "stat,comm"]);
        assert!(processes.contains(" init\n"), "{processes}");
        !processes.lines().any(|line| line.starts_with('Z'))
    });
    // An image of a container that runs: what it removed is not there, what it replaced is empty.
    let third = bocker.name(&["commit", &running]);
    let script = format!("ls -d /bin/vi 2>/dev/null; {look}");
    assert_eq!(bocker.text(&["run", "--rm", &third, "sh", "-c", &script]), "");

    // Nothing is removed that is in use.
    let (status, words) = bocker.refusal(&["rm", &running]);
    assert!(status == 125 && words.contains("runs"), "{words}");
    let (status, words) = bocker.refusal(&["rm", &second]);
    assert!(status == 125 && words.contains(&running), "{words}");
    bocker.text(&["rm", "--force", &running, &first, &second, &third, &image]);
    assert_eq!(bocker.text(&["ps"]).lines().count(), 1);
    for dir in ["state/containers", "state/images"] {
        assert_eq!(entries(&bocker.dir.path().join(dir)), 0, "{dir}");
    }
    let (status, words) = bocker.refusal(&["pull", "busybox:latest"]);
    assert!(status == 125 && words.contains("left out"), "{words}");
}

/// Whether the kernel has bridges and cables, asked in the network namespace.
fn has_bridges(bocker: &Bocker) -> bool {
    let add = |args: &[&str]| {
        let mut ip = Command::new("ip");
        ip.args(["link", "add"]).args(args);
        ip.enter(Enter::new().namespace(bocker.net.as_ref().unwrap().try_clone().unwrap()));
        ip.output().unwrap().status.success()
    };
    add(&["probe", "type", "bridge"]) && add(&["one", "type", "veth", "peer", "name", "other"])
}

fn containers_on_a_bridge() {
    let bocker = Bocker::new();
    let image = bocker.image();
    let run = |script: &str| bocker.name(&["run", "-d", &image, "sh", "-c", script]);
    let first = run("exec sleep 1000");
    if !has_bridges(&bocker) {
        let (status, words) = bocker.refusal(&["run", "--network", "bridge", &image, "true"]);
        assert!(status == 125 && words.contains("ip:"), "{words}");
        bocker.text(&["rm", "-f", &first]);
        return;
    }
    // Two at once, each with an address that the other reaches, and the machine.
    let second = run("exec sleep 1000");
    let list = bocker.text(&["ps"]);
    for (container, other) in [(&first, "10.209.7.3"), (&second, "10.209.7.2")] {
        let line = list.lines().find(|line| line.starts_with(container.as_str())).unwrap();
        assert!(line.contains("10.209.7.") && !line.contains(other), "{line}");
        for address in [other, "10.209.7.1", "127.0.0.1"] {
            let ping = ["exec", container, "ping", "-c", "1", "-W", "5", address];
            let answer = bocker.text(&ping);
            assert!(answer.contains(" 0% packet loss"), "{answer}");
        }
    }
    // An address is given out again.
    bocker.text(&["rm", "-f", &first]);
    let third = run("exec sleep 1000");
    assert!(bocker.text(&["exec", &third, "ip", "address"]).contains("10.209.7.2/24"));
    // None of its own accord.
    let alone = ["run", "--rm", "--network", "none", &image, "ip", "link"];
    assert!(!bocker.text(&alone).contains("eth0"));
    bocker.text(&["rm", "-f", &second, &third]);
}

fn limits_that_hold_or_are_refused() {
    let bocker = Bocker::new();
    let image = bocker.image();
    let has = |controller: &str| {
        unified_cgroup().is_some_and(|root| {
            let enabled = fs::read_to_string(root.join("cgroup.controllers")).unwrap();
            enabled.split_whitespace().any(|it| it == controller)
        })
    };
    for (options, controller, file, expected) in [
        (["--memory", "64M"], "memory", "memory.max", "67108864\n"),
        (["--cpus", "0.5"], "cpu", "cpu.max", "50000 100000\n"),
    ] {
        let [option, value] = options;
        let run = ["run", "-d", option, value, &image, "sleep", "1000"];
        if is_root() && has(controller) {
            let container = bocker.name(&run);
            assert_eq!(fs::read_to_string(bocker.cgroup(&container).join(file)).unwrap(), expected);
            bocker.text(&["rm", "--force", &container]);
        } else if !has(controller) {
            let (status, words) = bocker.refusal(&run);
            assert!(status == 125 && words.contains("limits cannot be set"), "{words}");
        }
    }
    let (status, words) = bocker.refusal(&["run", "--rm", "--memory", "much", &image, "true"]);
    assert!(status == 125 && words.contains("limits"), "{words}");
    assert_eq!(entries(&bocker.dir.path().join("state/containers")), 0);
}

fn limits_are_out_of_reach_and_cgroups_do_not_stay() {
    let bocker = Bocker::new();
    let image = bocker.image();
    let script = "cd /sys/fs/cgroup; echo 7 >cgroup.max.descendants; mkdir -p one/two one/three; echo done; \
                  exec sleep 1000";
    let container = bocker.name(&["run", "-d", "--network", "none", &image, "sh", "-c", script]);
    until(|| bocker.text(&["logs", &container]) == "done\n");
    let cgroup = bocker.cgroup(&container);
    // The file inside is that of another cgroup, below.
    let limit = |dir: &Path| fs::read_to_string(dir.join("cgroup.max.descendants")).unwrap();
    let (outer, inner) = (limit(&cgroup), fs::read_dir(&cgroup).unwrap().flatten());
    let mut inner = inner.map(|entry| entry.path()).filter(|path| path.is_dir());
    let inner = inner.next().unwrap();
    let is_made = inner.join("one/two").is_dir() && inner.join("one/three").is_dir();
    let seen = bocker.text(&["exec", &container, "cat", "/proc/self/cgroup"]);
    bocker.text(&["rm", "--force", &container]);
    let is_left = cgroup.exists();
    assert_eq!((outer.as_str(), is_made, is_left), ("max\n", true, false));
    assert!(seen.lines().any(|line| line == "0::/"), "{seen}");
}

fn a_monitor_that_is_killed_takes_its_container_along() {
    let bocker = Bocker::new();
    let image = bocker.image();
    let mut run = bocker.command(&["run", "--network", "none", &image, "sleep", "1000"]);
    let mut run = run.spawn().unwrap();
    until(|| bocker.text(&["ps"]).contains("running"));
    let list = bocker.text(&["ps"]);
    let name = list.lines().nth(1).unwrap().split(' ').next().unwrap();
    until(|| bocker.output(&["exec", name, "true"]).status.success());
    run.kill().unwrap();
    run.wait().unwrap();
    until(|| bocker.status(name) == "killed");
    assert_eq!(bocker.refusal(&["exec", name, "true"]).0, 125);
    let cgroup = unified_cgroup().map(|root| root.join(format!("bocker-{name}")));
    assert_eq!(cgroup.as_ref().is_some_and(|dir| dir.exists()), cgroup.is_some());
    bocker.text(&["rm", name]);
    assert!(!cgroup.is_some_and(|dir| dir.exists()));
    // A signal, however, is the program's.
    let script = "trap 'exit 9' TERM; while :; do sleep 0.5; done";
    let mut run = bocker.command(&["run", "--network", "none", &image, "sh", "-c", script]);
    let mut run = run.spawn().unwrap();
    let name = || {
        let list = bocker.text(&["ps"]);
        list.lines().nth(1).map(|line| line[..12].to_owned()).unwrap_or_default()
    };
    let loops = |name: &str| {
        let output = bocker.output(&["exec", name, "ps", "-o", "args"]);
        String::from_utf8_lossy(&output.stdout).contains("\nsleep 0.5\n")
    };
    until(|| loops(&name()));
    run.send_signal(linux_namespaces::Signal::TERM).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(9));
    bocker.text(&["rm", &name(), &image]);
}

fn what_cannot_be_done_is_told() {
    let bocker = Bocker::new();
    let image = bocker.image();
    let run = |args: &[&str]| bocker.refusal(&[&["run", "--network", "none"], args].concat());
    for detach in [&[][..], &["-d"]] {
        let program = |name| run(&[detach, &[&image, name]].concat());
        let (status, words) = program("no-such-program");
        assert!(status == 127 && words.contains("No such file"), "{words}");
        assert_eq!(program("/bin").0, 126);
    }
    // Nothing is left of those.
    assert_eq!(bocker.text(&["ps"]).lines().count(), 1);
    for args in [
        &["run", "0000", "true"][..],
        &["run", "", "true"],
        &["exec", "0000", "true"],
        &["logs", "../images"],
        &["commit", "0000"],
        &["rm", "0000"],
        &["init", "/no/such/directory"],
        &["init", "/proc/self/environ"],
    ] {
        let (status, words) = bocker.refusal(args);
        assert!(status == 125 && words.starts_with("bocker: "), "{args:?}: {words}");
    }
    assert_eq!(bocker.text(&["images"]).lines().count(), 2);
    bocker.text(&["rm", &image]);
}
