//! How much may be sent to a peer that has not shown that it receives: three times what came from it.
//!
//! The sender of a datagram can be forged. Whoever answers a short question with a long answer is used to flood others:
//! the question comes in their name. QUIC's bound (RFC 9000, section 8) takes the gain out of that, and leaves a protocol
//! room to prove an address: a cookie that is sent there comes back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::address::Address;

/// How many bytes may be sent for each one received.
const FACTOR: u64 = 3;

/// What one datagram peer may still be sent. Counted by the task of its socket alone; validated by anybody.
#[derive(Debug, Default)]
pub(crate) struct AmplificationLimit {
    validated: AtomicBool,
    left: AtomicU64,
}

impl AmplificationLimit {
    /// The peer has shown that it receives: no bound any more.
    pub(crate) fn validate(&self) {
        self.validated.store(true, Relaxed);
    }

    pub(crate) fn is_validated(&self) -> bool {
        self.validated.load(Relaxed)
    }

    /// A datagram came.
    pub(crate) fn received(&self, peer: &Address, payload: usize) {
        let came = headers(peer).unwrap_or(0).saturating_add(payload as u64);
        let left = self.left.load(Relaxed);
        self.left.store(left.saturating_add(came.saturating_mul(FACTOR)), Relaxed);
    }

    /// A datagram is to leave: whether it may. If so, it is counted.
    pub(crate) fn spend(&self, peer: &Address, payload: usize) -> bool {
        let Some(headers) = headers(peer) else { return true };
        if self.is_validated() {
            return true;
        }
        let rest = self.left.load(Relaxed).checked_sub(headers.saturating_add(payload as u64));
        if let Some(rest) = rest {
            self.left.store(rest, Relaxed);
        }
        rest.is_some()
    }
}

/// The bytes of the IP and UDP headers of each datagram. `None`: nobody can forge an address of this kind.
fn headers(peer: &Address) -> Option<u64> {
    match peer {
        Address::Inet(peer) if peer.ip().to_canonical().is_ipv4() => Some(20 + 8),
        Address::Inet(_) => Some(40 + 8),
        Address::Unix(_) | Address::Named(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes of payload, in one datagram, may be sent for one datagram of `came` bytes.
    fn most(peer: &Address, came: usize) -> usize {
        let fits = |answer: usize| {
            let amplification_limit = AmplificationLimit::default();
            amplification_limit.received(peer, came);
            amplification_limit.spend(peer, answer)
        };
        let most = (0..100_000).take_while(|answer| fits(*answer)).count();
        most.checked_sub(1).expect("an empty answer always fits")
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
        let (peer, amplification_limit) =
            (Address::Inet("192.0.2.1:4000".parse().unwrap()), AmplificationLimit::default());
        assert!(!amplification_limit.spend(&peer, 0));
        amplification_limit.received(&peer, 0);
        assert!(!amplification_limit.spend(&peer, 57));
        assert!(amplification_limit.spend(&peer, 56));
        assert!(!amplification_limit.spend(&peer, 0));
        amplification_limit.received(&peer, 0);
        amplification_limit.received(&peer, usize::MAX);
        assert!(amplification_limit.spend(&peer, 1_000_000));
    }

    #[test]
    fn a_validated_peer_and_one_that_cannot_be_forged_have_no_bound() {
        let amplification_limit = AmplificationLimit::default();
        assert!(amplification_limit.spend(&Address::Unix(None), 1000));
        let peer = Address::Inet("192.0.2.1:4000".parse().unwrap());
        assert!(!amplification_limit.spend(&peer, 1000));
        amplification_limit.validate();
        assert!(amplification_limit.spend(&peer, 1000));
    }
}
