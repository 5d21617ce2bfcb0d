//! Where each key of a source is.

use std::collections::BTreeMap;

use super::source_text::Mark;
use super::tree::Path;

/// Where each key and each list item is.
#[derive(Debug, Default, Clone)]
pub(crate) struct Marks(BTreeMap<Path, Mark>);

impl Marks {
    /// The place of a key, or of the nearest enclosing table.
    pub(crate) fn of(&self, path: &[String]) -> Option<&Mark> {
        (1..=path.len()).rev().find_map(|end| self.0.get(&path[..end]))
    }

    /// The place of a key itself.
    pub(crate) fn exactly(&self, path: &[String]) -> Option<&Mark> {
        self.0.get(path)
    }

    /// Copies the places of the keys at `from` to `to`.
    pub(crate) fn rename(&mut self, from: &[String], to: &[String]) {
        let here = self.0.iter().filter(|(path, _)| path.starts_with(from));
        let moved: Vec<(Path, Mark)> =
            here.map(|(path, mark)| ([to, &path[from.len()..]].concat(), mark.clone())).collect();
        // A key that is already there keeps its place.
        for (path, mark) in moved {
            self.0.entry(path).or_insert(mark);
        }
    }

    /// Stores the place of a key. A table that is written in parts keeps its first place.
    pub(crate) fn note(&mut self, path: &[String], mark: Mark) {
        self.0.entry(path.to_vec()).or_insert(mark);
    }
}
