//! In containers as they are in the field: crun(1), with the seccomp filter that Podman gives to every
//! container, and with one that behaves as Docker's. What the filter leaves works, what it takes is
//! refused with the filter named.
//!
//! The test binary is the container's program: [`act`] is what runs inside.

use std::fs;
use std::path::Path;
use std::process::{Command as StdCommand, ExitCode};

use linux_namespaces::{
    Cause, Command, Error, Mount, Namespace, NamespaceSet, NsFd, Step, Support, Unshare,
};
use serde_json::{Value, json};

use crate::action::ACTION;
use crate::fork::in_fork;
use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{File, OtherIds, Program, Root, UserNamespaces};
use crate::program::{Held, is_at, output, sh, sleeper};
use crate::stage;

/// As Debian's golang-github-containers-common installs it.
const PROFILE: &str = "/usr/share/containers/seccomp.json";

cases! {
    by_podman [Root, UserNamespaces, OtherIds, Program("crun"), File(PROFILE)],
    by_docker [Root, UserNamespaces, OtherIds, Program("crun"), File(PROFILE)],
}

/// What both engines leave to root in a container.
const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// What Docker allows to those with `CAP_SYS_ADMIN` alone, though Podman does to all.
const TAKEN: [&str; 14] = [
    "clone",
    "clone3",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "pivot_root",
    "setns",
    "umount2",
    "unshare",
];

/// This architecture to libseccomp, and in the profile's rules.
const NATIVE: (&str, &str) = if cfg!(target_arch = "x86_64") {
    ("X86_64", "amd64")
} else if cfg!(target_arch = "s390x") {
    ("S390X", "s390x")
} else if cfg!(target_arch = "powerpc64") {
    ("PPC64LE", "ppc64le")
} else {
    ("AARCH64", "arm64")
};

/// The rules of the profile that hold for a container with [`CAPABILITIES`], in the form that a bundle
/// has them.
fn podman() -> Value {
    let profile: Value = serde_json::from_str(&fs::read_to_string(PROFILE).unwrap()).unwrap();
    let (native, in_rules) = NATIVE;
    let has = |list: &Value, name: &str| {
        list.as_array().is_some_and(|all| all.iter().any(|it| it == name))
    };
    let holds = |rule: &&Value| {
        let caps = |list: &Value| CAPABILITIES.iter().any(|cap| has(&list["caps"], cap));
        let foreign = &rule["includes"]["arches"];
        let elsewhere = foreign.is_array() && !has(foreign, in_rules);
        !elsewhere
            && (rule["includes"]["caps"].is_null() || caps(&rule["includes"]))
            && !caps(&rule["excludes"])
    };
    let plain = |rule: &Value| {
        let mut rule = rule.clone();
        let all = rule.as_object_mut().unwrap();
        for key in ["includes", "excludes", "comment", "errno"] {
            all.remove(key);
        }
        all.retain(|_, value| !value.is_null());
        rule
    };
    let rules: Vec<Value> =
        profile["syscalls"].as_array().unwrap().iter().filter(holds).map(plain).collect();
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": [format!("SCMP_ARCH_{native}")],
        "syscalls": rules,
    })
}

/// Docker's: what it allows is what Podman allows but for what makes and enters namespaces; clone3, whose
/// flags a filter cannot see, is not there.
fn docker() -> Value {
    let mut profile = podman();
    let rules = profile["syscalls"].as_array_mut().unwrap();
    for rule in rules.iter_mut() {
        rule["names"]
            .as_array_mut()
            .unwrap()
            .retain(|name| !TAKEN.iter().any(|taken| name == taken));
    }
    rules.retain(|rule| rule["names"].as_array().is_some_and(|names| !names.is_empty()));
    const ALL_NEW: u32 = 0x7e02_0000;
    // The flags of clone(2), which s390x takes second.
    let flags = u8::from(cfg!(target_arch = "s390x"));
    rules.extend([
        json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": flags, "value": ALL_NEW, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}),
        json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS}),
    ]);
    profile["defaultErrnoRet"] = json!(libc::EPERM);
    profile
}

