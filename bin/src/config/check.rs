//! Turns the whole tree into what cannot be wrong any more, and tells what only shows when keys meet: names that nobody
//! has, a handler that does not fit its transport, two listeners at one address.
//!
//! Keys that are faulty by themselves have been told already; what depends on them is not judged.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::Dict;
use serde_json::Value as Json;
use switchboard::framing::{self, AnyFraming, Delimited, JsonLines, Length, Lines, Raw as RawBytes};
use switchboard::registry::Needs;
use switchboard::spec::{DrainSpec, Limits, Rates, SocketOptions, Timeouts};
use switchboard::{Endpoint, Kind, Registry};

use super::examine::{read, sentence};
use super::fault::{Origin, known, quoted, unknown};
use super::leaf::{Delimiter, FramingName, Order};
use super::raw::{FramingTable, Raw, RawFraming, RawLimits, RawListener, RawRate, RawSocket, RawTimeouts};
use super::report::Report;
use super::show::Effective;
use super::sources::Merged;
use super::tree::{self, Path, under};
use super::typing::Schemas;

/// A configuration that can be used.
#[derive(Debug)]
pub(crate) struct Config {
    /// What is logged.
    pub(crate) log: Log,
    /// How a stop goes.
    pub(crate) drain: DrainSpec,
    /// Threads that serve.
    pub(crate) workers: usize,
    /// The listeners, by name.
    pub(crate) listeners: BTreeMap<String, Listener>,
    /// The handlers by the names of their sections, used or not.
    pub(crate) handlers: BTreeMap<String, Handler>,
    /// The layers by the names of their sections, used or not.
    pub(crate) layers: BTreeMap<String, Handler>,
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
    pub(crate) format: super::Format,
}

/// One listener.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Where.
    pub(crate) endpoint: Endpoint,
    /// What its transport brings.
    pub(crate) kind: Kind,
    /// The section of its handler.
    pub(crate) handler: String,
    /// How bytes become messages.
    pub(crate) framing: AnyFraming,
    /// The sections of its layers, outermost first.
    pub(crate) layers: Vec<String>,
    /// How much.
    pub(crate) limits: Limits,
    /// How long.
    pub(crate) timeouts: Timeouts,
    /// How fast.
    pub(crate) rates: Rates,
    /// Options of its socket.
    pub(crate) socket: SocketOptions,
}

/// A section of a handler or layer.
#[derive(Debug)]
pub(crate) struct Handler {
    /// Its type, which is registered.
    pub(crate) kind: String,
    /// Its options, which its type accepts.
    pub(crate) options: Json,
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
    let log = raw.log?;
    let log = Log { level: log.level?.0, format: log.format? };
    let mut drain = DrainSpec::default();
    let stop = raw.drain?;
    (drain.announce, drain.deadline) = (stop.announce?.0, stop.deadline?.0);
    let workers = raw.runtime?.workers?.size();
    let effective = Effective::new(whole, merged);
    Some(Config { log, drain, workers, listeners, handlers, layers, effective, file })
}

struct Check<'a> {
    raw: &'a Raw,
    merged: &'a Merged,
    registry: &'a Registry,
    report: &'a mut Report,
}

