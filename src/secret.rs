//! A text that must not be shown.
//!
//! `Secret` has no `Display`, `Serialize`, `PartialEq` or `Deref`: using one where it could be seen does
//! not compile. [`Secret::expose`] is the only way out; `tests/house.rs` lists the files that call it.

use std::sync::Arc;

/// A value that is masked wherever it is printed.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself. Every caller answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty; that much may be said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}
