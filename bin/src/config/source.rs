//! The sources of a configuration: the file, each variable, each flag. Each becomes one tree that knows its origin, and
//! figment lays them over each other.
//!
//! It knows how keys are spelled in each source and which short forms there are, not what a key means.

use std::ffi::{OsStr, OsString};
use std::path::Path as FilePath;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::diagnostic::{Diagnostic, Origin, found};
use super::file::{Contents, Lines};
use super::report::Report;
use super::tree::{self, Path};
use super::typing::Schemas;

/// What each variable of ours begins with.
pub(crate) const PREFIX: &str = "SWITCHBOARD_";

/// The keys at the top that stand for those of `listeners.main`.
const SHORT: [&str; 3] = ["listen", "handler", "framing"];

/// One source: its tree, in the long forms, and where its values come from.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// What it says.
    pub(crate) tree: Dict,
    /// For a key that is unknown: what may have been meant, in the spelling of this source.
    pub(crate) hint: Option<String>,
    /// The keys that it said in their short form.
    pub(crate) shorts: Vec<Path>,
    /// The listeners that it declares, a short form not counted.
    pub(crate) declares: Vec<String>,
    name: String,
    is_file: bool,
    lines: Lines,
}

impl Source {
    /// What holds where nothing is said.
    pub(crate) fn defaults(tree: Dict) -> Self {
        Self::plain(tree, Origin::DEFAULT)
    }

    /// A source that says one thing, whose name is its origin.
    pub(crate) fn plain(tree: Dict, name: impl Into<String>) -> Self {
        let (shorts, declares, lines) = (Vec::new(), declared(&tree), Lines::default());
        Self { tree, hint: None, shorts, declares, name: name.into(), is_file: false, lines }
    }

    /// A file. A key that it says in both forms, with different values, is a fault.
    pub(crate) fn file(path: &FilePath, contents: Contents, schemas: &Schemas<'_>, report: &mut Report) -> Self {
        let Contents { tree, lines, strange } = contents;
        let name = path.display().to_string();
        let mut source = Self { is_file: true, lines, ..Self::plain(tree, name) };
        for (path, what) in strange {
            report.add(&path, what, source.origin(&path));
        }
        source.fill_empty(schemas, report);
        source.lengthen(report);
        source
    }

    /// Whether it is the file.
    pub(crate) fn is_file(&self) -> bool {
        self.is_file
    }

    /// Where its value at `path` comes from.
    pub(crate) fn origin(&self, path: &[String]) -> Origin {
        match self.is_file {
            true => Origin::file(&self.name, self.lines.of(path)),
            false => Origin::new(self.name.clone()),
        }
    }

    /// An empty section of YAML is an empty table; any other key without a value is a fault.
    fn fill_empty(&mut self, schemas: &Schemas<'_>, report: &mut Report) {
        let empty = |value: &Value| matches!(value, Value::Empty(..));
        let paths: Vec<Path> = tree::leaves(&self.tree).into_iter().filter(|(_, v)| empty(v)).map(|(p, _)| p).collect();
        for path in paths {
            if schemas.expected_type(&path).is_table() {
                tree::insert(&mut self.tree, &path, tree::table());
            } else {
                report.add(&path, "has no value; give it one, or leave it out", self.origin(&path));
                tree::remove(&mut self.tree, &path, tree::table);
            }
        }
    }

