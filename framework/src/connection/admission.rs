//! Admission: applies access lists, limits and rates by source to each client, and records rejections.

use std::array;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::address::Address;
use crate::bans::Bans;
use crate::close_reason::CloseReason;
use crate::connection::handle::Connection;
use crate::connection::shared_limits::SharedLimits;
use crate::connection::table::ConnectionTable;
use crate::fleet::Fleet;
use crate::log_throttle::LogThrottle;
use crate::rate_limiter::{FailureLimiter, Limiter, SharedBy};
use crate::settings::{Access, Limits, ProxySettings, Rate, Rates, SharedLimit};

#[derive(Debug)]
pub(crate) struct Admission {
    access: Access,
    /// Whether the access lists can reject a client.
    has_lists: bool,
    bans: Bans,
    proxy: Option<ProxySettings>,
    pub(crate) limits: Limits,
    pub(crate) rates: Rates,
    limiter: Option<Arc<Limiter>>,
    shared: SharedLimits,
    failed_handshakes: Option<Arc<FailureLimiter>>,
    throttles: Arc<Throttles>,
    /// Connections with this descriptor number or a higher one are rejected.
    descriptor_limit: Option<RawFd>,
}

type Throttles = [LogThrottle; CloseReason::ALL.len()];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressKnown {
    /// The socket address. Behind a proxy, that is the address of the proxy.
    Socket,
    /// The effective address, from a PROXY header.
    Effective,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("rejected by {rule}")]
pub(crate) struct Rejection {
    reason: CloseReason,
    /// The configuration key of the rule.
    rule: &'static str,
}

impl Rejection {
    /// The reasons of all rejections: the label values of the metric.
    pub(crate) const REASONS: [CloseReason; 4] =
        [CloseReason::Limit, CloseReason::Denied, CloseReason::Rate, CloseReason::Banned];

    const CONNECTIONS: Self = Self { reason: CloseReason::Limit, rule: "limits.connections" };
    const DESCRIPTORS: Self = Self { reason: CloseReason::Limit, rule: "open files" };
    const PER_SOURCE: Self = Self { reason: CloseReason::Limit, rule: "limits.connections_per_source" };
    const ACCESS: Self = Self { reason: CloseReason::Denied, rule: "access" };
    const PROXY: Self = Self { reason: CloseReason::Denied, rule: "proxy.trusted" };
    const BANNED: Self = Self { reason: CloseReason::Banned, rule: "bans" };
    const RATE: Self = Self { reason: CloseReason::Rate, rule: "rate.connections_per_source" };
    const FAILED_HANDSHAKES: Self = Self { reason: CloseReason::Rate, rule: "rate.failed_handshakes_per_source" };
}

impl Admission {
    pub(crate) fn new(
        limits: &Limits,
        rates: &Rates,
        access: Access,
        bans: Bans,
        proxy: Option<ProxySettings>,
    ) -> Self {
        let limiter = Limiter::new(rates.connections_per_source, rates.burst).map(Arc::new);
        let failed_handshakes = FailureLimiter::new(rates.failed_handshakes_per_source, rates.burst).map(Arc::new);
        let throttles = Arc::new(array::from_fn(|_| LogThrottle::default()));
        let (mut limits, rates) = (*limits, *rates);
        limits.amplification = limits.amplification.max(1);
        let has_lists = access != Access::default();
        Self {
            access,
            has_lists,
            bans,
            proxy,
            limits,
            rates,
            limiter,
            shared: SharedLimits::default(),
            failed_handshakes,
            throttles,
            descriptor_limit: None,
        }
    }

    /// Shares the limits of a listener with the other instances of a fleet.
    pub(crate) fn shared_by(self, fleet: Option<&Fleet>, listener: &str, table: &Arc<ConnectionTable>) -> Self {
        let Some(fleet) = fleet else { return self };
        let shared = SharedLimits::new(fleet, listener, table, &self.limits);
        let Rates { connections_per_source: rate, burst, .. } = self.rates;
        let shared_rate = SharedBy::new(Some(fleet), SharedLimit::ConnectionsPerSource, listener, "connects");
        Self { limiter: Limiter::shared(rate, burst, shared_rate).map(Arc::new), shared, ..self }
    }

