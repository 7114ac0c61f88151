//! `execve(2)`, plainly, and of a program inside a root that the caller does not trust.
//!
//! Until exec this process has the caller's program and descriptors, and magic links in `/proc` lead to them:
//! `/proc/self/exe`, `/proc/self/fd/7`. In a root that is not the caller's such a link may stand anywhere: as the
//! program, on the way to it, behind `#!`, as the interpreter of an ELF file. So there the kernel is given no path
//! with a link to follow: [`exec_inside`] looks up each of these by [`open_inside`], and has the kernel run a name
//! in an open directory that is no link.

use core::ffi::{CStr, c_char};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering::SeqCst};
use std::os::fd::RawFd;

use super::args::arg;
use super::file::{self, Fd, open_at};
use super::in_root::{MOST_LINKS, PATH_MAX, PathBuffer, identity, open_inside};
use super::syscall::syscall;
use super::{Errno, Result};

/// Arguments or environment: C strings and pointers to them.
#[derive(Debug)]
pub(crate) struct Strings {
    /// What the pointers point into.
    _bytes: Vec<u8>,
    /// Free places, the strings, and a null pointer at the end.
    pointers: Box<[AtomicPtr<c_char>]>,
}

/// As many scripts as the kernel follows from one to the next, each with two arguments more.
const MOST_SCRIPTS: usize = 5;
const ROOM: usize = 2 * MOST_SCRIPTS;

impl Strings {
    /// `starts` says where in `bytes` each string begins; each ends with a NUL.
    pub(crate) fn new(mut bytes: Vec<u8>, starts: &[usize]) -> Self {
        let ends_with_nul = bytes.last().is_none_or(|&byte| byte == 0);
        let mut string = |&start: &usize| {
            let string = bytes.get_mut(start..).filter(|it| !it.is_empty() && ends_with_nul);
            AtomicPtr::new(string.map_or(ptr::null_mut(), |it| it.as_mut_ptr().cast()))
        };
        let null = || AtomicPtr::new(ptr::null_mut());
        let free: Vec<_> = (0..ROOM).map(|_| null()).collect();
        let strings: Vec<_> = starts.iter().map(&mut string).collect();
        let pointers = free.into_iter().chain(strings).chain([null()]).collect();
        Self { _bytes: bytes, pointers }
    }

    /// The array from this place on, as the kernel reads it.
    fn from(&self, at: usize) -> usize {
        self.pointers.get(at..).map_or(0, |pointers| pointers.as_ptr().expose_provenance())
    }

    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<String> {
        let strings = self.pointers.iter().skip(ROOM).map(|it| it.load(SeqCst));
        let strings = strings.take_while(|it| !it.is_null());
        // SAFETY: the pointers are to C strings in bytes.
        strings.map(|it| unsafe { CStr::from_ptr(it) }.to_str().unwrap().to_owned()).collect()
    }
}

/// `execve(2)`. Returns only to say why it failed.
pub(crate) fn exec(program: &CStr, args: &Strings, env: &Strings) -> Errno {
    // SAFETY: two arrays of pointers to C strings that end with a null pointer.
    unsafe { execve(program, args.from(ROOM), env.from(ROOM)) }
}

/// Runs a program with these arguments and an empty environment.
pub(crate) fn exec_bare<const N: usize>(program: &CStr, args: &[Option<&CStr>; N]) -> Errno {
    let end = [ptr::null::<c_char>()];
    let mut pointers = [ptr::null::<c_char>(); N];
    for (pointer, arg) in pointers.iter_mut().take(N.saturating_sub(1)).zip(args) {
        *pointer = arg.map_or(ptr::null(), CStr::as_ptr);
    }
    let env = end.as_ptr().expose_provenance();
    // SAFETY: two arrays of pointers to C strings that end with a null pointer.
    unsafe { execve(program, pointers.as_ptr().expose_provenance(), env) }
}

