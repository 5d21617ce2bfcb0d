//! A source of a configuration (file, variable or flag) and the merged sources. figment keeps the origin of values.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::diagnostic::{Diagnostic, Report, found};
use super::expected::{Schemas, full_path, shared_keys};
use super::file::Contents;
use super::hidden;
use super::marks::Marks;
use super::origin::Origin;
use super::source_text::{Mark, SourceText};
use super::tree::{self, Path};

#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) tree: Dict,
    /// For an unknown key: the probable key in the spelling of this source.
    pub(crate) hint: Option<String>,
    /// The keys that the source sets by a short form.
    pub(crate) shorts: Vec<Path>,
    /// The listeners that the source declares, without short forms.
    pub(crate) declares: Vec<String>,
    name: String,
    pub(crate) is_file: bool,
    marks: Marks,
    text: Option<Arc<SourceText>>,
}

impl Source {
    /// A source whose name is the origin of all its values.
    pub(crate) fn plain(tree: Dict, name: impl Into<String>) -> Self {
        let (shorts, declares, marks) = (Vec::new(), tree::names(&tree, &tree::path("listeners")), Marks::default());
        Self { tree, hint: None, shorts, declares, name: name.into(), is_file: false, marks, text: None }
    }

    /// The same source with its text, and the place of its only key.
    pub(crate) fn with_text(mut self, (text, mark): (SourceText, Mark)) -> Self {
        let keys = tree::leaves(&self.tree).into_iter().map(|(path, _)| path).chain(self.shorts.clone());
        for path in keys.collect::<Vec<_>>() {
            self.marks.note(&path[..1], mark.clone());
        }
        self.text = Some(Arc::new(text));
        self
    }

    /// A file. A key that is set in both forms to different values is an error.
    pub(crate) fn file(path: &FilePath, contents: Contents, schemas: &Schemas<'_>, report: &mut Report) -> Self {
        let Contents { tree, marks, unsupported, text } = contents;
        let name = path.display().to_string();
        let mut hidden = hidden::in_file(&tree, &marks, &text, schemas);
        let rejected = unsupported.iter().filter(|(path, _)| hidden::is_hidden(path, schemas));
        hidden.extend(rejected.filter_map(|(path, _)| marks.exactly(path)?.value.clone()));
        let text = Some(Arc::new(SourceText::file(text, hidden)));
        let mut source = Self { is_file: true, marks, text, ..Self::plain(tree, name) };
        for (path, what) in unsupported {
            report.add(&path, what, source.origin(&path));
        }
        source.fill_empty(schemas, report);
        source.expand_short_forms(schemas, report);
        source
    }

    pub(crate) fn origin(&self, path: &[String]) -> Origin {
        let origin = if self.is_file { Origin::file(&self.name) } else { Origin::new(self.name.clone()) };
        match (&self.text, self.marks.of(path)) {
            (Some(text), Some(mark)) => origin.at(text, mark.clone()),
            _ => origin,
        }
    }

    /// An empty section of YAML is an empty table. Any other key without a value is an error.
    fn fill_empty(&mut self, schemas: &Schemas<'_>, report: &mut Report) {
        let empty = |value: &Value| matches!(value, Value::Empty(..));
        let paths: Vec<Path> = tree::leaves(&self.tree).into_iter().filter(|(_, v)| empty(v)).map(|(p, _)| p).collect();
        for path in paths {
            if schemas.expected(&path).accepts("object") {
                tree::insert(&mut self.tree, &path, tree::table());
            } else {
                report.add(&path, "has no value; set a value or remove the key", self.origin(&path));
                tree::remove(&mut self.tree, &path, tree::table());
            }
        }
    }

    fn expand_short_forms(&mut self, schemas: &Schemas<'_>, report: &mut Report) {
        for key in &shared_keys().short_forms {
            let short = tree::path(key);
            let long = full_path(&short);
            let Some(value) = self.tree.remove(key) else { continue };
            self.shorts.push(short.clone());
            let (short_origin, long_origin) = (self.origin(&short), self.origin(&long));
            let no_table = |at: &[String]| tree::get(&self.tree, at).is_some_and(|value| value.as_dict().is_none());
            match tree::get(&self.tree, &long) {
                // The listeners are invalid and are reported elsewhere.
                None if no_table(&long[..1]) || no_table(&long[..2]) => {}
                None => {
                    self.marks.rename(&short, &long);
                    tree::insert(&mut self.tree, &long, value);
                }
                Some(other) if tree::to_json(other) == tree::to_json(&value) => {}
                Some(other) => {
                    let twice = twice(&long, (&value, &short_origin), (other, &long_origin), schemas);
                    report.diagnostic(&long, twice);
                }
            }
        }
    }
}

