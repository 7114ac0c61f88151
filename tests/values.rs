//! Values that are checked before the kernel sees them, and texts that are parsed and printed.

mod traits;

use linux_namespaces::{
    Clock, ClockOffset, Command, Error, ErrorKind, HidePid, Hostname, IdExtent, IdMap, Mount,
    Namespace, NamespaceSet, NsId, Propagation, Setgroups, Signal, Unshare,
};
use proptest::prelude::*;
use std::fmt::{Debug, Display};
use std::os::unix::process::CommandExt as _;
use std::str::FromStr;

fn invalid<T: Debug>(result: Result<T, Error>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!((error.step(), error.raw_os_error()), (None, None), "the kernel was not asked");
    error.to_string()
}

fn extent(inside: u32, outside: u32, count: u32) -> IdExtent {
    IdExtent { inside, outside, count }
}

#[test]
fn names_are_those_of_proc() {
    for &kind in Namespace::ALL {
        assert!(std::path::Path::new("/proc/self/ns").join(kind.name()).exists(), "{kind}");
        assert_eq!(kind.name().parse::<Namespace>().unwrap(), kind);
        assert_eq!(NamespaceSet::from(kind).kinds().collect::<Vec<_>>(), [kind]);
        assert!(kind.since() <= (5, 6));
    }
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    for unknown in ["mount", "", "UTS", "net ", "user,pid"] {
        let message = invalid(unknown.parse::<Namespace>());
        assert!(message.contains("cgroup,ipc,mnt,net,pid,time,user,uts"), "{message}");
    }
    assert!(invalid("user,,pid".parse::<NamespaceSet>()).contains("mnt"));
    assert_eq!("".parse::<NamespaceSet>().unwrap(), NamespaceSet::empty());
    assert_eq!("pid, user".parse::<NamespaceSet>().unwrap(), Namespace::User | Namespace::Pid);
}

#[test]
fn unknown_bits_are_shown_and_refused() {
    let set = NamespaceSet::from_bits_retain(0x400) | NamespaceSet::UTS;
    assert_eq!(set.to_string(), "uts,0x400");
    invalid(set.to_string().parse::<NamespaceSet>());
    assert!(set.kinds().eq([Namespace::Uts]));
    for message in
        [invalid(Command::new("true").unshare(set).plan()), invalid(Unshare::new(set).apply())]
    {
        assert!(message.contains("0x400"), "{message}");
    }
}

#[test]
fn a_hostname_has_at_most_64_bytes_and_no_nul() {
    assert!(Hostname::new("").is_ok());
    assert!(Hostname::new("x".repeat(64)).is_ok());
    assert!(invalid(Hostname::new("x".repeat(65))).contains("65"));
    assert!(invalid(Hostname::new("a\0b")).contains("NUL"));
}

#[test]
fn an_id_map_is_refused_before_the_kernel_would() {
    assert!(invalid(IdMap::new([])).contains("at least one"));
    assert!(invalid(IdMap::new([extent(0, 0, 0)])).contains("maps no id"));
    for wrapping in [extent(u32::MAX, 0, 1), extent(0, u32::MAX, 1), extent(2, 0, u32::MAX - 1)] {
        assert!(invalid(IdMap::new([wrapping])).contains("goes beyond"));
    }
    assert!(IdMap::new([extent(0, 0, u32::MAX)]).is_ok());
    assert!(invalid(IdMap::new([extent(0, 0, 2), extent(1, 5, 1)])).contains("overlap inside"));
    assert!(invalid(IdMap::new([extent(0, 5, 1), extent(1, 4, 2)])).contains("overlap outside"));
    let many = |count: u32| IdMap::new((0..count).map(|id| extent(2 * id, 2 * id, 1)));
    assert!(many(340).is_ok());
    assert!(invalid(many(341)).contains("340"));
    let long = (0..340).map(|id| extent(1_000_000_000 + 2 * id, 2_000_000_000 + 2 * id, 1));
    assert!(invalid(IdMap::new(long)).contains("4095"));
    for text in ["0 0", "0 0 1 1", "0 0 -1", "0 0 4294967296", "a b c", "0 0 1\n\n"] {
        assert!(invalid(text.parse::<IdMap>()).contains("no extent"), "{text:?}");
    }
    assert!(invalid("".parse::<IdMap>()).contains("at least one"));
}

