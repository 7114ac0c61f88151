//! The mappings of this process, as `/proc/PID/maps` and `/proc/PID/smaps` list them.

use core::ffi::CStr;
use std::os::fd::RawFd;

use super::image::Image;
use super::span::Span;
use super::{Errno, Result, file, in_root};

/// Calls `each` with every mapping of this process.
pub(super) fn for_each(proc: RawFd, list: List, mut each: impl FnMut(Mapping)) -> Result<()> {
    let file = in_root::open_on_same_mount(proc, list.path(), libc::O_RDONLY)?;
    let mut buffer = [0; 2048];
    let mut parser = Parser::new(list);
    loop {
        match file::read(file.raw(), &mut buffer) {
            Err(Errno::INTR) => {}
            Ok(length) if length > 0 => {
                buffer
                    .iter()
                    .take(length)
                    .filter_map(|&byte| parser.feed(byte))
                    .for_each(&mut each);
            }
            answer => return answer.map(drop),
        }
    }
}

/// A list of mappings, and how much it says of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// A line.
    Maps,
    /// That line, and pages counted, which takes time.
    Smaps,
}

impl List {
    fn path(self) -> &'static CStr {
        match self {
            Self::Maps => c"self/maps",
            Self::Smaps => c"self/smaps",
        }
    }
}

/// One entry of `/proc/PID/smaps`.
#[expect(clippy::struct_excessive_bools, reason = "flags as the kernel lists them")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) span: Span,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) executable: bool,
    pub(super) shared: bool,
    pub(super) of_file: bool,
    /// The kernel's own, as `[vdso]`, or a shadow stack.
    pub(super) special: bool,
    /// Bytes that differ from the file, in units of 1024.
    pub(super) changed: usize,
}

/// As large as the shadow memory of a sanitizer, and nothing else that is in use.
const SHADOW: u64 = 1 << 40;

impl Mapping {
    /// Whether it is as large as the shadow memory of a sanitizer.
    pub(super) fn is_shadow(&self) -> bool {
        (self.span.end - self.span.start) as u64 >= SHADOW
    }

    /// Whether nothing needs it, unless it is of what is kept. No module has shared memory.
    pub(super) fn is_for_good(&self, image: &Image) -> bool {
        let is_data = !self.of_file || self.shared || !image.may_use(self.span);
        is_data && !self.executable && !self.special
    }

    pub(super) fn is_as_its_file(&self) -> bool {
        self.of_file && self.readable && self.changed == 0 && !self.special
    }
}

/// Reads `/proc/PID/smaps` byte by byte. Of a line longer than its room it sees the beginning, where
/// everything is but a path.
#[derive(Debug)]
struct Parser {
    list: List,
    line: [u8; 128],
    length: usize,
    mapping: Mapping,
}