/// # Safety
///
/// The addresses are those of arrays of pointers to C strings which end with a null pointer.
unsafe fn execve(program: &CStr, args: usize, env: usize) -> Errno {
    let program = program.as_ptr().expose_provenance();
    // SAFETY: a C string, and the arrays of the caller's contract.
    match unsafe { syscall(libc::SYS_execve, [program, args, env]) } {
        Ok(_) => Errno::INVAL,
        Err(errno) => errno,
    }
}

/// Runs a program of a root that is not trusted: no magic link is followed for anything that the kernel would look
/// up for it. Returns only to say why it failed: `ELOOP` for such a link.
///
/// The program is known by the name of the file that links lead to; a script by that of its interpreter. Files that
/// may be executed but not read are refused, as nobody knows what they would have the kernel look up. So are files for
/// which binfmt_misc(5) has an interpreter, of another architecture for example: `ENOEXEC`. The directory is
/// close-on-exec, with which the kernel runs neither those nor scripts, also if a file becomes one after it was read.
///
/// One lookup is left to the kernel: that of an ELF interpreter, which was found to be no magic link just before.
/// A process that replaces it in that moment gets the caller's program mapped in its place. `/proc/PID/exe` is the program
/// of the root also then.
#[inline(never)] // So that other steps do not have its buffer on the stack.
pub(crate) fn exec_inside(program: &CStr, args: &Strings, env: &Strings) -> Errno {
    let mut path = PathBuffer::EMPTY;
    Call { args, env, first: ROOM, scripts: 0 }.exec(program, &mut path)
}

/// Whether a path leads to something, no magic link among its links.
pub(crate) fn is_there(path: &CStr) -> bool {
    open_inside(libc::AT_FDCWD, path, 0).is_ok()
}

struct Call<'a> {
    args: &'a Strings,
    env: &'a Strings,
    /// Where the arguments begin.
    first: usize,
    scripts: usize,
}

