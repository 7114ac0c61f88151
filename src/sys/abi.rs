//! Constants and structures of the kernel's interface that libc lacks or gets wrong.

use rustix::ioctl::{Opcode, opcode};

/// `clone3(2)` and `clone(2)` flags. libc's `CLONE_CLEAR_SIGHAND` and `CLONE_INTO_CGROUP` are an
/// `int` that overflowed to 0 on glibc, so all of them stand here as the kernel has them.
pub(crate) const CLONE_VM: u64 = 0x0000_0100;
pub(crate) const CLONE_FS: u64 = 0x0000_0200;
pub(crate) const CLONE_FILES: u64 = 0x0000_0400;
pub(crate) const CLONE_PIDFD: u64 = 0x0000_1000;
pub(crate) const CLONE_VFORK: u64 = 0x0000_4000;
pub(crate) const CLONE_PARENT: u64 = 0x0000_8000;
pub(crate) const CLONE_THREAD: u64 = 0x0001_0000;
pub(crate) const CLONE_PARENT_SETTID: u64 = 0x0010_0000;
pub(crate) const CLONE_CHILD_SETTID: u64 = 0x0100_0000;
pub(crate) const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// Linux 5.7.
pub(crate) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Linux 7.1, as the next three.
pub(crate) const CLONE_AUTOREAP: u64 = 0x4_0000_0000;
pub(crate) const CLONE_NNP: u64 = 0x8_0000_0000;
pub(crate) const CLONE_PIDFD_AUTOKILL: u64 = 0x10_0000_0000;
pub(crate) const CLONE_EMPTY_MNTNS: u64 = 0x20_0000_0000;

/// What cannot be had otherwise.
pub(crate) const ONLY_CLONE3: u64 =
    CLONE_AUTOREAP | CLONE_NNP | CLONE_PIDFD_AUTOKILL | CLONE_EMPTY_MNTNS;

/// Namespace flags, as `clone`, `unshare` and `setns` take them.
pub(crate) const CLONE_NEWTIME: u32 = 0x0000_0080;
pub(crate) const CLONE_NEWNS: u32 = 0x0002_0000;
pub(crate) const CLONE_NEWCGROUP: u32 = 0x0200_0000;
pub(crate) const CLONE_NEWUTS: u32 = 0x0400_0000;
pub(crate) const CLONE_NEWIPC: u32 = 0x0800_0000;
pub(crate) const CLONE_NEWUSER: u32 = 0x1000_0000;
pub(crate) const CLONE_NEWPID: u32 = 0x2000_0000;
pub(crate) const CLONE_NEWNET: u32 = 0x4000_0000;

/// All of them: no other bit leaves this crate in a set of namespaces.
pub(crate) const NAMESPACE_FLAGS: u32 = CLONE_NEWTIME
    | CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET;

/// `ioctl(2)` numbers of nsfs, `include/uapi/linux/nsfs.h`.
pub(crate) const NS_GET_USERNS: Opcode = opcode::none(0xb7, 1);
pub(crate) const NS_GET_PARENT: Opcode = opcode::none(0xb7, 2);
pub(crate) const NS_GET_NSTYPE: Opcode = opcode::none(0xb7, 3);
pub(crate) const NS_GET_OWNER_UID: Opcode = opcode::none(0xb7, 4);
pub(crate) const NS_GET_PID_FROM_PIDNS: Opcode = opcode::read::<i32>(0xb7, 6);
pub(crate) const NS_GET_PID_IN_PIDNS: Opcode = opcode::read::<i32>(0xb7, 8);
/// `NS_MNT_GET_NEXT` and `NS_MNT_GET_PREV`, Linux 6.12, with a `struct mnt_ns_info` of 16 bytes.
pub(crate) const NS_MNT_GET_NEXT: Opcode = opcode::read::<[u64; 2]>(0xb7, 11);
pub(crate) const NS_MNT_GET_PREV: Opcode = opcode::read::<[u64; 2]>(0xb7, 12);
pub(crate) const NS_GET_ID: Opcode = opcode::read::<u64>(0xb7, 13);

