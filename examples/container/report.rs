//! The table: each namespace, its number outside and inside, and what can be seen of it.

use std::ffi::OsString;
use std::fs;
use std::net::UdpSocket;

use linux_namespaces::{Namespace, NsFd, Result, uts};

/// The numbers of the namespaces outside, for the report inside.
pub(crate) fn outside() -> Result<Vec<u64>> {
    Namespace::ALL.iter().copied().map(number).collect()
}

/// As PID 1 of the container. Answers its exit status.
pub(crate) fn main(outside: &[u64]) -> u8 {
    println!("{:8} {:>11} {:>11}   what it shows inside", "", "outside", "inside");
    for (kind, outside) in Namespace::ALL.iter().copied().zip(outside) {
        match number(kind) {
            Ok(inside) if inside == *outside => {
                println!("{kind:8} {outside:>11} {:>11}   {}", "the same", effect(kind));
            }
            Ok(inside) => println!("{kind:8} {outside:>11} {inside:>11}   {}", effect(kind)),
            Err(error) => {
                eprintln!("container: {error:#}");
                return 1;
            }
        }
    }
    0
}

fn number(kind: Namespace) -> Result<u64> {
    Ok(NsFd::current(kind)?.id()?.ino)
}

/// What a person may notice of a namespace.
fn effect(kind: Namespace) -> String {
    match kind {
        Namespace::Cgroup => format!("our cgroup is {}", cgroup()),
        Namespace::Ipc => {
            let segments = lines("/proc/sysvipc/shm").saturating_sub(1);
            let queues = lines("/proc/sysvipc/msg").saturating_sub(1);
            format!("{segments} shared memory segments, {queues} message queues")
        }
        Namespace::Mount => {
            let text = read("/proc/self/mountinfo");
            let shared = text.lines().filter(|line| line.contains(" shared:")).count();
            format!("{} mounts, {shared} of them shared with others", text.lines().count())
        }
        Namespace::Net => {
            let text = read("/proc/net/dev");
            let names = text.lines().filter_map(|line| line.split_once(':'));
            let names: Vec<&str> = names.map(|(name, _)| name.trim()).collect();
            // Connecting takes a route, which binding does not; nothing is sent.
            let socket = UdpSocket::bind("127.0.0.1:0");
            let up = socket.and_then(|socket| socket.connect("127.0.0.1:9")).is_ok();
            let state = if up { "127.0.0.1 is up" } else { "127.0.0.1 is down" };
            format!("interfaces: {}; {state}", names.join(" "))
        }
        Namespace::Pid => {
            let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
            let is_pid = |name: &OsString| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
            let count = entries.filter(|entry| is_pid(&entry.file_name())).count();
            format!("this program is pid {}; processes in sight: {count}", std::process::id())
        }
        Namespace::Time => {
            let text = read("/proc/self/timens_offsets");
            let words: Vec<&str> = text.split_whitespace().collect();
            match words[..] {
                [_, monotonic, _, _, boot, _] => {
                    format!("clocks ahead by: monotonic {monotonic} s, boottime {boot} s")
                }
                _ => "clock offsets unknown".to_owned(),
            }
        }
        Namespace::User => {
            let map = read("/proc/self/uid_map");
            let map: Vec<&str> = map.split_whitespace().collect();
            let uid = nix::unistd::geteuid();
            match map[..] {
                [inside, outside, "1"] => {
                    format!("uid {uid}; uid {inside} inside is {outside} outside")
                }
                _ => format!("uid {uid}"),
            }
        }
        Namespace::Uts => match uts::hostname() {
            Ok(name) => format!("the host is called {name}"),
            Err(error) => error.to_string(),
        },
        _ => String::new(),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn lines(path: &str) -> usize {
    read(path).lines().count()
}

/// The path in the unified hierarchy, which is the last line.
fn cgroup() -> String {
    let text = read("/proc/self/cgroup");
    let line = text.lines().last().unwrap_or_default();
    line.rsplit(':').next().unwrap_or_default().to_owned()
}
