//! Networks ([`Network`], [`Networks`]) and access lists ([`Access`]).

use std::net::IpAddr;
use std::sync::Arc;

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

/// A set of networks. A lookup is a binary search. Clones share their memory.
///
/// ```
/// use switchboard::Networks;
/// let networks: Networks = ["10.0.0.0/8".parse()?, "192.0.2.1".parse()?].into_iter().collect();
/// assert!(networks.contains("10.1.2.3".parse().unwrap()));
/// assert!(!networks.contains("192.0.2.2".parse().unwrap()));
/// # Ok::<(), switchboard::settings::InvalidValue>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Vec<Network>", into = "Vec<Network>")]
#[schemars(with = "Vec<Network>", inline)]
pub struct Networks(
    /// Sorted, without overlaps.
    Arc<[Network]>,
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
        Self(networks.into())
    }
}

impl From<Networks> for Vec<Network> {
    fn from(Networks(networks): Networks) -> Self {
        networks.to_vec()
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
        let listed = |networks: &Networks| !networks.is_empty() && peer.ip().is_some_and(|ip| networks.contains(ip));
        !listed(&self.deny) && (self.allow.is_empty() || listed(&self.allow))
    }
}

#[cfg(test)]
mod tests;
