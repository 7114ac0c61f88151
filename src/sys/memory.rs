//! Giving memory back, in a process that is to do one small thing for the rest of its life.

use core::ffi::CStr;
use core::ptr;
use std::os::fd::RawFd;

use super::args::arg;
use super::clone::can_share_memory;
use super::image::{self, Image};
use super::span::Span;
use super::syscall::syscall;
use super::{Errno, Result, file, in_root, rseq};

/// What [`forget`] keeps, whatever is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    /// The module that contains this code.
    pub(crate) image: Image,
    /// The stack in use, with its guard pages.
    pub(crate) stack: Span,
    pub(crate) arguments: Arguments,
}

/// What `/proc/PID/cmdline` shows, and the pages that it lies in. May be empty.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Arguments {
    text: Span,
    pages: Span,
}

impl Arguments {
    /// For the parent.
    pub(crate) fn new(text: Span) -> Self {
        Self { text, pages: text.of_whole_pages() }
    }
}

/// As large as the shadow memory of a sanitizer, and nothing else that is in use.
const SHADOW: u64 = 1 << 40;

/// Gives back the memory that a loop of this crate does not need. Unmapped are the heap, other stacks, everything else
/// anonymous, all shared memory, and files that are not of a loaded module: a private mapping of such a file may
/// differ from it, and a memfd is memory. Pages of modules that are as in their files (code, constants) are dropped
/// until they are used again. The environment, beside the arguments on the same page, is overwritten.
///
/// What it does not know it keeps: executable memory, shadow stacks, the kernel's own mappings, the
/// whole of our image if its text does not lie in a file, and the changed variables of modules. Beside the shadow
/// memory of a sanitizer it gives nothing back: instrumented code uses that, and much else.
///
/// `proc` is the root of a checked `/proc`.
///
/// # Safety
///
/// This process has one thread, which runs on `kept.stack`, and until its end that uses nothing but its
/// frames there, and constants.
pub(crate) unsafe fn forget(proc: RawFd, kept: &Kept) -> Result<()> {
    // Elsewhere system calls go through libc, which needs its thread's memory.
    if !can_share_memory() {
        return Err(Errno::NOTSUP);
    }
    let kept_image = kept.image;
    let image = kept_image.span();
    let (mut has_code, mut of_file, mut has_shadow) = (false, true, false);
    for_each(proc, List::Maps, |it| {
        has_code |= it.executable && it.span.has(image::code());
        of_file &= it.of_file || !(it.executable && it.span.overlaps(image));
        has_shadow |= (it.span.end - it.span.start) as u64 >= SHADOW;
    })?;
    if !has_code || has_shadow {
        return Err(Errno::NOTSUP);
    }
    // SAFETY: the caller's contract.
    if !unsafe { rseq::shed() } {
        return Err(Errno::NOTSUP);
    }
    let Arguments { text, pages } = kept.arguments;
    let all = [kept.stack, pages, image];
    let outside = [kept.stack, pages];
    for_each(proc, List::Smaps, |it| {
        if it.writable && !it.of_file && !it.shared && !it.special {
            for part in it.span.within(pages).without(&[text]) {
                let at = ptr::with_exposed_provenance_mut::<u8>(part.start);
                // SAFETY: the caller's contract: nothing in there is used any more, and it can be written.
                unsafe { ptr::write_bytes(at, 0, part.end - part.start) };
            }
        }
        // Zeroed statics are no file's. What was made read-only beside them are addresses.
        let kept: &[Span] = if of_file && it.writable { &outside } else { &all };
        if it.is_for_good(&kept_image) {
            for part in it.span.without(kept) {
                let words = [part.start, part.end - part.start, arg(libc::MADV_DONTNEED)];
                // SAFETY: the caller's contract: nothing in there is used any more.
                if unsafe { syscall(libc::SYS_munmap, words) }.is_err() {
                    // It is sealed: mseal(2) leaves the pages of a writable mapping to be dropped.
                    // SAFETY: as above.
                    let _ = unsafe { syscall(libc::SYS_madvise, words) };
                }
            }
        } else if it.is_as_its_file() {
            let words = [it.span.start, it.span.end - it.span.start, arg(libc::MADV_DONTNEED)];
            // SAFETY: all of it is as the file has it, and comes back from there.
            let _ = unsafe { syscall(libc::SYS_madvise, words) };
        }
    })
}

/// Calls `each` with every mapping of this process.
fn for_each(proc: RawFd, list: List, mut each: impl FnMut(Mapping)) -> Result<()> {
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
enum List {
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
struct Mapping {
    span: Span,
    readable: bool,
    writable: bool,
    executable: bool,
    shared: bool,
    of_file: bool,
    /// The kernel's own, as `[vdso]`, or a shadow stack.
    special: bool,
    /// Bytes that differ from the file, in units of 1024.
    changed: usize,
}

impl Mapping {
    /// Whether nothing needs it, unless it is of what is kept. No module has shared memory.
    fn is_for_good(&self, image: &Image) -> bool {
        let is_data = !self.of_file || self.shared || !image.may_use(self.span);
        is_data && !self.executable && !self.special
    }

    fn is_as_its_file(&self) -> bool {
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
    use super::image::Image;
    use super::{List, Mapping, Parser, SHADOW, Span};
    use proptest::prelude::*;

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
        assert!((mapping.span.end - mapping.span.start) as u64 >= SHADOW);
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
    fn kept_ranges_are_left_out() {
        let rest = |kept: &[Span]| span(10, 20).without(kept).collect::<Vec<_>>();
        assert_eq!(rest(&[]), [span(10, 20)]);
        assert_eq!(rest(&[span(0, 10), span(20, 30), span(15, 15)]).len(), 2);
        assert_eq!(rest(&[span(12, 14)]), [span(10, 12), span(14, 20)]);
        assert_eq!(rest(&[span(18, 30), span(5, 11)]), [span(11, 18)]);
        assert_eq!(rest(&[span(12, 16), span(14, 17)]), [span(10, 12), span(17, 20)]);
        assert_eq!(rest(&[span(0, 100)]), []);
        assert_eq!(rest(&[span(10, 15), span(15, 20)]), []);
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_is_in_none(ends in proptest::collection::vec(0_usize..40, 8)) {
            let spans: Vec<Span> = ends.chunks(2).map(|it| span(it[0].min(it[1]), it[0].max(it[1]))).collect();
            let (whole, kept) = (spans[0], &spans[1..]);
            let parts: Vec<Span> = whole.without(kept).collect();
            for at in 0..40 {
                let expected = whole.has(at) && !kept.iter().any(|it| it.has(at));
                prop_assert_eq!(parts.iter().filter(|it| it.has(at)).count(), usize::from(expected));
            }
        }
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
        let code = mappings.iter().find(|mapping| mapping.span.has(super::image::code()));
        assert!(code.is_some_and(|code| code.executable && code.of_file));
        assert_eq!(mappings.len(), text.matches("VmFlags:").count());
    }
}