/// A container of the test binary with the file system of this machine, read-only.
fn bundle(dir: &Path, uid: u32, action: &str, seccomp: Value) {
    let root = dir.join("rootfs");
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}),
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}),
    ];
    fs::create_dir_all(root.join("suite")).unwrap();
    let suite = std::env::current_exe().unwrap();
    let mut bind = |source: &Path, target: &str| {
        mounts.push(json!({"destination": target, "type": "bind", "source": source, "options": ["bind", "ro"]}));
    };
    bind(suite.parent().unwrap(), "/suite");
    for name in ["bin", "etc", "lib", "lib64", "sbin", "usr"] {
        let own = Path::new("/").join(name);
        match fs::read_link(&own) {
            Ok(target) => std::os::unix::fs::symlink(target, root.join(name)).unwrap(),
            Err(_) if own.is_dir() => bind(&own, own.to_str().unwrap()),
            Err(_) => {}
        }
    }
    let program = Path::new("/suite").join(suite.file_name().unwrap());
    let capabilities = if uid == 0 { &CAPABILITIES[..] } else { &[] };
    let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({"type": kind}));
    let config = json!({
        "ociVersion": "1.0.0",
        "process": {
            "user": {"uid": uid, "gid": uid},
            "args": [program],
            "env": ["PATH=/usr/bin:/bin", format!("{ACTION}=contained={action}")],
            "cwd": "/tmp",
            "capabilities": {
                "bounding": CAPABILITIES, "effective": capabilities, "permitted": capabilities,
            },
        },
        "root": {"path": "rootfs"},
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "seccomp": seccomp,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

fn runs(action: &str, seccomp: fn() -> Value) {
    stage::new(libc::CLONE_NEWNS);
    stage::private();
    // crun(1) wants to see one version of cgroups, and not both.
    if Path::new("/sys/fs/cgroup/unified").exists() {
        stage::bind("/sys/fs/cgroup/unified", "/sys/fs/cgroup");
    }
    for uid in [0, 1000] {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        bundle(dir.path(), uid, action, seccomp());
        let name = format!("linux-namespaces-{}-{uid}", std::process::id());
        let output = StdCommand::new("crun")
            .args(["--cgroup-manager=disabled", "--root"])
            .arg(dir.path().join("state"))
            .arg("run")
            .arg("--bundle")
            .arg(dir.path())
            .arg(name)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "uid {uid}: {}: {text}", output.status);
    }
}

fn by_podman() {
    runs("podman", podman);
}

fn by_docker() {
    runs("docker", docker);
}

/// The container's side. Every check fails by a panic.
pub(crate) fn act(action: &str) -> ExitCode {
    assert_eq!(kernel::status("Seccomp"), "2");
    what_every_filter_leaves();
    match action {
        "podman" => what_podman_leaves(),
        "docker" => what_docker_leaves(),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// Refused by the filter, which is named.
#[track_caller]
fn is_filtered(error: &Error, step: Step) {
    is_at(error, step, libc::EPERM);
    assert!(error.causes().contains(&Cause::SeccompFilter), "{error:#}");
    assert!(format!("{error:#}").contains("seccomp filter is active"), "{error:#}");
}

fn what_every_filter_leaves() {
    output(Command::new("true").new_session().no_new_privs().close_other_fds());
    output(Command::new("true").kill_on_parent_exit());
    let mut copy = Command::new("true");
    // SAFETY: does nothing.
    output(unsafe { copy.pre_exec(|| Ok(())) });
    let error = Command::new("/no/such/program").spawn().unwrap_err();
    is_at(&error, Step::Exec, libc::ENOENT);
    let child = Held::of(&mut sleeper());
    for &kind in Namespace::ALL {
        assert_eq!(NsFd::of_process(child.pidfd(), kind).unwrap(), NsFd::current(kind).unwrap());
    }
}

fn what_podman_leaves() {
    let mut command = sh("id -u; echo $$");
    command.map_root().loopback_up().unshare(NamespaceSet::all() - NamespaceSet::MOUNT);
    assert_eq!(output(&mut command), "0\n1\n");
    in_fork(|| Unshare::new(NamespaceSet::USER | NamespaceSet::NET).map_root().apply().unwrap());
    let set = NamespaceSet::USER | NamespaceSet::NET;
    output(Command::new("true").enter(Held::new(set).enter_all()));
    // A proc would show what the container's own has covered.
    let mut proc = Command::new("true");
    proc.map_root().unshare(NamespaceSet::PID).mount(Mount::proc("/proc").unwrap());
    let error = proc.spawn().unwrap_err();
    is_at(&error, Step::Mount, libc::EPERM);
    assert!(error.explain().unwrap().contains("covered, as in a container"), "{error:#}");
    // Names are for those with CAP_SYS_ADMIN, in whatever namespace.
    let name = "x".parse().unwrap();
    is_filtered(
        &Command::new("true").map_root().hostname(name).spawn().unwrap_err(),
        Step::SetHostname,
    );
}

fn what_docker_leaves() {
    is_filtered(&Command::new("true").map_root().spawn().unwrap_err(), Step::Clone);
    let set = NamespaceSet::USER;
    is_filtered(&Unshare::new(set).map_root().apply().unwrap_err(), Step::Unshare);
    is_filtered(&NsFd::current(Namespace::Uts).unwrap().enter().unwrap_err(), Step::Enter);
    let support = Support::probe().unwrap();
    assert_eq!(support.available(), NamespaceSet::empty());
    assert!(support.causes().contains(&Cause::SeccompFilter));
}
