//! Giving memory back, in a process that is to do one small thing for the rest of its life.

use super::clone::CAN_SHARE_MEMORY;
use super::file;
use super::process::{RawFd, arg};
use super::syscall::syscall;
use super::{Errno, Result, rseq};

/// Gives back all memory but the stack in use: heap, other stacks and everything else anonymous for
/// good; what lies unchanged in a file (code, constants) until it is used again.
///
/// `proc` is the root of a checked `/proc`.
///
/// # Safety
///
/// This process has one thread, and until its end that uses nothing but its frames from here on, and
/// constants.
pub(crate) unsafe fn forget(proc: RawFd) -> Result<()> {
    // Elsewhere system calls go through libc, which needs its thread's memory.
    if !CAN_SHARE_MEMORY {
        return Err(Errno::NOTSUP);
    }
    let list = file::open_on_same_mount(proc, c"self/smaps", libc::O_RDONLY)?;
    // SAFETY: the caller's contract.
    if !unsafe { rseq::shed() } {
        return Err(Errno::NOTSUP);
    }
    let mut buffer = [0; 2048];
    let mut parser = Parser::default();
    let here = core::ptr::from_ref(&parser).addr();
    // Nothing may be read there. It is kept if it is what guards the stack.
    let mut closed = None;
    loop {
        match file::read(list.raw(), &mut buffer) {
            Err(Errno::INTR) => {}
            Ok(length) if length > 0 => {
                for &byte in buffer.iter().take(length) {
                    let Some(mapping) = parser.feed(byte) else {
                        continue;
                    };
                    let guard = |it: &Mapping| it.end == mapping.start && mapping.has(here);
                    if let Some(before) = closed.take().filter(|it| !guard(it)) {
                        // SAFETY: the caller's contract, and it is not of the stack.
                        unsafe { before.forget(here) };
                    }
                    if mapping.readable {
                        // SAFETY: the caller's contract, and the stack is left out.
                        unsafe { mapping.forget(here) };
                    } else {
                        closed = Some(mapping);
                    }
                }
            }
            answer => return answer.map(drop),
        }
    }
}

/// One entry of `/proc/PID/smaps`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
    readable: bool,
    of_file: bool,
    /// The kernel's own, as `[vdso]`.
    special: bool,
    /// Bytes that differ from the file, in units of 1024.
    changed: usize,
}

impl Mapping {
    fn has(&self, address: usize) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// # Safety
    ///
    /// As of [`forget`].
    unsafe fn forget(&self, here: usize) {
        let range = [self.start, self.end.saturating_sub(self.start)];
        if self.special || self.has(here) {
            return;
        }
        if !self.of_file {
            // SAFETY: the caller's contract: nothing in there is used any more.
            let _ = unsafe { syscall(libc::SYS_munmap, range) };
        } else if self.readable && self.changed == 0 {
            let words = [range[0], range[1], arg(libc::MADV_DONTNEED)];
            // SAFETY: all of it is as the file has it, and comes back from there.
            let _ = unsafe { syscall(libc::SYS_madvise, words) };
        }
    }
}

/// Reads `/proc/PID/smaps` byte by byte. Of a line longer than its room it sees the beginning, where
/// everything is but a path.
#[derive(Debug)]
struct Parser {
    line: [u8; 128],
    length: usize,
    mapping: Mapping,
}

impl Default for Parser {
    fn default() -> Self {
        Self { line: [0; 128], length: 0, mapping: Mapping::default() }
    }
}

impl Parser {
    /// A mapping, when its last line is complete.
    fn feed(&mut self, byte: u8) -> Option<Mapping> {
        if byte != b'\n' {
            if let Some(place) = self.line.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
            return None;
        }
        let mut words = self
            .line
            .get(..self.length)
            .unwrap_or_default()
            .split(|&byte| byte == b' ')
            .filter(|word| !word.is_empty());
        self.length = 0;
        match words.next()? {
            b"Anonymous:" | b"Swap:" => {
                let changed = number(words.next()?, 10)?;
                self.mapping.changed = self.mapping.changed.saturating_add(changed);
            }
            b"VmFlags:" => return Some(core::mem::take(&mut self.mapping)),
            range if range.first().is_some_and(|byte| !byte.is_ascii_uppercase()) => {
                self.mapping = header(range, words).unwrap_or_default();
            }
            _ => {}
        }
        None
    }
}

/// `start-end rwxp offset device inode name`
fn header<'a>(range: &[u8], mut words: impl Iterator<Item = &'a [u8]>) -> Option<Mapping> {
    let mut ends = range.split(|&byte| byte == b'-').map(|word| number(word, 16));
    let (start, end) = (ends.next()??, ends.next()??);
    let readable = words.next()?.first() == Some(&b'r');
    let of_file = number(words.nth(2)?, 10)? != 0;
    let name = words.next().unwrap_or_default();
    let ordinary = matches!(name, b"" | b"[heap]" | b"[stack]") || name.starts_with(b"[anon");
    Some(Mapping { start, end, readable, of_file, special: !of_file && !ordinary, changed: 0 })
}

fn number(digits: &[u8], base: usize) -> Option<usize> {
    digits.iter().try_fold(0_usize, |number, &byte| {
        let digit = char::from(byte).to_digit(u32::try_from(base).ok()?)?;
        number.checked_mul(base)?.checked_add(digit as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::{Mapping, Parser};

    fn parse(text: &str) -> Vec<Mapping> {
        let mut parser = Parser::default();
        text.bytes().filter_map(|byte| parser.feed(byte)).collect()
    }

    #[test]
    fn entries_are_read() {
        let long = "x".repeat(300);
        let text = format!(
            "559f3000-559f5000 rw-p 00051000 fe:00 10010739     /a b\\012{long}\n\
             Size:    8 kB\nAnonymous:             8 kB\nSwap:    4 kB\nVmFlags: rd wr\n\
             7f000000-7f001000 ---p 00000000 00:00 0 \nAnonymous: 0 kB\nVmFlags: mr\n\
             7f001000-7f003000 rw-p 00000000 00:00 0      [anon:malloc]\nVmFlags: rd\n\
             7ffe0000-7ffe1000 r-xp 00000000 00:00 0      [vdso]\nVmFlags: rd\n"
        );
        let file = Mapping {
            start: 0x559f_3000,
            end: 0x559f_5000,
            readable: true,
            of_file: true,
            special: false,
            changed: 12,
        };
        let guard = Mapping { start: 0x7f00_0000, end: 0x7f00_1000, ..Mapping::default() };
        let heap =
            Mapping { start: 0x7f00_1000, end: 0x7f00_3000, readable: true, ..Mapping::default() };
        let vdso = Mapping {
            start: 0x7ffe_0000,
            end: 0x7ffe_1000,
            readable: true,
            special: true,
            ..Mapping::default()
        };
        assert_eq!(parse(&text), [file, guard, heap, vdso]);
    }

    #[test]
    fn what_is_no_entry_is_nothing_to_forget() {
        for text in ["", "\n", "junk\nVmFlags: \n", "1-z r--p 0 0 0\nVmFlags: \n"] {
            assert!(parse(text).iter().all(|mapping| !mapping.readable), "{text:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "the memory of the interpreter is another")]
    fn the_kernels_list_is_read() {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let here = std::ptr::from_ref(&text).addr();
        let mappings = parse(&text);
        let stack = mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&here));
        assert!(stack.is_some_and(|stack| stack.readable && !stack.of_file && !stack.special));
        assert_eq!(mappings.len(), text.matches("VmFlags:").count());
    }
}
