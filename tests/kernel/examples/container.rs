//! The example `container` with a root of its own: a shell of static busybox, and what its options mount.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::harness::cases;
use crate::machine::Need::{Example, NewProc, Overlays, Program, UserNamespaces};
use crate::machine::{example, in_path};

cases! {
    a_shell_in_a_root_of_busybox
        [UserNamespaces, NewProc, Example("container"), Program("busybox")],
    options_that_mount
        [UserNamespaces, NewProc, Overlays, Example("container"), Program("busybox")],
    statuses_are_those_of_a_shell [UserNamespaces, NewProc, Example("container")],
    options_that_make_no_sense [Example("container")],
}

/// A directory with one program.
fn root() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(dir.path().join("bin")).unwrap();
    fs::copy(in_path("busybox").unwrap(), dir.path().join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", dir.path().join("bin/sh")).unwrap();
    dir
}

fn container(args: &[&str]) -> Output {
    Command::new(example("container").unwrap()).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn a_shell_in_a_root_of_busybox() {
    let root = root();
    let script = "busybox ls -A /; echo $$; busybox id -u; busybox hostname; busybox ls /dev/null";
    let output = container(&["--root", root.path().to_str().unwrap(), "sh", "-c", script]);
    assert_eq!(text(&output), "bin\ndev\nproc\n2\n0\ncontainer\n/dev/null\n");
    // The root itself was not touched but for the mount points.
    let mut names: Vec<_> =
        fs::read_dir(root.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bin", "dev", "proc"]);
    assert_eq!(fs::read_dir(root.path().join("dev")).unwrap().count(), 0);
}

fn options_that_mount() {
    let (root, data, work) = (root(), root(), tempfile::tempdir().unwrap());
    fs::write(data.path().join("file"), "content").unwrap();
    let path = |dir: &TempDir| dir.path().to_str().unwrap().to_owned();
    let upper = work.path().join("upper");
    let overlay = format!("{}:{}", path(&data), upper.display());
    let script = format!(
        "set -e; cat /ro/file /rw/file; echo new >/rw/new; if (echo >/ro/x) 2>/dev/null; then exit 9; fi
         echo new >{0}/over; cat {0}/file; busybox stat -fc %T /tmp; echo >/tmp/x",
        path(&data)
    );
    let output = container(&[
        "--root",
        &path(&root),
        "--bind",
        &format!("{}:/ro:ro", path(&data)),
        "--bind",
        &format!("{}:/rw", path(&data)),
        "--overlay",
        &overlay,
        "--tmpfs",
        "/tmp",
        "busybox",
        "sh",
        "-c",
        &script.replace("cat ", "busybox cat "),
    ]);
    // The upper directory is of the user alone, as is what the kernel keeps beside it.
    let kept = fs::read_to_string(upper.join("over"));
    let kernel_s = work.path().join("upper.work/work");
    fs::set_permissions(kernel_s, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(text(&output).starts_with("contentcontentcontent"), "{output:?}");
    assert!(text(&output).ends_with("tmpfs\n"), "{output:?}");
    assert_eq!(kept.unwrap(), "new\n");
    assert_eq!(fs::read_to_string(data.path().join("new")).unwrap(), "new\n");
    assert!(!data.path().join("over").exists());
}

fn statuses_are_those_of_a_shell() {
    let status = |args: &[&str]| container(args).status.code();
    assert_eq!(status(&["sh", "-c", "exit 7"]), Some(7));
    assert_eq!(status(&["sh", "-c", "kill -9 $$"]), Some(137));
    assert_eq!(status(&["--root", "/", "--read-only", "no-such-program"]), Some(127));
    assert_eq!(status(&["/etc/passwd"]), Some(126));
    let output = container(&["--root", "/no/such/directory", "sh"]);
    assert_eq!(output.status.code(), Some(125));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("cannot open the source of a mount \"/no/such/directory\""),
        "{errors}"
    );
}

fn options_that_make_no_sense() {
    for bad in
        [["--bind", "/only"], ["--overlay", "/only"], ["--bind", ":/x"], ["--tmpfs", "relative"]]
    {
        let output = container(&[bad[0], bad[1], "true"]);
        assert_eq!(output.status.code(), Some(125), "{bad:?}");
    }
}
