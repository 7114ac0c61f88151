//! What is asked of `ptrace(2)`. Only the places of two registers depend on the architecture.

use std::mem::MaybeUninit;

/// What a call is at its beginning.
pub(crate) struct Entry {
    pub(crate) number: libc::c_long,
    pub(crate) args: [u64; 6],
    pub(crate) stack: u64,
}

/// As a tracee goes on after a stop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// It stops at the beginning and at the end of each call.
    Call,
    /// It stops for events alone.
    Event,
}

/// The type of a request's number, and some functions, differ between C libraries.
macro_rules! ptrace {
    ($request:expr, $pid:expr, $at:expr, $data:expr) => {{
        let (pid, at, data): (i32, usize, usize) = ($pid, $at, $data);
        // SAFETY: the callers pass numbers, or pointers to what is as large as they say.
        unsafe { libc::ptrace($request, pid, at, data) }
    }};
}

const PTRACE_GET_SYSCALL_INFO: u16 = 0x420e;
const PTRACE_SYSCALL_INFO_ENTRY: u8 = 1;

/// `struct ptrace_syscall_info` of an entry.
#[repr(C)]
struct SyscallInfo {
    op: u8,
    arch: u32,
    instruction: u64,
    stack: u64,
    number: u64,
    args: [u64; 6],
    rest: [u64; 2],
}

/// Traces a process from now on, and all that it makes. Those end with this process.
pub(crate) fn seize(pid: i32) {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    let answer = ptrace!(libc::PTRACE_SEIZE, pid, 0, options as usize);
    assert_eq!(answer, 0, "cannot trace: {}", std::io::Error::last_os_error());
}

/// Lets a stopped tracee go on. One that was killed meanwhile is as good as gone.
pub(crate) fn go_on(pid: i32, until: Until, signal: i32) {
    let request = match until {
        Until::Call => libc::PTRACE_SYSCALL,
        Until::Event => libc::PTRACE_CONT,
    };
    ptrace!(request, pid, 0, signal as usize);
}

pub(crate) fn detach(pid: i32) {
    ptrace!(libc::PTRACE_DETACH, pid, 0, 0);
}

/// The process that an event is about.
pub(crate) fn event_pid(pid: i32) -> Option<i32> {
    let mut new: libc::c_ulong = 0;
    let answer = ptrace!(libc::PTRACE_GETEVENTMSG, pid, 0, (&raw mut new) as usize);
    (answer == 0).then_some(new as i32)
}

/// The call that begins, if the tracee stopped for that.
pub(crate) fn entry(pid: i32) -> Option<Entry> {
    let mut info = MaybeUninit::<SyscallInfo>::zeroed();
    let (size, at) = (size_of::<SyscallInfo>(), info.as_mut_ptr() as usize);
    let answer = ptrace!(PTRACE_GET_SYSCALL_INFO.into(), pid, size, at);
    // SAFETY: all bytes are valid for it.
    let info = unsafe { info.assume_init() };
    let is_entry = answer > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY;
    let (number, args, stack) = (info.number as libc::c_long, info.args, info.stack);
    is_entry.then_some(Entry { number, args, stack })
}

/// What a call that ends returns; 0 for an error.
pub(crate) fn returned(pid: i32) -> usize {
    let mut info = MaybeUninit::<SyscallInfo>::zeroed();
    let (size, at) = (size_of::<SyscallInfo>(), info.as_mut_ptr() as usize);
    ptrace!(PTRACE_GET_SYSCALL_INFO.into(), pid, size, at);
    // SAFETY: all bytes are valid for it.
    let info = unsafe { info.assume_init() };
    // What lies at `number` in the structure of an entry.
    usize::try_from(info.number as i64).unwrap_or(0)
}

/// At the beginning of a call: it is not made.
#[cfg(target_arch = "x86_64")]
pub(crate) fn skip(pid: i32) {
    let at = std::mem::offset_of!(libc::user_regs_struct, orig_rax);
    ptrace!(libc::PTRACE_POKEUSER, pid, at, usize::MAX);
}

/// At the end of a call: what it answers.
#[cfg(target_arch = "x86_64")]
pub(crate) fn answer(pid: i32, errno: i32) {
    let at = std::mem::offset_of!(libc::user_regs_struct, rax);
    ptrace!(libc::PTRACE_POKEUSER, pid, at, -(errno as isize) as usize);
}

#[cfg(target_arch = "aarch64")]
pub(crate) fn skip(pid: i32) {
    const NT_ARM_SYSTEM_CALL: usize = 0x404;
    let mut none: i32 = -1;
    let part = libc::iovec { iov_base: (&raw mut none).cast(), iov_len: 4 };
    ptrace!(libc::PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, (&raw const part) as usize);
}

#[cfg(target_arch = "aarch64")]
pub(crate) fn answer(pid: i32, errno: i32) {
    const NT_PRSTATUS: usize = 1;
    // The first of the registers that are got is the only one that is set.
    let mut first = -i64::from(errno);
    let part = libc::iovec { iov_base: (&raw mut first).cast(), iov_len: 8 };
    ptrace!(libc::PTRACE_SETREGSET, pid, NT_PRSTATUS, (&raw const part) as usize);
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn skip(_: i32) {
    unreachable!("nothing is swept here");
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn answer(_: i32, _: i32) {
    unreachable!("nothing is swept here");
}

/// What lies in the memory of a tracee, as far as it can be read.
pub(crate) fn read(pid: i32, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
    let remote = libc::iovec { iov_base: at as usize as *mut _, iov_len: length };
    // SAFETY: writes into the vector alone.
    let got = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    bytes.truncate(got.max(0) as usize);
    bytes
}

/// Changes the memory of a tracee.
pub(crate) fn write(pid: i32, at: u64, bytes: &[u8]) {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: at as usize as *mut _, iov_len: bytes.len() };
    // SAFETY: reads the slice alone.
    let put = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    assert_eq!(put, bytes.len() as isize, "{}", std::io::Error::last_os_error());
}

pub(crate) fn kill(pid: i32) {
    // SAFETY: a tracee or child of ours that nobody else has waited for.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
