//! Whether this process runs on valgrind(1), which makes `fork(2)` of `CLONE_VM | CLONE_VFORK`, and ends the process at
//! other flags that share something.

/// Asks valgrind by its client requests (`valgrind.h`): instructions that do nothing on a processor. On other
/// architectures memory is not shared in any case, and a call that valgrind does not support ends the process.
#[cfg(all(not(miri), target_arch = "x86_64", target_pointer_width = "64"))]
#[inline]
pub(crate) fn is_around() -> bool {
    // RUNNING_ON_VALGRIND.
    let request: [usize; 6] = [0x1001, 0, 0, 0, 0, 0];
    let answer: usize;
    // SAFETY: rdi is rotated by 128 bits in all, and rbx exchanged with itself. Valgrind reads the request, and
    // changes rdx.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &raw const request,
            inlateout("rdx") 0_usize => answer,
            options(nostack),
        );
    }
    answer != 0
}

#[cfg(all(not(miri), target_arch = "aarch64"))]
#[inline]
pub(crate) fn is_around() -> bool {
    // RUNNING_ON_VALGRIND.
    let request: [usize; 6] = [0x1001, 0, 0, 0, 0, 0];
    let answer: usize;
    // SAFETY: x12 is rotated by 128 bits in all, and x10 unchanged. Valgrind reads the request, and changes x3.
    unsafe {
        core::arch::asm!(
            "ror x12, x12, #3",
            "ror x12, x12, #13",
            "ror x12, x12, #51",
            "ror x12, x12, #61",
            "orr x10, x10, x10",
            in("x4") &raw const request,
            inlateout("x3") 0_usize => answer,
            options(nostack),
        );
    }
    answer != 0
}

#[cfg(any(
    miri,
    not(any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64"))
))]
pub(crate) fn is_around() -> bool {
    false
}
