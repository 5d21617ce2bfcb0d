//! Tests of `connection/amplification.rs`.

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
fn the_budget_is_three_times_the_received_bytes_including_headers() {
    let inet = |text: &str| Address::Inet(text.parse().unwrap());
    assert_eq!(most(&inet("192.0.2.1:4000"), 10), 3 * (10 + 28) - 28);
    assert_eq!(most(&inet("[::ffff:192.0.2.1]:4000"), 10), 3 * (10 + 28) - 28);
    assert_eq!(most(&inet("[2001:db8::1]:4000"), 10), 3 * (10 + 48) - 48);
    assert_eq!(most(&inet("192.0.2.1:4000"), 0), 2 * 28);
}

#[test]
fn rejected_sends_cost_nothing_and_received_bytes_accumulate() {
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
fn validated_and_unspoofable_peers_have_no_limit() {
    let limit = AmplificationLimit::default();
    assert!(limit.try_debit(&Address::Unix(None), 1000));
    let peer = Address::Inet("192.0.2.1:4000".parse().unwrap());
    assert!(!limit.try_debit(&peer, 1000));
    limit.validate();
    assert!(limit.try_debit(&peer, 1000));
}
