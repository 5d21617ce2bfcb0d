//! Gives a text from a variable or a flag the type that its key wants, and knows which keys there are.
//!
//! The JSON schema of the configuration decides, and for the options of a handler or layer the schema that its registry
//! entry brought. So `007` stays a text where a text is wanted, and is the number 7 where a number is. It judges nothing: a
//! text that fits no wanted type stays a text, and reading it says what is wrong.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use figment::value::{Tag, Value};
use serde_json::Value as Json;
use switchboard::Registry;

use super::entry::{Entry, KINDS};
use super::raw::Raw;
use super::tree::{self, Path};

/// The schemas of every key: those of the house, and those of the options of handlers and layers.
pub(crate) struct Schemas<'r> {
    raw: &'static Json,
    registry: &'r Registry,
    /// The type of each section that says one: `("handlers", "greeter")` is a `hello`.
    types: BTreeMap<(String, String), String>,
}

/// What the schema says about one key: every form that it may take.
#[derive(Default)]
pub(crate) struct ExpectedType<'s>(Vec<(&'s Json, &'s Json)>);

impl<'r> Schemas<'r> {
    /// The schemas of this build. No section has said its type yet.
    pub(crate) fn new(registry: &'r Registry) -> Self {
        // Long to make, and the same for every configuration.
        static RAW: LazyLock<Json> = LazyLock::new(|| schemars::schema_for!(Raw).to_value());
        Self { raw: &RAW, registry, types: BTreeMap::new() }
    }

    /// Takes note of a section's type, if `path` is that of one. What is said later counts.
    pub(crate) fn note_type(&mut self, path: &[String], kind: &str) {
        if let [section, name, key] = path
            && KINDS.contains(&section.as_str())
            && key == "type"
        {
            self.types.insert((section.clone(), name.clone()), kind.to_owned());
        }
    }

    /// The type of a section: what was said, or else its name.
    pub(crate) fn type_of<'a>(&'a self, section: &str, name: &'a str) -> &'a str {
        self.types.get(&(section.to_owned(), name.to_owned())).map_or(name, String::as_str)
    }

    /// The schema of the options of a section, if its type is registered.
    pub(crate) fn options(&self, section: &str, name: &str) -> Option<&Json> {
        Entry::of(self.registry, section, self.type_of(section, name)).map(Entry::options)
    }

    /// What the key at `path` wants; nothing if there is no such key.
    pub(crate) fn expected_type(&self, path: &[String]) -> ExpectedType<'_> {
        let walk = |root, path: &[String]| {
            path.iter().fold(ExpectedType::of(root, root), |expected_type, key| expected_type.child(key))
        };
        let options = match path {
            [section, name, rest @ ..] if rest.first().is_none_or(|key| key != "type") => self.options(section, name),
            _ => None,
        };
        match options {
            // The section itself takes its type and the options.
            Some(options) if path.len() == 2 => ExpectedType([walk(self.raw, path).0, walk(options, &[]).0].concat()),
            Some(options) => walk(options, &path[2..]),
            None => walk(self.raw, path),
        }
    }

    /// The path that a variable's name means: its parts in the spelling that the keys have (`MY_LISTENER` may be
    /// `my-listener`). `names` are the names that a table of names has already.
    pub(crate) fn spell(&self, parts: &[&str], names: impl Fn(&[String]) -> Vec<String>) -> Path {
        let mut path = Path::new();
        for part in parts {
            let lower = part.to_ascii_lowercase();
            let mut known = self.expected_type(&path).keys();
            known.extend(names(&path));
            let exact = known.contains(&lower);
            let similar = known.into_iter().find(|known| !exact && fold(known) == fold(&lower));
            path.push(similar.unwrap_or(lower));
        }
        path
    }

    /// A known key for a name that was split in the wrong places: `["log", "level"]` for `LOG_LEVEL`.
    pub(crate) fn guess(&self, name: &str) -> Option<Path> {
        fn walk(schemas: &Schemas<'_>, at: &mut Path, words: &[&str]) -> bool {
            if words.is_empty() {
                return schemas.expected_type(at).is_value();
            }
            (1..=words.len()).any(|count| {
                let key = words[..count].join("_").to_ascii_lowercase();
                at.push(key);
                let found = !schemas.expected_type(at).is_empty() && walk(schemas, at, &words[count..]);
                if !found {
                    at.pop();
                }
                found
            })
        }
        let words: Vec<&str> = name.split('_').filter(|word| !word.is_empty()).collect();
        let mut path = Path::new();
        (!words.is_empty() && walk(self, &mut path, &words)).then_some(path)
    }

    /// A text as the key at `path` wants it.
    pub(crate) fn read(&self, path: &[String], text: &str) -> Value {
        self.expected_type(path).read(text)
    }

    /// Something of the right type for the key at `path`, to take the place of what is wrong there.
    pub(crate) fn placeholder(&self, path: &[String]) -> Value {
        self.expected_type(path).placeholder()
    }
}

