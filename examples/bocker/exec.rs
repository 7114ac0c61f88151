//! Another program in a container that runs.

use std::fs;

use linux_namespaces::{Enter, ErrorKind, Namespace, NamespaceSet, NsFd, PidFd};

use crate::store::{Kind, Record, Store};
use crate::{Result, containers, limits, program};

pub(crate) fn exec(store: &Store, name: &str, words: &[String]) -> Result<u8> {
    let container = store.find(Kind::Container, name)?;
    let running = program(&container)?.ok_or("the container does not run")?;
    let mut command = program::new(words)?;
    command.enter(Enter::new().process(running, NamespaceSet::all() - NamespaceSet::TIME));
    command.lock_mounts();
    if let Some(cgroup) = limits::of(&container)? {
        command.cgroup(cgroup);
    }
    program::with_terminal(|| {
        let mut supervisor = program::arm()?;
        let child = supervisor.spawn(&mut command)?;
        let status = supervisor.supervise(child)?;
        Ok(supervisor.exit_code(status))
    })
}

/// Its program, if that runs. Its pid alone may be another process's by now.
pub(crate) fn program(container: &Record) -> Result<Option<PidFd>> {
    let (Some(pid), true) = (container.get("pid")?, containers::is_running(container)?) else {
        return Ok(None);
    };
    let process = PidFd::open(pid.parse()?)?;
    let is_it = identity(&process)? == Some(container.require("process")?);
    Ok(is_it.then_some(process))
}

/// What no process outside of the container has or gets until the machine restarts: the unique id of the pid namespace
/// or, before Linux 6.18, the time of its start. A later process with the same pid has started later. `None` for one that
/// has ended, or is about to.
pub(crate) fn identity(process: &PidFd) -> Result<Option<String>> {
    let namespace = match NsFd::of_process(process, Namespace::Pid) {
        Err(error) if error.kind() == ErrorKind::ProcessGone => return Ok(None),
        namespace => namespace?,
    };
    if let Some(id) = namespace.unique_id()? {
        return Ok(Some(format!("in pid namespace {id}")));
    }
    let pid = match process.pids() {
        Err(error) if error.kind() == ErrorKind::ProcessGone => return Ok(None),
        pids => *pids?.first().ok_or("the process is not visible in /proc")?,
    };
    let stat = fs::read(format!("/proc/{pid}/stat"));
    // What was read is of this process if that has not ended since.
    if process.has_ended()? {
        return Ok(None);
    }
    let stat = stat?;
    let stat = String::from_utf8_lossy(&stat);
    // Its name, which may be anything, stands in parentheses.
    let start = stat.rsplit(')').next().and_then(|fields| fields.split(' ').nth(20));
    Ok(Some(format!("started at {}", start.ok_or("/proc does not say when a process started")?)))
}
