//! Another program in a container that runs.

use linux_namespaces::{Enter, Namespace, NamespaceSet, NsFd, PidFd};

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

/// Its program, if that runs. A pid that another process has by now is told by its pid namespace.
pub(crate) fn program(container: &Record) -> Result<Option<PidFd>> {
    let (Some(pid), true) = (container.get("pid")?, containers::is_running(container)?) else {
        return Ok(None);
    };
    let process = PidFd::open(pid.parse()?)?;
    let namespace = NsFd::of_process(&process, Namespace::Pid)?.id()?;
    if namespace.ino.to_string() != container.require("pid_namespace")? {
        return Ok(None);
    }
    Ok(Some(process))
}