impl<'s> ExpectedType<'s> {
    fn of(root: &'s Json, schema: &'s Json) -> Self {
        let mut forms = Vec::new();
        unfold(root, schema, 0, &mut forms);
        Self(forms)
    }

    /// Whether there is no such key.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the key takes a table.
    pub(crate) fn is_table(&self) -> bool {
        self.takes("object")
    }

    /// Whether the key takes something that is no table.
    pub(crate) fn is_value(&self) -> bool {
        ["string", "integer", "number", "boolean", "array"].iter().any(|kind| self.takes(kind))
    }

    fn child(&self, key: &str) -> ExpectedType<'s> {
        let mut forms = Vec::new();
        for (root, form) in &self.0 {
            let index = key.parse::<usize>().ok();
            let child = form
                .get("properties")
                .and_then(|properties| properties.get(key))
                .or_else(|| {
                    form.get("additionalProperties").filter(|more| more.is_object() || **more == Json::Bool(true))
                })
                .or_else(|| index.and_then(|_| form.get("items")));
            if let Some(child) = child {
                unfold(root, child, 0, &mut forms);
            }
        }
        Self(forms)
    }

    /// The keys of the table that is wanted here; none for a table of names.
    pub(crate) fn keys(&self) -> Vec<String> {
        let properties = self.0.iter().filter_map(|(_, form)| form.get("properties")?.as_object());
        properties.flat_map(|properties| properties.keys().cloned()).collect()
    }

    fn takes(&self, kind: &str) -> bool {
        self.0.iter().any(|(_, form)| takes(form, kind))
    }

    fn read(&self, text: &str) -> Value {
        let table = || self.takes("object").then(|| read_table(text)).flatten();
        let list = || {
            let items = self.child("0");
            let split = || text.split(',').map(|item| items.read(item.trim())).collect();
            self.takes("array")
                .then(|| Value::Array(Tag::Default, if text.trim().is_empty() { Vec::new() } else { split() }))
        };
        let number = || {
            let whole = || text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok();
            let float = || text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from);
            let takes_float = self.takes("number");
            (takes_float || self.takes("integer")).then(whole).flatten().or_else(|| takes_float.then(float).flatten())
        };
        let truth = || self.takes("boolean").then(|| text.parse::<bool>().ok().map(Value::from)).flatten();
        if self.takes("string") {
            return table().unwrap_or_else(|| Value::from(text));
        }
        table().or_else(number).or_else(truth).or_else(list).unwrap_or_else(|| Value::from(text))
    }

    fn placeholder(&self) -> Value {
        let default = self.0.iter().find_map(|(_, form)| {
            let first = |key| form.get(key).and_then(|list| list.get(0));
            form.get("default").or_else(|| first("enum")).or_else(|| first("examples"))
        });
        match default {
            Some(default) => tree::from_json(default),
            None if self.takes("string") => Value::from(""),
            None if self.takes("integer") || self.takes("number") => {
                let least = self.0.iter().find_map(|(_, form)| form.get("minimum")?.as_i64());
                Value::from(least.unwrap_or_default())
            }
            None if self.takes("boolean") => Value::from(false),
            None if self.takes("array") => Value::Array(Tag::Default, Vec::new()),
            None => tree::table(),
        }
    }
}

