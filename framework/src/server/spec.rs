//! The specification of one listener, and the memory that its limits allow.

use crate::address::Endpoint;
use crate::connection::Kind;
use crate::driver::{FRAME_OVERHEAD, LARGE_BUFFER, MAX_DATAGRAM, MAX_PENDING_BYTES, MAX_READ_AHEAD};
use crate::error::{BoxError, chain};
use crate::settings::{Access, Limits, ProxySettings, Rates, SocketOptions, Timeouts, TlsSettings};

/// One listener, as plain values.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerSpec {
    /// Its name, in logs and metrics.
    pub name: String,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// How much at once.
    pub limits: Limits,
    /// How long each thing may take; of these a listener itself needs the handshake.
    pub timeouts: Timeouts,
    /// How fast one source may be; of these a listener itself needs that of connections.
    pub rates: Rates,
    /// Who is let in.
    pub access: Access,
    /// How its sockets are made.
    pub socket: SocketOptions,
    /// The header that a proxy in front sends before everything else, TLS included; required if set.
    pub proxy: Option<ProxySettings>,
    /// TLS around its transport, whichever that is; `tls://` needs it.
    pub tls: Option<TlsSettings>,
}

impl ListenerSpec {
    /// A listener with default limits, timeouts, rates and socket options, for everybody, without a proxy and TLS.
    pub fn new(name: impl Into<String>, endpoint: Endpoint) -> Self {
        Self {
            name: name.into(),
            endpoint,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            rates: Rates::default(),
            access: Access::default(),
            socket: SocketOptions::default(),
            proxy: None,
            tls: None,
        }
    }
}

/// A listener that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener} cannot listen on {endpoint}: {}", chain(&**source))]
pub struct StartError {
    pub(crate) listener: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) source: BoxError,
}

/// A connection without its buffers: its task, its handle, its place in the table.
const CONNECTION: usize = 12 * 1024;
/// A peer of a datagram socket.
const SESSION: usize = 4 * 1024;
/// What TLS keeps of one connection: keys, and records on their way in and out.
const TLS: usize = 144 * 1024;
/// What a proxy said of a connection.
const PROXY: usize = 8 * 1024;
/// The table of one rate, full.
const RATE: usize = 8 * 1024 * 1024;

impl ListenerSpec {
    /// The most bytes of memory that this listener takes of itself, whatever its peers do, if it brings `kind`.
    ///
    /// A connection holds at most one message that is handled or not yet whole (`limits.frame`, and what one read brought beyond
    /// it: 64 KiB), what was read ahead meanwhile (68 KiB), and output that the peer has not taken (64 KiB and the reply that
    /// went over it, in a buffer of up to twice that). Datagrams that wait are 16 MiB at most.
    ///
    /// A rate that is on has a table of at most 8 MiB.
    ///
    /// Replies are counted as large as `limits.frame`. What a handler keeps or pushes is its own, and comes on top: the state of a
    /// connection, and up to `limits.outbox` frames that it has pushed. So do buffers of the system's sockets.
    ///
    /// ```
    /// use switchboard::Kind;
    /// use switchboard::server::ListenerSpec;
    /// let mut spec = ListenerSpec::new("main", "tcp://127.0.0.1:9999".parse()?);
    /// let whole = spec.max_memory(Kind::Stream);
    /// spec.limits.connections /= 10;
    /// assert_eq!(spec.max_memory(Kind::Stream), whole / 10);
    /// # Ok::<(), switchboard::address::EndpointError>(())
    /// ```
    pub fn max_memory(&self, kind: Kind) -> u64 {
        let of_each = |bytes: usize, count: usize| (bytes as u64).saturating_mul(count as u64);
        let frame = self.limits.frame;
        let rates = [self.rates.messages_per_source, self.rates.connections_per_source];
        let rates = of_each(RATE, rates.iter().filter(|rate| !rate.is_off()).count());
        let of_kind = match kind {
            Kind::Stream => {
                let input = frame.saturating_add(FRAME_OVERHEAD + LARGE_BUFFER + MAX_READ_AHEAD + LARGE_BUFFER);
                let output = frame.saturating_add(LARGE_BUFFER).saturating_mul(2);
                let tls = if self.tls.is_some() { TLS } else { 0 };
                let proxy = if self.proxy.is_some() { PROXY } else { 0 };
                of_each(input.saturating_add(output).saturating_add(CONNECTION + tls + proxy), self.limits.connections)
            }
            Kind::Datagram => {
                let waiting = MAX_PENDING_BYTES + MAX_DATAGRAM;
                let unsent = of_each(frame.min(MAX_DATAGRAM), self.limits.outbox);
                of_each(SESSION, self.limits.sessions).saturating_add(waiting as u64).saturating_add(unsent)
            }
        };
        of_kind.saturating_add(rates)
    }
}