/// Prints as this text, alone and in a column, and is read from it; anything else is refused.
fn is_written<T>(value: T, text: &str)
where
    T: FromStr<Err = Error> + Display + Debug + PartialEq,
{
    assert_eq!(value.to_string(), text);
    assert_eq!(format!("{value:>20}"), format!("{text:>20}"));
    assert_eq!(text.parse::<T>().unwrap(), value);
    for wrong in ["", " ", &format!("{text} "), &format!("{text}x"), &format!("-{text}")] {
        assert!(invalid(wrong.parse::<T>()).contains(&format!("{wrong:?}")));
    }
}

#[test]
fn words_are_read_as_they_are_printed() {
    is_written(Propagation::Private, "private");
    is_written(Propagation::Slave, "slave");
    is_written(Propagation::Shared, "shared");
    is_written(Propagation::Unchanged, "unchanged");
    is_written(Setgroups::Allow, "allow");
    is_written(Setgroups::Deny, "deny");
    is_written(Clock::Monotonic, "monotonic");
    is_written(Clock::Boottime, "boottime");
    for (value, word, number) in [
        (HidePid::NoAccess, "noaccess", "1"),
        (HidePid::Invisible, "invisible", "2"),
        (HidePid::Ptraceable, "ptraceable", "4"),
    ] {
        is_written(value, word);
        assert_eq!(number.parse::<HidePid>().unwrap(), value);
    }
}

#[test]
fn what_is_no_id_of_a_namespace_is_refused() {
    for text in ["", ":", "4", "4:", ":1", "4:1:1", "+4:1", "4:-1", " 4:1", "4:0x1", "4:1\n"] {
        assert!(invalid(text.parse::<NsId>()).contains(&format!("{text:?}")));
    }
    invalid("4:18446744073709551616".parse::<NsId>());
}

#[test]
fn what_is_no_offset_of_a_clock_is_refused() {
    for text in ["", "1", "1 2 3", "a b", "1 -2", "1.5 0", "1,2"] {
        assert!(invalid(text.parse::<ClockOffset>()).contains(&format!("{text:?}")));
    }
    invalid("5000000000 0".parse::<ClockOffset>());
    invalid("1 1000000000".parse::<ClockOffset>());
}

#[test]
fn every_signal_is_read_as_it_is_printed() {
    for number in 1..=64 {
        let signal = Signal::new(number).unwrap();
        assert_eq!(signal.to_string().parse::<Signal>().unwrap(), signal);
        assert_eq!(number.to_string().parse::<Signal>().unwrap(), signal);
        // signal(7): the standard ones have names.
        assert_eq!(signal.to_string().starts_with("SIG"), number < 32, "{signal}");
    }
    assert_eq!("poll".parse::<Signal>().unwrap(), Signal::IO);
    assert_eq!(format!("{:>8}", Signal::TERM), " SIGTERM");
}

#[test]
fn signals_go_from_1_to_64() {
    assert!(invalid(Signal::new(0)).contains("1 to 64"));
    invalid(Signal::new(65));
    invalid(Signal::new(-9));
    assert_eq!(Signal::new(9).unwrap(), Signal::KILL);
}

/// The same calls on this crate's command and on std's.
macro_rules! both {
    ($($call:tt)*) => {{
        let mut own = Command::new("a b");
        let mut std = std::process::Command::new("a b");
        own$($call)*;
        std$($call)*;
        (own, std)
    }};
}

#[test]
fn a_command_returns_what_was_set_as_std_does() {
    for (own, std) in [
        both!(.arg("-l")),
        both!(.args(["", "a\"b", "\u{301}"]).arg0("c")),
        both!(.arg0("a b")),
        both!(.env("A", "b c").env("B", "").current_dir("/x y")),
        both!(.env("B", "1").env_remove("A").env_remove("C")),
        both!(.env("A", "1").env_clear().env("B", "2").env_remove("C").arg("d")),
        both!(.env_clear().env("B", "2").env_remove("B")),
        both!(.envs([("A", "1"), ("A", "2")]).env_remove("A").current_dir("/").current_dir("y")),
    ] {
        assert_eq!(format!("{own:?}"), format!("{std:?}"));
        assert_eq!(own.get_program(), std.get_program());
        assert!(own.get_args().eq(std.get_args()) && own.get_args().len() == std.get_args().len());
        assert!(own.get_envs().eq(std.get_envs()) && own.get_envs().len() == std.get_envs().len());
        assert_eq!(own.get_current_dir(), std.get_current_dir());
        let is_clear = format!("{own:?}").contains("env -i ");
        assert_eq!(own.get_env_clear(), is_clear);
    }
}

