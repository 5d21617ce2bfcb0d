//! Who is let in, decided on addresses alone: before a task is spent on a client, and again when a proxy has said who it is.

use std::sync::{Arc, Mutex};

use crate::access::Access;
use crate::address::Address;
use crate::limiter::Limiter;
use crate::lock::lock;
use crate::pace::Pace;
use crate::proxy::ProxySettings;
use crate::reason::CloseReason;
use crate::roster::Roster;
use crate::roster::book::Place;
use crate::roster::connection::Connection;
use crate::spec::{Limits, Rates};

/// What a client must fulfil to be let in.
#[derive(Debug)]
pub(crate) struct Gate {
    access: Access,
    proxy: Option<ProxySettings>,
    limits: Limits,
    rates: Rates,
    /// Goes on counting when other settings change.
    limiter: Option<Arc<Limiter>>,
    refused: Arc<Mutex<[Pace; 3]>>,
}

/// A client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("refused by {rule}")]
pub(crate) struct TurnedAway {
    why: Why,
    /// The key of the configuration that says so.
    rule: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Limit,
    Denied,
    Rate,
}

impl TurnedAway {
    /// The reasons, in the order in which they are counted.
    pub(crate) const REASONS: [CloseReason; 3] = [CloseReason::Limit, CloseReason::Denied, CloseReason::Rate];

    const CONNECTIONS: Self = Self { why: Why::Limit, rule: "limits.connections" };
    const PER_SOURCE: Self = Self { why: Why::Limit, rule: "limits.connections_per_source" };
    const ACCESS: Self = Self { why: Why::Denied, rule: "access" };
    const PROXY: Self = Self { why: Why::Denied, rule: "proxy.trusted" };
    const RATE: Self = Self { why: Why::Rate, rule: "rate.connections_per_source" };

    /// The reason of a connection that ends by it.
    pub(crate) fn reason(self) -> CloseReason {
        Self::REASONS[self.why as usize]
    }
}

impl Gate {
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
    pub(crate) fn enter(&self, roster: &Roster, connection: &Connection) -> Result<Place, TurnedAway> {
        match &self.proxy {
            Some(proxy) if !believes(proxy, connection.socket_peer()) => return Err(TurnedAway::PROXY),
            None if !self.access.lets_in(connection.peer()) => return Err(TurnedAway::ACCESS),
            _ => {}
        }
        let place = roster.enter(connection, self.limits.connections).ok_or(TurnedAway::CONNECTIONS)?;
        match &self.proxy {
            None => match self.count(roster, connection) {
                Ok(()) => Ok(place),
                Err(turned_away) => {
                    place.turned_away();
                    Err(turned_away)
                }
            },
            Some(_) => Ok(place),
        }
    }

    /// A client that a proxy has introduced.
    pub(crate) fn admit(&self, roster: &Roster, connection: &Connection) -> Result<(), TurnedAway> {
        if connection.proxy().is_some_and(|facts| facts.is_local) {
            return Ok(()); // the proxy itself, and that is trusted
        }
        if !self.access.lets_in(connection.peer()) {
            return Err(TurnedAway::ACCESS);
        }
        self.count(roster, connection)
    }

    fn count(&self, roster: &Roster, connection: &Connection) -> Result<(), TurnedAway> {
        let Some(source) = connection.source() else { return Ok(()) };
        let per_source = self.limits.connections_per_source;
        if per_source > 0 && !roster.count(connection, source, per_source) {
            return Err(TurnedAway::PER_SOURCE);
        }
        match &self.limiter {
            Some(limiter) if limiter.check(source).is_err() => Err(TurnedAway::RATE),
            _ => Ok(()),
        }
    }

    /// Whether datagrams of this peer are looked at.
    pub(crate) fn lets_in(&self, peer: &Address) -> bool {
        self.access.lets_in(peer)
    }

    /// Says that a client was turned away, at most once a second for each why.
    pub(crate) fn tell(&self, connection: &Connection, TurnedAway { why, rule }: TurnedAway) {
        connection.lane().meters.rejected.add(why as usize, 1);
        let count = lock(&self.refused)[why as usize].count();
        if let Some(count) = count {
            let (listener, peer) = (connection.listener(), connection.peer());
            let why = TurnedAway { why, rule }.reason().as_str();
            tracing::warn!(listener, %peer, why, rule, count, "connection refused");
        }
    }
}

fn believes(proxy: &ProxySettings, peer: &Address) -> bool {
    match peer {
        Address::Inet(peer) => proxy.trusted.contain(peer.ip()),
        Address::Unix(_) => true,
        Address::Named(_) => proxy.trusted.is_empty(),
    }
}
