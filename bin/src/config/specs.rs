//! What is written for a listener as the plain values of the framework. What nobody wrote keeps the framework's default.

use switchboard::settings::{Limits, Rates, SocketOptions, Timeouts};
use switchboard::{Access, Networks, ProxySettings, TlsIdentity, TlsSettings};

use super::raw::{RawAccess, RawIdentity, RawLimits, RawProxy, RawRate, RawSocket, RawTimeouts, RawTls};
use super::value::Network;

/// Sets each field to what is written, where something is.
macro_rules! set {
    ($raw:ident => $spec:ident { $($field:ident: $written:pat => $value:expr),+ $(,)? }) => {
        $(if let Some($written) = &$raw.$field {
            $spec.$field = $value;
        })+
    };
}

/// How much.
pub(crate) fn limits(raw: &RawLimits) -> Limits {
    let mut limits = Limits::default();
    set!(raw => limits {
        connections: count => count.size(),
        connections_per_source: count => count.size(),
        handshakes: count => count.size(),
        frame: size => size.0,
        outbox: count => count.size(),
        sessions: count => count.size(),
    });
    limits
}

/// How long.
pub(crate) fn timeouts(raw: &RawTimeouts) -> Timeouts {
    let mut timeouts = Timeouts::default();
    set!(raw => timeouts {
        handshake: span => span.0,
        first_message: span => span.0,
        frame: span => span.0,
        idle: span => span.0,
        message: span => span.0,
        write: span => span.0,
        lifetime: span => span.0,
    });
    timeouts
}

/// How fast.
pub(crate) fn rates(raw: &RawRate) -> Rates {
    let mut rates = Rates::default();
    set!(raw => rates {
        messages_per_source: rate => rate.0,
        connections_per_source: rate => rate.0,
        burst: count => count.word(),
    });
    rates
}

/// Who may come.
pub(crate) fn access(raw: &RawAccess) -> Access {
    Access { allow: networks(raw.allow.as_deref()), deny: networks(raw.deny.as_deref()) }
}

/// Which proxies are believed.
pub(crate) fn proxy(raw: &RawProxy) -> ProxySettings {
    ProxySettings { trusted: networks(raw.trusted.as_deref()) }
}

fn networks(raw: Option<&[Network]>) -> Networks {
    raw.into_iter().flatten().map(|network| network.0).collect()
}

/// How its sockets are made.
pub(crate) fn socket(raw: &RawSocket) -> SocketOptions {
    let mut socket = SocketOptions::default();
    set!(raw => socket {
        backlog: count => count.word(),
        nodelay: is => *is,
        keepalive: span => span.0,
        reuse_port: is => *is,
        mode: mode => mode.0,
        group: name => Some(name.clone()),
    });
    socket
}

/// How it speaks TLS; `None` where a certificate or a key is not said.
pub(crate) fn tls(raw: &RawTls) -> Option<TlsSettings> {
    let mut settings = TlsSettings::new(&raw.certificate.as_ref()?.0, &raw.key.as_ref()?.0);
    settings.client_ca = raw.client_ca.as_ref().map(|path| path.0.clone());
    settings.alpn = raw.alpn.iter().flatten().map(|protocol| protocol.0.clone()).collect();
    for (host, RawIdentity { certificate, key }) in raw.sni.iter().flatten() {
        let identity = TlsIdentity { certificate: certificate.as_ref()?.0.clone(), key: key.as_ref()?.0.clone() };
        settings.sni.insert(host.clone(), identity);
    }
    Some(settings)
}
