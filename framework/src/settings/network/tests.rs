//! Tests of `settings/network.rs`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

fn networks(texts: &[&str]) -> Networks {
    texts.iter().map(|text| text.parse::<Network>().expect(text)).collect()
}

#[test]
fn parse_errors_name_the_problem() {
    for (text, part) in [
        ("", "write it like"),
        ("localhost", "write it like"),
        ("10.0.0.0/33", "0 to 32"),
        ("2001:db8::/129", "0 to 128"),
        ("10.0.0.0/+8", "0 to 32"),
        ("10.0.0.0/", "0 to 32"),
        ("10.0.0.1/8", "\"10.0.0.0/8\""),
        ("::ffff:10.0.0.1/104", "\"10.0.0.0/8\""),
    ] {
        let error = text.parse::<Network>().expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "192.0.2.1", "2001:db8::1", "2001:db8::/32"] {
        assert_eq!(text.parse::<Network>().expect(text).to_string(), text);
    }
}

#[test]
fn a_set_contains_exactly_the_addresses_of_its_networks() {
    let texts = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "128.0.0.0/1", "2001:db8::/32", "2001:db8:1::/48", "::1"];
    let set = networks(&texts);
    let each: Vec<Network> = texts.iter().map(|text| text.parse().unwrap()).collect();
    let mut n: u128 = 0x9E37_79B9_7F4A_7C15;
    for _ in 0..10_000 {
        n = n.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(1);
        let v4 = Ipv4Addr::from((n >> 64) as u32);
        let v6 = Ipv6Addr::from(if n & 1 == 0 { n } else { (0x2001_0db8_u128 << 96) | (n >> 32) });
        for address in [IpAddr::V4(v4), IpAddr::V6(v6)] {
            let expected = each.iter().any(|network| network.0.contains(&address));
            assert_eq!(set.contains(address), expected, "{address}");
        }
    }
    for (address, expected) in [("10.0.0.0", true), ("10.255.255.255", true), ("11.0.0.0", false), ("192.0.2.7", true)]
    {
        assert_eq!(set.contains(address.parse().unwrap()), expected, "{address}");
    }
    assert!(!Networks::default().contains("10.0.0.1".parse().unwrap()));
}

#[test]
fn deny_overrides_allow_and_an_empty_allow_list_allows_all() {
    let peer = |text: &str| Address::Inet(text.parse().unwrap());
    let access = Access::default().allow(networks(&["10.0.0.0/8"])).deny(networks(&["10.6.0.0/16"]));
    assert!(access.allows(&peer("10.1.1.1:1")) && access.allows(&peer("[::ffff:10.1.1.1]:1")));
    assert!(!access.allows(&peer("10.6.1.1:1")) && !access.allows(&peer("192.0.2.1:1")));
    assert!(!access.allows(&Address::Unix(None)));
    let access = Access::default().deny(networks(&["10.6.0.0/16"]));
    assert!(access.allows(&peer("192.0.2.1:1")) && !access.allows(&peer("10.6.1.1:1")));
    assert!(access.allows(&Address::Unix(None)));
}
