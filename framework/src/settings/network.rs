//! Networks ([`Network`], [`Networks`]) and access lists ([`Access`]).

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::define::settings;
use super::text::text_option;
use crate::address::{Address, Endpoint};

/// A network: `10.0.0.0/8`, `2001:db8::/32`, or one address, `192.0.2.1`.
///
/// An IPv4-mapped IPv6 network is the IPv4 network. Host bits must be zero; the error shows the correct network:
///
/// ```
/// use switchboard::settings::Network;
/// assert_eq!("::ffff:10.0.0.0/104".parse::<Network>()?, "10.0.0.0/8".parse()?);
/// let error = "10.0.0.1/8".parse::<Network>().unwrap_err();
/// assert!(error.to_string().contains("10.0.0.0/8"));
/// # Ok::<(), switchboard::settings::InvalidValue>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

text_option!(Network, "a network; write it like \"10.0.0.0/8\"", "10.0.0.0/8", parse, print);

text_option!(Endpoint, "an address; write it like \"tcp://127.0.0.1:9999\"", "tcp://127.0.0.1:9999");

fn parse(text: &str) -> Result<Network, String> {
    let wrong = |reason: &str| format!("is not a network: {reason}");
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr =
        address.parse().map_err(|_| wrong("write it like \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.1\""))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) if bits.starts_with('+') => u8::MAX,
        Some(bits) => bits.parse().unwrap_or(u8::MAX),
    };
    if bits > most {
        return Err(wrong(&format!("the prefix length after \"/\" must be 0 to {most}")));
    }
    let network = match (address, address.to_canonical()) {
        (IpAddr::V6(_), IpAddr::V4(mapped)) if bits >= 96 => IpNet::new(mapped.into(), bits - 96),
        _ => IpNet::new(address, bits),
    };
    let network = network.map_err(|error| wrong(&error.to_string()))?;
    if network.trunc() != network {
        return Err(wrong(&format!("it has host bits; the network is \"{}\"", network.trunc())));
    }
    Ok(Network(network))
}

fn print(Network(network): Network) -> String {
    if network.prefix_len() == network.max_prefix_len() { network.addr().to_string() } else { network.to_string() }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical().into())
    }
}

/// A set of networks. A lookup is a binary search.
///
/// ```
/// use switchboard::Networks;
/// let networks: Networks = ["10.0.0.0/8".parse()?, "192.0.2.1".parse()?].into_iter().collect();
/// assert!(networks.contains("10.1.2.3".parse().unwrap()));
/// assert!(!networks.contains("192.0.2.2".parse().unwrap()));
/// # Ok::<(), switchboard::settings::InvalidValue>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Vec<Network>")]
#[schemars(with = "Vec<Network>", inline)]
pub struct Networks(
    /// Sorted, without overlaps.
    Vec<Network>,
);

impl Networks {
    /// Whether an address is in one of the networks. An IPv4-mapped IPv6 address is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let behind = self.0.partition_point(|Network(network)| network.network() <= address);
        behind > 0 && self.0[behind - 1].0.contains(&address)
    }

    /// Whether the set has no network.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        let networks: Vec<IpNet> = networks.into_iter().map(|Network(network)| network).collect();
        let mut networks: Vec<_> = IpNet::aggregate(&networks).into_iter().map(Network).collect();
        networks.sort();
        Self(networks)
    }
}

impl From<Vec<Network>> for Networks {
    fn from(networks: Vec<Network>) -> Self {
        networks.into_iter().collect()
    }
}

settings! {
    /// Access lists. They apply to the effective client address, behind a proxy the address from the PROXY header.
    pub struct Access {
        /// Allowed networks. Empty: all networks are allowed.
        pub allow: Networks = Networks::default(),
        /// Denied networks. Takes precedence over `allow`.
        pub deny: Networks = Networks::default(),
    }
}

impl Access {
    /// Whether a peer is allowed. A peer without an IP address (Unix socket, memory) is allowed if `allow` is empty.
    pub fn allows(&self, peer: &Address) -> bool {
        let listed = |networks: &Networks| peer.ip().is_some_and(|ip| networks.contains(ip));
        !listed(&self.deny) && (self.allow.is_empty() || listed(&self.allow))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        texts.iter().map(|text| text.parse::<Network>().expect(text)).collect()
    }

    #[test]
    fn what_is_wrong_is_said() {
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
    fn a_set_has_exactly_what_its_networks_have() {
        let texts =
            ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "128.0.0.0/1", "2001:db8::/32", "2001:db8:1::/48", "::1"];
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
        for (address, expected) in
            [("10.0.0.0", true), ("10.255.255.255", true), ("11.0.0.0", false), ("192.0.2.7", true)]
        {
            assert_eq!(set.contains(address.parse().unwrap()), expected, "{address}");
        }
        assert!(!Networks::default().contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn deny_wins_and_an_empty_allow_is_everybody() {
        let peer = |text: &str| Address::Inet(text.parse().unwrap());
        let access = Access::default().allow(networks(&["10.0.0.0/8"])).deny(networks(&["10.6.0.0/16"]));
        assert!(access.allows(&peer("10.1.1.1:1")) && access.allows(&peer("[::ffff:10.1.1.1]:1")));
        assert!(!access.allows(&peer("10.6.1.1:1")) && !access.allows(&peer("192.0.2.1:1")));
        assert!(!access.allows(&Address::Unix(None)));
        let access = Access::default().deny(networks(&["10.6.0.0/16"]));
        assert!(access.allows(&peer("192.0.2.1:1")) && !access.allows(&peer("10.6.1.1:1")));
        assert!(access.allows(&Address::Unix(None)));
    }
}