/// `ioctl(2)` numbers of pidfds, `include/uapi/linux/pidfd.h`.
pub(crate) const PIDFD_GET_CGROUP_NAMESPACE: Opcode = opcode::none(0xff, 1);
pub(crate) const PIDFD_GET_IPC_NAMESPACE: Opcode = opcode::none(0xff, 2);
pub(crate) const PIDFD_GET_MNT_NAMESPACE: Opcode = opcode::none(0xff, 3);
pub(crate) const PIDFD_GET_NET_NAMESPACE: Opcode = opcode::none(0xff, 4);
pub(crate) const PIDFD_GET_PID_NAMESPACE: Opcode = opcode::none(0xff, 5);
pub(crate) const PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE: Opcode = opcode::none(0xff, 6);
pub(crate) const PIDFD_GET_TIME_NAMESPACE: Opcode = opcode::none(0xff, 7);
pub(crate) const PIDFD_GET_TIME_FOR_CHILDREN_NAMESPACE: Opcode = opcode::none(0xff, 8);
pub(crate) const PIDFD_GET_USER_NAMESPACE: Opcode = opcode::none(0xff, 9);
pub(crate) const PIDFD_GET_UTS_NAMESPACE: Opcode = opcode::none(0xff, 10);
/// `PIDFD_GET_INFO` with the first published structure, which newer kernels take as well.
pub(crate) const PIDFD_GET_INFO: Opcode = opcode::read_write::<PidfdInfo>(0xff, 11);
pub(crate) const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// Asks a socket for its network namespace, `include/uapi/linux/sockios.h`.
pub(crate) const SIOCGSKNS: Opcode = 0x894c;
/// The flags of an interface. libc's type for such numbers differs between C libraries.
pub(crate) const SIOCGIFFLAGS: usize = 0x8913;
pub(crate) const SIOCSIFFLAGS: usize = 0x8914;

/// `struct __kernel_old_timespec`, which the calls take that are called as before 2038 was near. libc's is longer
/// on 32-bit architectures with musl.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Timespec {
    pub(crate) seconds: libc::c_long,
    pub(crate) nanoseconds: libc::c_long,
}

impl Timespec {
    /// No longer than it can hold.
    pub(crate) fn new(time: core::time::Duration) -> Self {
        #[allow(
            clippy::unnecessary_fallible_conversions,
            reason = "c_long has 32 bits on some architectures"
        )]
        Self {
            seconds: libc::c_long::try_from(time.as_secs()).unwrap_or(libc::c_long::MAX),
            // Fewer than 10^9.
            nanoseconds: libc::c_long::try_from(time.subsec_nanos()).unwrap_or(0),
        }
    }
}

/// `PIDFD_THREAD`: the pidfd is of one thread. Linux 6.9.
pub(crate) const PIDFD_THREAD: u32 = libc::O_EXCL as u32;

/// `struct file_handle` with a `struct nsfs_file_handle`, of which the kernel fills in what is 0.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct NsfsHandle {
    pub(crate) bytes: u32,
    pub(crate) kind: i32,
    pub(crate) id: [u32; 2],
    pub(crate) namespace_kind: u32,
    pub(crate) inode: u32,
}
const _: () = assert!(size_of::<NsfsHandle>() == 24);
pub(crate) const FILEID_NSFS: i32 = 0xf1;
/// Stands for the root of nsfs. Linux 6.18.
pub(crate) const FD_NSFS_ROOT: i32 = -10003;

/// The same on all architectures but mips and alpha, where nothing is found. libc lacks it.
pub(crate) const SYS_LISTNS: libc::c_long = 470;

/// `struct ns_id_req`, `include/uapi/linux/nsfs.h`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct NsIdReq {
    pub(crate) size: u32,
    pub(crate) spare: u32,
    /// Where the last list ended.
    pub(crate) last: u64,
    /// `CLONE_NEW*` flags, or 0 for all kinds.
    pub(crate) kinds: u32,
    pub(crate) spare2: u32,
    /// The owner, or 0 for any.
    pub(crate) user: u64,
}
pub(crate) const NS_ID_REQ_SIZE: u32 = 32;
const _: () = assert!(size_of::<NsIdReq>() == NS_ID_REQ_SIZE as usize);

/// `struct mnt_id_req`, as Linux 6.8 has it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct MntIdReq {
    pub(crate) size: u32,
    pub(crate) spare: u32,
    pub(crate) mount: u64,
    /// What is wanted.
    pub(crate) param: u64,
}
pub(crate) const MNT_ID_REQ_SIZE: u32 = 24;
const _: () = assert!(size_of::<MntIdReq>() == MNT_ID_REQ_SIZE as usize);
pub(crate) const SYS_STATMOUNT: libc::c_long = 457;
pub(crate) const STATMOUNT_SB_BASIC: u64 = 1;