    /// Rejects connections whose descriptor has this number or a higher one.
    pub(crate) fn descriptor_limit(self, descriptor_limit: Option<RawFd>) -> Self {
        Self { descriptor_limit, ..self }
    }

    /// These rules with the log throttles of `previous` and, for each unchanged rate, its counts.
    pub(crate) fn after(mut self, previous: &Self) -> Self {
        let same_burst = self.rates.burst == previous.rates.burst;
        let same_fleet = self.shared.continue_from(&previous.shared, &self.limits, &previous.limits);
        let is_same = |rate: fn(&Rates) -> Rate| same_burst && rate(&self.rates) == rate(&previous.rates);
        if same_fleet && is_same(|rates| rates.connections_per_source) {
            self.limiter = previous.limiter.clone();
        }
        if is_same(|rates| rates.failed_handshakes_per_source) {
            self.failed_handshakes = previous.failed_handshakes.clone();
        }
        Self { throttles: previous.throttles.clone(), ..self }
    }

    /// Applies the rules to a connection, as far as its address is `known`. With [`AddressKnown::Socket`], an accepted
    /// connection is added to `table`. A rejected one is removed, finished, counted and logged.
    pub(crate) fn check(
        &self,
        table: &ConnectionTable,
        connection: &Connection,
        known: AddressKnown,
    ) -> Result<(), Rejection> {
        let result = self.apply(table, connection, known);
        let accepted = &connection.listener_info().metrics.accepted;
        match (known, &result) {
            (AddressKnown::Socket, Ok(())) => accepted.fetch_add(1, Relaxed),
            // It was counted when the address of the proxy was accepted.
            (AddressKnown::Effective, Err(_)) => accepted.fetch_sub(1, Relaxed),
            _ => 0,
        };
        self.record(table, connection, result)
    }

    /// Rejects a connection whose descriptor belongs to the reserve.
    pub(crate) fn check_descriptor(
        &self,
        table: &ConnectionTable,
        connection: &Connection,
        descriptor: Option<RawFd>,
    ) -> Result<(), Rejection> {
        let is_reserved = descriptor.zip(self.descriptor_limit).is_some_and(|(descriptor, limit)| descriptor >= limit);
        if is_reserved { self.record(table, connection, Err(Rejection::DESCRIPTORS)) } else { Ok(()) }
    }

    fn record(
        &self,
        table: &ConnectionTable,
        connection: &Connection,
        result: Result<(), Rejection>,
    ) -> Result<(), Rejection> {
        if let Err(Rejection { reason, rule }) = result {
            connection.finish(reason);
            table.remove_rejected(connection);
            connection.listener_info().metrics.rejected.add(reason as usize, 1);
            connection.strike_for(reason);
            self.throttles[reason as usize].log(|| {
                let (connection, reason) = (connection.clone(), reason.as_str());
                move |count| {
                    let (listener, peer) = (connection.listener(), connection.peer());
                    tracing::warn!(
                        target: "switchboard::connection",
                        listener, %peer, reason, rule, count, "connection rejected"
                    );
                }
            });
        }
        result
    }

