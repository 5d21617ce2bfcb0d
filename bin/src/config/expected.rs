//! Finds the schema of a key: in the schema of the configuration file, or in the options of a handler or layer.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use figment::value::Dict;
use serde_json::{Value as Json, json};
use switchboard::Registry;
use switchboard::registry::EntryInfo;

use super::sections::ConfigFile;
use super::tree;
use super::tree::Path;

/// The schema of the file, without the options of handlers and layers.
pub(crate) fn file_schema() -> &'static Json {
    static SCHEMA: LazyLock<Json> = LazyLock::new(|| without_null(schemars::schema_for!(ConfigFile).to_value()));
    &SCHEMA
}

/// Removes null from a schema: a configuration omits a key instead.
pub(crate) fn without_null(mut schema: Json) -> Json {
    if let Some(map) = schema.as_object_mut() {
        if map.get("default") == Some(&Json::Null) {
            map.shift_remove("default");
        }
        if let Some(Json::Array(types)) = map.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = &types[..] {
                map["type"] = only.clone();
            }
        }
        if let Some(Json::Array(forms)) = map.get_mut("anyOf") {
            forms.retain(|form| *form != json!({ "type": "null" }));
            if let [Json::Object(only)] = &forms[..] {
                let only = only.clone();
                map.shift_remove("anyOf");
                map.extend(only);
            }
        }
    }
    match &mut schema {
        Json::Object(map) => map.values_mut().for_each(|inner| *inner = without_null(inner.take())),
        Json::Array(items) => items.iter_mut().for_each(|inner| *inner = without_null(inner.take())),
        _ => {}
    }
    schema
}

/// Whether a change of a key takes effect only after a restart (`x-restart` in the schema).
pub(crate) fn needs_restart(path: &[String]) -> bool {
    Expected::at(file_schema(), path).forms().any(|form| form.get("x-restart") == Some(&Json::Bool(true)))
}

/// The keys that a listener shares with the top level. Sections: defaults for all listeners. Others: short forms for
/// main.
pub(crate) struct SharedKeys {
    pub(crate) sections: Vec<String>,
    pub(crate) short_forms: Vec<String>,
}

pub(crate) fn shared_keys() -> &'static SharedKeys {
    static KEYS: LazyLock<SharedKeys> = LazyLock::new(|| {
        let top = Expected::of(file_schema(), file_schema());
        let listener = top.child("listeners").child("main").keys();
        let shared = top.keys().into_iter().filter(|key| listener.contains(key) && !KINDS.contains(&key.as_str()));
        let (short_forms, sections) = shared.partition(|key| top.child(key).is_value());
        SharedKeys { sections, short_forms }
    });
    &KEYS
}

/// The path of a key without short forms.
pub(crate) fn full_path(path: &[String]) -> Path {
    match path.first() {
        Some(first) if shared_keys().short_forms.contains(first) => [&tree::path("listeners.main")[..], path].concat(),
        _ => path.to_vec(),
    }
}

/// The schema of every key, including the options of handlers and layers.
pub(crate) struct Schemas<'r> {
    registry: &'r Registry,
    /// The type of each section that sets one: `handlers.greeter` is a `hello`.
    types: BTreeMap<Path, String>,
}

impl<'r> Schemas<'r> {
    pub(crate) fn new(registry: &'r Registry) -> Self {
        Self { registry, types: BTreeMap::new() }
    }

    /// Stores the types of the sections in a source. A later source replaces the types of an earlier one.
    pub(crate) fn note_types(&mut self, source: &Dict) {
        for (path, value) in tree::leaves(source) {
            let path = full_path(&path);
            if let (Some((_, section)), Some(name)) = (SectionKind::of(&path), value.as_str())
                && path[section.len()..] == ["type"]
            {
                self.types.insert(section.to_vec(), name.to_owned());
            }
        }
    }

    /// The type of a section; by default the name of a handler or layer.
    pub(crate) fn type_of<'a>(&'a self, section: &'a [String]) -> Option<&'a str> {
        let default = || section.last().filter(|_| section.len() == 2);
        self.types.get(section).or_else(default).map(String::as_str)
    }

    /// Whether the value at `path` is a secret: its schema, or that of an enclosing table, has the mark `x-secret`.
    pub(crate) fn is_secret(&self, path: &[String]) -> bool {
        (1..=path.len()).any(|end| self.expected(&path[..end]).is_secret())
    }

    pub(crate) fn options(&self, section: &[String]) -> Option<&'r Json> {
        let (kind, _) = SectionKind::of(section)?;
        kind.entry(self.registry, self.type_of(section)?).map(EntryInfo::options)
    }

    /// The schemas of all keys: of the file, and of the options of every handler, layer and framing.
    pub(crate) fn every(&self) -> impl Iterator<Item = &Json> {
        let kinds = [SectionKind::Handler, SectionKind::Layer, SectionKind::Framing];
        let options = kinds.into_iter().flat_map(|kind| kind.entries(self.registry)).map(EntryInfo::options);
        std::iter::once(file_schema()).chain(options)
    }

    /// What the key at `path` accepts; empty for an unknown key.
    pub(crate) fn expected(&self, path: &[String]) -> Expected<'_> {
        let own = || Expected::at(file_schema(), path);
        let Some((_, section)) = SectionKind::of(path) else { return own() };
        match (&path[section.len()..], self.options(section)) {
            // A section accepts its type and the options.
            ([], Some(options)) => Expected([own().0, Expected::at(options, &[]).0].concat()),
            ([key, ..], _) if key == "type" => own(),
            (rest, Some(options)) => Expected::at(options, rest),
            (_, None) => own(),
        }
    }
}

