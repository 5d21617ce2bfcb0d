//! Tests of `connection/amplification.rs`.

use super::*;

/// The largest payload that may be sent for one received datagram of `received` bytes.
fn most(peer: &Address, received: usize, factor: usize) -> usize {
    let credited = || {
        let limit = AmplificationLimit::default();
        limit.credit(peer, received, factor);
        limit
    };
    let most = (0..100_000).take_while(|reply| credited().try_debit(peer, *reply)).count();
    let most = most.checked_sub(1).expect("an empty reply always fits");
    assert_eq!(credited().budget(peer), Some(most));
    most
}

#[test]
fn the_budget_is_a_multiple_of_the_received_bytes_including_headers() {
    let inet = |text: &str| Address::Inet(text.parse().unwrap());
    for factor in [1, 2, 3, 10, 100] {
        assert_eq!(most(&inet("192.0.2.1:4000"), 10, factor), factor * (10 + 28) - 28);
        assert_eq!(most(&inet("[::ffff:192.0.2.1]:4000"), 10, factor), factor * (10 + 28) - 28);
        assert_eq!(most(&inet("[2001:db8::1]:4000"), 10, factor), factor * (10 + 48) - 48);
        assert_eq!(most(&inet("192.0.2.1:4000"), 0, factor), (factor - 1) * 28);
    }
}

#[test]
fn rejected_sends_cost_nothing_and_received_bytes_accumulate() {
    let (peer, limit) = (Address::Inet("192.0.2.1:4000".parse().unwrap()), AmplificationLimit::default());
    assert!(!limit.try_debit(&peer, 0));
    assert_eq!(limit.budget(&peer), Some(0));
    limit.credit(&peer, 0, 3);
    assert!(!limit.try_debit(&peer, 57));
    assert!(limit.try_debit(&peer, 56));
    assert!(!limit.try_debit(&peer, 0));
    limit.credit(&peer, 0, 3);
    limit.credit(&peer, usize::MAX, 3);
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
    assert_eq!((limit.budget(&peer), limit.budget(&Address::Unix(None))), (None, None));
}