    fn apply(&self, table: &ConnectionTable, connection: &Connection, known: AddressKnown) -> Result<(), Rejection> {
        match (known, &self.proxy) {
            (AddressKnown::Socket, Some(proxy)) if !is_trusted(proxy, connection.socket_peer()) => {
                return Err(Rejection::PROXY);
            }
            (AddressKnown::Socket, Some(_)) => return self.check_capacity(table, connection),
            // A health check of a trusted proxy: rules about clients do not apply.
            (AddressKnown::Effective, _) if connection.proxy().is_some_and(|info| info.is_local) => return Ok(()),
            _ => {}
        }
        if !self.access.allows(connection.peer()) {
            return Err(Rejection::ACCESS);
        }
        if known == AddressKnown::Socket {
            self.check_capacity(table, connection)?;
        }
        // The connection is in the table: if the ban begins now, it is found here, or its ban finds it there.
        if self.bans(connection.peer()) {
            return Err(Rejection::BANNED);
        }
        let Some(source) = connection.source() else { return Ok(()) };
        // All checks of a proxy, and all clients that it does not know, would count as one source.
        if connection.is_of_proxy() {
            return Ok(());
        }
        let per_source = self.limits.connections_per_source;
        let allowed = |open| self.shared.per_source(source, open, per_source);
        if per_source > 0 && !table.count_source(connection, source, allowed) {
            return Err(Rejection::PER_SOURCE);
        }
        if self.failed_handshakes.as_ref().is_some_and(|failed| failed.is_reached(source)) {
            return Err(Rejection::FAILED_HANDSHAKES);
        }
        match &self.limiter {
            Some(limiter) if limiter.check(source).is_err() => Err(Rejection::RATE),
            _ => Ok(()),
        }
    }

    /// Counts a failed handshake for its source. Without a PROXY header, the source behind a proxy is not known.
    pub(crate) fn handshake_failed(&self, connection: &Connection) {
        if let (Some(failed), Some(source)) = (&self.failed_handshakes, connection.known_source()) {
            failed.count(source);
        }
    }

    /// Whether [`reject`](Self::reject) can reject a peer. Cheap, because the answer is no for most servers.
    #[inline]
    pub(crate) fn can_reject(&self) -> bool {
        self.has_lists || !self.bans.is_empty()
    }

    /// Why the access list or a ban rejects a datagram peer.
    #[cold]
    pub(crate) fn reject(&self, peer: &Address) -> Option<CloseReason> {
        if !self.access.allows(peer) {
            return Some(CloseReason::Denied);
        }
        self.bans(peer).then_some(CloseReason::Banned)
    }

    /// Whether a peer is banned. Nobody is whom an entry of `access.allow` names.
    pub(crate) fn bans(&self, peer: &Address) -> bool {
        peer.ip().is_some_and(|ip| self.bans.is_banned(ip) && !self.access.allow.names(ip))
    }

    /// Whether an open connection must close, because its client is banned. Before its PROXY header, the client is not
    /// known, and a health check of the proxy has none.
    pub(crate) fn bans_open(&self, connection: &Connection) -> bool {
        let is_known = match connection.proxy() {
            Some(header) => !header.is_local,
            None => self.proxy.is_none(),
        };
        is_known && self.bans(connection.peer())
    }

    /// The bans of the server.
    pub(crate) fn all_bans(&self) -> &Bans {
        &self.bans
    }

    fn check_capacity(&self, table: &ConnectionTable, connection: &Connection) -> Result<(), Rejection> {
        let allowed = |open| self.shared.connections(open, self.limits.connections);
        if table.insert(connection, allowed) { Ok(()) } else { Err(Rejection::CONNECTIONS) }
    }
}

fn is_trusted(proxy: &ProxySettings, peer: &Address) -> bool {
    match peer {
        Address::Inet(peer) => proxy.trusted.contains(peer.ip()),
        Address::Unix(_) => true,
        Address::Named(_) => proxy.trusted.is_empty(),
    }
}

impl Connection {
    /// Whether the PROXY header names no client, or the socket of the proxy itself: a health check, or a client that
    /// the proxy does not know. Limits and rates by source do not apply.
    pub(crate) fn is_of_proxy(&self) -> bool {
        let addresses = self.proxy().map(|header| &header.addresses);
        addresses.is_some_and(|named| named.as_ref().is_none_or(|(client, _)| client == self.socket_peer()))
    }
}
