//! Signals that come to us while the program runs.

use std::fs;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use linux_namespaces::{Child, Signal};
use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::low_level::pipe;

/// Signals with handlers, so that none is lost and what we start has the default. Those that are ignored
/// stay so, in the program as well.
pub(crate) struct Signals(Vec<(Signal, UnixStream)>);

impl Signals {
    /// From here on these signals do nothing to us.
    pub(crate) fn catch(signals: &[Signal]) -> io::Result<Self> {
        let ignored = ignored();
        let mut caught = Vec::new();
        for signal in signals {
            // For the end of a child there must be a handler: being deaf to it changes waiting.
            if ignored & (1 << (signal.number() - 1)) == 0 || *signal == Signal::CHLD {
                let (reader, writer) = UnixStream::pair()?;
                reader.set_nonblocking(true)?;
                pipe::register(signal.number(), writer)?;
                caught.push((*signal, reader));
            }
        }
        Ok(Self(caught))
    }

    /// Sleeps until one comes, or the child ends. Answers those that came.
    pub(crate) fn wait(&self, child: &Child) -> io::Result<Vec<Signal>> {
        let streams = self.0.iter().map(|(_, reader)| PollFd::new(reader, PollFlags::IN));
        let mut ready: Vec<_> =
            [PollFd::new(child, PollFlags::IN)].into_iter().chain(streams).collect();
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(errno) if errno.raw_os_error() == Errno::EINTR as i32 => {}
            Err(errno) => return Err(errno.into()),
        }
        let came = |(_, reader): &&(Signal, UnixStream)| (&*reader).read(&mut [0; 64]).is_ok();
        Ok(self.0.iter().filter(came).map(|(signal, _)| *signal).collect())
    }
}

/// One bit for each signal.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}
