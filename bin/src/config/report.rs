//! Collects faults, and remembers which keys they poisoned: what depends on a faulty key is not judged again.

use super::fault::{Fault, Faults, Origin};
use super::tree::Path;

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// One sentence each.
    pub(crate) faults: Faults,
    poisoned: Vec<Path>,
}

impl Report {
    /// A fault at a key.
    pub(crate) fn add(&mut self, key: &[String], what: impl Into<String>, origin: impl Into<Option<Origin>>) {
        self.fault(key, Fault::new(key, what).from(origin.into()));
    }

    /// A fault that is already a sentence, at a key.
    pub(crate) fn fault(&mut self, key: &[String], fault: Fault) {
        self.faults.push(fault);
        self.poison(key);
    }

    /// Nothing that depends on this key can be judged.
    pub(crate) fn poison(&mut self, key: &[String]) {
        self.poisoned.push(key.to_vec());
    }

    /// Whether something in this very table is faulty, which may be a key that is now missing.
    pub(crate) fn is_poisoned_in(&self, table: &[String]) -> bool {
        self.poisoned.iter().any(|poisoned| poisoned.split_last().is_some_and(|(_, parent)| parent == table))
            || self.poisoned.iter().any(|poisoned| table.starts_with(poisoned))
    }

    /// Whether the key, something in it or something around it is faulty.
    pub(crate) fn is_poisoned(&self, key: &[String]) -> bool {
        self.poisoned.iter().any(|poisoned| key.starts_with(poisoned) || poisoned.starts_with(key))
    }
}