impl Provider for Source {
    fn metadata(&self) -> Metadata {
        match self.is_file {
            true => Metadata::from("file", FilePath::new(&self.name)),
            false => Metadata::named(self.name.clone()),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.tree.clone()))
    }
}

/// The merged sources. A later source overrides an earlier one.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The values. Each has the tag of its source.
    pub(crate) tree: Dict,
    figment: Figment,
    file: Option<Source>,
    /// The sources that are not files, by the names of their origins.
    others: BTreeMap<String, Source>,
}

impl Merged {
    pub(crate) fn new(sources: &[Source]) -> Self {
        let figment = sources.iter().fold(Figment::new(), |figment, source| figment.merge(source.clone()));
        // The providers never fail, and there is one profile.
        let tree = figment.data().ok().and_then(|mut data| data.remove(&Profile::Default)).unwrap_or_default();
        let others = sources.iter().filter(|source| source.text.is_some() && !source.is_file);
        let others = others.map(|source| (source.name.clone(), source.clone())).collect();
        Self { tree, figment, file: sources.iter().find(|source| source.is_file).cloned(), others }
    }

    /// The origin of a value that was merged at `path`.
    pub(crate) fn origin_of(&self, path: &[String], value: &Value) -> Origin {
        match (self.figment.get_metadata(value.tag()), &self.file) {
            (None, _) => Origin::new(Origin::DEFAULT),
            (Some(metadata), Some(file)) if metadata.source.is_some() => file.origin(path),
            (Some(metadata), _) => match self.others.get(&*metadata.name) {
                Some(source) => source.origin(path),
                None => Origin::new(metadata.name.clone()),
            },
        }
    }

    /// The origin of the value at `path`, or of the nearest enclosing table.
    pub(crate) fn origin(&self, path: &[String]) -> Option<Origin> {
        let ends = (1..=path.len()).rev();
        ends.filter_map(|end| tree::get(&self.tree, &path[..end])).next().map(|value| self.origin_of(path, value))
    }
}

/// Reports a key that one layer sets twice to different values, or both as a table and by individual keys.
pub(crate) fn find_contradictions(layer: &[Source], schemas: &Schemas<'_>, report: &mut Report) {
    let leaves: Vec<(Path, &Value, Origin)> = layer
        .iter()
        .flat_map(|source| {
            tree::leaves(&source.tree).into_iter().map(|(path, value)| (path.clone(), value, source.origin(&path)))
        })
        .collect();
    for (index, (path, value, origin)) in leaves.iter().enumerate() {
        for (other_path, other, other_origin) in &leaves[..index] {
            if path == other_path && tree::to_json(value) != tree::to_json(other) {
                report.diagnostic(path, twice(path, (other, other_origin), (value, origin), schemas));
            } else if path != other_path && (path.starts_with(other_path) || other_path.starts_with(path)) {
                let whole = if path.len() < other_path.len() { path } else { other_path };
                let what =
                    format!("is set both as a table and by individual keys ({other_origin}, and {origin}); remove one");
                report.diagnostic(whole, Diagnostic::new(whole, what).listed_at(origin));
            }
        }
    }
}

fn twice(path: &[String], a: (&Value, &Origin), b: (&Value, &Origin), schemas: &Schemas<'_>) -> Diagnostic {
    // The key may be a misspelled secret.
    let is_hidden = !schemas.expected(path).is_value() || schemas.is_secret(path);
    let show = |(value, origin): (&Value, &Origin)| format!("{} ({origin})", found(&tree::to_json(value), is_hidden));
    Diagnostic::new(path, format!("is set twice, to {} and to {}; remove one", show(a), show(b))).listed_at(b.1)
}
