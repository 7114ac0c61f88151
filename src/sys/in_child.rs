//! Proofs of what this process is.

/// Proves that this process runs the steps of a plan and nothing else, with a table of descriptors and signal
/// handlers that nobody relies on: it may close, replace and reset them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InChild {
    is_copy: bool,
}

impl InChild {
    /// # Safety
    ///
    /// No owner of a descriptor runs in this process any more, nor anything that relies on its signal handlers,
    /// until it ends or runs another program. Its memory is a copy, if that is said.
    pub(crate) const unsafe fn assume(is_copy: bool) -> Self {
        Self { is_copy }
    }

    /// A new process has one thread.
    pub(crate) const fn only_thread(self) -> OnlyThread {
        OnlyThread { owns_memory: self.is_copy }
    }
}

/// Proves that this process has one thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnlyThread {
    owns_memory: bool,
}

impl OnlyThread {
    /// If it is so, and no other process shares the memory.
    pub(crate) fn ask() -> Option<Self> {
        super::namespaces::has_private_memory().then_some(Self { owns_memory: true })
    }

    /// # Safety
    ///
    /// This process has one thread.
    pub(crate) const unsafe fn assume() -> Self {
        Self { owns_memory: false }
    }

    /// Whether no other process shares the memory.
    pub(crate) const fn owns_memory(self) -> bool {
        self.owns_memory
    }
}
