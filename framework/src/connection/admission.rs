//! Who is let in, decided on addresses alone: before a task is spent on a client, and again when a proxy has said who it is.

use parking_lot::Mutex;
use std::sync::Arc;

use crate::address::Address;
use crate::connection::ConnectionTable;
use crate::connection::handle::Connection;
use crate::connection::table::ConnectionGuard;
use crate::limiter::Limiter;
use crate::log_throttle::LogThrottle;
use crate::reason::CloseReason;
use crate::settings::Access;
use crate::settings::ProxySettings;
use crate::settings::{Limits, Rates};

/// What a client must fulfil to be let in.
#[derive(Debug)]
pub(crate) struct Admission {
    access: Access,
    proxy: Option<ProxySettings>,
    limits: Limits,
    rates: Rates,
    /// Goes on counting when other settings change.
    limiter: Option<Arc<Limiter>>,
    refused: Arc<Mutex<[LogThrottle; 3]>>,
}

/// A client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("refused by {rule}")]
pub(crate) struct Rejection {
    why: DropReason,
    /// The key of the configuration that says so.
    rule: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DropReason {
    Limit,
    Denied,
    Rate,
}

impl Rejection {
    /// The reasons, in the order in which they are counted.
    pub(crate) const REASONS: [CloseReason; 3] = [CloseReason::Limit, CloseReason::Denied, CloseReason::Rate];

    const CONNECTIONS: Self = Self { why: DropReason::Limit, rule: "limits.connections" };
    const PER_SOURCE: Self = Self { why: DropReason::Limit, rule: "limits.connections_per_source" };
    const ACCESS: Self = Self { why: DropReason::Denied, rule: "access" };
    const PROXY: Self = Self { why: DropReason::Denied, rule: "proxy.trusted" };
    const RATE: Self = Self { why: DropReason::Rate, rule: "rate.connections_per_source" };

    /// The reason of a connection that ends by it.
    pub(crate) fn reason(self) -> CloseReason {
        Self::REASONS[self.why as usize]
    }
}

impl Admission {
    pub(crate) fn new(limits: &Limits, rates: &Rates, access: Access, proxy: Option<ProxySettings>) -> Self {
        let limiter = Limiter::new(rates.connections_per_source, rates.burst).map(Arc::new);
        Self { access, proxy, limits: *limits, rates: *rates, limiter, refused: Arc::default() }
    }

    /// This gate instead of the one before it: what that has counted goes on counting, where the settings are the same.
    pub(crate) fn after(self, before: &Self) -> Self {
        let is_same_rate = (self.rates.connections_per_source, self.rates.burst)
            == (before.rates.connections_per_source, before.rates.burst);
        let limiter = if is_same_rate { before.limiter.clone() } else { self.limiter };
        Self { limiter, refused: before.refused.clone(), ..self }
    }

    /// How many handshakes may be under way at once.
    pub(crate) fn handshakes(&self) -> usize {
        self.limits.handshakes
    }

    /// A client as the socket shows it. Behind a proxy, only the proxy itself can be judged yet.
    pub(crate) fn enter(&self, table: &ConnectionTable, connection: &Connection) -> Result<ConnectionGuard, Rejection> {
        match &self.proxy {
            Some(proxy) if !believes(proxy, connection.socket_peer()) => return Err(Rejection::PROXY),
            None if !self.access.allows(connection.peer()) => return Err(Rejection::ACCESS),
            _ => {}
        }
        let guard = table.enter(connection, self.limits.connections).ok_or(Rejection::CONNECTIONS)?;
        match &self.proxy {
            None => match self.count(table, connection) {
                Ok(()) => Ok(guard),
                Err(rejected) => {
                    guard.rejected();
                    Err(rejected)
                }
            },
            Some(_) => Ok(guard),
        }
    }

    /// A client that a proxy has introduced.
    pub(crate) fn admit(&self, table: &ConnectionTable, connection: &Connection) -> Result<(), Rejection> {
        if connection.proxy().is_some_and(|info| info.is_local) {
            return Ok(()); // the proxy itself, and that is trusted
        }
        if !self.access.allows(connection.peer()) {
            return Err(Rejection::ACCESS);
        }
        self.count(table, connection)
    }

    fn count(&self, table: &ConnectionTable, connection: &Connection) -> Result<(), Rejection> {
        let Some(source) = connection.source() else { return Ok(()) };
        let per_source = self.limits.connections_per_source;
        if per_source > 0 && !table.count(connection, source, per_source) {
            return Err(Rejection::PER_SOURCE);
        }
        match &self.limiter {
            Some(limiter) if limiter.check(source).is_err() => Err(Rejection::RATE),
            _ => Ok(()),
        }
    }

    /// Whether datagrams of this peer are looked at.
    pub(crate) fn allows(&self, peer: &Address) -> bool {
        self.access.allows(peer)
    }

    /// Says that a client was turned away, at most once a second for each why.
    pub(crate) fn tell(&self, connection: &Connection, Rejection { why, rule }: Rejection) {
        connection.listener_context().metrics.rejected.add(why as usize, 1);
        let count = self.refused.lock()[why as usize].count();
        if let Some(count) = count {
            let (listener, peer) = (connection.listener(), connection.peer());
            let why = Rejection { why, rule }.reason().as_str();
            tracing::warn!(listener, %peer, why, rule, count, "connection refused");
        }
    }
}

fn believes(proxy: &ProxySettings, peer: &Address) -> bool {
    match peer {
        Address::Inet(peer) => proxy.trusted.contains(peer.ip()),
        Address::Unix(_) => true,
        Address::Named(_) => proxy.trusted.is_empty(),
    }
}
