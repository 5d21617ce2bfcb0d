//! The specification of one listener, and the memory that its limits allow.

use std::os::fd::RawFd;

use bytes::Bytes;

use crate::address::Endpoint;
use crate::connection::Kind;
use crate::driver::{FRAME_OVERHEAD, LARGE_BUFFER, MAX_DATAGRAM, MAX_PENDING_BYTES, MAX_READ_AHEAD, SEND_BATCH};
use crate::fleet::Fleet;
use crate::framing::{AnyFraming, Framing};
use crate::layer::LayerInstance;
#[cfg(feature = "script")]
use crate::recorder::Recorder;
use crate::settings::{Access, Limits, ProxySettings, Rates, SocketOptions, Timeouts, TlsSettings, TlsStart};

/// The setters that a listener and a server with one listener have in common.
macro_rules! listener_setters {
    () => {
        crate::listener_spec::listener_setters! {
            /// Sets the limits.
            limits: Limits = limits;
            /// Sets the timeouts.
            timeouts: Timeouts = timeouts;
            /// Sets the rate limits per source.
            rates: Rates = rates;
            /// Sets the networks whose clients are accepted. The default is all.
            access: Access = access;
            /// Sets the options of the sockets.
            socket: SocketOptions = socket;
            /// Requires a PROXY header (version 1 or 2), which is accepted only from the trusted networks.
            proxy: ProxySettings = Some(proxy);
            /// Adds TLS to any transport of connections. Each connection must use it, unless it starts on request. An
            /// invalid file is an error of the start.
            tls: TlsSettings = Some(tls);
        }
    };
    ($($(#[$doc:meta])* $setting:ident: $type:ident = $value:expr;)+) => {
        $(
            $(#[$doc])*
            pub fn $setting(mut self, $setting: crate::settings::$type) -> Self {
                self.spec_mut().$setting = $value;
                self
            }
        )+
    };
}

pub(crate) use listener_setters;

/// The specification of one listener: everything but its handler.
///
/// ```
/// use switchboard::prelude::*;
/// use switchboard::server::ListenerSpec;
/// use switchboard::settings::Timeouts;
///
/// let mut timeouts = Timeouts::default();
/// timeouts.idle = std::time::Duration::from_secs(60);
/// let spec = ListenerSpec::new("main", "tcp://127.0.0.1:9999".parse()?).framing(Lines::default()).timeouts(timeouts);
/// assert_eq!(spec.framing.name(), "lines");
/// # Ok::<(), switchboard::address::EndpointError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct ListenerSpec {
    /// The name in logs and metrics.
    pub name: String,
    /// The address to listen on.
    pub endpoint: Endpoint,
    /// The framing, for a handler of bytes.
    pub framing: AnyFraming,
    /// The layers around a handler of bytes, outermost first. They are inside the default layers.
    pub layers: Vec<LayerInstance>,
    /// The limits of the listener, its connections and peers.
    pub limits: Limits,
    /// The timeouts of connections and calls.
    pub timeouts: Timeouts,
    /// The rate limits per source.
    pub rates: Rates,
    /// The networks whose clients are accepted.
    pub access: Access,
    /// The options of the sockets.
    pub socket: SocketOptions,
    /// If set, each connection must begin with a PROXY header; it comes before TLS.
    pub proxy: Option<ProxySettings>,
    /// If set, connections use TLS, immediately or on request; required for `tls://`.
    pub tls: Option<TlsSettings>,
    /// Whether `connection opened` and `connection closed` are logged at level debug instead of info.
    pub debug_log: bool,
    /// If set, connections whose file descriptor has this number or a higher one are accepted, closed and counted as
    /// `limit`. The system assigns the lowest free number (open(2)), so such a number means that all lower ones are in
    /// use. The descriptors from this number to the limit of the process stay free for everything else.
    pub descriptor_limit: Option<RawFd>,
    /// If set, the listener stops accepting while `limits.connections` are open, and further clients wait in the
    /// backlog. Otherwise they are accepted and closed.
    pub waits_when_full: bool,
    /// If set, the instances of this fleet share the limits that its settings name.
    pub fleet: Option<Fleet>,
    /// If set, the messages of its connections are recorded.
    #[cfg(feature = "script")]
    pub recorder: Option<Recorder>,
}

impl ListenerSpec {
    /// A listener with raw framing and default settings, without layers, PROXY header and TLS.
    pub fn new(name: impl Into<String>, endpoint: Endpoint) -> Self {
        Self {
            name: name.into(),
            endpoint,
            framing: AnyFraming::default(),
            layers: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            rates: Rates::default(),
            access: Access::default(),
            socket: SocketOptions::default(),
            proxy: None,
            tls: None,
            debug_log: false,
            descriptor_limit: None,
            waits_when_full: false,
            fleet: None,
            #[cfg(feature = "script")]
            recorder: None,
        }
    }

    listener_setters!();

    /// Sets the framing.
    pub fn framing(self, framing: impl Framing<In = Bytes, Out = Bytes>) -> Self {
        Self { framing: AnyFraming::new(framing), ..self }
    }

    /// Adds a layer inside those that were added before.
    pub fn layer(mut self, layer: LayerInstance) -> Self {
        self.layers.push(layer);
        self
    }

    fn spec_mut(&mut self) -> &mut Self {
        self
    }

    /// When TLS starts, if the listener has TLS.
    pub(crate) fn tls_start(&self) -> Option<TlsStart> {
        self.tls.as_ref().map(|tls| tls.start)
    }

    /// Whether a pipeline for one spec can serve under the other too. A reload then keeps the running pipeline, with
    /// the counts of its layers.
    pub(crate) fn same_pipeline(&self, other: &Self) -> bool {
        self.pipeline_settings() == other.pipeline_settings()
    }

    /// The spec without the settings that only the socket, the handshakes and the admission read.
    fn pipeline_settings(&self) -> Self {
        let unused = Self::new("", Endpoint::Memory(String::new()));
        let mut spec = Self {
            name: unused.name,
            endpoint: unused.endpoint,
            access: unused.access,
            socket: unused.socket,
            proxy: unused.proxy,
            tls: unused.tls,
            debug_log: unused.debug_log,
            descriptor_limit: unused.descriptor_limit,
            waits_when_full: unused.waits_when_full,
            ..self.clone()
        };
        spec.limits.connections = unused.limits.connections;
        spec.limits.connections_per_source = unused.limits.connections_per_source;
        spec.limits.handshakes = unused.limits.handshakes;
        spec.limits.amplification = unused.limits.amplification;
        spec.timeouts.handshake = unused.timeouts.handshake;
        spec.rates.connections_per_source = unused.rates.connections_per_source;
        spec.rates.replies_per_peer = unused.rates.replies_per_peer;
        spec.rates.failed_handshakes_per_source = unused.rates.failed_handshakes_per_source;
        spec
    }
}

/// A connection without its buffers: the task, the handle, the entry in the table.
const CONNECTION: usize = 12 * 1024;
/// The state of a datagram peer.
const SESSION: usize = 4 * 1024;
/// TLS per connection: keys, and buffered records in both directions.
const TLS: usize = 144 * 1024;
/// The PROXY information of a connection.
const PROXY: usize = 8 * 1024;
/// The datagrams of one batch: the receive buffers of a thread, and a copy of each datagram.
const RECEIVED: usize = 4 * 1024 * 1024;
/// The full table of one rate limit.
const RATE: usize = 8 * 1024 * 1024;

impl ListenerSpec {
    /// The maximum memory in bytes that the framework needs for a listener of this kind with these limits.
    ///
    /// A connection holds one message (`max` of the framing or `limits.frame`, and up to 64 KiB that the same read
    /// returned), up to 68 KiB that were read ahead, and output that the peer has not read: 64 KiB and one more reply,
    /// in a buffer of up to twice that size. Waiting datagrams take at most 16 MiB, those of one batch at most 4 MiB,
    /// and each active rate limit has a table of at most 8 MiB.
    ///
    /// The estimate assumes that replies are as large as `limits.frame`. It does not contain the state of handlers,
    /// pushed frames (up to `limits.outbox` per connection), later replies that are ready before an earlier one (up to
    /// `limits.in_flight` per connection) and socket buffers of the kernel.
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
        let frame = self.framing.limit(self.limits.frame);
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
                let waiting = MAX_PENDING_BYTES + MAX_DATAGRAM + RECEIVED;
                let unsent = of_each(frame.min(MAX_DATAGRAM), self.limits.outbox.max(SEND_BATCH));
                of_each(SESSION, self.limits.sessions).saturating_add(waiting as u64).saturating_add(unsent)
            }
        };
        of_kind.saturating_add(rates)
    }
}

#[cfg(test)]
mod tests;
