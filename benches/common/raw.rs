//! The baseline: the fewest system calls that start `/bin/true` in new namespaces, by hand.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// Everything made ready, so that a run is system calls and nothing else.
pub struct Raw {
    flags: u64,
    maps: Vec<(&'static CStr, CString)>,
    stack: *mut c_void,
}

const STACK: usize = 64 * 1024;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    rest: [u64; 4],
}

impl Raw {
    pub fn new(namespaces: u32) -> Self {
        let flags = u64::from(namespaces) | (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
        // SAFETY: asks for numbers.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        let text = |text: String| CString::new(text).unwrap();
        let maps = if flags & libc::CLONE_NEWUSER as u64 == 0 {
            Vec::new()
        } else {
            vec![
                (c"/proc/self/setgroups", text("deny".to_owned())),
                (c"/proc/self/uid_map", text(format!("0 {uid} 1"))),
                (c"/proc/self/gid_map", text(format!("0 {gid} 1"))),
            ]
        };
        let (protection, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping; it is never unmapped, being used to the end.
        let stack = unsafe { libc::mmap(ptr::null_mut(), STACK, protection, kind, -1, 0) };
        assert_ne!(stack, libc::MAP_FAILED);
        Self { flags, maps, stack }
    }

    /// Starts the program and waits for it. Answers whether it went well.
    pub fn run(&self) -> bool {
        let args = CloneArgs {
            flags: self.flags,
            exit_signal: libc::SIGCHLD as u64,
            stack: self.stack as u64,
            stack_size: STACK as u64,
            ..CloneArgs::default()
        };
        // SAFETY: the child runs on a stack of its own and only makes system calls, while we sleep.
        let pid = unsafe { clone3(&args, self) };
        let mut status = 0;
        // SAFETY: waits for the child.
        pid > 0
            && unsafe { libc::waitpid(pid as i32, &raw mut status, 0) } as isize == pid
            && status == 0
    }
}

unsafe extern "C" fn child(raw: *const Raw) -> ! {
    // SAFETY: the parent keeps it; these are system calls and nothing else.
    unsafe {
        let raw = &*raw;
        for (path, text) in &raw.maps {
            let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            let bytes = text.as_bytes();
            libc::write(file, bytes.as_ptr().cast(), bytes.len());
            libc::close(file);
        }
        if raw.flags & libc::CLONE_NEWNS as u64 != 0 {
            let private = libc::MS_REC | libc::MS_PRIVATE;
            libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null());
        }
        let argv = [c"/bin/true".as_ptr(), ptr::null()];
        libc::execve(argv[0], argv.as_ptr(), environ);
        libc::_exit(127)
    }
}

#[cfg(target_arch = "x86_64")]
unsafe fn clone3(args: &CloneArgs, raw: &Raw) -> isize {
    let answer: isize;
    // SAFETY: the child starts behind the call with rax 0 and its own stack; rbx and rbp are not used.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r12",
            "call r13",
            "2:",
            in("r12") raw,
            in("r13") child as *const c_void,
            inlateout("rax") libc::SYS_clone3 => answer,
            in("rdi") args,
            in("rsi") size_of::<CloneArgs>(),
            out("rcx") _, out("r11") _,
        );
    }
    answer
}

#[cfg(target_arch = "aarch64")]
unsafe fn clone3(args: &CloneArgs, raw: &Raw) -> isize {
    let answer: isize;
    // SAFETY: the child starts behind the call with x0 0 and its own stack.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x0, x20",
            "blr x21",
            "2:",
            in("x20") raw,
            in("x21") child as *const c_void,
            in("x8") libc::SYS_clone3,
            inlateout("x0") args => answer,
            in("x1") size_of::<CloneArgs>(),
            out("x30") _,
        );
    }
    answer
}