#[test]
fn a_nul_is_refused_wherever_it_stands() {
    assert!(invalid(Command::new("a\0b").spawn()).contains("program"));
    assert!(invalid(Command::new("true").arg("a\0b").spawn()).contains("argument"));
    assert!(invalid(Command::new("true").arg0("a\0b").spawn()).contains("argument"));
    assert!(invalid(Command::new("true").env("A", "a\0b").spawn()).contains("environment"));
    assert!(invalid(Command::new("true").env("A\0", "b").spawn()).contains("environment"));
    assert!(invalid(Command::new("true").env("PATH", "/a\0b").spawn()).contains("path"));
    assert!(invalid(Command::new("true").current_dir("/a\0b").spawn()).contains("path"));
    assert!(invalid(Mount::proc("/a\0b")).contains("path"));
}

/// What the kernel checks, by brute force over small ids.
fn overlaps(extents: &[IdExtent], first: fn(&IdExtent) -> u32) -> bool {
    (0..64).any(|id| {
        let holds =
            |extent: &&IdExtent| (first(extent)..first(extent) + extent.count).contains(&id);
        extents.iter().filter(holds).count() > 1
    })
}

proptest! {
    #[test]
    fn a_set_is_read_as_it_is_printed(bits in any::<u8>()) {
        let kinds = Namespace::ALL.iter().copied().enumerate();
        let set: NamespaceSet =
            kinds.filter(|(at, _)| bits & (1 << at) != 0).map(|(_, kind)| kind).collect();
        prop_assert_eq!(set.to_string().parse::<NamespaceSet>().unwrap(), set);
        prop_assert_eq!(set.kinds().count(), bits.count_ones() as usize);
        prop_assert_eq!(set.kinds().collect::<NamespaceSet>(), set);
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in ".{0,40}") {
        drop(text.parse::<NamespaceSet>());
        drop(text.parse::<Namespace>());
        drop(text.parse::<Hostname>());
        drop(text.parse::<NsId>());
        drop(text.parse::<ClockOffset>());
        drop(text.parse::<Signal>());
    }

    #[test]
    fn overlap_is_seen_where_it_is(
        raw in prop::collection::vec((0_u32..30, 0_u32..30, 1_u32..5), 1..6)
    ) {
        let extents: Vec<IdExtent> = raw.iter().map(|&(a, b, c)| extent(a, b, c)).collect();
        let bad = overlaps(&extents, |it| it.inside) || overlaps(&extents, |it| it.outside);
        prop_assert_eq!(IdMap::new(extents).is_err(), bad);
    }

    #[test]
    fn a_map_prints_as_the_kernel_reads_it(
        raw in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u32>()), 1..6)
    ) {
        let extents: Vec<IdExtent> = raw.iter().map(|&(a, b, c)| extent(a, b, c)).collect();
        if let Ok(map) = IdMap::new(extents.clone()) {
            let text = map.to_string();
            let read: Vec<Vec<u32>> = text
                .lines()
                .map(|line| line.split(' ').map(|word| word.parse().unwrap()).collect())
                .collect();
            let expected: Vec<Vec<u32>> =
                extents.iter().map(|it| vec![it.inside, it.outside, it.count]).collect();
            prop_assert_eq!(read, expected);
            prop_assert!(text.len() < 4096);
            prop_assert_eq!(text.parse::<IdMap>()?, map.clone());
            // The kernel writes columns.
            prop_assert_eq!(text.replace(' ', "     ").parse::<IdMap>()?, map);
        }
    }

    #[test]
    fn an_id_is_read_as_it_is_printed(dev: u64, ino: u64) {
        let id = NsId { dev, ino };
        prop_assert_eq!(id.to_string().parse::<NsId>()?, id);
    }

    #[test]
    fn an_offset_is_read_as_it_is_printed(
        seconds in -ClockOffset::MAX_SECONDS..=ClockOffset::MAX_SECONDS,
        nanoseconds in 0..1_000_000_000_u32,
    ) {
        let offset = ClockOffset::new(seconds, nanoseconds)?;
        prop_assert_eq!(offset.to_string().parse::<ClockOffset>()?, offset);
        prop_assert_eq!((offset.as_secs(), offset.subsec_nanos()), (seconds, nanoseconds));
    }

    #[test]
    fn a_hostname_is_its_bytes(name in "[^\0]{0,80}") {
        prop_assert_eq!(Hostname::new(name.as_str()).is_ok(), name.len() <= 64);
        if let Ok(host) = Hostname::new(name.as_str()) {
            prop_assert_eq!(host.to_string(), name);
        }
    }
}
