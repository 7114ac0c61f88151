//! `/proc/PID/mountinfo`: bytes in, values out, no call to the kernel.

#![forbid(unsafe_code)]

use std::borrow::Cow;

/// A line of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MountLine<'a> {
    pub(crate) id: u64,
    /// The mount that it is mounted on.
    pub(crate) parent: u64,
    /// The file system's: `0:21`.
    pub(crate) device: &'a [u8],
    /// What of the file system is mounted.
    pub(crate) root: Cow<'a, [u8]>,
    /// Where, as seen from the root directory of the process.
    pub(crate) point: Cow<'a, [u8]>,
    pub(crate) file_system: &'a [u8],
    /// The file system's own options.
    pub(crate) options: &'a [u8],
}

/// The lines of a mountinfo that can be understood.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = MountLine<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(line)
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, where any number
/// of fields may come before the dash.
pub(crate) fn line(text: &[u8]) -> Option<MountLine<'_>> {
    let mut fields = text.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    let device = fields.next()?;
    let root = unescaped(fields.next()?);
    let point = unescaped(fields.next()?);
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let file_system = fields.next()?;
    let options = fields.nth(1)?;
    Some(MountLine { id, parent, device, root, point, file_system, options })
}

/// The kernel writes space, tab, newline, backslash and `#` as `\040` and so on.
fn unescaped(field: &[u8]) -> Cow<'_, [u8]> {
    if !field.contains(&b'\\') {
        return Cow::Borrowed(field);
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, others @ ..] = rest {
        let octal = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &rest[4..] } else { others };
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mount_is_read_with_any_number_of_optional_fields() {
        for optional in ["", "shared:1 ", "shared:1 master:2 unbindable "] {
            let line = format!("36 35 0:4 net:[7] /a\\040b rw {optional}- nsfs nsfs rw,x=1");
            let expected = MountLine {
                id: 36,
                parent: 35,
                device: b"0:4",
                root: b"net:[7]"[..].into(),
                point: b"/a b"[..].into(),
                file_system: b"nsfs",
                options: b"rw,x=1",
            };
            assert_eq!(super::line(line.as_bytes()), Some(expected));
        }
        for wrong in [
            "",
            "36",
            "x 35 0:4 / / rw - nsfs nsfs rw",
            "36 35 0:4 / / rw nsfs nsfs rw",
            "36 35 0:4 / / rw - nsfs",
            "36 35 0:4 / / rw - nsfs nsfs",
        ] {
            assert_eq!(line(wrong.as_bytes()), None, "{wrong}");
        }
    }

    /// As `mangle()` and `seq_path()` of the kernel write it.
    fn escaped(bytes: &[u8]) -> Vec<u8> {
        let octal = |byte: &u8| match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => format!("\\{byte:03o}").into_bytes(),
            byte => vec![*byte],
        };
        bytes.iter().flat_map(octal).collect()
    }

    /// Anything, or what looks like it.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let alike = prop::sample::select(b" \\\n\0-0139/".to_vec());
        let any = prop::collection::vec(any::<u8>(), 0..200);
        prop_oneof![any, prop::collection::vec(alike, 0..200)]
    }

    proptest! {
        #[test]
        fn any_path_survives(path in prop::collection::vec(1_u8.., 0..64), root: u32) {
            let mut text = format!("1 2 0:4 net:[{root}] ").into_bytes();
            text.extend(escaped(&path));
            text.extend(b" rw shared:9 - nsfs nsfs rw\n");
            let all: Vec<_> = lines(&text).collect();
            prop_assert_eq!(all.len(), 1);
            prop_assert_eq!(&*all[0].point, &path[..]);
            let root = format!("net:[{root}]");
            prop_assert_eq!(&*all[0].root, root.as_bytes());
        }

        #[test]
        fn anything_is_read_without_a_panic(text in text()) {
            prop_assert!(unescaped(&text).len() <= text.len());
            for line in lines(&text) {
                prop_assert!(line.file_system.len() + line.options.len() < text.len());
            }
        }
    }
}
