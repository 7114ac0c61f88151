//! `execveat(2)` of a program inside a root that the caller does not trust.
//!
//! Until exec this process has the caller's program and descriptors, and magic links in `/proc` lead to them:
//! `/proc/self/exe`, `/proc/self/fd/7`. In a root that is not the caller's such a link may stand anywhere: as the
//! program, on the way to it, behind `#!`, as the interpreter of an ELF file. So there the kernel is given no path
//! with a link to follow: [`exec`] looks up each of these by [`open_inside`], and has the kernel run a name
//! in an open directory that is no link.

use core::ffi::CStr;
use core::sync::atomic::Ordering::SeqCst;

use super::args::arg;
use super::elf::{Interpreter, ProgramFile};
use super::exec::{CStringArray, MOST_SCRIPTS, ROOM};
use super::file::{self, Fd, open_at};
use super::in_root::{MOST_LINKS, open_inside};
use super::path_buffer::PathBuffer;
use super::script;
use super::stat::identity;
use super::syscall::syscall;
use super::{Errno, Result};

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
pub(crate) fn exec(program: &CStr, args: &CStringArray, env: &CStringArray) -> Errno {
    let mut path = PathBuffer::EMPTY;
    Exec { args, env, first: ROOM, scripts: 0 }.exec(program, &mut path)
}

/// Whether a path leads to something, no magic link among its links.
pub(crate) fn is_there(path: &CStr) -> bool {
    open_inside(libc::AT_FDCWD, path, 0).is_ok()
}

struct Exec<'a> {
    args: &'a CStringArray,
    env: &'a CStringArray,
    /// Where the arguments begin.
    first: usize,
    scripts: usize,
}

impl Exec<'_> {
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
        let mut file = match open_at(dir.raw(), name, flags) {
            Ok(file) => ProgramFile::new(file),
            Err(errno) => return errno,
        };
        if let Err(errno) = file.read_head() {
            return errno;
        }
        if file.text().starts_with(b"#!") {
            return self.exec_script(&file, dir, name, program, path);
        }
        let interpreter = match file.interpreter(path) {
            Ok(found) => found,
            Err(errno) => return errno,
        };
        match self.exec_in(dir, name) {
            // By then it is a script, or binfmt_misc(5) has an interpreter for it: the kernel opens either by a path
            // of this root, so it may be a link to the caller's program.
            Errno::NOENT if file.is_for_others() => Errno::NOEXEC,
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
        file: &ProgramFile,
        dir: &Fd,
        name: &CStr,
        program: &CStr,
        path: &mut PathBuffer,
    ) -> Errno {
        // The script has to be one that may be executed.
        if let Err(errno) = file::may_execute(dir.raw(), name) {
            return errno;
        }
        let Some((interpreter, argument)) = script::parse(file.text()) else {
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
        let call = Exec { first, scripts: self.scripts + 1, ..*self };
        let errno = call.exec(interpreter.as_c_str(), path);
        // For another candidate of PATH.
        if let (Some(place), Some(before)) = (place(self.first), before) {
            place.store(before, SeqCst);
        }
        errno
    }
}
