//! What Docker gives to a container, and what it takes from it.

use std::io;

use linux_namespaces::{Command, Mount, NamespaceSet};

use crate::Result;

/// `CapBnd` of a container without further capabilities.
const CAPABILITIES: u64 = 0xa804_25fb;

/// What the default profile makes fail with EPERM. Left out: calls that neither this crate nor its trials make.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_kcmp,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_umount2,
    libc::SYS_unshare,
];

/// Flags that are refused to clone(2): of all kinds but time, which it cannot make.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// clone3(2), whose flags a filter cannot see, and listns(2), which is newer than the profile.
const MISSING: &[libc::c_long] = &[libc::SYS_clone3, 470];

const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// With cgroups of version 2 in any case.
pub(crate) fn mount(command: &mut Command) -> Result<()> {
    let set = NamespaceSet::PID | NamespaceSet::IPC | NamespaceSet::UTS | NamespaceSet::CGROUP;
    command.unshare(set).hostname("bare".parse()?).loopback_up().kill_on_parent_exit();
    command.mount(Mount::proc("/proc")?).mount(Mount::dev("/dev")?);
    command.mount(Mount::sysfs("/sys")?.read_only());
    command.mount(Mount::cgroup2("/sys/fs/cgroup")?.read_only());
    for path in MASKED {
        command.mount(Mount::mask(path)?);
    }
    for path in READ_ONLY {
        command.mount(Mount::read_only_path(path)?);
    }
    Ok(())
}

/// Leaves to this process, and to the programs that it runs, what Docker leaves them.
pub(crate) fn confine(with_filter: bool) -> Result<()> {
    if with_filter {
        filter()?;
    }
    for capability in (0..64).filter(|number| CAPABILITIES & 1 << number == 0) {
        // SAFETY: of numbers. One that the kernel does not know is refused.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    Ok(())
}

/// Without the bit "no new privileges", as an engine with `CAP_SYS_ADMIN` does it.
fn filter() -> io::Result<()> {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let (load, is_equal, has_bit, end) = (0x20, 0x15, 0x45, 0x06);
    let errno = |errno: i32| step(end, 0, 0, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned());
    let mut program = vec![step(load, 0, 0, 0)];
    for (calls, answer) in [(REFUSED, libc::EPERM), (MISSING, libc::ENOSYS)] {
        for &call in calls {
            program.extend([step(is_equal, 0, 1, u32::try_from(call).unwrap()), errno(answer)]);
        }
    }
    program.extend([
        step(is_equal, 0, 3, u32::try_from(libc::SYS_clone).unwrap()),
        step(load, 0, 0, 16),
        step(has_bit, 0, 1, NEW_NAMESPACES),
        errno(libc::EPERM),
        step(end, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]);
    let len = u16::try_from(program.len()).unwrap();
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the program lives through the call, and changes this process alone.
    match unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
