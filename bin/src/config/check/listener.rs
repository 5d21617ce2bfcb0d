//! Checks a listener: address, handler, framing and layers fit together.

use std::collections::BTreeSet;

use switchboard::framing::AnyFraming;
use switchboard::registry::HandlerEntry;
use switchboard::server::ListenerSpec;
use switchboard::{Endpoint, Kind, Needs};

use super::config::{Check, Listener};
use crate::config::diagnostic::{known, quoted, unknown};
use crate::config::expected::SectionKind;
use crate::config::sections::ListenerSettings;
use crate::config::tree::{self, under};

impl Check<'_> {
    pub(super) fn listener(&mut self, name: &str, settings: &ListenerSettings) -> Option<Listener> {
        let at = ["listeners".to_owned(), name.to_owned()];
        let listen = self.address(&at, settings);
        let handler = self.handler(&at, settings);
        let registry = self.registry;
        let entry = handler.as_ref().and_then(|(_, kind_of)| registry.handler_entry(kind_of));
        // The kind of a socket from the service manager is known only at start.
        if let (Some((endpoint, kind)), Some(entry)) = (&listen, entry)
            && !matches!(endpoint, Endpoint::Systemd(_))
        {
            self.fits_transport(&at, *kind, entry);
        }
        let framing = self.framing(&at, settings, listen.as_ref().map(|(_, kind)| *kind), entry);
        let layers = self.layers(&at, settings, entry);
        self.without_effect(&at);
        self.burst(&at, settings);
        if let Some((endpoint, kind)) = &listen {
            self.proxy(&at, settings, endpoint, *kind);
            self.access(&at, settings, endpoint, *kind);
        }
        let tls = self.tls(&at, settings);
        let (endpoint, kind) = listen?;
        let mut spec = ListenerSpec::new(name, endpoint);
        (spec.limits, spec.timeouts, spec.rates) = (settings.limits, settings.timeouts, settings.rate);
        (spec.access, spec.proxy) = (settings.access.clone(), settings.proxy.clone());
        spec.socket = settings.socket.clone();
        spec.tls = tls;
        Some(Listener { spec, kind, handler: handler?.0, framing: framing?, layers })
    }

    fn address(&mut self, at: &[String], settings: &ListenerSettings) -> Option<(Endpoint, Kind)> {
        let key = under(at, "listen");
        if self.report.is_invalid(&key) {
            return None;
        }
        if settings.listen.is_none() && !self.report.is_invalid_in(at) {
            let what = "is missing; write it like \"tcp://127.0.0.1:9999\"";
            self.report.add(&key, what, self.merged.origin(at));
        }
        let listen = settings.listen.as_ref()?;
        Some((listen.clone(), self.registry.transport_kind(listen.scheme())?))
    }

    /// The name and type of the section of the handler.
    fn handler(&mut self, at: &[String], settings: &ListenerSettings) -> Option<(String, String)> {
        let key = under(at, "handler");
        if self.report.is_invalid(&key) {
            return None;
        }
        let sections = &self.file.handlers;
        let types = self.registry.handlers().map(|entry| entry.name());
        let names: BTreeSet<&str> = sections.keys().map(String::as_str).chain(types).collect();
        let Some(name) = &settings.handler else {
            if !self.report.is_invalid_in(at) {
                self.report.add(&key, format!("is missing. {}", known(names)), self.merged.origin(at));
            }
            return None;
        };
        match sections.get(name).map(|section| section.r#type.as_ref().unwrap_or(name)) {
            Some(kind_of) => self.registry.handler_entry(kind_of).map(|_| (name.clone(), kind_of.clone())),
            // A section of that name is invalid.
            None if self.report.is_invalid(&["handlers".into(), name.clone()]) => None,
            None => {
                let what = unknown(&format!("{} is not a handler", quoted(name)), name, names);
                self.reject(&key, what);
                None
            }
        }
    }

    fn fits_transport(&mut self, at: &[String], kind: Kind, entry: &HandlerEntry) {
        if entry.needs().takes(kind) {
            return;
        }
        let (needs, provides) = match entry.needs() {
            Needs::Datagram => ("datagrams", "connections"),
            _ => ("connections", "datagrams"),
        };
        let (listen, handler) = (under(at, "listen"), under(at, "handler"));
        let address = tree::get_text(&self.merged.tree, &listen).unwrap_or_default();
        let kind_of = entry.name();
        let fit = self.registry.transports().filter(|known| entry.needs().takes(known.kind));
        let fit: Vec<&str> = fit.map(|known| known.scheme).collect();
        let what = format!(
            "the handler {kind_of:?} requires {needs}, but {address:?} provides {provides}; {kind_of} supports {}",
            fit.join(", ")
        );
        let origin = self.first_origin([&handler, &listen]);
        self.report.add(&handler, what, origin);
    }

    fn framing(
        &mut self,
        at: &[String],
        settings: &ListenerSettings,
        kind: Option<Kind>,
        handler: Option<&HandlerEntry>,
    ) -> Option<AnyFraming> {
        let key = under(at, "framing");
        if self.report.is_invalid(&key) {
            return None;
        }
        let settings = &settings.framing.as_ref()?.0;
        let names: Vec<_> = SectionKind::Framing.entries(self.registry).iter().map(|entry| entry.name()).collect();
        let Some(name) = &settings.r#type else {
            let key = under(&key, "type");
            self.reject(&key, format!("is missing; it is one of {}", names.join(", ")));
            return None;
        };
        if name.starts_with('{') {
            // The text can contain a secret option.
            self.reject(&key, "the text (not shown) is not a table; write it like { type = \"length\", width = 2 }");
            return None;
        }
        let Some(entry) = self.registry.framing_entry(name) else {
            let key = if tree::get_text(&self.merged.tree, &key).is_some() { key } else { under(&key, "type") };
            let what = unknown(&format!("{} is not a framing", quoted(name)), name, names);
            self.reject(&key, what);
            return None;
        };
        let built = entry.build(settings.options.clone().into());
        let framing = built.map_err(|error| self.reject(&key, error.to_string())).ok()?;
        let is_default = framing == AnyFraming::default();
        let misfit = handler.and_then(|entry| match entry.own_framing() {
            // The default framing is not a choice.
            Some(_) if is_default => None,
            _ => entry.check_framing(&framing).err(),
        });
        if let Some(what) = misfit {
            let origin = self.first_origin([&key, &under(at, "handler")]);
            self.report.add(&key, what, origin);
        } else if kind == Some(Kind::Datagram) && framing.name() != AnyFraming::default().name() {
            let listen = under(at, "listen");
            let address = tree::get_text(&self.merged.tree, &listen).unwrap_or_default();
            let what = format!(
                "the framing {} splits the bytes of a connection, but {address:?} provides datagrams, which are messages; remove this key",
                framing.name()
            );
            let origin = self.first_origin([&key, &listen]);
            self.report.add(&key, what, origin);
        }
        Some(framing)
    }

    fn layers(&mut self, at: &[String], settings: &ListenerSettings, handler: Option<&HandlerEntry>) -> Vec<String> {
        let key = under(at, "layers");
        let names: Vec<String> = settings.layers.clone();
        if self.report.is_invalid(&key) || names.is_empty() {
            return names;
        }
        let types = self.registry.layers().map(|entry| entry.name());
        let all: BTreeSet<&str> = self.file.layers.keys().map(String::as_str).chain(types).collect();
        for (index, name) in names.iter().enumerate() {
            if !all.contains(name.as_str()) && !self.report.is_invalid(&["layers".into(), name.clone()]) {
                let key = under(&key, &index.to_string());
                let what = unknown(&format!("{} is not a layer", quoted(name)), name, all.iter().copied());
                self.reject(&key, what);
            }
        }
        if let Some(entry) = handler.filter(|entry| entry.own_framing().is_some()) {
            let what = format!(
                "require messages of bytes, but the handler {} has its own framing; remove this key",
                entry.name()
            );
            self.reject(&key, what);
        }
        names
    }
}
