//! The content of a configuration file: its values and the line of each key.

use std::collections::BTreeMap;

use figment::value::Dict;

use crate::config::tree::Path;

#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) tree: Dict,
    pub(crate) lines: Lines,
    /// Values that no key accepts, each with an error message. They are not in the tree.
    pub(crate) unsupported: Vec<(Path, String)>,
}

/// The line of each key and of each list item.
#[derive(Debug, Default, Clone)]
pub(crate) struct Lines(BTreeMap<Path, usize>);

impl Lines {
    /// The line of a key, or of the nearest enclosing table.
    pub(crate) fn of(&self, path: &[String]) -> Option<usize> {
        (1..=path.len()).rev().find_map(|end| self.0.get(&path[..end]).copied())
    }

    /// Copies the lines of the keys at `from` to `to`.
    pub(crate) fn rename(&mut self, from: &[String], to: &[String]) {
        let here = self.0.iter().filter(|(path, _)| path.starts_with(from));
        let moved: Vec<(Path, usize)> = here.map(|(path, line)| ([to, &path[from.len()..]].concat(), *line)).collect();
        // A key that is already there keeps its line.
        for (path, line) in moved {
            self.0.entry(path).or_insert(line);
        }
    }

    /// Stores the line of a key. A table that is written in parts keeps its first line; line 0 means unknown.
    pub(super) fn note(&mut self, path: &[String], line: usize) {
        if line > 0 {
            self.0.entry(path.to_vec()).or_insert(line);
        }
    }
}
