//! Commands: each must succeed, or the program ends as it did.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// What went wrong, and the exit code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { message, code: 1 }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        error.to_string().into()
    }
}

/// Names the file that an operation failed on.
pub(crate) trait On<T> {
    fn on(self, path: &Path) -> Result<T>;
}

impl<T> On<T> for std::io::Result<T> {
    fn on(self, path: &Path) -> Result<T> {
        self.map_err(|error| format!("{}: {error}", path.display()).into())
    }
}

pub(crate) fn command<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// The exit code that a shell would have.
pub(crate) fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(1)
}

fn check(command: &Command, status: ExitStatus) -> Result {
    match code(status) {
        0 => Ok(()),
        code => Err(Failure { message: format!("{}: {status}", words(command)), code }),
    }
}

/// As one would type it.
pub(crate) fn words(command: &Command) -> String {
    let all = [command.get_program()].into_iter().chain(command.get_args());
    all.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    // What was printed before belongs before its output.
    std::io::stdout().flush()?;
    command.status().on(command.get_program().as_ref())
}

pub(crate) fn run(command: &mut Command) -> Result {
    let status = status(command)?;
    check(command, status)
}

/// What it writes to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().on(command.get_program().as_ref())?;
    check(command, output.status)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs commands of which each reads what the one before it writes. Returns what the last one writes, unless that goes
/// to a file.
pub(crate) fn piped<const N: usize>(
    commands: [&mut Command; N],
    to: Option<fs::File>,
) -> Result<Vec<u8>> {
    let mut to = to;
    let mut stdin = Stdio::null();
    let mut children = Vec::new();
    let mut written = Vec::new();
    for (index, command) in commands.into_iter().enumerate() {
        let is_last = index + 1 == N;
        let stdout = to.take_if(|_| is_last).map_or_else(Stdio::piped, Stdio::from);
        command.stdin(stdin).stdout(stdout);
        let mut child = command.spawn().on(command.get_program().as_ref())?;
        let stdout = child.stdout.take();
        stdin = Stdio::null();
        match stdout {
            Some(mut stdout) if is_last => drop(stdout.read_to_end(&mut written)?),
            Some(stdout) => stdin = stdout.into(),
            None => {}
        }
        children.push((command, child));
    }
    for (command, mut child) in children {
        let status = child.wait()?;
        check(command, status)?;
    }
    Ok(written)
}

pub(crate) fn in_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| {
        let about = fs::metadata(dir.join(name));
        about.is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    })
}

/// Packages of what is not here; a path is looked for as it is.
pub(crate) fn missing<'a>(needs: &[(&str, &'a str)]) -> Vec<&'a str> {
    let is_here =
        |name: &str| if name.starts_with('/') { Path::new(name).exists() } else { in_path(name) };
    needs.iter().filter(|(name, _)| !is_here(name)).map(|(_, package)| *package).collect()
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0)
}

/// For what another commit is to try otherwise: the time of this one.
pub(crate) fn seed() -> String {
    let log = output(command("git", ["log", "-1", "--format=%ct"]).stderr(Stdio::null()));
    log.map_or_else(|_| "0".to_owned(), |time| time.trim().to_owned())
}

pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from)
}

/// Copies an executable to where everybody may run it.
pub(crate) fn install(from: &Path, to: &Path) -> Result {
    // An old one may be running.
    fs::remove_file(to).ok();
    fs::copy(from, to).on(from)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).on(to)
}

/// Builds, and returns the paths of the test binaries or examples.
pub(crate) fn built(command: &mut Command) -> Result<Vec<PathBuf>> {
    let told = output(command.arg("--message-format=json-render-diagnostics"))?;
    let binaries = executables(&told);
    if binaries.is_empty() {
        return Err(format!("{} built nothing", words(command)).into());
    }
    Ok(binaries)
}

/// From cargo's messages.
fn executables(messages: &str) -> Vec<PathBuf> {
    let values = messages.split("\"executable\":\"").skip(1);
    values.filter_map(|value| Some(value.split_once('"')?.0.into())).collect()
}

/// For this machine, static: as the suite is in its virtual machines, so that it is built once.
pub(crate) fn as_in_matrix(subcommand: &str) -> Command {
    let arch = std::env::consts::ARCH;
    let flags = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUSTFLAGS", arch.to_uppercase());
    let mut command = Command::new("cargo");
    command.args([subcommand, "--target", &format!("{arch}-unknown-linux-gnu")]);
    command.env(flags, "-C target-feature=+crt-static");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_of_cargo_s_messages() {
        let messages =
            "{\"executable\":null}\n{\"executable\":\"/a/b-1\",\"x\":1}\n{\"executable\":\"/c\"}\n";
        assert_eq!(executables(messages), [Path::new("/a/b-1"), Path::new("/c")]);
    }

    #[test]
    fn pipes_end_with_what_the_last_writes() {
        let text = piped([&mut command("echo", ["b\na"]), &mut Command::new("sort")], None);
        assert_eq!(text.unwrap(), b"a\nb\n");
        let failed = piped([&mut Command::new("false"), &mut Command::new("cat")], None);
        assert_eq!(failed.unwrap_err().code, 1);
    }
}
