//! Counts in 16 bits: exact to 4,095, then to within 1/4,096.
//!
//! The format is a small float: 5 bits of exponent, 11 bits of mantissa. A day of ten numbers per series takes 100 KiB.

use serde::{Deserialize, Serialize};

/// A count, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Compact(u16);

/// Bits of the mantissa.
const MANTISSA_BITS: u32 = 11;
/// The bit of the mantissa that is not stored.
const HIDDEN: u64 = 1 << MANTISSA_BITS;

impl Compact {
    /// No value: the process did not run, or there was nothing to measure.
    pub(super) const NONE: Self = Self(u16::MAX);
    /// The largest count, 2^41. A larger one is stored as this one.
    const MAX: Self = Self(u16::MAX - 1);

    pub(super) fn new(count: u64) -> Self {
        // The position of the highest bit above the mantissa.
        let shift = (u64::BITS - count.leading_zeros()).saturating_sub(MANTISSA_BITS + 1);
        if count < HIDDEN {
            return Self(count as u16);
        }
        let rounded = (count >> shift) + if shift > 0 { (count >> (shift - 1)) & 1 } else { 0 };
        // A mantissa that was rounded up to the next power of two carries into the exponent.
        let bits = (u64::from(shift + 1) << MANTISSA_BITS) + (rounded - HIDDEN);
        u16::try_from(bits).map_or(Self::MAX, |bits| Self(bits.min(Self::MAX.0)))
    }

    pub(super) fn get(self) -> Option<u64> {
        let bits = u64::from(self.0);
        match bits >> MANTISSA_BITS {
            _ if self == Self::NONE => None,
            0 => Some(bits),
            exponent => Some((HIDDEN + (bits & (HIDDEN - 1))) << (exponent - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_counts_are_exact_and_large_ones_are_close() {
        for count in (0..=4096).chain([1 << 20, 1 << 30, 1 << 40]) {
            assert_eq!(Compact::new(count).get(), Some(count));
        }
        for count in [4_097, 5_555, 123_456_789, 40_000_000_007, (1 << 41) - 1] {
            let stored = Compact::new(count).get().unwrap();
            assert!(stored.abs_diff(count) * 4_096 <= count, "{count} {stored}");
        }
        assert_eq!(Compact::new(u64::MAX), Compact::MAX);
        assert_eq!(Compact::NONE.get(), None);
    }
}
