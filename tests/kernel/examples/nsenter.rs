//! The `nsenter` example beside util-linux's: the same command lines, the same exit status, and the same
//! seen by the program inside.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use super::beside::Against::{Differs, Newer, Same};
use super::beside::{self, Row};
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{
    Example, Ordinary, OtherIds, Program, Root, UnifiedCgroup, UserNamespaces,
};
use crate::machine::{example, unified_cgroup};
use crate::stage;

cases! {
    it_does_what_util_linux_s_does_for_root
        [Root, Example("nsenter"), Program("nsenter"), Program("unshare"), Program("hostname")],
    it_does_what_util_linux_s_does_in_a_user_namespace
        [Root, UserNamespaces, OtherIds, Example("nsenter"), Program("nsenter"), Program("unshare"), Program("hostname")],
    it_does_what_util_linux_s_does_for_an_ordinary_user
        [Ordinary, UserNamespaces, Example("nsenter"), Program("nsenter"), Program("unshare"), Program("hostname")],
    a_program_that_stops_stops_it [Root, Example("nsenter"), Program("unshare"), Program("hostname")],
    a_pidfd_s_inode_is_checked [UserNamespaces, Example("nsenter"), Program("unshare"), Program("hostname")],
    a_proc_of_another_pid_namespace_is_read_by_its_pids
        [UserNamespaces, Example("nsenter"), Program("unshare")],
    a_socket_leads_to_its_network [Root, Example("nsenter")],
    a_cgroup_is_joined [Root, UnifiedCgroup, Example("nsenter"), Program("unshare"), Program("hostname")],
    a_cgroup_outside_of_the_cgroup_namespace_is_not_joined
        [Root, UnifiedCgroup, Example("nsenter"), Program("unshare"), Program("hostname"), Program("mount")],
    capabilities_are_left_to_the_program [Root, UserNamespaces, OtherIds, Example("nsenter")],
    what_is_refused_names_its_reason [UserNamespaces, Example("nsenter"), Program("unshare"), Program("hostname")],
}

/// What a program can see of where it is.
const REPORT: &str = r#"
    links=$(ls -n /proc/self/ns 2>/dev/null)
    while read -r _ _ _ _ _ _ _ _ name _ link; do
        case $name in time_for_children) ;; *) echo $name $link;; esac
    done <<END
