//! Collects errors and stores the invalid keys: nothing that depends on an invalid key is checked.

use super::diagnostic::{Diagnostic, Diagnostics, Origin};
use super::tree::Path;

/// The errors found so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) diagnostics: Diagnostics,
    invalid: Vec<Path>,
}

impl Report {
    /// Adds an error of a key.
    pub(crate) fn add(&mut self, key: &[String], what: impl Into<String>, origin: impl Into<Option<Origin>>) {
        self.diagnostic(key, Diagnostic::new(key, what).from(origin.into()));
    }

    /// Adds an error and marks its key as invalid.
    pub(crate) fn diagnostic(&mut self, key: &[String], diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
        self.invalid.push(key.to_vec());
    }

    /// Whether a key of this table was invalid; it may be missing now.
    pub(crate) fn is_invalid_in(&self, table: &[String]) -> bool {
        self.invalid.iter().any(|invalid| invalid.split_last().is_some_and(|(_, parent)| parent == table))
            || self.invalid.iter().any(|invalid| table.starts_with(invalid))
    }

    /// Whether the key, a key in it or an enclosing table is invalid.
    pub(crate) fn is_invalid(&self, key: &[String]) -> bool {
        self.invalid.iter().any(|invalid| key.starts_with(invalid) || invalid.starts_with(key))
    }
}