impl Check<'_> {
    /// The sections of handlers or layers. A type that is not registered is a fault, whether the section is used or not.
    fn sections(&mut self, section: &str, schemas: &Schemas<'_>) -> BTreeMap<String, Handler> {
        let (all, what) = match section {
            "handlers" => (&self.raw.handlers, "a handler"),
            _ => (&self.raw.layers, "a layer"),
        };
        let known = self.types(section);
        let mut found = BTreeMap::new();
        for (name, raw) in all.iter().flatten() {
            let at = [section.to_owned(), name.clone()];
            let key = under(&at, "type");
            let kind = schemas.type_of(section, name);
            if self.report.is_poisoned(&key) {
                continue;
            }
            if known.iter().any(|known| known == kind) {
                let options = Json::Object(raw.options.clone());
                found.insert(name.clone(), Handler { kind: kind.to_owned(), options });
            } else if tree::get(&self.merged.tree, &key).is_some() {
                let what = unknown(&format!("{} is not {what}", quoted(kind)), kind, known.iter().map(String::as_str));
                self.report.add(&key, what, self.merged.origin(&key));
            } else if !self.report.is_poisoned_in(&at) {
                let what = unknown(&format!("has no type, and {} is not {what}", quoted(kind)), kind, known.iter().map(String::as_str));
                self.report.add(&at, what, self.merged.origin(&at));
            }
        }
        found
    }

    fn types(&self, section: &str) -> Vec<String> {
        match section {
            "handlers" => self.registry.handlers().map(|entry| entry.name().to_owned()).collect(),
            _ => self.registry.layers().map(|entry| entry.name().to_owned()).collect(),
        }
    }

    fn listener(&mut self, name: &str, raw: &RawListener) -> Option<Listener> {
        let at = ["listeners".to_owned(), name.to_owned()];
        let listen = self.address(&at, raw);
        let handler = self.handler(&at, raw);
        if let (Some((_, kind)), Some((_, kind_of))) = (&listen, &handler) {
            self.fits_transport(&at, *kind, kind_of);
        }
        let framing = self.framing(&at, raw, listen.as_ref().map(|(_, kind)| *kind), handler.as_ref().map(|(_, kind_of)| kind_of.as_str()));
        let layers = self.layers(&at, raw, handler.as_ref().map(|(_, kind_of)| kind_of.as_str()));
        self.burst(&at);
        let (endpoint, kind) = listen?;
        Some(Listener {
            endpoint,
            kind,
            handler: handler?.0,
            framing: framing?,
            layers,
            limits: limits(raw.limits.as_ref()),
            timeouts: timeouts(raw.timeouts.as_ref()),
            rates: rates(raw.rate.as_ref()),
            socket: socket(raw.socket.as_ref()),
        })
    }

    fn address(&mut self, at: &[String], raw: &RawListener) -> Option<(Endpoint, Kind)> {
        let key = under(at, "listen");
        if self.report.is_poisoned(&key) {
            return None;
        }
        match &raw.listen {
            Some(listen) => {
                let kind = self.registry.transport_kind(listen.0.scheme())?;
                Some((listen.0.clone(), kind))
            }
            None => {
                if !self.report.is_poisoned_in(at) {
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
        if self.report.is_poisoned(&key) {
            return None;
        }
        let types = self.types("handlers");
        let sections = self.raw.handlers.iter().flatten();
        let mut names: Vec<String> = sections.clone().map(|(name, _)| name.clone()).chain(types.clone()).collect();
        names.sort();
        names.dedup();
        let names = || names.iter().map(String::as_str);
        let Some(name) = raw.handler.as_ref().map(|name| &name.0) else {
            if !self.report.is_poisoned_in(at) {
                self.report.add(&key, format!("is missing. {}", known(names())), self.merged.origin(at));
            }
            return None;
        };
        let section = sections.clone().find(|(section, _)| *section == name);
        let kind_of = section.map(|(_, section)| section.r#type.as_ref().map_or(name, |kind| &kind.0));
        match kind_of {
            Some(kind_of) => types.contains(kind_of).then(|| (name.clone(), kind_of.clone())),
            // A section of that name was there, and is faulty.
            None if self.report.is_poisoned(&["handlers".into(), name.clone()]) => None,
            None => {
                let what = unknown(&format!("{} is not a handler", quoted(name)), name, names().collect::<Vec<_>>());
                self.report.add(&key, what, self.merged.origin(&key));
                None
            }
        }
    }

    fn fits_transport(&mut self, at: &[String], kind: Kind, kind_of: &str) {
        let Some(entry) = self.registry.handler_entry(kind_of) else { return };
        if entry.need().takes(kind) {
            return;
        }
        let (needs, brings) = match entry.need() {
            Needs::Datagram => ("datagrams", "connections"),
            _ => ("connections", "datagrams"),
        };
        let (listen, handler) = (under(at, "listen"), under(at, "handler"));
        let address = tree::get_text(&self.merged.tree, &listen).unwrap_or_default();
        let fit = self.registry.transports().filter(|(.., kind)| entry.need().takes(*kind));
        let fit: Vec<&str> = fit.map(|(scheme, ..)| scheme).collect();
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
        if self.report.is_poisoned(&key) {
            return None;
        }
        let framing = match framing(raw.framing.as_ref()?) {
            Ok(framing) => framing,
            Err(faults) => {
                for (option, what) in faults {
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
            _ => entry.fits_framing(&framing).err(),
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
        if self.report.is_poisoned(&key) || names.is_empty() {
            return names;
        }
        let mut all: Vec<String> = self.raw.layers.iter().flatten().map(|(name, _)| name.clone()).collect();
        all.extend(self.types("layers"));
        all.sort();
        all.dedup();
        for (index, name) in names.iter().enumerate() {
            if !all.contains(name) && !self.report.is_poisoned(&["layers".into(), name.clone()]) {
                let key = under(&key, &index.to_string());
                let what = unknown(&format!("{} is not a layer", quoted(name)), name, all.iter().map(String::as_str));
                self.report.add(&key, what, self.merged.origin(&key));
            }
        }
        let own = kind_of.and_then(|kind_of| self.registry.handler_entry(kind_of)).filter(|entry| entry.own_framing().is_some());
        if let Some(entry) = own {
            let what = format!("stand around messages of bytes, and the handler {} has a framing of its own; leave them out", entry.name());
            self.report.add(&key, what, self.merged.origin(&key));
        }
        names
    }

    /// A burst of a listener's own, where no rate was ever asked for, does nothing.
    fn burst(&mut self, at: &[String]) {
        let rate = under(at, "rate");
        let key = under(&rate, "burst");
        let burst = tree::get(&self.merged.tree, &key).and_then(|value| value.to_u128()).unwrap_or_default();
        let asked = [under(&rate, "messages_per_source"), tree::path("rate.messages_per_source")];
        let is_asked = asked.iter().any(|key| self.report.is_poisoned(key) || self.is_said(key));
        if burst > 0 && !is_asked && !self.report.is_poisoned(&key) {
            let what = "says how many messages may come at once, and there is no rate; give messages_per_source, like \"100/s\"";
            self.report.add(&key, what, self.merged.origin(&key));
        }
    }

    /// Two listeners cannot be at one address; port 0 is another one each time.
    fn addresses(&mut self) {
        let mut taken: Vec<(&Endpoint, Path)> = Vec::new();
        for (name, listener) in self.raw.listeners.iter().flatten() {
            let key = vec!["listeners".to_owned(), name.clone(), "listen".to_owned()];
            let Some(listen) = &listener.listen else { continue };
            if listen.0.port() == Some(0) || self.report.is_poisoned(&key) {
                continue;
            }
            if let Some((_, other)) = taken.iter().find(|(endpoint, _)| **endpoint == listen.0) {
                let origin = self.said([other, &key]).map(|origin| format!(" ({origin})")).unwrap_or_default();
                let what = format!("\"{}\" is the address of {} already{origin}", listen.0, tree::dotted(&other[..2]));
                self.report.add(&key, what, self.merged.origin(&key));
            }
            taken.push((&listen.0, key));
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

/// A framing as it stands in a configuration: a name, or a table such as `{ type = "length", width = 2 }`.
pub(crate) fn framing_of_text(text: &str) -> Result<AnyFraming, String> {
    use serde::Deserialize;
    let table = format!("it = {text}");
    let raw = match text.trim_start().starts_with('{') {
        true => toml::from_str::<BTreeMap<String, Json>>(&table)
            .map_err(|error| format!("{} is not a table: {}", quoted(text), error.message()))
            .and_then(|mut it| {
                let it = tree::from_json(&it.remove("it").unwrap_or_default());
                let dict = it.as_dict().cloned().unwrap_or_default();
                RawFraming::deserialize(&it)
                    .map_err(|error| format!("{}: {}", tree::dotted(&error.path), sentence(&dict, &error.path, error.kind)))
            })?,
        false => RawFraming::Name(text.parse::<FramingName>()?),
    };
    framing(&raw).map_err(|faults| {
        let faults = faults.into_iter().map(|(key, what)| match key {
            Some(key) => format!("{key}: {what}"),
            None => what,
        });
        faults.collect::<Vec<_>>().join("; ")
    })
}

/// The framing that is written, or what is wrong with it, each with the option where it shows.
fn framing(raw: &RawFraming) -> Result<AnyFraming, Vec<(Option<&'static str>, String)>> {
    let nothing = FramingTable::default();
    let (name, table) = match raw {
        RawFraming::Name(name) => (name.0, &nothing),
        RawFraming::Table(table) => match table.r#type {
            Some(name) => (name.0, table),
            None => return Err(vec![(Some("type"), format!("is missing; it is one of {}", names().join(", ")))]),
        },
    };
    let options = framing::BUILT_IN.iter().find(|entry| entry.name == name).map_or(&[][..], |entry| entry.options);
    let written = [
        ("max", table.max.is_some()),
        ("width", table.width.is_some()),
        ("order", table.order.is_some()),
        ("offset", table.offset.is_some()),
        ("delimiter", table.delimiter.is_some()),
    ];
    let strange = written.into_iter().filter(|(key, is_written)| *is_written && !options.iter().any(|option| option.name == *key));
    let strange = strange.map(|(key, _)| {
        let options = options.iter().map(|option| option.name);
        (Some(key), format!("is not an option of the framing {name}. {}", known(options)))
    });
    let faults: Vec<_> = strange.collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let max = table.max.map(|size| size.0);
    let with = |framing: AnyFraming| Ok(framing);
    match name {
        "lines" => with(AnyFraming::Lines(max.map_or(Lines::default(), |max| Lines::default().max(max)))),
        "json-lines" => with(AnyFraming::JsonLines(max.map_or(JsonLines::default(), |max| JsonLines::default().max(max)))),
        "length" => {
            let default = |key: &str| {
                let option = options.iter().find(|option| option.name == key);
                option.and_then(|option| option.default.parse::<usize>().ok()).unwrap_or_default()
            };
            let width = table.width.map_or_else(|| default("width"), |width| width.0);
            let order = table.order.map(|Order(order)| order).unwrap_or_default();
            let offset = table.offset.map_or_else(|| default("offset"), |offset| offset.size());
            let framing = Length::new(width, order, offset).map_err(|error| vec![(None, error.to_string())])?;
            with(AnyFraming::Length(max.map_or(framing, |max| framing.max(max))))
        }
        "delimited" => {
            let Some(Delimiter(delimiter)) = &table.delimiter else {
                let what = "is missing; write the framing like { type = \"delimited\", delimiter = \"|\" }";
                return Err(vec![(Some("delimiter"), what.into())]);
            };
            let what = || vec![(Some("delimiter"), "must have 1 to 255 bytes".to_owned())];
            let framing = Delimited::new(delimiter).ok_or_else(what)?;
            with(AnyFraming::Delimited(match max {
                Some(max) => framing.max(max),
                None => framing,
            }))
        }
        _ => with(AnyFraming::Raw(max.map_or(RawBytes::default(), |max| RawBytes::default().max(max)))),
    }
}

fn names() -> Vec<&'static str> {
    framing::BUILT_IN.iter().map(|entry| entry.name).collect()
}

/// Sets a field to what is written, where something is.
macro_rules! set {
    ($raw:ident => $spec:ident { $($field:ident: $value:expr),+ $(,)? }) => {
        if let Some(raw) = $raw {
            $(if let Some(written) = &raw.$field { $spec.$field = $value(written); })+
        }
    };
}

fn limits(raw: Option<&RawLimits>) -> Limits {
    let mut limits = Limits::default();
    set!(raw => limits {
        connections: |number: &super::leaf::Number<1, 10_000_000>| number.size(),
        frame: |size: &super::leaf::Size| size.0,
        outbox: |number: &super::leaf::Number<1, 65_536>| number.size(),
        sessions: |number: &super::leaf::Number<1, 10_000_000>| number.size(),
    });
    limits
}

fn timeouts(raw: Option<&RawTimeouts>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let span = |span: &super::leaf::Span| span.0;
    set!(raw => timeouts { first_message: span, frame: span, idle: span, message: span, write: span, lifetime: span });
    timeouts
}

fn rates(raw: Option<&RawRate>) -> Rates {
    let mut rates = Rates::default();
    set!(raw => rates {
        messages_per_source: |rate: &super::leaf::Rate| rate.0,
        burst: |number: &super::leaf::Number<0, 10_000_000>| number.word(),
    });
    rates
}

fn socket(raw: Option<&RawSocket>) -> SocketOptions {
    let mut socket = SocketOptions::default();
    set!(raw => socket {
        backlog: |number: &super::leaf::Number<1, 65_535>| number.word(),
        nodelay: |is: &bool| *is,
        keepalive: |span: &super::leaf::Keepalive| span.0,
        reuse_port: |is: &bool| *is,
        mode: |mode: &super::leaf::Mode| mode.0,
        group: |name: &String| Some(name.clone()),
    });
    socket
}
