//! Checks one source: unknown keys, wrong types, values out of range, unknown transports.
//!
//! Each source is checked before the sources are merged, so that an error is reported with its origin even if a later source
//! overrides the value. An invalid value is removed, and nothing that depends on it is checked.

use figment::error::Kind;
use figment::value::{Dict, Value};
use serde::Deserialize;
use switchboard::{Endpoint, Registry};

use super::coerce::placeholder;
use super::constraints::{message, violation};
use super::diagnostic::{Report, quoted, unknown};
use super::schemas::Schemas;
use super::section_kind::KINDS;
use super::sections::{ConfigFile, is_name};
use super::source::Source;
use super::tree::{self, Path, under};

/// Reports every error of a source and removes the invalid values from its tree.
pub(crate) fn validate(source: &mut Source, schemas: &Schemas<'_>, registry: &Registry, report: &mut Report) {
    reject_names(source, report);
    reject_keys_and_values(source, schemas, report);
    reject_transports(source, registry, report);
}

fn reject_names(source: &mut Source, report: &mut Report) {
    for section in ["listeners"].into_iter().chain(KINDS) {
        let section = tree::path(section);
        for name in tree::names(&source.tree, &section).into_iter().filter(|name| !is_name(name)) {
            let path = under(&section, &name);
            let what = format!(
                "{} is not a name; a name is a lower-case letter, then lower-case letters, digits, \"_\" and \"-\"",
                quoted(&name)
            );
            report.add(&path, what, source.origin(&path));
            tree::remove(&mut source.tree, &path, tree::table());
        }
    }
}

fn reject_keys_and_values(source: &mut Source, schemas: &Schemas<'_>, report: &mut Report) {
    let mut dict = std::mem::take(&mut source.tree);
    let check = |dict: &Dict| match read(dict) {
        Ok(_) => violation(dict, schemas).map_or(Ok(()), Err),
        Err((path, kind)) => {
            let is_unknown = matches!(kind, Kind::UnknownField(..));
            let what = message(dict, &path, kind, &schemas.expected(&path));
            let what = match &source.hint {
                // The hint is more precise than the nearest name.
                Some(hint) if is_unknown => format!("is not a known key; did you mean {hint}?"),
                Some(hint) => format!("{what}; did you mean {hint}?"),
                None => what,
            };
            Err((path, what))
        }
    };
    for (path, what) in tree::every_error(&mut dict, check, |path| placeholder(&schemas.expected(path))) {
        report.add(&path, what, source.origin(&path));
    }
    source.tree = dict;
}

/// Deserializes a tree, or returns the first error.
pub(crate) fn read(dict: &Dict) -> Result<ConfigFile, (Path, Kind)> {
    ConfigFile::deserialize(&Value::from(dict.clone())).map_err(|error| (error.path, error.kind))
}

fn reject_transports(source: &mut Source, registry: &Registry, report: &mut Report) {
    for name in tree::names(&source.tree, &tree::path("listeners")) {
        let path = ["listeners".to_owned(), name, "listen".to_owned()];
        let Some(text) = tree::get_text(&source.tree, &path) else { continue };
        let Ok(endpoint) = text.parse::<Endpoint>() else { continue };
        let scheme = endpoint.scheme();
        if registry.transport_kind(scheme).is_none() {
            let known: Vec<_> = registry.transports().map(|known| known.scheme).collect();
            let what = unknown(&format!("{} has an unknown transport", quoted(text)), scheme, known);
            report.add(&path, what, source.origin(&path));
            tree::remove(&mut source.tree, &path, tree::table());
        }
    }
}
