//! Collects faults, and remembers which keys they invalid: what depends on a faulty key is not judged again.

use super::diagnostic::{Diagnostic, Diagnostics, Origin};
use super::tree::Path;

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// One sentence each.
    pub(crate) diagnostics: Diagnostics,
    invalid: Vec<Path>,
}

impl Report {
    /// A fault at a key.
    pub(crate) fn add(&mut self, key: &[String], what: impl Into<String>, origin: impl Into<Option<Origin>>) {
        self.diagnostic(key, Diagnostic::new(key, what).from(origin.into()));
    }

    /// A fault that is already a sentence, at a key.
    pub(crate) fn diagnostic(&mut self, key: &[String], diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
        self.mark_invalid(key);
    }

    /// Nothing that depends on this key can be judged.
    pub(crate) fn mark_invalid(&mut self, key: &[String]) {
        self.invalid.push(key.to_vec());
    }

    /// Whether something in this very table is faulty, which may be a key that is now missing.
    pub(crate) fn is_invalid_in(&self, table: &[String]) -> bool {
        self.invalid.iter().any(|invalid| invalid.split_last().is_some_and(|(_, parent)| parent == table))
            || self.invalid.iter().any(|invalid| table.starts_with(invalid))
    }

    /// Whether the key, something in it or something around it is faulty.
    pub(crate) fn is_invalid(&self, key: &[String]) -> bool {
        self.invalid.iter().any(|invalid| key.starts_with(invalid) || invalid.starts_with(key))
    }
}
