//! The proof that this is a child.

/// Proves that this process runs the steps of a plan and nothing else, with a table of descriptors and signal
/// handlers that nobody relies on: it may close, replace and reset them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InChild(());

impl InChild {
    /// # Safety
    ///
    /// No owner of a descriptor runs in this process any more, nor anything that relies on its signal handlers,
    /// until it ends or runs another program.
    pub(crate) const unsafe fn assume() -> Self {
        Self(())
    }
}
