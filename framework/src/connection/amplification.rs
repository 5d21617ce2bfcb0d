//! Limits the bytes sent to a datagram peer whose address is not validated, against amplification attacks (RFC 9000,
//! section 8).

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::address::Address;
use crate::connection::info::Counter;

/// Bytes that may be sent to an unvalidated datagram peer per byte received from it.
const FACTOR: u64 = 3;

/// The bytes that one datagram peer may still be sent. Only the task of its socket counts; any task may validate.
#[derive(Debug, Default)]
pub(crate) struct AmplificationLimit {
    validated: AtomicBool,
    remaining: Counter,
}

impl AmplificationLimit {
    pub(crate) fn validate(&self) {
        self.validated.store(true, Relaxed);
    }

    pub(crate) fn is_validated(&self) -> bool {
        self.validated.load(Relaxed)
    }

    pub(crate) fn credit(&self, peer: &Address, payload: usize) {
        let received = header_bytes(peer).unwrap_or(0).saturating_add(payload as u64);
        self.remaining.set(self.remaining.get().saturating_add(received.saturating_mul(FACTOR)));
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
