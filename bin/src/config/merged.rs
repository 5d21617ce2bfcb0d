//! All sources merged: figment keeps the origin of each value.

use figment::value::{Dict, Value};
use figment::{Figment, Profile, Provider};

use super::diagnostic::Origin;
use super::file::Lines;
use super::source::Source;
use super::tree::{self, Path};

/// The merged sources. A later source overrides an earlier one.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The values. Each has the tag of its source.
    pub(crate) tree: Dict,
    figment: Figment,
    lines: Lines,
}

impl Merged {
    /// Merges the sources.
    pub(crate) fn new(sources: &[Source]) -> Self {
        let figment = sources.iter().fold(Figment::new(), |figment, source| figment.merge(source.clone()));
        // The providers never fail, and there is one profile.
        let tree = figment.data().ok().and_then(|mut data| data.remove(&Profile::Default)).unwrap_or_default();
        let lines =
            sources.iter().find(|source| source.is_file()).map(|source| source.lines().clone()).unwrap_or_default();
        Self { tree, figment, lines }
    }

    /// The origin of a value that was merged at `path`.
    pub(crate) fn origin_of(&self, path: &[String], value: &Value) -> Origin {
        match self.figment.get_metadata(value.tag()) {
            None => Origin::default_value(),
            Some(metadata) => match metadata.source.as_ref().and_then(|source| source.file_path()) {
                Some(file) => Origin::file(&file.display().to_string(), self.lines.of(path)),
                None => Origin::new(metadata.name.clone()),
            },
        }
    }

    /// The origin of the value at `path`, or of the nearest enclosing table.
    pub(crate) fn origin(&self, path: &[String]) -> Option<Origin> {
        (1..=path.len()).rev().find_map(|end| {
            let value = tree::get(&self.tree, &path[..end])?;
            Some(self.origin_of(path, value))
        })
    }
}

/// The shared key (`limits.frame`) of a key of a listener (`listeners.main.limits.frame`).
pub(crate) fn shared(path: &[String]) -> Option<Path> {
    match path {
        [listeners, _, group, key] if listeners == "listeners" => Some(vec![group.clone(), key.clone()]),
        _ => None,
    }
}
