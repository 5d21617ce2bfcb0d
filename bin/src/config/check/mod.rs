//! Turns the whole tree into what cannot be wrong any more, and tells what only shows when keys meet: names that nobody
//! has, a handler that does not fit its transport, two listeners at one address.
//!
//! Keys that are faulty by themselves have been told already; what depends on them is not judged.

mod admin;
mod edge;

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::Dict;
use serde_json::Value as Json;
use switchboard::Needs;
use switchboard::framing::AnyFraming;
use switchboard::server::ListenerSpec;
use switchboard::settings::DrainSettings;
use switchboard::{Endpoint, Kind, Registry};

pub(crate) use admin::Admin;

use crate::config::diagnostic::{Origin, known, quoted, unknown};
use crate::config::entry::Entry;
use crate::config::framing;
use crate::config::print::Effective;
use crate::config::raw::{Raw, RawListener};
use crate::config::report::Report;
use crate::config::source::Merged;
use crate::config::specs;
use crate::config::tree::{self, Path, under};
use crate::config::typing::Schemas;
use crate::config::validate::{read, sentence};

/// A configuration that can be used.
#[derive(Debug)]
pub(crate) struct Config {
    /// What is logged.
    pub(crate) log: Log,
    /// The endpoint for operators, if there is one.
    pub(crate) admin: Option<Admin>,
    /// How a stop goes.
    pub(crate) drain: DrainSettings,
    /// Threads that serve.
    pub(crate) workers: usize,
    /// The listeners, by name.
    pub(crate) listeners: BTreeMap<String, Listener>,
    /// The handlers by the names of their sections, used or not.
    pub(crate) handlers: BTreeMap<String, Section>,
    /// The layers by the names of their sections, used or not.
    pub(crate) layers: BTreeMap<String, Section>,
    /// The same for people and programs to read.
    pub(crate) effective: Effective,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
}

/// What is logged, and how it looks.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// A level or a filter.
    pub(crate) level: String,
    /// Text, JSON, or what fits the reader.
    pub(crate) format: crate::config::Format,
}

/// One listener.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Where it listens, whom it lets in, how much and how long: what the framework is told.
    pub(crate) spec: ListenerSpec,
    /// What its transport brings.
    pub(crate) kind: Kind,
    /// The section of its handler.
    pub(crate) handler: String,
    /// How bytes become messages.
    pub(crate) framing: AnyFraming,
    /// The sections of its layers, outermost first.
    pub(crate) layers: Vec<String>,
}

/// A section of a handler or layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Section {
    /// Its type, which is registered.
    pub(crate) kind: String,
    /// Its options, which its type accepts.
    pub(crate) options: Json,
    /// Whether nothing was wrong with it.
    pub(crate) is_sound: bool,
}

/// Checks the whole tree. `None` only where something was reported.
pub(crate) fn check(
    whole: Dict,
    merged: Merged,
    schemas: &Schemas<'_>,
    registry: &Registry,
    report: &mut Report,
    file: Option<PathBuf>,
) -> Option<Config> {
    let raw = match read(&whole) {
        Ok(raw) => raw,
        Err((path, kind)) => {
            report.add(&path, sentence(&whole, &path, kind), merged.origin(&path));
            return None;
        }
    };
    let mut check = Check { raw: &raw, merged: &merged, registry, report };
    let handlers = check.sections("handlers", schemas);
    let layers = check.sections("layers", schemas);
    let mut listeners = BTreeMap::new();
    for (name, listener) in raw.listeners.iter().flatten() {
        if let Some(listener) = check.listener(name, listener) {
            listeners.insert(name.clone(), listener);
        }
    }
    check.addresses();
    let admin = check.admin();
    let log = raw.log?;
    let log = Log { level: log.level?.0, format: log.format? };
    let mut drain = DrainSettings::default();
    let stop = raw.drain?;
    (drain.announce, drain.deadline) = (stop.announce?.0, stop.deadline?.0);
    let workers = raw.runtime?.workers?.size();
    let effective = Effective::new(whole, merged);
    Some(Config { log, admin, drain, workers, listeners, handlers, layers, effective, file })
}

struct Check<'a> {
    raw: &'a Raw,
    merged: &'a Merged,
    registry: &'a Registry,
    report: &'a mut Report,
}

