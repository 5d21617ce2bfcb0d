//! Checks the complete tree and builds the configuration from it. Finds errors that involve several keys: unknown
//! names, a handler that does not fit its transport, two listeners with one address.

mod addresses;
mod bans;
pub(super) mod config;
mod fleet;
mod listener;
mod network;
mod recorder;

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::Dict;
use serde_json::Value as Json;
use switchboard::Registry;

pub(crate) use config::{Admin, Config, Section};

use config::Check;

use super::diagnostic::{Report, quoted, unknown};
use super::expected::Schemas;
use super::expected::SectionKind;
use super::print::Effective;
use super::source::Merged;
use super::tree::{self, under};
use super::validate::message;
use super::validate::read;

/// Checks the tree. `None` only if an error is reported.
pub(crate) fn check(
    whole: Dict,
    merged: Merged,
    schemas: &Schemas<'_>,
    registry: &Registry,
    report: &mut Report,
    path: Option<PathBuf>,
) -> Option<Config> {
    let file = match read(&whole) {
        Ok(file) => file,
        Err((path, kind)) => {
            let what = message(&whole, &path, kind, schemas);
            report.add(&path, what, merged.origin(&path));
            return None;
        }
    };
    let mut check = Check { file: &file, merged: &merged, registry, report };
    let handlers = check.sections("handlers", schemas);
    let layers = check.sections("layers", schemas);
    let listeners = file.listeners.iter();
    let listeners = listeners.filter_map(|(name, one)| Some((name.clone(), check.listener(name, one)?))).collect();
    check.addresses();
    let admin = check.admin();
    let bans = check.bans();
    let fleet = check.fleet();
    let recorder = check.recorder();
    let effective = Effective::new(whole, merged, schemas);
    let (drain, workers, log) = (file.drain, file.runtime.workers, file.log);
    Some(Config {
        log,
        admin,
        drain,
        workers,
        bans,
        fleet,
        recorder,
        listeners,
        handlers,
        layers,
        effective,
        file: path,
    })
}

impl Check<'_> {
    /// The sections of handlers or layers. An unknown type is an error, even if no listener uses the section.
    fn sections(&mut self, section: &str, schemas: &Schemas<'_>) -> BTreeMap<String, Section> {
        let (all, section_kind) = match section {
            "handlers" => (&self.file.handlers, SectionKind::Handler),
            _ => (&self.file.layers, SectionKind::Layer),
        };
        let what = section_kind.name();
        let known: Vec<&str> = section_kind.entries(self.registry).iter().map(|entry| entry.name()).collect();
        let mut found = BTreeMap::new();
        for (name, settings) in all {
            let at = [section.to_owned(), name.clone()];
            let key = under(&at, "type");
            let kind = schemas.type_of(&at).unwrap_or(name);
            if self.report.is_invalid(&key) {
                continue;
            }
            if known.contains(&kind) {
                let options = Json::Object(settings.options.clone());
                let is_valid = !self.report.is_invalid(&at);
                found.insert(name.clone(), Section { kind: kind.to_owned(), options, is_valid });
            } else if tree::get(&self.merged.tree, &key).is_some() {
                self.reject(&key, unknown(&format!("{} is not {what}", quoted(kind)), kind, known.iter().copied()));
            } else if !self.report.is_invalid_in(&at) {
                let what =
                    unknown(&format!("has no type, and {} is not {what}", quoted(kind)), kind, known.iter().copied());
                self.reject(&at, what);
            }
        }
        found
    }
}
