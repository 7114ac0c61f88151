//! Values with a special meaning in a raw call, such as -1 for "leave it" and 0 for "this process", never
//! reach it from a plain number: each row is a public function that takes one.

use std::time::Duration;

use linux_namespaces::{
    ClockOffset, Command, CommandExt, Enter, Error, ErrorKind, IdExtent, IdMap, Mount, Namespace,
    NamespaceSet, NsFd, NsFileHandle, PidFd, Signal, SubIds,
};

use crate::harness::cases;
use crate::kernel;
use crate::machine::Need::{CopyDescriptors, PidfdNamespaces, UserNamespaces};

cases! {
    ids_of_minus_one_are_refused_by_the_plan [],
    other_special_numbers_are_refused [CopyDescriptors],
    unknown_bits_of_what_to_enter_are_refused [],
    pid_0_is_translated_to_nothing [PidfdNamespaces],
    a_tmpfs_without_a_limit_is_not_made_by_accident [UserNamespaces],
    the_longest_wait_is_no_short_one [],
}

const NONE: u32 = u32::MAX;

fn ids_of_minus_one_are_refused_by_the_plan() {
    let before = kernel::census();
    type Set = fn(&mut Command) -> &mut Command;
    let rows: [(&str, Set); 6] = [
        ("uid", |it| it.uid(NONE)),
        ("gid", |it| it.gid(NONE)),
        ("groups", |it| it.groups([0, NONE])),
        ("uid", |it| it.uid(NONE).gid(0).map_root()),
        ("process_group", |it| it.process_group(-1)),
        ("process_group", |it| it.process_group(i32::MIN).new_session()),
    ];
    for (name, set) in rows {
        let mut command = Command::new("true");
        for error in [set(&mut command).plan().unwrap_err(), command.spawn().unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error:#}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
    assert_eq!(kernel::census(), before);
}

/// Each with the errno of the kernel, or none where the crate refuses it.
fn other_special_numbers_are_refused() {
    let before = kernel::census();
    let me = PidFd::current().unwrap();
    let extent = |inside, outside, count| IdExtent { inside, outside, count };
    let invalid = |error: Error| assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:#}");
    let errno = |error: Error, errno| assert_eq!(error.raw_os_error(), Some(errno), "{error:#}");
    invalid(IdMap::single(NONE, 0).unwrap_err());
    for mask in [0o1000, 0o4777, NONE] {
        invalid(Command::new("true").umask(mask).plan().unwrap_err());
    }
    invalid(IdMap::single(0, NONE).unwrap_err());
    invalid(IdMap::new([extent(NONE - 1, 0, 2)]).unwrap_err());
    invalid(IdMap::new([extent(0, 1, NONE)]).unwrap_err());
    invalid(SubIds::default().to_id_map(NONE).unwrap_err());
    assert_eq!(SubIds::parse(b"a:4294967295:1", Some("a".as_ref()), 1).ranges().count(), 0);
    for pid in [0, NONE, i32::MAX.cast_unsigned() + 1] {
        errno(PidFd::open(pid).unwrap_err(), libc::EINVAL);
        errno(NsFd::of_pid(pid, Namespace::Uts).unwrap_err(), libc::EINVAL);
        invalid(Command::new("true").set_tid([pid]).plan().unwrap_err());
    }
    for number in [-1, libc::AT_FDCWD, -10_000, -10_001, i32::MIN] {
        errno(me.copy_fd(number).unwrap_err(), libc::EBADF);
    }
    for signal in [-1, 0, 65, i32::MIN] {
        invalid(Signal::new(signal).unwrap_err());
        invalid(signal.to_string().parse::<Signal>().unwrap_err());
    }
    invalid(ClockOffset::new(i64::MIN, 0).unwrap_err());
    invalid(ClockOffset::behind(Duration::MAX).unwrap_err());
    invalid(ClockOffset::ahead(Duration::MAX).unwrap_err());
    // To the kernel 0 is any inode number, and no id.
    for text in ["uts:0:1", "uts:4026531838:0"] {
        invalid(text.parse::<NsFileHandle>().unwrap_err());
    }
    assert!(matches!(
        NsFd::by_unique_id(0).unwrap_err().kind(),
        ErrorKind::NotFound | ErrorKind::Unsupported
    ));
    drop(me);
    assert_eq!(kernel::census(), before);
}

fn unknown_bits_of_what_to_enter_are_refused() {
    let set = NamespaceSet::from_bits_retain(0x400) | NamespaceSet::UTS;
    let enter = || Enter::new().process(PidFd::current().unwrap(), set);
    for error in [
        Command::new("true").enter(enter()).plan().unwrap_err(),
        enter().apply().unwrap_err(),
        enter().scoped().unwrap_err(),
        enter().run(|| ()).unwrap_err(),
        std::process::Command::new("true").enter(&enter()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:#}");
        assert_eq!((error.step(), error.raw_os_error()), (None, None), "the kernel was asked");
        assert!(error.to_string().contains("0x400"), "{error}");
    }
}

fn pid_0_is_translated_to_nothing() {
    let here = NsFd::current(Namespace::Pid).unwrap();
    for pid in [0, NONE] {
        assert_eq!(here.pid_inside(pid).unwrap_err().kind(), ErrorKind::ProcessGone);
        assert_eq!(here.pid_outside(pid).unwrap_err().kind(), ErrorKind::ProcessGone);
    }
}

/// The kernel rounds up to pages, so that the last page of numbers comes out as 0 as well.
fn a_tmpfs_without_a_limit_is_not_made_by_accident() {
    for bytes in [0, u64::MAX, u64::MAX - 4094, i64::MAX.cast_unsigned() + 1] {
        let mut command = Command::new("true");
        command.map_root().mount(Mount::tmpfs("/tmp").unwrap().size(bytes));
        let error = command.plan().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bytes}: {error:#}");
        assert!(error.to_string().contains("size"), "{error}");
    }
    // The last value counts.
    let mount = Mount::tmpfs("/tmp").unwrap().size(0).size(1);
    let mut command = Command::new("true");
    // The working directory of now may lie below the mount.
    let status = command.map_root().mount(mount).current_dir("/").status();
    assert!(status.unwrap().success());
}

fn the_longest_wait_is_no_short_one() {
    for limit in [Duration::MAX, Duration::from_secs(i64::MAX.cast_unsigned())] {
        let mut child = Command::new("sleep").arg("0.2").spawn().unwrap();
        assert!(child.wait_timeout(limit).unwrap().is_some());
    }
}
