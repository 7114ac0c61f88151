//! What this crate takes for granted of the C library of the process, which is glibc or musl. What else it could ask
//! of one, the kernel is asked directly.
//!
//! | what | glibc | musl | where |
//! |---|---|---|---|
//! | signals kept for itself | 32, 33 | 32 to 34 | [`PRIVATE_SIGNALS`] |
//! | a thread's restartable sequence | near the thread pointer | none | `rseq.rs` asks the kernel, and looks there |
//! | the thread pointer | at `fs:0`, in `tpidr_el0` | as glibc | `rseq.rs`, by the ABI of ELF |
//! | `set*id(2)` in another thread | waits for a signal in each thread | as glibc | [`MaskGuard`](super::signal::MaskGuard) |
//! | the least stack of a thread | 16 KiB and TLS | 2 KiB and TLS | a spawn needs 16 KiB, on s390x 24 KiB |
//! | the allocator's lock | may be held by a thread that a copy lacks | as glibc | nothing allocates in a child |
//! | the thread's own number | asked of the kernel by `raise(3)` | remembered: that of the parent | documented at `pre_exec` |
//! | `errno` | written by its calls alone | as glibc | `syscall.rs`: calls of assembly, or a copy |
//! | `memcpy(3)`, `memset(3)` | may be in another module, with variables | in the module | `image.rs`, for an init without memory |
//! | the user database | may ask a server | files | `users.rs`, before a child is made |
//! | `struct sigaction`, `sigset_t`, `struct timespec` | its own | its own | `abi.rs` has the kernel's |

use super::signal::SignalSet;

/// Those that nobody but the library may block, take or send: a thread that does not answer them stops others.
pub(crate) const PRIVATE_SIGNALS: SignalSet =
    if cfg!(any(target_env = "musl", target_env = "ohos")) { 0b111 << 31 } else { 0b11 << 31 };

/// Whether the program has privileges that its caller has not: by set-user-ID, set-group-ID or file
/// capabilities (`AT_SECURE`). What the caller controls, such as the environment, is then not to be believed. For
/// a parent only: it calls libc.
pub(crate) fn is_secure() -> bool {
    // SAFETY: reads the process's auxiliary vector, which never changes.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
