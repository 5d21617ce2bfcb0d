//! Tests of `bans/table/filter.rs`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

/// Networks of single clients: IPv4 addresses, and the /64 networks of IPv6.
fn client(number: u32, is_v6: bool) -> Network {
    let network = if is_v6 {
        let bits = u128::from(number) << 64 | 0x2001_0db8 << 96;
        Network::around(Ipv6Addr::from_bits(bits).into(), 64)
    } else {
        Network::around(Ipv4Addr::from_bits(number).into(), 32)
    };
    network.expect("a valid length")
}

fn may_contain(filter: &Filter, network: Network) -> bool {
    filter.may_contain(network.address(), network.prefix_len())
}

/// How many of the networks of other clients the filter takes for banned ones, per thousand.
fn mistaken(filter: &Filter, is_v6: bool) -> usize {
    (0..100_000).filter(|nth| may_contain(filter, client(1_000_000 + nth, is_v6))).count() / 100
}

#[test]
fn every_network_is_found_and_most_others_are_not() {
    for is_v6 in [false, true] {
        let mut filter = Filter::default();
        assert!(!may_contain(&filter, client(0, is_v6)));
        let banned: Vec<Network> = (0..100_000).map(|nth| client(nth, is_v6)).collect();
        banned.iter().for_each(|network| filter.insert(network));
        assert!(banned.iter().all(|network| may_contain(&filter, *network)));
        let mistaken = mistaken(&filter, is_v6);
        assert!((25..45).contains(&mistaken), "{mistaken} of 1000");
    }
}

#[test]
fn removed_networks_are_forgotten_and_the_others_are_not() {
    let mut filter = Filter::default();
    let left = [client(7, false), client(8, true)];
    left.iter().for_each(|network| filter.insert(network));
    for nth in 100..500_000 {
        filter.insert(&client(nth, false));
        filter.remove(left.iter());
    }
    assert!(left.iter().all(|network| may_contain(&filter, *network)));
    assert!(mistaken(&filter, false) < 45, "{} of 1000", mistaken(&filter, false));
}

#[test]
fn every_address_of_a_network_is_found() {
    for (network, inside) in
        [("10.0.0.0/8", "10.255.1.2"), ("2001:db8::/32", "2001:db8:1::2"), ("2001:db8::/65", "2001:db8::3")]
    {
        let network: Network = network.parse().expect(network);
        let mut filter = Filter::default();
        filter.insert(&network);
        assert!(filter.may_contain(inside.parse().expect(inside), network.prefix_len()), "{inside}");
    }
}

#[test]
fn networks_of_another_length_are_other_networks() {
    let mut filter = Filter::default();
    let around = |length| Network::around(Ipv4Addr::new(10, 0, 0, 0).into(), length).expect("a valid length");
    filter.insert(&around(8));
    let others = (9..=32).filter(|length| may_contain(&filter, around(*length))).count();
    assert!(may_contain(&filter, around(8)) && others <= 1, "{others}");
}