impl Call<'_> {
    /// `path` is for whatever is looked up: one buffer, since this may run on a small stack.
    fn exec(&self, program: &CStr, path: &mut PathBuffer) -> Errno {
        let Err(errno) = self.try_exec(program, path);
        errno
    }

    fn try_exec(&self, program: &CStr, path: &mut PathBuffer) -> Result<core::convert::Infallible> {
        // The whole chain of links, so that one that leads out is an error and not another file.
        drop(open_inside(libc::AT_FDCWD, program, 0)?);
        path.set(program.to_bytes())?;
        let mut from: Option<Fd> = None;
        for _ in 0..=MOST_LINKS {
            let (dir, name) = path.split()?;
            let name = name.as_c_str();
            let start = from.as_ref().map_or(libc::AT_FDCWD, Fd::raw);
            let dir = open_inside(start, dir, libc::O_DIRECTORY)?;
            if name.is_empty() {
                return Err(Errno::ACCESS);
            }
            let about = identity(open_at(dir.raw(), name, libc::O_PATH | libc::O_NOFOLLOW)?.raw())?;
            if !about.is_link() {
                return Err(if about.is_file() {
                    self.exec_file(&dir, name, program, path)
                } else {
                    Errno::ACCESS
                });
            }
            path.replace_by_link(dir.raw(), name)?;
            from = Some(dir);
        }
        Err(Errno::LOOP)
    }

    /// A file that is no link; if it has become one, it is not followed.
    fn exec_file(&self, dir: &Fd, name: &CStr, program: &CStr, path: &mut PathBuffer) -> Errno {
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = match open_at(dir.raw(), name, flags) {
            Ok(file) => file,
            Err(errno) => return errno,
        };
        let mut head = Head { file, bytes: [0; HEAD], length: 0 };
        head.length = match read_at(head.file.raw(), &mut head.bytes, 0) {
            Ok(length) => length,
            Err(errno) => return errno,
        };
        if head.bytes.starts_with(b"#!") {
            return self.exec_script(&head, dir, name, program, path);
        }
        let interpreter = match head.interpreter(path) {
            Ok(found) => found,
            Err(errno) => return errno,
        };
        match self.exec_in(dir, name) {
            // By then it is a script, or binfmt_misc(5) has an interpreter for it: the kernel opens either by a path
            // of this root, so it may be a link to the caller's program.
            Errno::NOENT if head.is_for_others() => Errno::NOEXEC,
            // All that the kernel needs is there: TOMOYO looks for /dev/fd/N/NAME before the fix of 5.10.227, 5.15.168,
            // 6.1.113, 6.6.55 and 6.12 ("fallback to realpath if symlink's pathname does not exist").
            Errno::NOENT if interpreter == Interpreter::NotMissing => Errno::OPNOTSUPP,
            errno => errno,
        }
    }

    fn exec_in(&self, dir: &Fd, name: &CStr) -> Errno {
        let name = name.as_ptr().expose_provenance();
        let (args, env) = (self.args.from(self.first), self.env.from(ROOM));
        let words = [arg(dir.raw()), name, args, env, arg(libc::AT_SYMLINK_NOFOLLOW)];
        // SAFETY: a C string, and two arrays of pointers to C strings that end with a null pointer.
        match unsafe { syscall(libc::SYS_execveat, words) } {
            Ok(_) => Errno::INVAL,
            Err(errno) => errno,
        }
    }

    /// As the kernel does it: the interpreter, its argument if there is one, the script, the other arguments.
    fn exec_script(
        &self,
        head: &Head,
        dir: &Fd,
        name: &CStr,
        program: &CStr,
        path: &mut PathBuffer,
    ) -> Errno {
        // The script has to be one that may be executed.
        if let Err(errno) = file::may_execute(dir.raw(), name) {
            return errno;
        }
        let Some((interpreter, argument)) = Script::parse(head.text()) else {
            return Errno::NOEXEC;
        };
        let more = 1 + usize::from(argument.is_some());
        let (Some(first), true) = (self.first.checked_sub(more), self.scripts < MOST_SCRIPTS)
        else {
            return Errno::LOOP;
        };
        let place = |at: usize| self.args.pointers.get(at);
        let before = place(self.first).map(|it| it.load(SeqCst));
        let put = |at: usize, text: &CStr| {
            if let Some(place) = place(at) {
                place.store(text.as_ptr().cast_mut(), SeqCst);
            }
        };
        put(first, interpreter.as_c_str());
        if let Some(argument) = &argument {
            put(first + 1, argument.as_c_str());
        }
        put(self.first, program);
        let call = Call { first, scripts: self.scripts + 1, ..*self };
        let errno = call.exec(interpreter.as_c_str(), path);
        // For another candidate of PATH.
        if let (Some(place), Some(before)) = (place(self.first), before) {
            place.store(before, SeqCst);
        }
        errno
    }
}

/// As much of a script as the kernel looks at: `BINPRM_BUF_SIZE`.
const SCRIPT: usize = 256;

/// A word of the first line of a script.
struct Script {
    bytes: [u8; SCRIPT],
}

