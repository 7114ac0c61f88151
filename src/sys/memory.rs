//! Giving memory back, in a process that is to do one small thing for the rest of its life.

use core::ptr;
use std::os::fd::RawFd;

use super::args::arg;
use super::clone::can_share_memory;
use super::image::{self, Image};
use super::mappings::{self, List};
use super::span::Span;
use super::syscall::syscall;
use super::{Errno, Result, rseq};

/// What [`release`] keeps, whatever is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeptMemory {
    /// The module that contains this code.
    pub(crate) image: Image,
    /// The stack in use, with its guard pages.
    pub(crate) stack: Span,
    pub(crate) command_line: CommandLine,
}

/// What `/proc/PID/cmdline` shows, and the pages that it lies in. May be empty.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CommandLine {
    text: Span,
    pages: Span,
}

impl CommandLine {
    /// For the parent.
    pub(crate) fn new(text: Span) -> Self {
        Self { text, pages: text.of_whole_pages() }
    }
}

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
pub(crate) unsafe fn release(proc: RawFd, kept: &KeptMemory) -> Result<()> {
    // Elsewhere system calls go through libc, which needs its thread's memory.
    if !can_share_memory() {
        return Err(Errno::NOTSUP);
    }
    let kept_image = kept.image;
    let image = kept_image.span();
    let (mut has_code, mut of_file, mut has_shadow) = (false, true, false);
    mappings::for_each(proc, List::Maps, |it| {
        has_code |= it.executable && it.span.has(image::code());
        of_file &= it.of_file || !(it.executable && it.span.overlaps(image));
        has_shadow |= it.is_shadow();
    })?;
    if !has_code || has_shadow {
        return Err(Errno::NOTSUP);
    }
    // SAFETY: the caller's contract.
    if !unsafe { rseq::unregister() } {
        return Err(Errno::NOTSUP);
    }
    let CommandLine { text, pages } = kept.command_line;
    let all = [kept.stack, pages, image];
    let outside = [kept.stack, pages];
    mappings::for_each(proc, List::Smaps, |it| {
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
