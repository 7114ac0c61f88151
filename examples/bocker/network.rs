//! A bridge on the machine, and a cable from there to the container, by `ip(8)`.

use std::collections::BTreeSet;
use std::io::Write;

use linux_namespaces::{Command, Enter, NsFd, Stdio};

use crate::Result;
use crate::containers::is_running;
use crate::store::{Kind, Record, Store};

const BRIDGE: &str = "bocker0";
/// The machine is 1 in there.
const NET: &str = "10.209.7";

/// Plugs in a container's network namespace, in which the process `pid` is.
pub(crate) fn plug(store: &Store, container: &Record, pid: u32, net: &NsFd) -> Result<()> {
    let cable = cable(container);
    let number = {
        let _lock = store.lock()?;
        make_bridge()?;
        let number = free_number(store)?;
        container.set("address", &format!("{NET}.{number}"))?;
        number
    };
    let outside = format!(
        "link add {cable} type veth peer name eth0 netns {pid}
         link set {cable} master {BRIDGE} up"
    );
    ip(&mut Command::new("ip"), &outside)?;
    let inside = format!(
        "address add {NET}.{number}/24 dev eth0
         link set eth0 up
         route add default via {NET}.1"
    );
    ip(Command::new("ip").enter(Enter::new().namespace(net.try_clone()?)), &inside)
}

/// What is left of a plug that failed. One that did not goes with the namespace.
pub(crate) fn unplug(container: &Record) {
    let mut ip = Command::new("ip");
    ip.args(["link", "delete", &cable(container)]).stderr(Stdio::null());
    ip.status().ok();
    std::fs::remove_file(container.path("address")).ok();
}

/// The names of network interfaces have 15 bytes at most.
fn cable(container: &Record) -> String {
    format!("bocker-{:.8}", container.name)
}

fn make_bridge() -> Result<()> {
    let mut show = Command::new("ip");
    show.args(["link", "show", "dev", BRIDGE]).stdout(Stdio::null()).stderr(Stdio::null());
    if show.status()?.success() {
        return Ok(());
    }
    let lines = format!(
        "link add {BRIDGE} type bridge
         address add {NET}.1/24 dev {BRIDGE}
         link set {BRIDGE} up"
    );
    ip(&mut Command::new("ip"), &lines)
}

fn free_number(store: &Store) -> Result<u8> {
    let mut taken = BTreeSet::new();
    for container in store.all(Kind::Container)? {
        if is_running(&container)? {
            taken.extend(container.get("address")?);
        }
    }
    let is_free = |number: &u8| !taken.contains(&format!("{NET}.{number}"));
    Ok((2..=254).find(is_free).ok_or_else(|| format!("all addresses of {NET}.0/24 are taken"))?)
}

fn ip(command: &mut Command, lines: &str) -> Result<()> {
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ended early says why itself.
        stdin.write_all(lines.as_bytes()).ok();
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip: {}", reason.lines().next().unwrap_or("failed")).into())
}
