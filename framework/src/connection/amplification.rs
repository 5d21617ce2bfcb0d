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
mod tests {
    use super::*;

    /// The largest payload that may be sent for one received datagram of `received` bytes.
    fn most(peer: &Address, received: usize) -> usize {
        let fits = |reply: usize| {
            let limit = AmplificationLimit::default();
            limit.credit(peer, received);
            limit.try_debit(peer, reply)
        };
        let most = (0..100_000).take_while(|reply| fits(*reply)).count();
        most.checked_sub(1).expect("an empty reply always fits")
    }

    #[test]
    fn three_times_what_came_headers_counted() {
        let inet = |text: &str| Address::Inet(text.parse().unwrap());
        assert_eq!(most(&inet("192.0.2.1:4000"), 10), 3 * (10 + 28) - 28);
        assert_eq!(most(&inet("[::ffff:192.0.2.1]:4000"), 10), 3 * (10 + 28) - 28);
        assert_eq!(most(&inet("[2001:db8::1]:4000"), 10), 3 * (10 + 48) - 48);
        assert_eq!(most(&inet("192.0.2.1:4000"), 0), 2 * 28);
    }

    #[test]
    fn what_was_refused_costs_nothing_and_what_came_adds_up() {
        let (peer, limit) = (Address::Inet("192.0.2.1:4000".parse().unwrap()), AmplificationLimit::default());
        assert!(!limit.try_debit(&peer, 0));
        limit.credit(&peer, 0);
        assert!(!limit.try_debit(&peer, 57));
        assert!(limit.try_debit(&peer, 56));
        assert!(!limit.try_debit(&peer, 0));
        limit.credit(&peer, 0);
        limit.credit(&peer, usize::MAX);
        assert!(limit.try_debit(&peer, 1_000_000));
    }

    #[test]
    fn a_validated_peer_and_one_that_cannot_be_forged_have_no_bound() {
        let limit = AmplificationLimit::default();
        assert!(limit.try_debit(&Address::Unix(None), 1000));
        let peer = Address::Inet("192.0.2.1:4000".parse().unwrap());
        assert!(!limit.try_debit(&peer, 1000));
        limit.validate();
        assert!(limit.try_debit(&peer, 1000));
    }
}
