//! Variables of the environment and flags: each sets one key.

use std::ffi::{OsStr, OsString};

use figment::value::Dict;

use super::coerce::{coerce, read_table};
use super::diagnostic::Report;
use super::expected::{KINDS, Schemas, full_path};
use super::hidden;
use super::origin::Origin;
use super::source::Source;
use super::source_text::{Mark, SourceText};
use super::tree::{self, Path};

/// The start of the origin of a variable.
const VARIABLE: &str = "environment variable ";
/// The prefix of our variables.
const PREFIX: &str = "SWITCHBOARD_";
/// Maximum number of levels of a key in a variable or flag. The readers of files have limits of their own.
pub(super) const MAX_LEVELS: usize = 32;

#[derive(Debug)]
pub(crate) struct Override {
    pub(crate) path: Path,
    pub(crate) text: String,
    origin: String,
    hint: Option<String>,
}

impl Override {
    pub(crate) fn flag(name: &str, key: &str, text: &str) -> Self {
        Self { path: tree::path(key), text: text.to_owned(), origin: format!("flag {name}"), hint: None }
    }

    /// The variable or flag, without a long name.
    pub(crate) fn origin(&self) -> String {
        self.origin.chars().take(80).collect()
    }

    /// The value as a tree. It is a table (`{ type = "length", width = 2 }`) or text.
    pub(crate) fn raw_tree(&self) -> Dict {
        let mut tree = Dict::new();
        tree::insert(&mut tree, &self.path, read_table(&self.text).unwrap_or_else(|| self.text.as_str().into()));
        tree
    }

    pub(crate) fn source(self, schemas: &Schemas<'_>) -> Source {
        let path = full_path(&self.path);
        let mut tree = Dict::new();
        tree::insert(&mut tree, &path, coerce(&schemas.expected(&path), &self.text));
        let is_hidden = self.hint.is_some() || hidden::is_hidden_text(&path, &self.text, schemas);
        let text = self.shown(is_hidden);
        let mut source = Source::plain(tree, self.origin);
        source.hint = self.hint;
        if path != self.path {
            (source.shorts, source.declares) = (vec![self.path], Vec::new());
        }
        source.with_text(text)
    }

    /// `NAME=value`, `--listen value` or `--set key=value`, as error messages show it.
    fn shown(&self, is_hidden: bool) -> (SourceText, Mark) {
        let (name, separator) = match self.origin.strip_prefix("flag ") {
            Some(flag) if flag.starts_with("--set ") => (flag, "="),
            Some(flag) => (flag, " "),
            None => (self.origin.trim_start_matches(VARIABLE), "="),
        };
        SourceText::assignment(name, separator, &self.text, is_hidden)
    }
}

