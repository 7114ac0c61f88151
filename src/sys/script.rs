//! The first line of a script: `#!`.

use core::ffi::CStr;

/// As much of a script as the kernel looks at: `BINPRM_BUF_SIZE`.
const SCRIPT: usize = 256;

/// A word of that line.
pub(super) struct Word {
    bytes: [u8; SCRIPT],
}

impl Word {
    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }

    /// As far as the first NUL.
    fn new(text: &[u8]) -> Option<Self> {
        let text = text.split(|&byte| byte == 0).next()?;
        let mut bytes = [0; SCRIPT];
        bytes.get_mut(..text.len()).filter(|room| room.len() < SCRIPT)?.copy_from_slice(text);
        Some(Self { bytes })
    }
}

/// The interpreter, and the rest of the line as one argument: what `load_script` in the kernel's
/// fs/binfmt_script.c makes of it, step by step.
pub(super) fn parse(head: &[u8]) -> Option<(Word, Option<Word>)> {
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
    let word = |from: usize, to: usize| line.get(from..to).and_then(Word::new);
    let argument = match argument {
        Some(argument) => Some(word(argument, end)?),
        None => None,
    };
    Some((word(name, behind.unwrap_or(end))?, argument))
}

#[cfg(test)]
mod tests {
    use super::Word;

    #[test]
    fn the_first_line_of_a_script_is_read_as_the_kernel_does() {
        let parse = |text: &[u8]| {
            let (interpreter, argument) = super::parse(text)?;
            let text = |word: Word| word.as_c_str().to_str().unwrap().to_owned();
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