impl Check<'_> {
    /// The sections of handlers or layers. A type that is not registered is a fault, whether the section is used or not.
    fn sections(&mut self, section: &str, schemas: &Schemas<'_>) -> BTreeMap<String, Section> {
        let (all, what) = match section {
            "handlers" => (&self.raw.handlers, "a handler"),
            _ => (&self.raw.layers, "a layer"),
        };
        let known = Entry::names(self.registry, section);
        let mut found = BTreeMap::new();
        for (name, raw) in all.iter().flatten() {
            let at = [section.to_owned(), name.clone()];
            let key = under(&at, "type");
            let kind = schemas.type_of(section, name);
            if self.report.is_invalid(&key) {
                continue;
            }
            if known.iter().any(|known| known == kind) {
                let options = Json::Object(raw.options.clone());
                let is_sound = !self.report.is_invalid_in(&at);
                found.insert(name.clone(), Section { kind: kind.to_owned(), options, is_sound });
            } else if tree::get(&self.merged.tree, &key).is_some() {
                let what = unknown(&format!("{} is not {what}", quoted(kind)), kind, known.iter().map(String::as_str));
                self.report.add(&key, what, self.merged.origin(&key));
            } else if !self.report.is_invalid_in(&at) {
                let what = unknown(
                    &format!("has no type, and {} is not {what}", quoted(kind)),
                    kind,
                    known.iter().map(String::as_str),
                );
                self.report.add(&at, what, self.merged.origin(&at));
            }
        }
        found
    }

    fn listener(&mut self, name: &str, raw: &RawListener) -> Option<Listener> {
        let at = ["listeners".to_owned(), name.to_owned()];
        let listen = self.address(&at, raw);
        let handler = self.handler(&at, raw);
        // What kind of socket will be passed shows when it is.
        if let (Some((endpoint, kind)), Some((_, kind_of))) = (&listen, &handler)
            && !matches!(endpoint, Endpoint::Systemd(_))
        {
            self.fits_transport(&at, *kind, kind_of);
        }
        let framing = self.framing(
            &at,
            raw,
            listen.as_ref().map(|(_, kind)| *kind),
            handler.as_ref().map(|(_, kind_of)| kind_of.as_str()),
        );
        let layers = self.layers(&at, raw, handler.as_ref().map(|(_, kind_of)| kind_of.as_str()));
        self.burst(&at, raw);
        if let Some((endpoint, kind)) = &listen {
            self.proxy(&at, raw, endpoint, *kind);
            self.access(&at, raw, endpoint, *kind);
        }
        let tls = self.tls(&at, raw);
        let (endpoint, kind) = listen?;
        let mut spec = ListenerSpec::new(name, endpoint);
        spec.limits = raw.limits.as_ref().map(specs::limits).unwrap_or_default();
        spec.timeouts = raw.timeouts.as_ref().map(specs::timeouts).unwrap_or_default();
        spec.rates = raw.rate.as_ref().map(specs::rates).unwrap_or_default();
        spec.access = raw.access.as_ref().map(specs::access).unwrap_or_default();
        spec.proxy = raw.proxy.as_ref().map(specs::proxy);
        spec.socket = raw.socket.as_ref().map(specs::socket).unwrap_or_default();
        spec.tls = tls;
        Some(Listener { spec, kind, handler: handler?.0, framing: framing?, layers })
    }

    fn address(&mut self, at: &[String], raw: &RawListener) -> Option<(Endpoint, Kind)> {
        let key = under(at, "listen");
        if self.report.is_invalid(&key) {
            return None;
        }
        match &raw.listen {
            Some(listen) => {
                let kind = self.registry.transport_kind(listen.0.scheme())?;
                Some((listen.0.clone(), kind))
            }
            None => {
                if !self.report.is_invalid_in(at) {
                    let what = "is missing; write it like \"tcp://127.0.0.1:9999\"";
                    self.report.add(&key, what, self.merged.origin(at));
                }
                None
            }
        }
    }

    /// The section of a listener's handler, and its type.
    fn handler(&mut self, at: &[String], raw: &RawListener) -> Option<(String, String)> {
        let key = under(at, "handler");
        if self.report.is_invalid(&key) {
            return None;
        }
        let types = Entry::names(self.registry, "handlers");
        let sections = self.raw.handlers.iter().flatten();
        let mut names: Vec<String> = sections.clone().map(|(name, _)| name.clone()).chain(types.clone()).collect();
        names.sort();
        names.dedup();
        let names = || names.iter().map(String::as_str);
        let Some(name) = raw.handler.as_ref().map(|name| &name.0) else {
            if !self.report.is_invalid_in(at) {
                self.report.add(&key, format!("is missing. {}", known(names())), self.merged.origin(at));
            }
            return None;
        };
        let section = sections.clone().find(|(section, _)| *section == name);
        let kind_of = section.map(|(_, section)| section.r#type.as_ref().map_or(name, |kind| &kind.0));
        match kind_of {
            Some(kind_of) => types.contains(kind_of).then(|| (name.clone(), kind_of.clone())),
            // A section of that name was there, and is faulty.
            None if self.report.is_invalid(&["handlers".into(), name.clone()]) => None,
            None => {
                let what = unknown(&format!("{} is not a handler", quoted(name)), name, names().collect::<Vec<_>>());
                self.report.add(&key, what, self.merged.origin(&key));
                None
            }
        }
    }

    fn fits_transport(&mut self, at: &[String], kind: Kind, kind_of: &str) {
        let Some(entry) = self.registry.handler_entry(kind_of) else { return };
        if entry.needs().takes(kind) {
            return;
        }
        let (needs, brings) = match entry.needs() {
            Needs::Datagram => ("datagrams", "connections"),
            _ => ("connections", "datagrams"),
        };
        let (listen, handler) = (under(at, "listen"), under(at, "handler"));
        let address = tree::get_text(&self.merged.tree, &listen).unwrap_or_default();
        let fit = self.registry.transports().filter(|known| entry.needs().takes(known.kind));
        let fit: Vec<&str> = fit.map(|known| known.scheme).collect();
        let what = format!(
            "the handler {kind_of:?} needs {needs}, and {address:?} brings {brings}; {kind_of} can be served on {}",
            fit.join(", ")
        );
        let origin = self.said([&handler, &listen]);
        self.report.add(&handler, what, origin);
    }

    fn framing(
        &mut self,
        at: &[String],
        raw: &RawListener,
        kind: Option<Kind>,
        kind_of: Option<&str>,
    ) -> Option<AnyFraming> {
        let key = under(at, "framing");
        if self.report.is_invalid(&key) {
            return None;
        }
        let framing = match framing::of_raw(raw.framing.as_ref()?, self.registry) {
            Ok(framing) => framing,
            Err(diagnostics) => {
                for (option, what) in diagnostics {
                    let key = option.map_or(key.clone(), |option| under(&key, option));
                    self.report.add(&key, what, self.merged.origin(&key));
                }
                return None;
            }
        };
        let is_default = framing == AnyFraming::default();
        let entry = kind_of.and_then(|kind_of| self.registry.handler_entry(kind_of));
        let misfit = entry.and_then(|entry| match entry.own_framing() {
            // The default was not chosen; it only stands there.
            Some(_) if is_default => None,
            _ => entry.check_framing(&framing).err(),
        });
        if let Some(what) = misfit {
            let origin = self.said([&key, &under(at, "handler")]);
            self.report.add(&key, what, origin);
        } else if kind == Some(Kind::Datagram) && framing.name() != AnyFraming::default().name() {
            let listen = under(at, "listen");
            let address = tree::get_text(&self.merged.tree, &listen).unwrap_or_default();
            let what = format!(
                "the framing {} cuts the bytes of a connection, and {address:?} brings datagrams, which are messages already; leave it out",
                framing.name()
            );
            let origin = self.said([&key, &listen]);
            self.report.add(&key, what, origin);
        }
        Some(framing)
    }

    fn layers(&mut self, at: &[String], raw: &RawListener, kind_of: Option<&str>) -> Vec<String> {
        let key = under(at, "layers");
        let names: Vec<String> = raw.layers.iter().flatten().map(|name| name.0.clone()).collect();
        if self.report.is_invalid(&key) || names.is_empty() {
            return names;
        }
        let mut all: Vec<String> = self.raw.layers.iter().flatten().map(|(name, _)| name.clone()).collect();
        all.extend(Entry::names(self.registry, "layers"));
        all.sort();
        all.dedup();
        for (index, name) in names.iter().enumerate() {
            if !all.contains(name) && !self.report.is_invalid(&["layers".into(), name.clone()]) {
                let key = under(&key, &index.to_string());
                let what = unknown(&format!("{} is not a layer", quoted(name)), name, all.iter().map(String::as_str));
                self.report.add(&key, what, self.merged.origin(&key));
            }
        }
        let own = kind_of
            .and_then(|kind_of| self.registry.handler_entry(kind_of))
            .filter(|entry| entry.own_framing().is_some());
        if let Some(entry) = own {
            let what = format!(
                "stand around messages of bytes, and the handler {} has a framing of its own; leave them out",
                entry.name()
            );
            self.report.add(&key, what, self.merged.origin(&key));
        }
        names
    }

    /// Two listeners cannot be at one address; port 0 is another one each time.
    fn addresses(&mut self) {
        let mut taken: Vec<(Endpoint, Path)> = Vec::new();
        let of_listener = |name: &String| vec!["listeners".to_owned(), name.clone(), "listen".to_owned()];
        let listeners = self.raw.listeners.iter().flatten();
        let addresses = listeners.map(|(name, listener)| (of_listener(name), &listener.listen));
        let admin = self.raw.admin.iter().map(|admin| (tree::path("admin.listen"), &admin.listen));
        for (key, listen) in addresses.chain(admin) {
            let Some(listen) = listen else { continue };
            if listen.0.port() == Some(0) || self.report.is_invalid(&key) {
                continue;
            }
            // Both are a port of TCP.
            let place = match &listen.0 {
                Endpoint::Tls(at) => Endpoint::Tcp(at.clone()),
                other => other.clone(),
            };
            if let Some((_, other)) = taken.iter().find(|(taken, _)| *taken == place) {
                let origin = self.said([other, &key]).map(|origin| format!(" ({origin})")).unwrap_or_default();
                let what = format!("\"{}\" is the address of {} already{origin}", listen.0, tree::dotted(&other[..2]));
                self.report.add(&key, what, self.merged.origin(&key));
            }
            taken.push((place, key));
        }
    }

    fn is_said(&self, key: &[String]) -> bool {
        tree::get(&self.merged.tree, key).is_some_and(|value| !self.merged.origin_of(key, value).is_unsaid())
    }

    /// The origin of the first of these keys that somebody said.
    fn said<const N: usize>(&self, keys: [&Path; N]) -> Option<Origin> {
        keys.into_iter().find(|key| self.is_said(key)).and_then(|key| self.merged.origin(key))
    }
}
