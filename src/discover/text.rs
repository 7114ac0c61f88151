//! What files and links of `/proc` say: bytes in, values out, no call to the kernel.

#![forbid(unsafe_code)]

use crate::namespace::Namespace;
use crate::proc_fs::task_flags;

/// `net:[4026531840]`: what a link in `/proc/PID/ns` leads to, what a descriptor is of, and the root of a
/// bind mount.
pub(super) fn namespace(text: &[u8]) -> Option<(Namespace, u64)> {
    let (name, rest) = split(text, b':')?;
    let kind = Namespace::EACH.into_iter().find(|kind| kind.name().as_bytes() == name)?;
    let number = rest.strip_prefix(b"[")?.strip_suffix(b"]")?;
    Some((kind, decimal(number)?))
}

/// The number of a process, a thread or a descriptor, which is the name of a file.
pub(super) fn number(name: &[u8]) -> Option<u32> {
    decimal(name)?.try_into().ok()
}

/// Digits and nothing else.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        value.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Whether the options of a proc mount hide other users' processes.
pub(super) fn hides_processes(options: &[u8]) -> bool {
    let hidepid = options.split(|byte| *byte == b',').find_map(|it| it.strip_prefix(b"hidepid="));
    hidepid.is_some_and(|value| value != b"0" && value != b"off")
}

/// The parent of a process, from its `/proc/PID/stat`: `7 (any name) S 1 ...`. 0 stands for one out of sight.
pub(super) fn parent(stat: &[u8]) -> Option<u32> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let parent = number(stat[end..].split(|byte| *byte == b' ').nth(2)?)?;
    (parent != 0).then_some(parent)
}

/// Whether a `/proc/PID/stat` is of a thread of the kernel: `PF_KTHREAD` of its flags.
pub(super) fn is_kernel_thread(stat: &[u8]) -> bool {
    const PF_KTHREAD: u32 = 0x0020_0000;
    task_flags(stat).is_some_and(|flags| flags & PF_KTHREAD != 0)
}

/// The words of `/proc/PID/cmdline`, each with a NUL behind it, unless the program wrote over them.
pub(super) fn words(cmdline: &[u8]) -> Vec<&[u8]> {
    let end = cmdline.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if end == 0 { Vec::new() } else { cmdline[..end].split(|byte| *byte == 0).collect() }
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let middle = text.iter().position(|byte| *byte == at)?;
    Some((&text[..middle], &text[middle + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_link_names_kind_and_number() {
        assert_eq!(namespace(b"net:[4026531840]"), Some((Namespace::Net, 4_026_531_840)));
        for wrong in [
            &b""[..],
            b"net",
            b"net:",
            b"net:[]",
            b"net:[1",
            b"net:1]",
            b"net:[+1]",
            b"net:[1]x",
            b"net:[-1]",
            b"pipe:[1]",
            b"/net:[1]",
            b"net:[18446744073709551616]",
            b"net:[ 1]",
        ] {
            assert_eq!(namespace(wrong), None, "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn hidepid_is_seen_in_all_its_spellings() {
        for shown in ["rw", "rw,hidepid=0", "rw,hidepid=off", "rw,gid=5", ""] {
            assert!(!hides_processes(shown.as_bytes()), "{shown}");
        }
        for hidden in
            ["rw,hidepid=2", "rw,gid=5,hidepid=invisible", "hidepid=ptraceable,subset=pid"]
        {
            assert!(hides_processes(hidden.as_bytes()), "{hidden}");
        }
    }

    #[test]
    fn a_parent_stands_behind_any_name() {
        assert_eq!(parent(b"7 (sh) S 5 6 7"), Some(5));
        assert_eq!(parent(b"7 (a) R 9 (b)) Z 5 6"), Some(5));
        for none in [&b"2 (kthreadd) S 0 0 0"[..], b"", b")", b"7 (sh) S", b"7 (sh) S x 6"] {
            assert_eq!(parent(none), None);
        }
    }

    #[test]
    fn a_thread_of_the_kernel_has_a_flag() {
        assert!(is_kernel_thread(b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"));
        for other in [&b"2 (sh) S 1 2 2 0 -1 4194304 0"[..], b"2 (sh) S 1 2", b"", b"2097152"] {
            assert!(!is_kernel_thread(other));
        }
    }

    #[test]
    fn words_end_with_nul_or_without() {
        assert_eq!(words(b"sh\0-c\0\0x\0"), [&b"sh"[..], b"-c", b"", b"x"]);
        assert_eq!(words(b"nginx: worker"), [b"nginx: worker"]);
        assert!(words(b"\0\0").is_empty() && words(b"").is_empty());
    }

    /// Anything, or what looks like it.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let alike = prop::sample::select(b" \\\n\0-:,=[]01379nethidps/".to_vec());
        let any = prop::collection::vec(any::<u8>(), 0..200);
        prop_oneof![any, prop::collection::vec(alike, 0..200)]
    }

    proptest! {
        #[test]
        fn any_link_survives(kind in 0..8_usize, number: u64) {
            let kind = Namespace::EACH[kind];
            prop_assert_eq!(namespace(format!("{kind}:[{number}]").as_bytes()), Some((kind, number)));
        }

        #[test]
        fn what_is_understood_is_what_was_written(text in text()) {
            if let Some((kind, number)) = namespace(&text) {
                let plain = format!("{kind}:[{number}]");
                prop_assert!(plain.as_bytes() == text || text.contains(&b'0'));
            }
            if let Some(number) = number(&text) {
                prop_assert!(text.ends_with(number.to_string().as_bytes()));
            }
            let joined = words(&text).join(&0);
            prop_assert!(text.starts_with(&joined));
            hides_processes(&text);
            parent(&text);
            is_kernel_thread(&text);
        }
    }
}
