//! Namespaces from text and from bits, which may name none.

#![forbid(unsafe_code)]

use core::str::FromStr;

use crate::error::{Error, Result};
use crate::namespace::{Namespace, NamespaceSet};
use crate::sys::abi;

impl FromStr for Namespace {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::EACH.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let known = NamespaceSet::all();
            Error::invalid(format!("no namespace is called {name:?}; the names are {known}"))
        })
    }
}

/// Names separated by commas, as they print; the empty text is the empty set.
impl FromStr for NamespaceSet {
    type Err = Error;

    fn from_str(names: &str) -> Result<Self> {
        if names.is_empty() {
            return Ok(Self::empty());
        }
        names.split(',').map(|name| name.trim().parse::<Namespace>()).collect()
    }
}

impl NamespaceSet {
    /// Refuses bits that name no namespace.
    pub(crate) fn checked(self) -> Result<Self> {
        let unknown = self.bits() & !abi::NAMESPACE_FLAGS;
        if unknown != 0 {
            return Err(Error::invalid(format!(
                "the set holds {unknown:#x}, which is no namespace"
            )));
        }
        Ok(self)
    }
}
