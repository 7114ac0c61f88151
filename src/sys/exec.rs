//! `execve(2)`.

use core::ffi::{CStr, c_char};
use core::ptr;
use core::sync::atomic::AtomicPtr;

use super::Errno;
use super::syscall::syscall;

/// Arguments or environment: C strings and pointers to them.
#[derive(Debug)]
pub(crate) struct CStringArray {
    /// What the pointers point into.
    _bytes: Vec<u8>,
    /// Free places, the strings, and a null pointer at the end.
    pub(super) pointers: Box<[AtomicPtr<c_char>]>,
}

/// As many scripts as the kernel follows from one to the next, each with two arguments more.
pub(super) const MOST_SCRIPTS: usize = 5;
pub(super) const ROOM: usize = 2 * MOST_SCRIPTS;

impl CStringArray {
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
    pub(super) fn from(&self, at: usize) -> usize {
        self.pointers.get(at..).map_or(0, |pointers| pointers.as_ptr().expose_provenance())
    }

    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<String> {
        let strings =
            self.pointers.iter().skip(ROOM).map(|it| it.load(core::sync::atomic::Ordering::SeqCst));
        let strings = strings.take_while(|it| !it.is_null());
        // SAFETY: the pointers are to C strings in bytes.
        strings.map(|it| unsafe { CStr::from_ptr(it) }.to_str().unwrap().to_owned()).collect()
    }
}

/// `execve(2)`. Returns only to say why it failed.
pub(crate) fn exec(program: &CStr, args: &CStringArray, env: &CStringArray) -> Errno {
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

#[cfg(test)]
mod tests {
    use super::CStringArray;

    #[test]
    fn strings_lie_one_behind_the_other() {
        let strings = CStringArray::new(b"\0one\0two words\0\0".to_vec(), &[0, 1, 5, 15]);
        assert_eq!(strings.texts(), ["", "one", "two words", ""]);
    }
}