impl Script {
    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }

    /// As far as the first NUL.
    fn word(text: &[u8]) -> Option<Self> {
        let text = text.split(|&byte| byte == 0).next()?;
        let mut bytes = [0; SCRIPT];
        bytes.get_mut(..text.len()).filter(|room| room.len() < SCRIPT)?.copy_from_slice(text);
        Some(Self { bytes })
    }

    /// The interpreter, and the rest of the line as one argument: what `load_script` in the kernel's
    /// fs/binfmt_script.c makes of it, step by step.
    fn parse(head: &[u8]) -> Option<(Self, Option<Self>)> {
        const LAST: usize = SCRIPT - 1;
        let mut line = [0; SCRIPT];
        line.iter_mut().zip(head).for_each(|(place, byte)| *place = *byte);
        let is_blank = |at: usize| matches!(line.get(at), Some(b' ' | b'\t'));
        let is_nul = |at: usize| line.get(at) == Some(&0);
        let word_from = |first: usize, last: usize| (first..=last).find(|&at| !is_blank(at));
        let end_of_word =
            |first: usize, last: usize| (first..=last).find(|&at| is_blank(at) || is_nul(at));
        let text = line.iter().take_while(|&&byte| byte != 0);
        let mut end = match text.enumerate().find(|(_, byte)| **byte == b'\n') {
            Some((end, _)) => end,
            None => {
                // Otherwise there may be more of the interpreter's path in the file.
                end_of_word(word_from(2, LAST)?, LAST)?;
                LAST
            }
        };
        while end > 2 && is_blank(end - 1) {
            end -= 1;
        }
        let name = word_from(2, end).filter(|&name| name < end)?;
        let behind = end_of_word(name, end);
        let argument = behind.filter(|&at| !is_nul(at)).and_then(|at| word_from(at, end));
        let word = |from: usize, to: usize| line.get(from..to).and_then(Self::word);
        let argument = match argument {
            Some(argument) => Some(word(argument, end)?),
            None => None,
        };
        Some((word(name, behind.unwrap_or(end))?, argument))
    }
}

/// Whether what the kernel looks up for an ELF file is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interpreter {
    Missing,
    NotMissing,
}

const HEAD: usize = 1024;

/// The beginning of a program's file.
struct Head {
    file: Fd,
    bytes: [u8; HEAD],
    length: usize,
}

impl Head {
    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn is_elf(&self) -> bool {
        self.text().starts_with(b"\x7fELF")
    }

    /// Whether this kernel itself has no use for it: it is no ELF file, or one of another architecture.
    fn is_for_others(&self) -> bool {
        let own = if cfg!(target_arch = "x86_64") {
            [62, 3]
        } else if cfg!(target_arch = "aarch64") {
            [183, 40]
        } else {
            return !self.is_elf();
        };
        let machine = number(self.text(), 18, 2).filter(|_| self.is_elf());
        machine.is_none_or(|machine| !own.contains(&machine))
    }

