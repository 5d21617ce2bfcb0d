//! What every check uses: the settings, their origins and the report.

use switchboard::Registry;

use crate::config::diagnostic::Origin;
use crate::config::merged::Merged;
use crate::config::report::Report;
use crate::config::sections::ConfigFile;
use crate::config::tree::{self, Path};

pub(super) struct Check<'a> {
    pub(super) file: &'a ConfigFile,
    pub(super) merged: &'a Merged,
    pub(super) registry: &'a Registry,
    pub(super) report: &'a mut Report,
}

impl Check<'_> {
    /// Whether a source sets the key.
    pub(super) fn is_set(&self, key: &[String]) -> bool {
        tree::get(&self.merged.tree, key).is_some_and(|value| !self.merged.origin_of(key, value).is_default())
    }

    /// The origin of the first of these keys that a source sets.
    pub(super) fn first_origin<const N: usize>(&self, keys: [&Path; N]) -> Option<Origin> {
        keys.into_iter().find(|key| self.is_set(key)).and_then(|key| self.merged.origin(key))
    }
}