impl Parser {
    fn new(list: List) -> Self {
        Self { list, line: [0; 128], length: 0, mapping: Mapping::default() }
    }

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
            b"VmFlags:" => {
                self.mapping.special |= words.any(|flag| flag == b"ss");
                return Some(core::mem::take(&mut self.mapping));
            }
            range if range.first().is_some_and(|byte| !byte.is_ascii_uppercase()) => {
                let mapping = header(range, words).unwrap_or_default();
                if self.list == List::Maps {
                    return Some(mapping);
                }
                self.mapping = mapping;
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
    let span = Span { start, end: end.max(start) };
    let mut flags = words.next()?.iter().copied();
    let [readable, writable, executable] =
        [b'r', b'w', b'x'].map(|flag| flags.next() == Some(flag));
    let shared = flags.next() == Some(b's');
    let has_inode = number(words.nth(2)?, 10)? != 0;
    let name = words.next().unwrap_or_default();
    let of_file = has_inode && !is_memory(name);
    let ordinary = matches!(name, b"" | b"[heap]" | b"[stack]") || name.starts_with(b"[anon");
    let special = !has_inode && !ordinary;
    Some(Mapping { span, readable, writable, executable, shared, of_file, special, changed: 0 })
}

/// Whether the file of a mapping is how the kernel counts memory: zeroed memory, and that in huge pages. A
/// program may lie in a memfd.
fn is_memory(name: &[u8]) -> bool {
    name.starts_with(b"/dev/zero") || name.starts_with(b"/anon_hugepage")
}

fn number(digits: &[u8], base: usize) -> Option<usize> {
    digits.iter().try_fold(0_usize, |number, &byte| {
        let digit = char::from(byte).to_digit(u32::try_from(base).ok()?)?;
        number.checked_mul(base)?.checked_add(digit as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::super::image::{self, Image};
    use super::{List, Mapping, Parser, Span};

    fn parse_as(list: List, text: &str) -> Vec<Mapping> {
        let mut parser = Parser::new(list);
        text.bytes().filter_map(|byte| parser.feed(byte)).collect()
    }

    fn parse(text: &str) -> Vec<Mapping> {
        parse_as(List::Smaps, text)
    }

    fn span(start: usize, end: usize) -> Span {
        Span { start, end }
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
            span: span(0x559f_3000, 0x559f_5000),
            readable: true,
            writable: true,
            of_file: true,
            changed: 12,
            ..Mapping::default()
        };
        let guard = Mapping { span: span(0x7f00_0000, 0x7f00_1000), ..Mapping::default() };
        let heap = Mapping {
            span: span(0x7f00_1000, 0x7f00_3000),
            readable: true,
            writable: true,
            ..Mapping::default()
        };
        let vdso = Mapping {
            span: span(0x7ffe_0000, 0x7ffe_1000),
            readable: true,
            executable: true,
            special: true,
            ..Mapping::default()
        };
        assert_eq!(parse(&text), [file, guard, heap, vdso]);
        let is_header = |line: &&str| !line.starts_with(|first: char| first.is_ascii_uppercase());
        let lines: Vec<&str> = text.lines().filter(is_header).collect();
        let maps = parse_as(List::Maps, &format!("{}\n", lines.join("\n")));
        assert_eq!(maps, [Mapping { changed: 0, ..file }, guard, heap, vdso]);
    }

    #[test]
    fn what_goes_and_what_stays() {
        // Whether it goes for good, and whether until it is used again.
        let rows = [
            ("rw-p 0 00:00 0", "rd wr", (true, false)),
            ("---p 0 00:00 0", "mr mw", (true, false)),
            ("r--p 0 00:00 0 [stack]", "rd", (true, false)),
            ("rw-s 0 00:01 7 /dev/zero (deleted)", "rd wr sh", (true, false)),
            ("rw-p 0 00:0f 7 /anon_hugepage (deleted)", "rd wr ht", (true, false)),
            ("rw-s 0 00:01 7 /memfd:name (deleted)", "rd wr sh", (true, true)),
            ("rw-s 0 00:01 7 /SYSV00000000 (deleted)", "rd wr sh", (true, true)),
            // A program in a memfd.
            ("r-xp 0 00:01 7 /memfd:program (deleted)", "rd ex", (false, true)),
            ("r-xp 0 fe:01 7 /bin/sh", "rd ex", (false, true)),
            ("r--s 0 fe:01 7 /data", "rd sh", (true, true)),
            ("rw-s 0 00:0f 7 anon_inode:[io_uring]", "rd wr sh", (true, true)),
            ("---p 0 fe:01 7 /bin/sh", "mr", (false, false)),
            // Code without a file.
            ("r-xp 0 00:00 0", "rd ex", (false, false)),
            ("rwxp 0 00:00 0", "rd wr ex", (false, false)),
            ("--xp 0 00:00 0", "ex", (false, false)),
            // A shadow stack.
            ("rw-p 0 00:00 0", "rd wr mr mw me ss", (false, false)),
            ("r--p 0 00:00 0 [vvar]", "rd", (false, false)),
            ("rw-p 0 00:00 0 [uprobes]", "rd", (false, false)),
        ];
        let of_module = Image::of_modules(&[span(0x1000, 0x2000)]);
        let of_other = Image::of_modules(&[span(0x2000, 0x3000)]);
        for (line, flags, expected) in rows {
            let text = format!("1000-2000 {line}\nAnonymous: 0 kB\nVmFlags: {flags} \n");
            let [mapping] = parse(&text)[..] else { panic!("{line}") };
            let found = (mapping.is_for_good(&of_module), mapping.is_as_its_file());
            assert_eq!(found, expected, "{line} {flags}");
            let is_needed = mapping.executable || mapping.special;
            assert_eq!(mapping.is_for_good(&of_other), !is_needed, "{line} {flags}");
        }
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_shadow_is_large() {
        let text = "7fff8000-10007fff8000 rw-p 0 00:00 0 \n";
        let [mapping] = parse_as(List::Maps, text)[..] else { panic!() };
        assert!(mapping.is_shadow());
    }

    #[test]
    fn what_is_no_entry_is_nothing_to_forget() {
        for text in ["", "\n", "junk\nVmFlags: \n", "1-z r--p 0 0 0\nVmFlags: \n"] {
            let empty = |it: &Mapping| it.span == Span::default() && !it.readable;
            assert!(parse(text).iter().all(empty), "{text:?}");
        }
        // An end before its start.
        assert_eq!(
            parse_as(List::Maps, "2000-1000 rw-p 0 00:00 0\n")[0].span,
            span(0x2000, 0x2000)
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "the memory of the interpreter is another")]
    fn the_kernels_list_is_read() {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let here = std::ptr::from_ref(&text).addr();
        let mappings = parse(&text);
        let stack = mappings.iter().find(|mapping| mapping.span.has(here));
        let own = Image::own().unwrap();
        assert!(stack.is_some_and(|stack| stack.is_for_good(&own)));
        let code = mappings.iter().find(|mapping| mapping.span.has(image::code()));
        assert!(code.is_some_and(|code| code.executable && code.of_file));
        assert_eq!(mappings.len(), text.matches("VmFlags:").count());
    }
}