/// A key without the differences that a variable's name cannot show.
fn fold(key: &str) -> String {
    key.to_ascii_lowercase().replace('-', "_")
}

/// Every form that a schema allows, through references and alternatives.
fn unfold<'s>(root: &'s Json, schema: &'s Json, depth: usize, forms: &mut Vec<(&'s Json, &'s Json)>) {
    // A schema may refer to itself; what nests deeper than this is no configuration.
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

fn takes(form: &Json, kind: &str) -> bool {
    match form.get("type") {
        Some(Json::String(name)) => name == kind,
        Some(Json::Array(names)) => names.iter().any(|name| name == kind),
        // Without a type the constants tell.
        _ => {
            let constants = form.get("enum").and_then(Json::as_array).into_iter().flatten().chain(form.get("const"));
            kind == "string" && constants.into_iter().any(Json::is_string)
        }
    }
}

/// `{ type = "length", width = 2 }`, as TOML or as JSON.
pub(crate) fn read_table(text: &str) -> Option<Value> {
    let text = text.trim();
    if !text.starts_with('{') {
        return None;
    }
    let json = serde_json::from_str::<Json>(text).ok();
    let json = json.or_else(|| toml::from_str::<Json>(&format!("it = {text}")).ok()?.get_mut("it").map(Json::take))?;
    json.is_object().then(|| tree::from_json(&json))
}

/// One option of a handler or layer, as its schema documents it.
#[derive(Debug)]
pub(crate) struct OptionDoc {
    /// The key.
    pub(crate) name: String,
    /// `text`, `whole number`, `list of text` …
    pub(crate) kind: String,
    /// What holds where nothing is said, if the schema tells.
    pub(crate) default: Option<Json>,
    /// Whether it must be given.
    pub(crate) required: bool,
    /// What it does.
    pub(crate) help: String,
}

/// The options that a schema documents, by name.
pub(crate) fn documented(schema: &Json) -> Vec<OptionDoc> {
    let required = |name: &str| {
        let names = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        names.into_iter().any(|required| required == name)
    };
    let properties = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
    let options = properties.map(|(name, option)| OptionDoc {
        name: name.clone(),
        kind: ExpectedType::of(schema, option).describe(),
        default: option.get("default").filter(|default| !default.is_null()).cloned(),
        required: required(name),
        help: option.get("description").and_then(Json::as_str).unwrap_or_default().replace('\n', " "),
    });
    options.collect()
}

impl ExpectedType<'_> {
    /// What is wanted, in a word or two.
    fn describe(&self) -> String {
        let words = self.0.iter().flat_map(|(_, form)| {
            let constants = form.get("enum").and_then(Json::as_array).into_iter().flatten().chain(form.get("const"));
            constants.filter_map(Json::as_str)
        });
        let words: Vec<&str> = words.collect();
        let list = || format!("list of {}", self.child("0").describe());
        let kinds = [
            ("string", if words.is_empty() { "text".to_owned() } else { words.join(" | ") }),
            ("integer", "whole number".to_owned()),
            ("number", "number".to_owned()),
            ("boolean", "true or false".to_owned()),
            ("object", "table".to_owned()),
        ];
        let mut found: Vec<String> =
            kinds.into_iter().filter(|(kind, _)| self.takes(kind)).map(|(_, word)| word).collect();
        if self.takes("array") {
            found.push(list());
        }
        if found.is_empty() { "anything".into() } else { found.join(" or ") }
    }
}