/// Our variables. The names in the file decide how a name is spelled: a variable cannot contain `-`.
pub(crate) fn variables(
    all: &[(OsString, OsString)],
    schemas: &Schemas<'_>,
    file: &Dict,
    report: &mut Report,
) -> Vec<Override> {
    let names = |path: &[String]| match path {
        [section] if section == "listeners" || KINDS.contains(&section.as_str()) => tree::names(file, path),
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    // An empty variable counts as not set.
    for (variable, text) in all.iter().filter(|(_, text)| !text.is_empty()) {
        let Some(variable) = variable.to_str() else { continue };
        let Some(rest) = variable.strip_prefix(PREFIX).filter(|rest| *rest != "CONFIG") else { continue };
        // One level too many is enough to reject the key.
        let path = spell(schemas, &rest.split("__").take(MAX_LEVELS + 1).collect::<Vec<_>>(), names);
        let expected = schemas.expected(&path);
        // A list has no blank item, so a blank text is an empty variable too.
        let is_blank = text.to_str().is_some_and(|text| text.trim().is_empty());
        let is_unset = is_blank && expected.accepts("array") && !expected.accepts("string");
        if is_unset || (!expected.is_value() && is_kubernetes(rest, text)) {
            continue;
        }
        let origin = format!("{VARIABLE}{variable}");
        let Some(text) = text.to_str() else {
            report.add(&path, "is not UTF-8 text", Origin::new(origin));
            continue;
        };
        let meant = if schemas.expected(&path).is_value() { None } else { guess(schemas, rest) };
        let hint = meant.map(|path| format!("{PREFIX}{}", path.join("__").to_ascii_uppercase().replace('-', "_")));
        found.push(Override { path, text: text.to_owned(), origin, hint });
    }
    found.sort_by(|a, b| a.origin.cmp(&b.origin));
    found
}

pub(crate) fn named_file(all: &[(OsString, OsString)]) -> Option<&OsStr> {
    let named = all.iter().find(|(variable, _)| variable.to_str() == Some("SWITCHBOARD_CONFIG"));
    named.map(|(_, file)| file.as_os_str()).filter(|file| !file.is_empty())
}

/// Whether Kubernetes sets such a variable for a service whose name begins with `switchboard`:
/// `SWITCHBOARD_ADMIN_SERVICE_HOST`, `SWITCHBOARD_SERVICE_PORT_HTTP`, `SWITCHBOARD_PORT_9999_TCP_ADDR` … See
/// "Discovering services" in the documentation of Kubernetes. A service name does not end in a dash, so `X__PORT` is a
/// key.
fn is_kubernetes(rest: &str, text: &OsStr) -> bool {
    // What follows the name of the service. The name can contain each of these words, too.
    let words = ["SERVICE_HOST", "SERVICE_PORT", "PORT"].into_iter();
    let mut ends = words.flat_map(|word| rest.match_indices(word)).filter_map(|(at, word)| {
        let (service, end) = (&rest[..at], &rest[at + word.len()..]);
        let service = service.is_empty() || service.strip_suffix('_').is_some_and(|name| !name.ends_with('_'));
        service.then_some((word, end))
    });
    ends.any(|(word, end)| match (word, end) {
        ("SERVICE_HOST" | "SERVICE_PORT", "") => true,
        ("SERVICE_PORT", name) => name.strip_prefix('_').is_some_and(is_port_name),
        // The value is tcp://10.0.0.1:9999. Any other value was meant for a key.
        ("PORT", "") => text.to_str().is_some_and(|text| text.contains("://")),
        ("PORT", end) => is_port(end),
        _ => false,
    })
}

fn is_port_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('_') && !name.ends_with('_') && !name.contains("__")
}

/// `_9999_TCP`, or `_9999_TCP_` and a property.
fn is_port(text: &str) -> bool {
    let mut parts = text.split('_').skip(1);
    let number = parts.next().is_some_and(|number| number.parse::<u16>().is_ok());
    let protocol = parts.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol));
    let property = parts.next().is_none_or(|property| ["PROTO", "PORT", "ADDR"].contains(&property));
    text.starts_with('_') && number && protocol && property && parts.next().is_none()
}

/// The path that the parts of a variable's name mean: `MY_LISTENER` can be `my-listener`.
fn spell(schemas: &Schemas<'_>, parts: &[&str], names: impl Fn(&[String]) -> Vec<String>) -> Path {
    let fold = |key: &str| key.to_ascii_lowercase().replace('-', "_");
    let mut path = Path::new();
    for part in parts {
        let lower = part.to_ascii_lowercase();
        let mut known = schemas.expected(&path).keys();
        known.extend(names(&path));
        let is_known = known.contains(&lower);
        let similar = known.into_iter().find(|known| !is_known && fold(known) == fold(&lower));
        path.push(similar.unwrap_or(lower));
    }
    path
}

/// A known key for a name with the wrong separators: `["log", "level"]` for `LOG_LEVEL`.
fn guess(schemas: &Schemas<'_>, name: &str) -> Option<Path> {
    fn walk(schemas: &Schemas<'_>, at: &mut Path, words: &[&str]) -> bool {
        if words.is_empty() {
            return schemas.expected(at).is_value();
        }
        (1..=words.len()).any(|count| {
            at.push(words[..count].join("_").to_ascii_lowercase());
            let found = schemas.expected(at).forms().next().is_some() && walk(schemas, at, &words[count..]);
            if !found {
                at.pop();
            }
            found
        })
    }
    let words: Vec<&str> = name.split('_').filter(|word| !word.is_empty()).collect();
    let mut path = Path::new();
    ((1..=MAX_LEVELS).contains(&words.len()) && walk(schemas, &mut path, &words)).then_some(path)
}
