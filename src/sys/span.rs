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

#[cfg(test)]
mod tests {
    use super::Span;
    use proptest::prelude::*;

    fn span(start: usize, end: usize) -> Span {
        Span { start, end }
    }

    #[test]
    fn kept_ranges_are_left_out() {
        let rest = |kept: &[Span]| span(10, 20).without(kept).collect::<Vec<_>>();
        assert_eq!(rest(&[]), [span(10, 20)]);
        assert_eq!(rest(&[span(0, 10), span(20, 30), span(15, 15)]).len(), 2);
        assert_eq!(rest(&[span(12, 14)]), [span(10, 12), span(14, 20)]);
        assert_eq!(rest(&[span(18, 30), span(5, 11)]), [span(11, 18)]);
        assert_eq!(rest(&[span(12, 16), span(14, 17)]), [span(10, 12), span(17, 20)]);
        assert_eq!(rest(&[span(0, 100)]), []);
        assert_eq!(rest(&[span(10, 15), span(15, 20)]), []);
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_is_in_none(ends in proptest::collection::vec(0_usize..40, 8)) {
            let spans: Vec<Span> = ends.chunks(2).map(|it| span(it[0].min(it[1]), it[0].max(it[1]))).collect();
            let (whole, kept) = (spans[0], &spans[1..]);
            let parts: Vec<Span> = whole.without(kept).collect();
            for at in 0..40 {
                let expected = whole.has(at) && !kept.iter().any(|it| it.has(at));
                prop_assert_eq!(parts.iter().filter(|it| it.has(at)).count(), usize::from(expected));
            }
        }
    }
}
