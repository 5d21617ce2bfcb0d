//! Checks the options of handlers, layers and framings: of each source alone, so that an error is reported with its origin
//! even if a later source overrides the value, and of the merged sources.

use figment::value::Dict;
use switchboard::Registry;

use super::merged::Merged;
use super::option_check::OptionCheck;
use super::report::Report;
use super::schemas::Schemas;
use super::section_kind::{KINDS, SectionKind};
use super::source::Source;
use super::tree::{self, Path, under};

/// Reports every error of the options: of each source, then of the merged options.
pub(crate) fn validate(
    sources: &[Source],
    merged: &Merged,
    schemas: &Schemas<'_>,
    registry: &Registry,
    report: &mut Report,
) {
    for at in sections(merged) {
        let name = tree::get_text(&merged.tree, &at);
        let kind = SectionKind::of(&at).zip(name.or_else(|| schemas.type_of(&at)));
        let Some(entry) = kind.and_then(|((kind, _), name)| kind.entry(registry, name)) else { continue };
        if report.is_invalid(&under(&at, "type")) {
            continue;
        }
        let check = OptionCheck { at: &at, entry };
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
            check.errors(together, |path, what| {
                if tree::get(&own, path).is_some() {
                    let key = [&at[..], path].concat();
                    report.add(&key, what, source.origin(&key));
                }
            });
        }
        check.errors(all, |path, what| {
            let key = [&at[..], path].concat();
            // Errors of a single source are already reported.
            if !report.is_invalid(&key) {
                let origin = merged.origin(&key);
                report.add(&key, what, origin);
            }
        });
    }
}

/// The path of every handler, layer and framing.
fn sections(merged: &Merged) -> Vec<Path> {
    let names = |table: &str| {
        let table = tree::path(table);
        tree::names(&merged.tree, &table).into_iter().map(move |name| under(&table, &name))
    };
    let framings = names("listeners").map(|listener| under(&listener, "framing"));
    KINDS.into_iter().flat_map(names).chain(framings).collect()
}

/// The options of a section in a tree.
fn options(dict: &Dict, at: &[String]) -> Dict {
    let mut options = tree::get_table(dict, at).cloned().unwrap_or_default();
    options.remove("type");
    options
}