    /// Turns the short forms into the long ones.
    fn lengthen(&mut self, report: &mut Report) {
        for key in SHORT {
            let (short, long) = (tree::path(key), long(key));
            let Some(value) = self.tree.remove(key) else { continue };
            self.shorts.push(short.clone());
            let (short_origin, long_origin) = (self.origin(&short), self.origin(&long));
            let no_table = |at: &[String]| tree::get(&self.tree, at).is_some_and(|value| value.as_dict().is_none());
            match tree::get(&self.tree, &long) {
                // Something else is wrong with the listeners, and will be told.
                None if no_table(&long[..1]) || no_table(&long[..2]) => {}
                None => {
                    self.lines.rename(&short, &long);
                    tree::insert(&mut self.tree, &long, value);
                }
                Some(other) if tree::to_json(other) == tree::to_json(&value) => {}
                Some(other) => report.diagnostic(&long, twice(&long, (&value, &short_origin), (other, &long_origin))),
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

/// A text for a key, from a variable or a flag.
#[derive(Debug, Clone)]
pub(crate) struct Override {
    path: Path,
    text: String,
    name: String,
    hint: Option<String>,
}

impl Override {
    /// What a flag says about a key.
    pub(crate) fn flag(name: &str, key: &str, text: &str) -> Self {
        Self { path: tree::path(key), text: text.to_owned(), name: format!("flag {name}"), hint: None }
    }

    /// Tells the schemas, if this is the type of a section.
    pub(crate) fn note_type(&self, schemas: &mut Schemas<'_>) {
        schemas.note_type(&self.path, &self.text);
    }

    /// The source that it is.
    pub(crate) fn source(&self, schemas: &Schemas<'_>) -> Source {
        let short = self.path.first().is_some_and(|first| SHORT.contains(&first.as_str()));
        let path = if short { long(&self.path.join(".")) } else { self.path.clone() };
        let mut tree = Dict::new();
        tree::insert(&mut tree, &path, schemas.read(&path, &self.text));
        let mut source = Source { hint: self.hint.clone(), ..Source::plain(tree, self.name.clone()) };
        if short {
            (source.shorts, source.declares) = (vec![self.path.clone()], Vec::new());
        }
        source
    }
}

/// Our variables. `names` are the names of listeners, handlers and layers that the file has: a variable cannot show a `-`.
pub(crate) fn variables(
    all: &[(OsString, OsString)],
    schemas: &Schemas<'_>,
    file: &Dict,
    report: &mut Report,
) -> Vec<Override> {
    let names = |path: &[String]| match path {
        [section] if matches!(section.as_str(), "listeners" | "handlers" | "layers") => {
            tree::get_table(file, path).map(|table| table.keys().cloned().collect()).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let mut said = Vec::new();
    for (variable, text) in all {
        let Some(variable) = variable.to_str() else { continue };
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        if rest == "CONFIG" || is_kubernetes(rest) {
            continue;
        }
        let path = schemas.spell(&rest.split("__").collect::<Vec<_>>(), names);
        let name = format!("environment variable {variable}");
        let Some(text) = text.to_str() else {
            report.add(&path, "is not text in UTF-8", Origin::new(name));
            continue;
        };
        let meant = if schemas.expected_type(&path).is_value() { None } else { schemas.guess(rest) };
        let hint = meant.map(|path| format!("{PREFIX}{}", path.join("__").to_ascii_uppercase().replace('-', "_")));
        said.push(Override { path, text: text.to_owned(), name, hint });
    }
    said.sort_by(|a, b| a.name.cmp(&b.name));
    said
}

/// The file that the environment names.
pub(crate) fn named_file(all: &[(OsString, OsString)]) -> Option<&OsStr> {
    let named = all.iter().find(|(variable, _)| variable.to_str() == Some("SWITCHBOARD_CONFIG"));
    named.map(|(_, file)| file.as_os_str()).filter(|file| !file.is_empty())
}

/// Whether Kubernetes sets a variable of this shape for a service named switchboard: `SWITCHBOARD_SERVICE_HOST`,
/// `SWITCHBOARD_SERVICE_PORT_ADMIN`, `SWITCHBOARD_PORT_9999_TCP_ADDR` … No key of ours is called so.
fn is_kubernetes(rest: &str) -> bool {
    let one_of = |word: &str| rest == word || rest.strip_prefix(word).is_some_and(|rest| rest.starts_with('_'));
    rest == "SERVICE_HOST" || one_of("SERVICE_PORT") || one_of("PORT")
}

/// A layer that says the same key twice with different values, or once as a whole and once in part, is at fault.
pub(crate) fn find_contradictions(layer: &[Source], report: &mut Report) {
    let leaves: Vec<(Path, &Value, Origin)> = layer
        .iter()
        .flat_map(|source| {
            tree::leaves(&source.tree).into_iter().map(|(path, value)| (path.clone(), value, source.origin(&path)))
        })
        .collect();
    for (index, (path, value, origin)) in leaves.iter().enumerate() {
        for (other_path, other, other_origin) in &leaves[..index] {
            if path == other_path && tree::to_json(value) != tree::to_json(other) {
                report.diagnostic(path, twice(path, (other, other_origin), (value, origin)));
            } else if path != other_path && (path.starts_with(other_path) || other_path.starts_with(path)) {
                let whole = if path.len() < other_path.len() { path } else { other_path };
                let what = format!("is given as a whole and in part ({other_origin}, and {origin}); leave one out");
                report.diagnostic(whole, Diagnostic::new(whole, what).listed_at(origin));
            }
        }
    }
}

fn twice(path: &[String], a: (&Value, &Origin), b: (&Value, &Origin)) -> Diagnostic {
    let show = |(value, origin): (&Value, &Origin)| format!("{} ({origin})", found(path, &tree::to_json(value)));
    Diagnostic::new(path, format!("is said twice, as {} and as {}; leave one out", show(a), show(b))).listed_at(b.1)
}

/// Takes away the short forms of a source, for they stand for nothing.
pub(crate) fn drop_short_forms(source: &mut Source) {
    for short in std::mem::take(&mut source.shorts) {
        tree::remove(&mut source.tree, &long(&short.join(".")), tree::table);
    }
    if let Some(Value::Dict(_, listeners)) = source.tree.get_mut("listeners") {
        listeners.retain(|name, _| name != "main");
    }
}

fn declared(tree: &Dict) -> Vec<String> {
    tree::get_table(tree, &tree::path("listeners")).into_iter().flat_map(Dict::keys).cloned().collect()
}

fn long(short: &str) -> Path {
    tree::path(&format!("listeners.main.{short}"))
}

/// All sources laid over each other, the later over the earlier.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The result. Each value has the tag of the source that it came from.
    pub(crate) tree: Dict,
    figment: Figment,
    lines: Lines,
}

impl Merged {
    /// Lays the sources over each other.
    pub(crate) fn new(sources: &[Source]) -> Self {
        let figment = sources.iter().fold(Figment::new(), |figment, source| figment.merge(source.clone()));
        // Our providers never fail, and there is one profile.
        let tree = figment.data().ok().and_then(|mut data| data.remove(&Profile::Default)).unwrap_or_default();
        let lines = sources.iter().find(|source| source.is_file).map(|source| source.lines.clone()).unwrap_or_default();
        Self { tree, figment, lines }
    }

    /// Where a value comes from that was found at `path` (its key when it was merged).
    pub(crate) fn origin_of(&self, path: &[String], value: &Value) -> Origin {
        match self.figment.get_metadata(value.tag()) {
            None => Origin::unsaid(),
            Some(metadata) => match metadata.source.as_ref().and_then(|source| source.file_path()) {
                Some(file) => Origin::file(&file.display().to_string(), self.lines.of(path)),
                None => Origin::new(metadata.name.clone()),
            },
        }
    }

    /// Where the value at `path` comes from, or else what is nearest around it.
    pub(crate) fn origin(&self, path: &[String]) -> Option<Origin> {
        (1..=path.len()).rev().find_map(|end| {
            let value = tree::get(&self.tree, &path[..end])?;
            Some(self.origin_of(path, value))
        })
    }
}

/// The path of a shared default (`limits.frame`) for that of a listener (`listeners.main.limits.frame`).
pub(crate) fn shared(path: &[String]) -> Option<Path> {
    match path {
        [listeners, _, group, key] if listeners == "listeners" => Some(vec![group.clone(), key.clone()]),
        _ => None,
    }
}
