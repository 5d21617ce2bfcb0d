//! Networks ([`Network`], [`Networks`]) and access lists ([`Access`]).

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::define::settings;
use super::text::text_option;
use crate::address::{Address, Endpoint, Source};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network(IpNet);

text_option!(Network, "a network; write it like \"10.0.0.0/8\"", "10.0.0.0/8", parse, print);

text_option!(Endpoint, "an address; write it like \"tcp://127.0.0.1:9999\"", "tcp://127.0.0.1:9999");

/// One write for IPv4. The derived hash has four, each of which costs as much as the lookup in a table.
impl Hash for Network {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            IpNet::V4(network) => {
                state.write_u64(u64::from(network.addr().to_bits()) << 8 | u64::from(network.prefix_len()));
            }
            IpNet::V6(network) => {
                state.write_u128(network.addr().to_bits());
                state.write_u8(network.prefix_len());
            }
        }
    }
}

impl Network {
    /// Whether an address is in the network. An IPv4-mapped IPv6 address is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// The length of the prefix: 8 for `10.0.0.0/8`, 32 for one IPv4 address.
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// The network with this prefix length that contains an address. `None` if the length is too large.
    pub(crate) fn around(address: IpAddr, prefix_len: u8) -> Option<Self> {
        IpNet::new(address, prefix_len).ok().map(|network| Self(network.trunc()))
    }

    /// The lowest address.
    pub(crate) fn address(&self) -> IpAddr {
        self.0.network()
    }
}

impl From<Source> for Network {
    fn from(source: Source) -> Self {
        match source {
            Source::V4(address) => Self(Ipv4Net::from(address).into()),
            Source::V6([a, b, c, d]) => Self(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), 64).into()),
        }
    }
}

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
pub struct Networks {
    /// Sorted, without overlaps.
    all: Arc<[Network]>,
    /// The same without `0.0.0.0/0` and `::/0`, which contain the others.
    named: Arc<[Network]>,
}

impl Networks {
    /// Whether an address is in one of the networks. An IPv4-mapped IPv6 address is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        contains(&self.all, address)
    }

    /// Whether an address is in one of the networks other than `0.0.0.0/0` and `::/0`, which name nobody.
    pub fn names(&self, address: IpAddr) -> bool {
        contains(&self.named, address)
    }

    /// Whether every address of a network is in one of the networks other than `0.0.0.0/0` and `::/0`.
    pub fn names_all(&self, network: Network) -> bool {
        find(&self.named, network.address()).is_some_and(|found| found.prefix_len() <= network.prefix_len())
    }

    /// Whether the set has no network.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

fn contains(networks: &[Network], address: IpAddr) -> bool {
    find(networks, address.to_canonical()).is_some()
}

/// The network that contains an address, in sorted networks without overlaps.
fn find(networks: &[Network], address: IpAddr) -> Option<&Network> {
    let behind = networks.partition_point(|Network(network)| network.network() <= address);
    networks[..behind].last().filter(|network| network.0.contains(&address))
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        let sorted = |networks: &[IpNet]| -> Arc<[Network]> {
            let mut networks: Vec<_> = IpNet::aggregate(&networks.to_vec()).into_iter().map(Network).collect();
            networks.sort();
            networks.into()
        };
        let mut networks: Vec<IpNet> = networks.into_iter().map(|Network(network)| network).collect();
        let all = sorted(&networks);
        if !all.iter().any(|network| network.prefix_len() == 0) {
            return Self { named: all.clone(), all };
        }
        networks.retain(|network| network.prefix_len() > 0);
        Self { all, named: sorted(&networks).iter().filter(|network| network.prefix_len() > 0).copied().collect() }
    }
}

impl From<Networks> for Vec<Network> {
    fn from(networks: Networks) -> Self {
        let everyone = networks.all.iter().filter(|network| network.prefix_len() == 0);
        everyone.chain(&*networks.named).copied().collect()
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
