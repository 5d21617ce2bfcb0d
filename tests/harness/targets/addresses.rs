//! Fuzz targets for addresses and networks: parsing and printing round-trip, and a set contains its networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use switchboard::settings::Network;
use switchboard::{Endpoint, Networks, Source};

/// An endpoint in its configuration syntax.
pub fn endpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Endpoint>() {
        Ok(endpoint) => {
            let printed = endpoint.to_string();
            assert_eq!(printed.parse::<Endpoint>().as_ref(), Ok(&endpoint), "{text:?} is printed as {printed:?}");
            assert!(printed.starts_with(endpoint.scheme()));
            if endpoint.port().is_some() {
                assert_eq!(endpoint.with_port(7).port(), Some(7));
            }
        }
        Err(error) => assert!(error.to_string().contains(" is not an address: "), "{error}"),
    }
}

/// Networks in the syntax of `access`, one per line. Checks the addresses at the edges of each network.
pub fn networks(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut networks: Vec<Network> = Vec::new();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for line in text.lines().take(64) {
        addresses.extend(line.parse::<IpAddr>());
        match line.parse::<Network>() {
            Ok(network) => {
                let printed = network.to_string();
                assert_eq!(printed.parse().as_ref(), Ok(&network), "{line:?} is printed as {printed:?}");
                addresses.extend(edges(network));
                networks.push(network);
            }
            Err(error) => assert!(error.to_string().contains(" is not a network: "), "{error}"),
        }
    }
    let set: Networks = networks.iter().copied().collect();
    assert_eq!(set.is_empty(), networks.is_empty());
    for address in addresses {
        let expected = networks.iter().any(|network| contains(*network, address));
        assert_eq!(set.contains(address), expected, "{address} in {networks:?}");
        let source = Source::of(address);
        assert_eq!(source, Source::of(address.to_canonical()));
    }
}

/// The first address, prefix length and address width of a network, taken from its text form.
fn parts(network: Network) -> (u128, u32, u32) {
    let text = network.to_string();
    let (address, bits) = text.split_once('/').map_or((&*text, None), |(address, bits)| (address, Some(bits)));
    let (first, width) = number(address.parse().expect("a printed network has an address"));
    (first, bits.map_or(width, |bits| bits.parse().expect("a printed network has a prefix length")), width)
}

fn number(address: IpAddr) -> (u128, u32) {
    match address.to_canonical() {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

fn address(number: u128, width: u32) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if width == 32 => Ipv4Addr::from(number).into(),
        _ => Ipv6Addr::from(number).into(),
    }
}

/// The reference implementation: the prefix bits are equal.
fn contains(network: Network, address: IpAddr) -> bool {
    let ((first, bits, width), (other, other_width)) = (parts(network), number(address));
    let behind = width - bits;
    width == other_width && (first ^ other).checked_shr(behind).unwrap_or(0) == 0
}

/// The first and last address of the network and the addresses next to them.
fn edges(network: Network) -> Vec<IpAddr> {
    let (first, bits, width) = parts(network);
    let most = u128::MAX >> (128 - width);
    let last = first | most.checked_shr(bits).unwrap_or(0);
    let beside = [Some(first), first.checked_sub(1), Some(last), last.checked_add(1).filter(|next| *next <= most)];
    beside.into_iter().flatten().map(|number| address(number, width)).collect()
}