/// File system magic numbers, `include/uapi/linux/magic.h`.
pub(crate) const PROC_SUPER_MAGIC: u64 = 0x9fa0;
pub(crate) const NSFS_MAGIC: u64 = 0x6e73_6673;
pub(crate) const PIDFS_MAGIC: u64 = 0x5049_4446;
/// The inode number of the root of every proc mount: `PROC_ROOT_INO`.
pub(crate) const PROC_ROOT_INO: u64 = 1;
/// That of the first pid namespace: `PROC_PID_INIT_INO`.
pub(crate) const PROC_PID_INIT_INO: u64 = 0xefff_fffc;
/// That of the first user namespace.
pub(crate) const PROC_USER_INIT_INO: u64 = 0xefff_fffd;

/// `struct clone_args`, 88 bytes since Linux 5.7.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
    pub(crate) set_tid: u64,
    pub(crate) set_tid_size: u64,
    pub(crate) cgroup: u64,
}
const _: () = assert!(size_of::<CloneArgs>() == 88);

/// `capabilities(7)`.
pub(crate) const CAP_KILL: u32 = 5;
pub(crate) const CAP_SETGID: u32 = 6;
pub(crate) const CAP_SETUID: u32 = 7;
pub(crate) const CAP_DAC_READ_SEARCH: u32 = 2;
pub(crate) const CAP_SYS_MODULE: u32 = 16;
pub(crate) const CAP_SYS_RAWIO: u32 = 17;
pub(crate) const CAP_SYS_PTRACE: u32 = 19;
pub(crate) const CAP_SYS_ADMIN: u32 = 21;
pub(crate) const CAP_SYS_BOOT: u32 = 22;
pub(crate) const CAP_MKNOD: u32 = 27;
pub(crate) const CAP_BPF: u32 = 39;
pub(crate) const CAP_CHECKPOINT_RESTORE: u32 = 40;

/// `struct pidfd_info` up to `PIDFD_INFO_SIZE_VER0`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct PidfdInfo {
    pub(crate) mask: u64,
    pub(crate) cgroupid: u64,
    pub(crate) pid: u32,
    pub(crate) tgid: u32,
    pub(crate) ppid: u32,
    pub(crate) ids: [u32; 8],
    pub(crate) exit_code: i32,
}
const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// `struct __user_cap_header_struct` with the version that has 64 capabilities.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct CapHeader {
    pub(crate) version: u32,
    /// 0 for the calling thread.
    pub(crate) pid: i32,
}
pub(crate) const CAP_VERSION_3: u32 = 0x2008_0522;

/// `struct __user_cap_data_struct`, of which there are two: the low half and the high half.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct CapData {
    pub(crate) effective: u32,
    pub(crate) permitted: u32,
    pub(crate) inheritable: u32,
}
const _: () = assert!(size_of::<[CapData; 2]>() == 24);

/// `struct sigaction` as the kernel has it on x86_64 and aarch64, which is not libc's.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct KernelSigaction {
    pub(crate) handler: usize,
    pub(crate) flags: usize,
    pub(crate) restorer: usize,
    pub(crate) mask: u64,
}

impl KernelSigaction {
    pub(crate) const DEFAULT: Self = Self { handler: 0, flags: 0, restorer: 0, mask: 0 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_flags_agree_with_libc() {
        for (ours, libc) in [
            (CLONE_NEWNS, libc::CLONE_NEWNS),
            (CLONE_NEWCGROUP, libc::CLONE_NEWCGROUP),
            (CLONE_NEWUTS, libc::CLONE_NEWUTS),
            (CLONE_NEWIPC, libc::CLONE_NEWIPC),
            (CLONE_NEWUSER, libc::CLONE_NEWUSER),
            (CLONE_NEWPID, libc::CLONE_NEWPID),
            (CLONE_NEWNET, libc::CLONE_NEWNET),
        ] {
            assert_eq!(i64::from(ours), i64::from(libc));
        }
        assert_eq!(NAMESPACE_FLAGS.count_ones(), 8);
    }
}
