//! A filter in front of the table of bans: two bits tell that a network is not banned, which most are not. Without it,
//! each connection and datagram would pay for a lookup, which costs ten times as much.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::settings::Network;

/// Memory of the filter: ten bits for each ban of the default limit.
const MEMORY: usize = 128 << 10;
/// Removed bans whose bits stay set. Then the filter is built again.
const MAX_REMOVED: usize = 65_536;

/// The networks that may be banned. Empty until the first ban.
#[derive(Debug)]
pub(super) struct Filter {
    bits: Vec<u64>,
    /// Clients do not know them, so they cannot choose networks with the bits of others.
    keys: [u64; 2],
    removed: usize,
}

impl Default for Filter {
    fn default() -> Self {
        let random = RandomState::new();
        Self { bits: Vec::new(), keys: [0, 1].map(|nth| random.hash_one(nth) | 1), removed: 0 }
    }
}

impl Filter {
    /// False if the network with this prefix length around an address is not banned. True is to be looked up.
    #[inline]
    pub(super) fn may_contain(&self, address: IpAddr, length: u8) -> bool {
        let (word, mask) = self.place(address, length);
        self.bits.get(word).is_some_and(|bits| bits & mask == mask)
    }

    pub(super) fn insert(&mut self, network: &Network) {
        if self.bits.is_empty() {
            self.bits = vec![0; MEMORY / size_of::<u64>()];
        }
        let (word, mask) = self.place(network.address(), network.prefix_len());
        self.bits[word] |= mask;
    }

    /// A network was removed. `left`: the other ones.
    pub(super) fn remove<'a>(&mut self, left: impl Iterator<Item = &'a Network>) {
        self.removed += 1;
        if self.removed >= MAX_REMOVED {
            self.removed = 0;
            self.bits.fill(0);
            left.for_each(|network| self.insert(network));
        }
    }

    /// The word and the bits of the network around an address.
    #[inline]
    fn place(&self, address: IpAddr, length: u8) -> (usize, u64) {
        let length = u32::from(length);
        // Without the bits behind the prefix.
        let prefix = match address {
            IpAddr::V4(address) => u64::from(address.to_bits()) >> (32 - length.min(32)),
            IpAddr::V6(address) => {
                let prefix = address.to_bits().checked_shr(128 - length.min(128)).unwrap_or(0);
                (prefix >> 64) as u64 ^ (prefix as u64).rotate_left(32)
            }
        };
        let [first, second] = self.keys;
        let hash = fold(fold(prefix.rotate_left(length) ^ first, second) ^ second, first);
        (hash as usize % (MEMORY / size_of::<u64>()), 1 << (hash >> 58) | 1 << (hash >> 52 & 63))
    }
}

/// Both halves of the product.
#[inline]
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests;
