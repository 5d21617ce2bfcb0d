//! Checks TLS, the PROXY protocol, access lists and rates of a listener, and the admin endpoint.

use std::net::IpAddr;

use switchboard::settings::{TlsStart, file as bounded};
use switchboard::{Access, Endpoint, Kind, TlsIdentity, TlsSettings};

use super::config::{Admin, Check};
use crate::config::applies::{self, Traits, has_network};
use crate::config::expected::shared_keys;
use crate::config::sections::{AdminSettings, ListenerSettings, Token};
use crate::config::tree::{self, path, under};

impl Check<'_> {
    /// A `tls://` address requires the section. TLS that starts immediately requires a `tls://` or `systemd:` address,
    /// and TLS on request another address of connections. The files are read when the server is built.
    pub(super) fn tls(&mut self, at: &[String], settings: &ListenerSettings) -> Option<TlsSettings> {
        let (key, listen) = (under(at, "tls"), under(at, "listen"));
        let endpoint = settings.listen.as_ref().filter(|_| !self.report.is_invalid(&listen))?;
        let (start, is_tls) = (under(&key, "start"), matches!(endpoint, Endpoint::Tls(_)));
        let kind = self.registry.transport_kind(endpoint.scheme());
        match settings.tls.as_ref().map(|tls| tls.start) {
            None if !is_tls => return None,
            Some(_) if matches!(endpoint, Endpoint::Systemd(_)) || self.report.is_invalid(&start) => {}
            Some(TlsStart::OnRequest) if is_tls => {
                let what = "tls:// starts TLS immediately; change listen to tcp://, or remove this key";
                self.reject(&start, format!("is \"on_request\", but {what}"));
            }
            Some(TlsStart::OnRequest) if kind == Some(Kind::Datagram) => {
                let what = format!("requires connections, but \"{endpoint}\" provides datagrams; remove this section");
                self.reject(&key, what);
                return None;
            }
            Some(TlsStart::Immediately) if !is_tls => {
                let or_request = match kind {
                    Some(Kind::Stream) => ", set start = \"on_request\" if the handler starts TLS,",
                    _ => "",
                };
                let what = format!(
                    "requires a tls:// or systemd: address, but listen is \"{endpoint}\"; change listen to tls://{or_request} or remove this section"
                );
                self.reject(&key, what);
                return None;
            }
            _ => {}
        }
        let needs = if is_tls { format!("\"{endpoint}\"") } else { "TLS".to_owned() };
        let sni = under(&key, "sni");
        let hosts = settings.tls.iter().flat_map(|tls| &tls.sni);
        let hosts = hosts.map(|(host, identity)| (under(&sni, host), identity.clone()));
        let default = settings.tls.as_ref().map(TlsSettings::identity).unwrap_or_default();
        for (within, TlsIdentity { certificate, key }) in std::iter::once((key.clone(), default)).chain(hosts) {
            for (file, example, path) in [("certificate", "cert.pem", certificate), ("key", "key.pem", key)] {
                let file = under(&within, file);
                if path.as_os_str().is_empty() && !self.report.is_invalid(&file) {
                    let what =
                        format!("is missing, but {needs} requires it; write the path of a file, like {example:?}");
                    let origin = self.merged.origin(&within).filter(|origin| !origin.is_default());
                    let origin = origin.or_else(|| self.first_origin([&listen]));
                    self.report.add(&file, what, origin);
                }
            }
        }
        settings.tls.clone()
    }

    /// The PROXY protocol requires connections and, on a network, the networks of the proxies.
    pub(super) fn proxy(&mut self, at: &[String], settings: &ListenerSettings, endpoint: &Endpoint, kind: Kind) {
        let Some(proxy) = &settings.proxy else { return };
        let key = under(at, "proxy");
        let trusted = under(&key, "trusted");
        let (key, what) = if kind == Kind::Datagram {
            let what = format!("requires connections, but \"{endpoint}\" provides datagrams; remove this section");
            (key, what)
        } else if matches!(endpoint, Endpoint::Tcp(_) | Endpoint::Tls(_)) {
            if !proxy.trusted.is_empty() {
                return;
            }
            let is = if tree::get(&self.merged.tree, &trusted).is_some() { "is empty" } else { "is missing" };
            let what = format!(
                "{is}, so no proxy could connect to \"{endpoint}\"; write the networks of your proxies, like [\"10.0.0.0/8\"]"
            );
            (trusted, what)
        } else {
            return;
        };
        if !self.report.is_invalid_in(&key) && !self.report.is_invalid(&key) {
            self.reject(&key, what);
        }
    }

    /// The lists of a listener. A list that it does not set is the shared one, if its peers have network addresses.
    pub(super) fn access_lists(&self, at: &[String], settings: &ListenerSettings, endpoint: &Endpoint) -> Access {
        let mut access = settings.access.clone();
        if has_network(endpoint) || settings.proxy.is_some() {
            let shared = &self.file.access; // a clone of a list shares its memory
            let is_own = |key: &str| tree::get(&self.merged.tree, &under(&under(at, "access"), key)).is_some();
            if !is_own("allow") {
                access.allow = shared.allow.clone();
            }
            if !is_own("deny") {
                access.deny = shared.deny.clone();
            }
        }
        access
    }

    /// Access lists have no effect on peers without a network address.
    pub(super) fn access(&mut self, at: &[String], settings: &ListenerSettings, endpoint: &Endpoint, kind: Kind) {
        let proxy = under(at, "proxy");
        if has_network(endpoint) || settings.proxy.is_some() || self.report.is_invalid_in(&proxy) {
            return;
        }
        let access = &settings.access;
        for (list, networks) in [("allow", &access.allow), ("deny", &access.deny)] {
            let key = under(&under(at, "access"), list);
            if networks.is_empty() || self.report.is_invalid_in(&key) {
                continue;
            }
            let what = format!("lists networks, but the peers of \"{endpoint}\" have no network address");
            let or_proxy = match kind {
                Kind::Stream => format!(", or add [{}] if a proxy sends the addresses", tree::dotted(&proxy)),
                _ => String::new(),
            };
            self.reject(&key, format!("{what}; remove this key{or_proxy}"));
        }
    }

    /// A setting of this listener that can have no effect on it is an error. A shared setting is not, and neither is
    /// the default, which `switchboard config` prints for every listener.
    pub(super) fn without_effect(&mut self, at: &[String]) {
        let Some(listener) = tree::get_table(&self.merged.tree, at) else { return };
        let Some(traits) = Traits::of(listener, self.registry) else { return };
        if self.report.is_invalid_in(&under(at, "listen")) || self.report.is_invalid(&under(at, "proxy")) {
            return;
        }
        // Access lists have their own check.
        for section in shared_keys().sections.iter().filter(|section| *section != "access") {
            let within = under(at, section);
            for (key, value) in tree::get_table(&self.merged.tree, &within).into_iter().flatten() {
                let path = under(&within, key);
                let default = applies::default(section, key);
                let is_default = default.is_some_and(|default| tree::to_json(&default) == tree::to_json(value));
                if let Some(reason) = traits.without_effect(section, key)
                    && !is_default
                    && !self.report.is_invalid(&path)
                {
                    self.reject(&path, format!("has no effect, because {reason}; remove this key"));
                }
            }
        }
    }

    /// A burst has no effect without a rate.
    pub(super) fn burst(&mut self, at: &[String], settings: &ListenerSettings) {
        let rate = under(at, "rate");
        let key = under(&rate, "burst");
        let rates = ["messages_per_source", "connections_per_source", "failed_handshakes_per_source"];
        let mut keys = rates.iter().flat_map(|one| [under(&rate, one), under(&path("rate"), one)]);
        let is_invalid = keys.any(|key| self.report.is_invalid(&key)) || self.report.is_invalid(&key);
        let rates = &settings.rate;
        // Without TLS and the PROXY protocol, no handshake can fail.
        let has_handshakes = settings.proxy.is_some() || self.is_set(&under(at, "tls"));
        let has_rate = !rates.messages_per_source.is_off()
            || !rates.connections_per_source.is_off()
            || (has_handshakes && !rates.failed_handshakes_per_source.is_off());
        if settings.rate.burst > 0 && self.is_set(&key) && !has_rate && !is_invalid {
            let what =
                "has no effect without a rate; set messages_per_source or connections_per_source, like \"100/s\"";
            self.reject(&key, what);
        }
    }
}