$links
END
    uname -n; pwd; echo "$MARK"; test $PPID = $CALLER; echo "child of the caller: $?"
    { read -r up _ </proc/uptime; } 2>/dev/null; up=${up%.*}; echo clock $((${up:-0} > 500000000))
    grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|SigIgn|SigBlk)' /proc/self/status 2>/dev/null
    set -- /proc/self/fd/*; echo $#
"#;

/// A program in other namespaces, made without the crate.
struct Target {
    unshare: Child,
    pid: u32,
}

impl Target {
    /// `options` of unshare(1), with a pid namespace among them or not.
    fn start(options: &str) -> Self {
        // Where it has no UTS namespace of its own, the name is the machine's.
        let has_name = options.split(' ').any(|word| !word.starts_with("--") && word.contains('u'));
        let name = if has_name { "hostname inside; " } else { "" };
        let script = format!("{name}cd /usr; echo ready; exec env MARK=there sleep 600");
        let mut unshare = Command::new("unshare");
        unshare.args(options.split(' ')).args(["--fork", "sh", "-c", &script]);
        let mut unshare = unshare
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(unshare.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let pid = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        // Until its last exec its environment is another one.
        while fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() != "sleep\n" {
            std::thread::yield_now();
        }
        Self { unshare, pid }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // SAFETY: it is not waited for before unshare is.
        unsafe { libc::kill(self.pid as i32, libc::SIGKILL) };
        self.unshare.wait().unwrap();
    }
}

/// With the target's pid for `PID`.
fn run(program: &Path, args: &str, pid: u32) -> Output {
    let args = args.replace("PID", &pid.to_string());
    beside::prepare(program, &args, REPORT).output().unwrap()
}

fn compare(rows: &[Row], target: &Target) {
    let run = |program: &Path, args: &str| run(program, args, target.pid);
    beside::compare("nsenter", &["nsenter: ", "error: "], rows, run);
}

fn it_does_what_util_linux_s_does_for_root() {
    let target = Target::start("-muinpCT --boottime 1000000000 --mount-proc");
    compare(
        &[
            // Namespaces of a process.
            ("-t PID -m", Same),
            ("-t PID -u", Same),
            ("-tPID -i", Same),
            ("--target PID --net", Same),
            ("--target=PID --pid", Same),
            ("-t PID -C", Same),
            (
                "-t PID -T",
                Differs("it is a child, since exec does not enter before Linux 6.2", 0, ""),
            ),
            ("-t PID -F -T", Same),
            ("-t PID -m -u -i -n -C", Same),
            ("-t PID -m -u -i -n -C -T -p", Same),
            ("-t PID -a", Same),
            ("-at PID", Same),
            ("-aFtPID", Same),
            ("-FtPID -u/proc/PID/ns/uts", Same),
            ("--targ PID --ut", Same),
            ("-t PID -p -F", Same),
            ("-t PID -a -F", Same),
            // Namespaces of files, and of both.
            ("-u/proc/PID/ns/uts", Same),
            ("--uts=/proc/PID/ns/uts --ipc=/proc/PID/ns/ipc", Same),
            ("-m/proc/PID/ns/mnt -t PID -n", Same),
            ("--pid=/proc/PID/ns/pid", Same),
            ("-t PID -a --net=/proc/1/ns/net", Same),
            ("--uts=/proc/PID/ns/net", Same),
            ("--uts=/etc/passwd", Same),
            ("--uts=/no/such/file", Same),
            // Directories.
            ("-t PID -r", Same),
            ("-t PID -m -r", Same),
            ("-t PID -w", Same),
            ("-t PID -m -w", Same),
            ("-t PID -m -r -w", Same),
            ("-t PID -m --wd=/usr/bin", Same),
            ("-t PID -m -W/usr/bin", Same),
            ("-t PID -m --wdns true", Same),
            ("-t PID --root=/ -W /usr", Same),
            ("--root=/no/such", Same),
            ("--wd=/no/such", Same),
            ("-t PID -m --wdns=/no/such", Same),
            ("--root=/usr -- true", Same),
            // Ids.
            ("-t PID -u -S 5", Same),
            ("-t PID -u -G 6", Same),
            ("-t PID -a --setuid 5 --setgid=6", Same),
            ("-t PID -u --preserve-credentials", Same),
            ("-t PID -u -S five", Same),
            ("-t PID -u -S follow -G follow", Newer("--join-cgroup", "inside")),
            // What becomes of the program.
            ("-t PID -u -- exit 7", Same),
            ("-t PID -a -- exit 7", Same),
            ("-t PID -u -- kill -TERM $$", Same),
            ("-t PID -p -- kill -TERM $$", Same),
            ("-t PID -p -- kill -KILL $$", Same),
            ("-t PID -p -- trap '' TERM; exit 255", Same),
            ("-t PID -u -- /no/such/program", Same),
            ("-t PID -p -- /no/such/program", Same),
            ("-t PID -u -- /etc", Same),
            ("-t PID -p -- /etc/passwd", Same),
            // The rest.
            ("-t PID -u -e", Newer("--env", "there")),
            ("-t PID -n --env -- echo $MARK", Newer("--env", "there")),
            ("-t 4194303 -u", Same),
            ("-t none -u", Same),
            ("-u", Same),
            ("-a", Same),
            ("--nonsense", Same),
            ("", Same),
        ],
        &target,
    );
}

fn it_does_what_util_linux_s_does_in_a_user_namespace() {
    let target = Target::start("-Urmuin");
    compare(
        &[
            ("-t PID -U", Same),
            ("-t PID -a", Same),
            ("-t PID -U -n -u", Same),
            ("-t PID -n -u", Same),
            ("-U/proc/PID/ns/user -t PID -m", Same),
            ("-t PID -a --preserve-credentials", Same),
            ("-t PID -U -S 1", Same),
            ("-t PID -a -r -w", Same),
            ("-t PID -a -- exit 9", Same),
            ("-t PID -u --user-parent -- id -u", Newer("--user-parent", "0")),
            ("-t PID -U --user-parent -n -- id -u", Newer("--user-parent", "0")),
        ],
        &target,
    );
}

fn it_does_what_util_linux_s_does_for_an_ordinary_user() {
    let target = Target::start("-UrmuinpCT --mount-proc");
    compare(
        &[
            ("-t PID -U --preserve-credentials", Same),
            ("-t PID -a --preserve-credentials", Same),
            ("-t PID -U -m -u --preserve-credentials", Same),
            ("-t PID -U -p -F --preserve-credentials", Same),
            ("-U/proc/PID/ns/user --net=/proc/PID/ns/net --preserve-credentials", Same),
            ("-t PID -U -m -r -w --preserve-credentials", Same),
            // Groups can be given up neither before nor after.
            ("-t PID -U", Same),
            ("-t PID -a", Same),
            ("-t PID -u", Same),
            ("-t 1 -u", Same),
            ("-t PID -r", Same),
            ("-t PID -w", Same),
            ("-S 5", Same),
            ("-t PID -a --preserve-credentials -- exit 9", Same),
            ("-t PID -a --preserve-credentials -- /no/such/program", Same),
            ("--net=/proc/self/ns/net", Differs("we are in it already", 0, "")),
            (
                "-t PID -u --user-parent --preserve-credentials -- uname -n",
                Newer("user-parent", "inside"),
            ),
        ],
        &target,
    );
}

fn a_program_that_stops_stops_it() {
    let target = Target::start("-p");
    let mut ours = Command::new(example("nsenter").unwrap());
    let pid = target.pid.to_string();
    let mut child =
        ours.args(["-t", &pid, "-p", "sh", "-c", "kill -STOP $$; exit 3"]).spawn().unwrap();
    let id = child.id() as i32;
    let mut status = 0;
    // SAFETY: plain calls on our own child.
    unsafe {
        assert_eq!(libc::waitpid(id, &raw mut status, libc::WUNTRACED), id);
        assert!(libc::WIFSTOPPED(status), "{status:#x}");
        libc::kill(id, libc::SIGCONT);
    }
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

fn a_pidfd_s_inode_is_checked() {
    let target = Target::start("-Uru");
    // SAFETY: a pidfd that the kernel has just made.
    let pid_fd = unsafe {
        use std::os::fd::FromRawFd;
        let fd = libc::syscall(libc::SYS_pidfd_open, target.pid, 0);
        fs::File::from_raw_fd(fd as i32)
    };
    let inode = pid_fd.metadata().unwrap().ino();
    for (inode, code) in [(inode, 0), (inode + 1, 1)] {
        let args = format!("-t PID:{inode} -U -u --preserve-credentials -- uname -n");
        let output = run(&example("nsenter").unwrap(), &args, target.pid);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(output.stdout, if code == 0 { &b"inside\n"[..] } else { b"" });
    }
}

fn a_proc_of_another_pid_namespace_is_read_by_its_pids() {
    // There the target is pid 2, as some other process is in /proc.
    let script = "sleep 600 & MARK=here exec $NSENTER -t $! -e -w sh -c 'echo $MARK; pwd'";
    let mut unshare = Command::new("unshare");
    unshare.args(["-Urpf", "sh", "-c", script]).env("MARK", "there").current_dir("/usr");
    let output = unshare.env("NSENTER", example("nsenter").unwrap()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "there\n/usr\n", "{output:?}");
}

fn a_socket_leads_to_its_network() {
    // A socket of a network that we are not in, and nobody else either.
    let before = kernel::ns("self", "net");
    let (socket, inside) = std::thread::spawn(|| {
        stage::new(libc::CLONE_NEWNET);
        (std::net::UdpSocket::bind("0.0.0.0:0").unwrap(), kernel::ns("thread-self", "net"))
    })
    .join()
    .unwrap();
    let seen = |args: &str| {
        let args = format!("{args} -- stat -Lc %i /proc/self/ns/net");
        run(&example("nsenter").unwrap(), &args, std::process::id())
    };
    let number = socket.as_raw_fd();
    let output = seen(&format!("-t PID -N {number}"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{inside}\n"), "{output:?}");
    // It goes before the process's own.
    let output = seen(&format!("-t PID -n --net-socket={number}"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{inside}\n"), "{output:?}");
    for (number, word) in [("4000", "no such descriptor"), ("0", "no socket")] {
        let output = seen(&format!("-t PID -N {number}"));
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains(word), "{output:?}");
    }
    assert_eq!(kernel::ns("self", "net"), before);
}

fn capabilities_are_left_to_the_program() {
    let map = || {
        let extent = linux_namespaces::IdExtent { inside: 0, outside: 0, count: 10 };
        linux_namespaces::IdMap::new([extent]).unwrap()
    };
    let mut held = linux_namespaces::Command::new("sleep");
    let mut held = held.arg("600").uid_map(map()).gid_map(map()).spawn().unwrap();
    let seen = |options: &str| {
        let args = format!("-t PID -U -S 5 {options} -- id -u; cat /proc/self/status");
        let output = run(&example("nsenter").unwrap(), &args, held.id());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with("5\n"), "{text}");
        u64::from_str_radix(kernel::fields(&text, &["CapEff"])[0], 16).unwrap()
    };
    assert_eq!(seen(""), 0);
    assert_ne!(seen("--keep-caps"), 0);
    held.kill().unwrap();
    held.wait().unwrap();
}

fn a_cgroup_is_joined() {
    let dir =
        unified_cgroup().unwrap().join(format!("linux-namespaces-nsenter-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let target = Target::start("-u");
    fs::write(dir.join("cgroup.procs"), target.pid.to_string()).unwrap();
    let outputs = ["-t PID -u -c", "-t PID -u -p --join-cgroup"].map(|args| {
        run(&example("nsenter").unwrap(), &format!("{args} -- cat /proc/self/cgroup"), target.pid)
    });
    drop(target);
    fs::remove_dir(&dir).unwrap();
    let expected = format!("0::/{}", dir.file_name().unwrap().to_str().unwrap());
    for output in outputs {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.lines().any(|line| line == expected), "{output:?}");
    }
}

fn a_cgroup_outside_of_the_cgroup_namespace_is_not_joined() {
    let name = |which| format!("linux-namespaces-nsenter-{which}-{}", std::process::id());
    let cgroups = ["ours", "theirs"].map(|which| unified_cgroup().unwrap().join(name(which)));
    cgroups.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    let target = Target::start("-u");
    fs::write(cgroups[1].join("cgroup.procs"), target.pid.to_string()).unwrap();
    // Its path is ../theirs, which beside the mount is another directory.
    let dir = tempfile::tempdir().unwrap();
    let trap = dir.path().join(name("theirs")).join("cgroup.procs");
    fs::create_dir(dir.path().join("mount")).unwrap();
    fs::create_dir(trap.parent().unwrap()).unwrap();
    fs::write(&trap, "").unwrap();
    let script = "echo $$ >$OURS/cgroup.procs; exec unshare -C sh -c 'mount -t cgroup2 cgroup2 $MOUNT && \
                  exec $NSENTER -t $TARGET -c true'";
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "sh", "-c", script]).env("TARGET", target.pid.to_string());
    unshare.env("OURS", &cgroups[0]).env("MOUNT", dir.path().join("mount"));
    let output = unshare.env("NSENTER", example("nsenter").unwrap()).output().unwrap();
    drop(target);
    cgroups.iter().for_each(|dir| kernel::until(|| fs::remove_dir(dir).is_ok()));
    assert_eq!(fs::read_to_string(&trap).unwrap(), "");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && words.contains("is in no cgroup"), "{words}");
}

fn what_is_refused_names_its_reason() {
    let target = Target::start("-Uru");
    for (args, word) in [
        ("-t PID -U -u -Z", "SELinux"),
        ("--net=:4711x", "is no id"),
        ("--net=:18446744073709551615", "of id 18446744073709551615"),
        ("--uts=/proc/PID/ns/user", "is a user namespace"),
        ("-t PID -u -w -W /", "cannot be used with"),
        ("-t 1 -N 0 --user-parent -- true", "descriptor"),
        ("-u", "no target PID specified"),
        ("-t 4194303 -U", "no such process"),
        ("-t PID -U --preserve-credentials --wdns=/no/such", "\"/no/such\""),
    ] {
        let output = run(&example("nsenter").unwrap(), args, target.pid);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && told.contains(word), "{args}: {output:?}");
    }
    // The plan is printed, and nothing is done.
    let output = run(&example("nsenter").unwrap(), "-t PID -a --plan", target.pid);
    let plan = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && plan.contains("enter the namespaces: user,uts"), "{plan}");
}
