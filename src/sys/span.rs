//! Ranges of addresses.

/// A range of addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn has(self, address: usize) -> bool {
        (self.start..self.end).contains(&address)
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.start.max(other.start) < self.end.min(other.end)
    }

    /// The least range that has both.
    pub(crate) fn with(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The pages that it touches. For the parent.
    pub(crate) fn of_whole_pages(self) -> Self {
        // SAFETY: returns a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        // The largest that we know.
        let page = usize::try_from(page).unwrap_or(64 * 1024);
        Self {
            start: self.start & !(page - 1),
            end: self.end.checked_next_multiple_of(page).unwrap_or(self.end),
        }
    }

    /// What it has in common with another one.
    pub(super) fn within(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self { start, end: self.end.min(other.end).max(start) }
    }

    /// The parts of it that are outside of all of these.
    pub(super) fn without(self, kept: &[Self]) -> impl Iterator<Item = Self> + '_ {
        let mut rest = self;
        core::iter::from_fn(move || {
            while let Some(within) = kept.iter().find(|it| it.has(rest.start)) {
                rest.start = within.end;
            }
            if rest.start >= rest.end {
                return None;
            }
            let later = kept.iter().map(|it| it.start).filter(|&start| start > rest.start);
            let part =
                Self { start: rest.start, end: later.min().unwrap_or(rest.end).min(rest.end) };
            rest.start = part.end;
            Some(part)
        })
    }
}
