//! Limits the bytes and the datagrams sent to a datagram peer whose address is not validated, against amplification
//! attacks (RFC 9000, section 8) and against two servers that answer each other endlessly (CVE-2024-2169).

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::address::Address;
use crate::connection::info::Counter;
use crate::settings::Rate;

/// Of this many datagrams to an unvalidated peer, one is dropped: it ends an exchange with a server that answers every
/// reply, at any rate. Clients of UDP expect such losses.
const DATAGRAMS_PER_DROP: u64 = 50_000;

/// The bytes that one datagram peer may still be sent. Only the task of its socket counts; any task may validate.
#[derive(Debug, Default)]
pub(crate) struct AmplificationLimit {
    validated: AtomicBool,
    remaining: Counter,
    datagrams: DatagramRate,
}

/// A reply exceeds the budget of a peer.
#[derive(Debug, thiserror::Error)]
#[error(
    "the reply of {size} bytes exceeds the reply budget of {budget} bytes, because the address of the peer is not \
     validated; validate it (cx.validate_address), shorten the reply (cx.reply_budget) or raise limits.amplification"
)]
pub(crate) struct OverBudget {
    pub(crate) size: usize,
    pub(crate) budget: usize,
}

/// Counts datagrams. The clock is read only every `rate.count()` datagrams.
#[derive(Debug, Default)]
struct DatagramRate {
    sent: Counter,
    /// The value of `sent` at which a limit may be reached.
    next_check: Counter,
    period: Mutex<Period>,
}

/// The period of a rate that began last.
#[derive(Debug)]
struct Period {
    started: Option<Instant>,
    /// The value of `sent` when it began.
    first: u64,
    /// The value of `sent` at which one datagram is dropped.
    next_drop: u64,
}

impl Default for Period {
    fn default() -> Self {
        Self { started: None, first: 0, next_drop: DATAGRAMS_PER_DROP }
    }
}

impl AmplificationLimit {
    pub(crate) fn validate(&self) {
        self.validated.store(true, Relaxed);
    }

    pub(crate) fn is_validated(&self) -> bool {
        self.validated.load(Relaxed)
    }

    /// Credits a received datagram with `factor` bytes per byte.
    pub(crate) fn credit(&self, peer: &Address, payload: usize, factor: usize) {
        let received = header_bytes(peer).unwrap_or(0).saturating_add(payload as u64);
        self.remaining.set(self.remaining.get().saturating_add(received.saturating_mul(factor as u64)));
    }

    /// The largest payload that may be sent now. `None`: no limit.
    pub(crate) fn budget(&self, peer: &Address) -> Option<usize> {
        let headers = header_bytes(peer).filter(|_| !self.is_validated())?;
        Some(usize::try_from(self.remaining.get().saturating_sub(headers)).unwrap_or(usize::MAX))
    }

    /// Debits a datagram to send. False if it exceeds the limit and must be dropped.
    pub(crate) fn try_debit(&self, peer: &Address, payload: usize) -> bool {
        let Some(headers) = header_bytes(peer) else { return true };
        if self.is_validated() {
            return true;
        }
        let remaining = self.remaining.get().checked_sub(headers.saturating_add(payload as u64));
        remaining.inspect(|remaining| self.remaining.set(*remaining)).is_some()
    }

    /// Counts a datagram to send. False if it exceeds the rate and must be dropped.
    pub(crate) fn try_count(&self, peer: &Address, rate: Rate) -> bool {
        rate.is_off() || self.is_validated() || header_bytes(peer).is_none() || self.datagrams.try_count(rate)
    }
}

impl DatagramRate {
    #[inline]
    fn try_count(&self, rate: Rate) -> bool {
        let is_sent = self.sent.get() < self.next_check.get() || self.check(rate);
        self.sent.add(usize::from(is_sent));
        is_sent
    }

    #[cold]
    fn check(&self, rate: Rate) -> bool {
        let (sent, now) = (self.sent.get(), Instant::now());
        let mut period = self.period.lock();
        if sent >= period.next_drop {
            period.next_drop = sent + DATAGRAMS_PER_DROP;
            return false;
        }
        let is_over = period.started.is_none_or(|started| now >= started + rate.per());
        if is_over {
            *period = Period { started: Some(now), first: sent, ..*period };
        }
        let limit = period.first + u64::from(rate.count());
        self.next_check.set(limit.min(period.next_drop));
        sent < limit
    }
}

/// The size of the IP and UDP headers of a datagram. `None`: addresses of this kind cannot be forged.
fn header_bytes(peer: &Address) -> Option<u64> {
    match peer {
        Address::Inet(peer) if peer.ip().to_canonical().is_ipv4() => Some(20 + 8),
        Address::Inet(_) => Some(40 + 8),
        Address::Unix(_) | Address::Named(_) => None,
    }
}

#[cfg(test)]
mod tests;
