//! Which settings have an effect on a listener: the mark `x-applies` in the schema of a setting, compared with the
//! address of the listener and its sections.

use figment::value::{Dict, Value};
use switchboard::{Endpoint, Kind, Registry};

use super::expected::{Expected, file_schema};
use super::tree;

/// What a listener has that settings may need.
pub(crate) struct Traits {
    endpoint: Endpoint,
    kind: Kind,
    has_proxy: bool,
    has_tls: bool,
}

impl Traits {
    /// The traits of a listener. `None` if its address is invalid, or is known only to the service manager.
    pub(crate) fn of(listener: &Dict, registry: &Registry) -> Option<Self> {
        let endpoint: Endpoint = listener.get("listen").and_then(Value::as_str)?.parse().ok()?;
        let kind = registry.transport_kind(endpoint.scheme()).filter(|_| !matches!(endpoint, Endpoint::Systemd(_)))?;
        let has_tls = listener.contains_key("tls") || matches!(endpoint, Endpoint::Tls(_));
        Some(Self { endpoint, kind, has_proxy: listener.contains_key("proxy"), has_tls })
    }

    /// The traits of a listener with connections, and without other sections.
    pub(crate) fn of_connections(endpoint: Endpoint) -> Self {
        Self { endpoint, kind: Kind::Stream, has_proxy: false, has_tls: false }
    }

    /// The reason why a setting, such as `limits` and `sessions`, has no effect on this listener.
    pub(crate) fn without_effect(&self, section: &str, key: &str) -> Option<String> {
        let path = ["listeners", "any", section, key].map(str::to_owned);
        let schema = Expected::at(file_schema(), &path);
        let needs = schema.forms().find_map(|form| form.get("x-applies")?.as_str())?;
        needs.split(' ').find_map(|need| self.lacks(need))
    }

    fn lacks(&self, need: &str) -> Option<String> {
        let address = &self.endpoint;
        let is_known = !matches!(address, Endpoint::Other { .. });
        let (has, reason) = match need {
            "connections" => (self.kind == Kind::Stream, format!("\"{address}\" provides datagrams")),
            "datagrams" => (self.kind == Kind::Datagram, format!("\"{address}\" provides connections")),
            "handshakes" => {
                let has = self.has_proxy || self.has_tls || !is_known;
                (has, format!("\"{address}\" has neither TLS nor the PROXY protocol"))
            }
            "network" => {
                let reason = format!("the peers of \"{address}\" have no network address");
                (self.has_proxy || has_network(address), reason)
            }
            "tcp" => {
                let has = matches!(address, Endpoint::Tcp(_) | Endpoint::Tls(_)) || !is_known;
                (has, format!("\"{address}\" is not a TCP address"))
            }
            "inet" => {
                let has = matches!(address, Endpoint::Tcp(_) | Endpoint::Tls(_) | Endpoint::Udp(_)) || !is_known;
                (has, format!("\"{address}\" is not a TCP or UDP address"))
            }
            "unix" => {
                let has = matches!(address, Endpoint::Unix(_) | Endpoint::Unixgram(_)) || !is_known;
                (has, format!("\"{address}\" is not the path of a Unix socket"))
            }
            _ => return None,
        };
        (!has).then_some(reason)
    }
}

/// Whether the peers of a transport have network addresses. The peers of a third-party transport can have them.
pub(crate) fn has_network(endpoint: &Endpoint) -> bool {
    !matches!(endpoint, Endpoint::Unix(_) | Endpoint::Unixgram(_) | Endpoint::Memory(_))
}

/// The default of a setting that listeners share. `None` if it is absent by default.
pub(crate) fn default(section: &str, key: &str) -> Option<Value> {
    let schema = Expected::at(file_schema(), &[section.to_owned(), key.to_owned()]);
    schema.forms().find_map(|form| form.get("default")).map(tree::from_json)
}
