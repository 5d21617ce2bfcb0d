//! What only shows when the keys of the edge meet: TLS and its files, a proxy in front, networks, rates.

use switchboard::{Endpoint, Kind, TlsSettings};

use super::Check;
use crate::config::raw::RawListener;
use crate::config::resolve::has_network;
use crate::config::specs;
use crate::config::tree::{self, under};

impl Check<'_> {
    /// `tls://` and its section belong together: neither is of use alone. A socket that is passed has the section or not. The files are looked at when the server is made.
    pub(super) fn tls(&mut self, at: &[String], raw: &RawListener) -> Option<TlsSettings> {
        let (key, listen) = (under(at, "tls"), under(at, "listen"));
        let endpoint = &raw.listen.as_ref().filter(|_| !self.report.is_invalid(&listen))?.0;
        let may = matches!(endpoint, Endpoint::Systemd(_)) && raw.tls.is_some();
        if !may && !matches!(endpoint, Endpoint::Tls(_)) {
            if raw.tls.is_some() {
                let what = format!(
                    "is for tls:// (and systemd:), and \"{endpoint}\" is neither; listen on tls://, or leave it out"
                );
                self.report.add(&key, what, self.merged.origin(&key));
            }
            return None;
        }
        let sni = under(&key, "sni");
        let hosts = raw.tls.iter().flat_map(|tls| tls.sni.iter().flatten());
        let hosts = hosts.map(|(host, own)| (under(&sni, host), own.certificate.is_some(), own.key.is_some()));
        let main = raw.tls.as_ref().map_or((false, false), |tls| (tls.certificate.is_some(), tls.key.is_some()));
        for (within, certificate, secret) in std::iter::once((key.clone(), main.0, main.1)).chain(hosts) {
            for (file, example, is_there) in [("certificate", "cert.pem", certificate), ("key", "key.pem", secret)] {
                let file = under(&within, file);
                if !is_there && !self.report.is_invalid(&file) {
                    let what =
                        format!("is missing, and \"{endpoint}\" needs it; write the path of a file, like {example:?}");
                    let origin = self.merged.origin(&within).filter(|origin| !origin.is_unsaid());
                    let origin = origin.or_else(|| self.said([&listen]));
                    self.report.add(&file, what, origin);
                }
            }
        }
        raw.tls.as_ref().and_then(specs::tls)
    }

    /// A PROXY header is the beginning of a connection, and on a network somebody must be named whose word counts.
    pub(super) fn proxy(&mut self, at: &[String], raw: &RawListener, endpoint: &Endpoint, kind: Kind) {
        let Some(proxy) = &raw.proxy else { return };
        let key = under(at, "proxy");
        let trusted = under(&key, "trusted");
        let (key, what) = if kind == Kind::Datagram {
            let what = format!(
                "is for connections, which the PROXY header begins, and \"{endpoint}\" brings datagrams; leave it out"
            );
            (key, what)
        } else if matches!(endpoint, Endpoint::Tcp(_) | Endpoint::Tls(_)) {
            let is = match proxy.trusted.as_deref() {
                None => "is missing",
                Some([]) => "is empty",
                Some(_) => return,
            };
            let what = format!(
                "{is}, so no proxy could connect to \"{endpoint}\"; write the networks of the proxies, like [\"10.0.0.0/8\"]"
            );
            (trusted, what)
        } else {
            return;
        };
        if !self.report.is_invalid_in(&key) && !self.report.is_invalid(&key) {
            self.report.add(&key, what, self.merged.origin(&key));
        }
    }

    /// Lists of networks say nothing about peers without a network address.
    pub(super) fn access(&mut self, at: &[String], raw: &RawListener, endpoint: &Endpoint, kind: Kind) {
        let proxy = under(at, "proxy");
        if has_network(endpoint) || raw.proxy.is_some() || self.report.is_invalid_in(&proxy) {
            return;
        }
        let Some(access) = &raw.access else { return };
        for (list, networks) in [("allow", &access.allow), ("deny", &access.deny)] {
            let key = under(&under(at, "access"), list);
            if networks.as_ref().is_none_or(Vec::is_empty) || self.report.is_invalid_in(&key) {
                continue;
            }
            let what = format!("lists networks, and the peers of \"{endpoint}\" have no network address");
            let advice = match kind {
                Kind::Stream => {
                    format!("leave it out, or add [{}] if a proxy in front tells who they are", tree::dotted(&proxy))
                }
                Kind::Datagram => "leave it out; a proxy section, which would tell one, needs connections".to_owned(),
            };
            self.report.add(&key, format!("{what}; {advice}"), self.merged.origin(&key));
        }
    }

    /// A burst of a listener's own, where no rate was ever asked for, does nothing.
    pub(super) fn burst(&mut self, at: &[String], raw: &RawListener) {
        let rate = under(at, "rate");
        let key = under(&rate, "burst");
        let rates = ["messages_per_source", "connections_per_source"];
        let mut asked = rates.iter().flat_map(|one| [under(&rate, one), under(&tree::path("rate"), one)]);
        let is_asked = asked.any(|key| self.report.is_invalid(&key) || self.is_said(&key));
        let burst = raw.rate.as_ref().and_then(|rate| rate.burst).is_some_and(|burst| burst.word() > 0);
        if burst && self.is_said(&key) && !is_asked && !self.report.is_invalid(&key) {
            let what = "says how many may come at once, and there is no rate; give messages_per_source or connections_per_source, like \"100/s\"";
            self.report.add(&key, what, self.merged.origin(&key));
        }
    }
}