/// The alternatives that a schema accepts for one key, each with the document that its references point into.
#[derive(Default)]
pub(crate) struct Expected<'s>(Vec<(&'s Json, &'s Json)>);

impl<'s> Expected<'s> {
    pub(crate) fn of(root: &'s Json, schema: &'s Json) -> Self {
        let mut forms = Vec::new();
        unfold(root, schema, 0, &mut forms);
        Self(forms)
    }

    pub(crate) fn at(root: &'s Json, path: &[String]) -> Self {
        path.iter().fold(Self::of(root, root), |expected, key| expected.child(key))
    }

    /// Whether the key accepts something other than a table.
    pub(crate) fn is_value(&self) -> bool {
        ["string", "integer", "number", "boolean", "array"].iter().any(|kind| self.accepts(kind))
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.forms().any(|form| form.get("x-secret") == Some(&Json::Bool(true)))
    }

    pub(crate) fn accepts(&self, kind: &str) -> bool {
        self.forms().any(|form| accepts(form, kind))
    }

    pub(crate) fn forms(&self) -> impl Iterator<Item = &'s Json> {
        self.0.iter().map(|(_, form)| *form)
    }

    /// What a key of this table, or an item of this list, accepts.
    pub(crate) fn child(&self, key: &str) -> Expected<'s> {
        let mut forms = Vec::new();
        let is_index = key.parse::<usize>().is_ok();
        for (root, form) in &self.0 {
            let named = form.get("properties").and_then(|properties| properties.get(key));
            let other = || form.get("additionalProperties").filter(|more| **more != Json::Bool(false));
            let item = || form.get("items").filter(|_| is_index);
            if let Some(child) = named.or_else(other).or_else(item) {
                unfold(root, child, 0, &mut forms);
            }
        }
        Self(forms)
    }

    /// The keys of a table in the order of their declaration; empty for a table of names.
    pub(crate) fn keys(&self) -> Vec<String> {
        let properties = self.forms().filter_map(|form| form.get("properties")?.as_object());
        properties.flat_map(|properties| properties.keys().cloned()).collect()
    }

    /// The values that an enumeration accepts; `None` if another value is possible.
    pub(crate) fn constants(&self) -> Option<Vec<&'s Json>> {
        let mut found = Vec::new();
        for form in self.forms() {
            let before = found.len();
            found.extend(listed(form));
            if found.len() == before && form.get("type").is_some() {
                return None;
            }
        }
        Some(found).filter(|found| !found.is_empty())
    }
}

pub(crate) fn listed(form: &Json) -> impl Iterator<Item = &Json> {
    form.get("enum").and_then(Json::as_array).into_iter().flatten().chain(form.get("const"))
}

/// Every form that a schema accepts, through references and alternatives.
fn unfold<'s>(root: &'s Json, schema: &'s Json, depth: usize, forms: &mut Vec<(&'s Json, &'s Json)>) {
    /// Nesting of references in a schema that is followed: a schema can refer to itself.
    const DEEPEST: usize = 16;
    if depth > DEEPEST {
        return;
    }
    forms.push((root, schema));
    let target = schema.get("$ref").and_then(Json::as_str).and_then(|target| target.strip_prefix('#'));
    if let Some(target) = target.and_then(|pointer| root.pointer(pointer)) {
        unfold(root, target, depth + 1, forms);
    }
    for alternatives in ["anyOf", "oneOf", "allOf"] {
        for alternative in schema.get(alternatives).and_then(Json::as_array).into_iter().flatten() {
            unfold(root, alternative, depth + 1, forms);
        }
    }
}

fn accepts(form: &Json, kind: &str) -> bool {
    match form.get("type") {
        Some(Json::String(name)) => name == kind,
        Some(Json::Array(names)) => names.iter().any(|name| name == kind),
        // Without a type, the constants have one.
        _ => kind == "string" && listed(form).any(Json::is_string),
    }
}

/// The tables of named sections.
pub(crate) const KINDS: [&str; 2] = ["handlers", "layers"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SectionKind {
    Handler,
    Layer,
    /// `listeners.NAME.framing`
    Framing,
}

impl SectionKind {
    /// The kind of the section that contains a key, and the path of the section.
    pub(crate) fn of(path: &[String]) -> Option<(Self, &[String])> {
        match path {
            [table, _, ..] if table == "handlers" => Some((Self::Handler, &path[..2])),
            [table, _, ..] if table == "layers" => Some((Self::Layer, &path[..2])),
            [table, _, key, ..] if table == "listeners" && key == "framing" => Some((Self::Framing, &path[..3])),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Handler => "a handler",
            Self::Layer => "a layer",
            Self::Framing => "a framing",
        }
    }

    pub(crate) fn entry<'r>(self, registry: &'r Registry, name: &str) -> Option<&'r EntryInfo> {
        match self {
            Self::Handler => registry.handler_entry(name).map(|entry| entry.info()),
            Self::Layer => registry.layer_entry(name).map(|entry| entry.info()),
            Self::Framing => registry.framing_entry(name).map(|entry| entry.info()),
        }
    }

    pub(crate) fn entries(self, registry: &Registry) -> Vec<&EntryInfo> {
        match self {
            Self::Handler => registry.handlers().map(|entry| entry.info()).collect(),
            Self::Layer => registry.layers().map(|entry| entry.info()).collect(),
            Self::Framing => registry.framings().map(|entry| entry.info()).collect(),
        }
    }
}