impl Check<'_> {
    /// The admin endpoint is TCP or a Unix socket.
    pub(super) fn admin(&mut self) -> Option<Admin> {
        let settings = self.file.admin.as_ref()?;
        let listen = path("admin.listen");
        let secret = self.token(settings);
        let Some(endpoint) = settings.listen.clone() else {
            if !self.report.is_invalid_in(&path("admin")) {
                let what = "is missing; write it like \"tcp://127.0.0.1:9900\" or \"unix:/run/switchboard/admin.sock\"";
                self.report.add(&listen, what, self.merged.origin(&path("admin")));
            }
            return None;
        };
        if !matches!(endpoint, Endpoint::Tcp(_) | Endpoint::Unix(_)) {
            let what = format!("\"{endpoint}\" cannot be used for [admin]; use tcp://127.0.0.1:9900 or unix:/path");
            self.reject(&listen, what);
        }
        Some(Admin { endpoint, token: secret })
    }

    fn token(&mut self, settings: &AdminSettings) -> Option<Token> {
        let key = path("admin.token_file");
        let read = match (&settings.token, &settings.token_file) {
            (Some(_), Some(_)) => Err("cannot be set together with admin.token; remove one".to_owned()),
            (None, Some(file)) => bounded::read_text(file)
                .map_err(|error| bounded::reason(&error))
                .and_then(|text| Ok(text.trim().parse().map(Some)?))
                .map_err(|error| format!("cannot read a token from {}: {error}", file.display())),
            (token, None) => Ok(token.clone()),
        };
        read.unwrap_or_else(|what| {
            self.reject(&key, what);
            None
        })
    }
}

impl Admin {
    /// What an operator should know about a valid section that others can use.
    pub(crate) fn warning(&self) -> Option<String> {
        let Self { endpoint, token } = self;
        let Endpoint::Tcp(at) = endpoint else { return None };
        let ip = at.host.parse().map(|ip: IpAddr| ip.to_canonical());
        let is_loopback = at.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
        let what = match (is_loopback, token) {
            (true, Some(_)) => return None,
            (true, None) => {
                "has no token, so every local user can drain the server; use a Unix socket (mode 0600), or set \
                 admin.token_file"
            }
            (false, Some(_)) => {
                "can be reached from other machines, and the token crosses the network unencrypted; use a Unix socket \
                 with ssh, or 127.0.0.1 behind a TLS proxy"
            }
            (false, None) => {
                "can be reached from other machines and has no token, so it serves only /livez, /readyz and /metrics; \
                 set admin.token_file, or use a Unix socket"
            }
        };
        Some(format!("admin.listen: \"{endpoint}\" {what}"))
    }
}
