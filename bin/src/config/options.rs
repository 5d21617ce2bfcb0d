//! Checks the options of handlers, layers and framings: of each source alone, so that an error is reported with its
//! origin even if a later source overrides the value, and of the merged sources.

use figment::value::Dict;
use switchboard::Registry;
use switchboard::framing::AnyFraming;
use switchboard::registry::EntryInfo;

use super::coerce::{placeholder, read_table};
use super::diagnostic::{Report, quoted, unknown};
use super::expected::{Expected, KINDS, Schemas, SectionKind};
use super::source::{Merged, Source};
use super::tree::{self, Path, under};
use super::validate::{hide, mismatch};

/// Reports every error of the options: of each source, then of the merged options.
pub(crate) fn validate(
    sources: &[Source],
    merged: &Merged,
    schemas: &Schemas<'_>,
    registry: &Registry,
    report: &mut Report,
) {
    let names = |table: &str| {
        let table = tree::path(table);
        tree::names(&merged.tree, &table).into_iter().map(move |name| under(&table, &name))
    };
    let framings = names("listeners").map(|listener| under(&listener, "framing"));
    for at in KINDS.into_iter().flat_map(names).chain(framings) {
        let name = tree::get_text(&merged.tree, &at);
        let kind = SectionKind::of(&at).zip(name.or_else(|| schemas.type_of(&at)));
        let Some(entry) = kind.and_then(|((kind, _), name)| kind.entry(registry, name)) else { continue };
        if report.is_invalid(&under(&at, "type")) {
            continue;
        }
        let all = options(&merged.tree, &at);
        // A framing that is only a name overrides the table of an earlier source.
        for source in sources.iter().filter(|_| name.is_none()) {
            let own = options(&source.tree, &at);
            if own.is_empty() {
                continue;
            }
            // A source may omit an option that another source sets: its values are checked together with the others.
            let mut together = all.clone();
            for (path, value) in tree::leaves(&own) {
                tree::insert(&mut together, &path, value.clone());
            }
            for (path, what) in errors(entry, together) {
                if tree::get(&own, &path).is_some() {
                    let key = [&at[..], &path].concat();
                    report.add(&key, what, source.origin(&key));
                }
            }
        }
        for (path, what) in errors(entry, all) {
            let key = [&at[..], &path].concat();
            // Errors of a single source are already reported.
            if !report.is_invalid(&key) {
                report.add(&key, what, merged.origin(&key));
            }
        }
    }
}

fn options(dict: &Dict, at: &[String]) -> Dict {
    let mut options = tree::get_table(dict, at).cloned().unwrap_or_default();
    options.remove("type");
    options
}

/// Builds a framing from the text of an option: a name, or a table such as `{ type = "length", width = 2 }`.
pub(crate) fn read_framing(text: &str, registry: &Registry) -> Result<AnyFraming, String> {
    let mut options = if text.trim_start().starts_with('{') {
        let table = read_table(text).and_then(|table| table.into_dict());
        // The table may contain a secret.
        table.ok_or("the text (not shown) is not a table; write it like { type = \"length\", width = 2 }")?
    } else {
        Dict::from([("type".to_owned(), text.into())])
    };
    let name = options.remove("type").and_then(|name| name.into_string()).unwrap_or_default();
    let names: Vec<_> = registry.framings().map(|entry| entry.name()).collect();
    let entry = registry.framing_entry(&name);
    let entry = entry.ok_or_else(|| format!("{} {}", quoted(&name), unknown("is not a framing", &name, names)))?;
    let errors = errors(entry.info(), options.clone()).into_iter();
    let errors: Vec<_> = errors.map(|(path, what)| format!("{}: {what}", tree::dotted(&path))).collect();
    if errors.is_empty() {
        entry.build(tree::to_json(&options.into())).map_err(|error| error.to_string())
    } else {
        Err(errors.join("; "))
    }
}

/// Every error of the options of a section. A type checks its own options and returns the first error.
fn errors(entry: &EntryInfo, mut options: Dict) -> Vec<(Path, String)> {
    let check = |options: &Dict| {
        entry.check_options(&tree::to_json(&options.clone().into())).map_err(|error| {
            let missing = missing(&error.message).map(|key| under(&error.path, key));
            let path = missing.unwrap_or(error.path);
            let what = message(entry, options, &path, &error.message);
            (path, what)
        })
    };
    tree::every_error(&mut options, check, |path| placeholder(&Expected::at(entry.options(), path)))
}

fn message(entry: &EntryInfo, options: &Dict, path: &[String], message: &str) -> String {
    let expected = |path| Expected::at(entry.options(), path);
    if let (true, Some((last, table))) = (message.starts_with("unknown field"), path.split_last()) {
        let mut known = expected(table).keys();
        if table.is_empty() {
            known.insert(0, "type".to_owned());
        }
        let what = format!("is not an option of {}", entry.name());
        return unknown(&what, last, known.iter().map(String::as_str));
    }
    if missing(message).is_some() {
        return format!("is required by {}", entry.name());
    }
    let is_secret = (0..=path.len()).any(|end| expected(&path[..end]).is_secret());
    let value = tree::get(options, path).map(tree::to_json);
    let parts = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    match (parts.and_then(|parts| parts.rsplit_once(", expected ")), &value) {
        (Some((_, name)), Some(value)) => mismatch(value, name, &expected(path), is_secret),
        (None, Some(value)) if message.starts_with("unknown variant") => {
            mismatch(value, "", &expected(path), is_secret)
        }
        // The text of serde names the type of the programmer.
        _ if message.starts_with("data did not match any variant") => "is none of the accepted forms".to_owned(),
        _ => hide(message.to_owned(), is_secret),
    }
}

fn missing(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}
