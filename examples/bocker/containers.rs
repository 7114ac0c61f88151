//! What there is of containers: those that run, and what those that ended have left.

use std::fs::File;
use std::io::{copy, stdout};
use std::path::Path;
use std::time::SystemTime;

use linux_namespaces::{Command, Signal};

use crate::store::{Kind, Record, Store};
use crate::{Result, exec, images, limits, sandbox};

/// Whoever runs it holds its lock, so that nothing is left to be wrong if they are killed.
pub(crate) fn is_running(container: &Record) -> Result<bool> {
    Ok(container.lock()?.is_none())
}

pub(crate) fn list(store: &Store) -> Result<()> {
    println!("CONTAINER     IMAGE         CREATED         STATUS      ADDRESS       COMMAND");
    for container in store.all(Kind::Container)? {
        let fact =
            |name| Ok::<_, Box<dyn std::error::Error>>(container.get(name)?.unwrap_or_default());
        let runs = is_running(&container)?;
        let status = match (runs, container.get("exit")?) {
            (true, _) => "running".to_owned(),
            (false, Some(code)) => format!("exited {code}"),
            (false, None) => "killed".to_owned(),
        };
        let address = if runs { fact("address")? } else { String::new() };
        println!(
            "{:12}  {:12}  {:14}  {status:10}  {address:12}  {}",
            container.name,
            fact("image")?,
            age(&container),
            fact("program")?.replace('\0', " ").escape_debug(),
        );
    }
    Ok(())
}

pub(crate) fn logs(store: &Store, name: &str) -> Result<()> {
    let log = store.find(Kind::Container, name)?.path("log");
    if log.exists() {
        copy(&mut File::open(log)?, &mut stdout())?;
    }
    Ok(())
}

/// Removes a container, or an image.
pub(crate) fn remove(store: &Store, name: &str, force: bool) -> Result<()> {
    let record = store.find_any(name)?;
    if record.kind == Kind::Container && is_running(&record)? {
        if !force {
            return Err(format!("container {} runs: --force ends it", record.name).into());
        }
        // With the program ends the init, and with that all others.
        let program = exec::program(&record)?;
        let program = program.ok_or("it is being started, or its output is still being read")?;
        program.send_signal(Signal::KILL)?;
        drop(record.wait_until_unlocked()?);
    }
    // Left where its bocker was killed.
    if let Some(cgroup) = record.get("cgroup")? {
        limits::remove(Path::new(&cgroup));
    }
    let hidden = {
        let _lock = store.lock()?;
        if record.kind == Kind::Image {
            images::check_unused(store, &record)?;
        }
        record.hide()?
    };
    // There may be files of users that are there only inside, and directories that not even their owner may read.
    let mut rm = Command::new("rm");
    rm.args(["-rf", "--"]).arg(hidden);
    sandbox::map_ids(&mut rm)?;
    if !rm.status()?.success() {
        return Err(format!("not all files of {} could be removed", record.name).into());
    }
    Ok(())
}

/// How long ago it was made.
pub(crate) fn age(record: &Record) -> String {
    let age = record.created().and_then(|then| SystemTime::now().duration_since(then).ok());
    let seconds = age.unwrap_or_default().as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}
