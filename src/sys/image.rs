//! The ELF module that contains this crate's code, and where it was loaded.

use core::ffi::{c_int, c_void};
use core::ptr;
use std::sync::OnceLock;

use super::span::Span;

/// The load ranges of the module that contains this code, and of those that it may call. Only the parent looks for
/// them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image {
    own: Span,
    modules: Modules,
}

/// The load ranges of all modules.
#[derive(Debug, Clone, Copy)]
struct Modules {
    spans: [Span; Self::MOST],
    /// Of modules that there is no room for nobody knows where they lie.
    count: usize,
}

impl Modules {
    const MOST: usize = 64;

    const fn none() -> Self {
        Self { spans: [Span { start: 0, end: 0 }; Self::MOST], count: 0 }
    }

    fn add(&mut self, span: Span) {
        if let Some(place) = self.spans.get_mut(self.count) {
            *place = span;
        }
        self.count += 1;
    }
}

/// What is found module by module.
struct Search {
    own: Option<Span>,
    modules: Modules,
}

impl Image {
    /// `None` if no module contains this code, or if that module's calls to others are bound when they are
    /// first made: the linker then needs its memory.
    pub(crate) fn own() -> Option<Self> {
        // A module does not move while its code runs.
        static OWN: OnceLock<Option<Image>> = OnceLock::new();
        *OWN.get_or_init(Self::find)
    }

    pub(crate) fn span(self) -> Span {
        self.own
    }

    /// Whether a part of a module lies there that this code may call: `memcpy(3)` is libc's, and reads variables of
    /// libc. Modules that are loaded later are not called.
    pub(crate) fn may_use(&self, span: Span) -> bool {
        let known = self.modules.spans.get(..self.modules.count);
        known.is_none_or(|known| known.iter().any(|module| module.overlaps(span)))
    }

    fn find() -> Option<Self> {
        let mut search = Search { own: None, modules: Modules::none() };
        let data = ptr::from_mut(&mut search).cast();
        // SAFETY: the callback matches, and `search` outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(look_at), data) };
        Some(Self { own: search.own?, modules: search.modules })
    }

    #[cfg(test)]
    pub(crate) fn of_modules(spans: &[Span]) -> Self {
        let mut modules = Modules::none();
        spans.iter().for_each(|span| modules.add(*span));
        Self { own: Span::default(), modules }
    }
}

/// An address in this crate's code.
pub(crate) fn code() -> usize {
    (look_at as unsafe extern "C" fn(_, _, _) -> _ as *const ()).addr()
}

/// # Safety
///
/// For `dl_iterate_phdr(3)` alone, with a pointer to a `Search`.
unsafe extern "C" fn look_at(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    found: *mut c_void,
) -> c_int {
    // SAFETY: the linker passes a description of a module, which lives during the call.
    let info = unsafe { &*info };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the module has so many program headers there.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let base = word(info.dlpi_addr);
    let mut all: Option<Span> = None;
    let (mut is_own, mut binds_late) = (false, false);
    for header in headers {
        let start = base.wrapping_add(word(header.p_vaddr));
        let span = Span { start, end: start.wrapping_add(word(header.p_memsz)) };
        match header.p_type {
            libc::PT_LOAD => {
                is_own |= span.has(code());
                all = Some(all.map_or(span, |all| all.with(span)));
            }
            libc::PT_DYNAMIC => {
                // SAFETY: the linker has read the module's dynamic section there.
                binds_late = unsafe { is_bound_late(start) };
            }
            _ => {}
        }
    }
    if let Some(all) = all.map(Span::of_whole_pages) {
        // SAFETY: the contract; nobody else uses it during the call.
        let search = unsafe { &mut *found.cast::<Search>() };
        search.modules.add(all);
        if is_own && !binds_late {
            search.own = Some(all);
        }
    }
    0
}

/// Whether the module with this dynamic section has calls that are bound when they are first made.
///
/// # Safety
///
/// A dynamic section lies there.
unsafe fn is_bound_late(section: usize) -> bool {
    const JMPREL: usize = 23;
    const BIND_NOW: usize = 24;
    const FLAGS: usize = 30;
    const FLAGS_1: usize = 0x6fff_fffb;
    let mut entry = ptr::with_exposed_provenance::<[usize; 2]>(section);
    let (mut has_calls, mut is_now) = (false, false);
    loop {
        // SAFETY: the section ends with an entry of type 0, which was not reached.
        match unsafe { entry.read() } {
            [0, _] => return has_calls && !is_now,
            [JMPREL, _] => has_calls = true,
            [BIND_NOW, _] => is_now = true,
            [FLAGS, flags] => is_now |= flags & 8 != 0,
            [FLAGS_1, flags] => is_now |= flags & 1 != 0,
            _ => {}
        }
        entry = entry.wrapping_add(1);
    }
}

/// Addresses and sizes in this process.
#[allow(
    clippy::cast_possible_truncation,
    clippy::unnecessary_cast,
    reason = "an ELF module's words are those of its architecture"
)]
fn word(word: impl Into<u64>) -> usize {
    word.into() as usize
}

#[cfg(test)]
mod tests {
    use super::{Image, code};

    #[test]
    #[cfg_attr(miri, ignore = "it has no linker")]
    fn our_own_image_is_found() {
        let own = Image::own().unwrap().span();
        assert!(own.has(code()));
        // Text, constants and statics; and neither the heap nor the stack.
        static NUMBER: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);
        assert!(own.has(std::ptr::from_ref(&NUMBER).addr()));
        assert!(own.has("constant".as_ptr().addr()));
        assert!(!own.has(std::ptr::from_ref(&own).addr()));
        assert!(!own.has(std::ptr::from_ref(&*Box::new(1)).addr()));
    }
}