    /// Looks up what the kernel would as the interpreter of an ELF file.
    ///
    /// The kernel ignores the class and the byte order that the file claims: it reads the file as one of its own, of
    /// 64 bits and then of 32, so that both are looked at.
    fn interpreter(&self, path: &mut PathBuffer) -> Result<Interpreter> {
        let mut found = Interpreter::NotMissing;
        if !self.is_elf() {
            return Ok(found);
        }
        for is_wide in [true, false] {
            let path = path.clear();
            if !self.read_interpreter(is_wide, path)? {
                continue;
            }
            // What the kernel makes of it otherwise, it reports. Any other error leaves it unknown where this leads.
            if let Ok(path) = CStr::from_bytes_until_nul(path) {
                match open_inside(libc::AT_FDCWD, path, 0) {
                    Ok(_) | Err(Errno::ACCESS) => {}
                    Err(Errno::NOENT | Errno::NOTDIR) => found = Interpreter::Missing,
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(found)
    }

    /// Whether there is one for a kernel that reads the file so.
    fn read_interpreter(&self, is_wide: bool, path: &mut [u8; PATH_MAX]) -> Result<bool> {
        const PT_INTERP: u64 = 3;
        let of = |bytes: &[u8], wide: (usize, usize), narrow: (usize, usize)| {
            let (at, width) = if is_wide { wide } else { narrow };
            number(bytes, at, width)
        };
        // The kernel refuses a file where these are missing or odd.
        let (Some(table), Some(size), Some(count)) = (
            of(self.text(), (32, 8), (28, 4)),
            of(self.text(), (54, 2), (42, 2)),
            of(self.text(), (56, 2), (44, 2)),
        ) else {
            return Ok(false);
        };
        if size != if is_wide { 56 } else { 32 } || size * count > 65536 {
            return Ok(false);
        }
        for index in 0..count {
            let mut entry = [0; 56];
            let Some(at) = table.checked_add(index * size).filter(|&at| i64::try_from(at).is_ok())
            else {
                return Ok(false);
            };
            if self.read(&mut entry, at)? < 32 {
                return Ok(false);
            }
            if number(&entry, 0, 4) != Some(PT_INTERP) {
                continue;
            }
            let at = of(&entry, (8, 8), (4, 4)).filter(|&at| i64::try_from(at).is_ok());
            let length = of(&entry, (32, 8), (16, 4)).and_then(|it| usize::try_from(it).ok());
            let room = path.get_mut(..length.unwrap_or(0));
            return match (at, room) {
                (Some(at), Some(room)) if !room.is_empty() => self.read(room, at).map(|_| true),
                _ => Ok(false),
            };
        }
        Ok(false)
    }

    fn read(&self, room: &mut [u8], at: u64) -> Result<usize> {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let end = start.saturating_add(room.len());
        match self.text().get(start..end) {
            Some(known) => {
                room.copy_from_slice(known);
                Ok(room.len())
            }
            None => read_at(self.file.raw(), room, at),
        }
    }
}

/// A number in a file of this architecture.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + width)?;
    let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    let is_big = cfg!(target_endian = "big");
    Some(if is_big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
}

/// `preadv(2)`, whose arguments are the same on all architectures.
fn read_at(file: RawFd, room: &mut [u8], at: u64) -> Result<usize> {
    let into = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    let into = ptr::from_ref(&into).expose_provenance();
    #[expect(clippy::cast_possible_truncation, reason = "the low part, and the high one")]
    let (low, high) = (at as usize, (at >> 32) as usize);
    let high = if cfg!(target_pointer_width = "64") { 0 } else { high };
    loop {
        // SAFETY: one iovec with room for what is read.
        match unsafe { syscall(libc::SYS_preadv, [arg(file), into, 1, low, high]) } {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Script, Strings};

    #[test]
    fn strings_lie_one_behind_the_other() {
        let strings = Strings::new(b"\0one\0two words\0\0".to_vec(), &[0, 1, 5, 15]);
        assert_eq!(strings.texts(), ["", "one", "two words", ""]);
    }

    #[test]
    fn the_first_line_of_a_script_is_read_as_the_kernel_does() {
        let parse = |text: &[u8]| {
            let (interpreter, argument) = Script::parse(text)?;
            let text = |word: Script| word.as_c_str().to_str().unwrap().to_owned();
            Some((text(interpreter), argument.map(text)))
        };
        let some = |interpreter: &str, argument: Option<&str>| {
            Some((interpreter.to_owned(), argument.map(str::to_owned)))
        };
        assert_eq!(parse(b"#!/bin/sh\necho"), some("/bin/sh", None));
        assert_eq!(parse(b"#! /bin/sh -e x \t\n"), some("/bin/sh", Some("-e x")));
        assert_eq!(parse(b"#!/bin/sh"), some("/bin/sh", None));
        assert_eq!(parse(b"#!\n"), None);
        assert_eq!(parse(b"#! \t \n"), None);
        let long = [b"#!/".as_slice(), &[b'a'; 300]].concat();
        assert_eq!(parse(&long), None);
        let cut = [b"#!/bin/sh ".as_slice(), &[b'a'; 300]].concat();
        assert_eq!(parse(&cut), some("/bin/sh", Some(&"a".repeat(245))));
        // Without a newline blanks at the end belong to the argument, which may be empty.
        assert_eq!(parse(b"#!/bin/sh "), some("/bin/sh", Some("")));
        assert_eq!(parse(b"#!/bin/sh -e "), some("/bin/sh", Some("-e ")));
        assert_eq!(parse(b"#!/bin/sh -e\0 -f\n"), some("/bin/sh", Some("-e")));
        assert_eq!(parse(b"#!/bin/sh\0 -f\n"), some("/bin/sh", None));
        let full = [b"#!/".as_slice(), &[b'a'; 252], b"\n"].concat();
        assert_eq!(parse(&full), some(&format!("/{}", "a".repeat(252)), None));
    }
}
