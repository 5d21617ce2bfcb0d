//! The accepted cost of a message: the figures stored in the repository, and the comparison with a measurement.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file with the figures, relative to this package.
const FILE: &str = "counts/counts.toml";

const HEADER: &str = "\
# The server-side cost of one message on each hot path. tests/hot/counts describes the measurement.
# Written by: cargo bench -p switchboard-hot --bench counts -- --accept
";

/// The cost of one message.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Instructions.
    pub instructions: f64,
    /// Allocations.
    pub allocations: f64,
    /// Atomic instructions. One is as slow as a dozen or more ordinary ones.
    pub atomics: f64,
    /// Clock reads. The instruction count hardly shows their cost.
    pub clock_reads: f64,
}

impl Figure {
    /// The tolerance for instructions. Small source changes can change the code layout.
    pub const MARGIN: f64 = 0.05;
    /// The tolerance for instructions of an addition that should cost nothing.
    const GROWTH: f64 = 0.01;
    /// The tolerance for atomics and clock reads: a timer may fire in between. One more per batch of 16 exceeds it.
    const ROUNDING: f64 = 0.04;
    /// The tolerance for allocations, which are exact.
    const EXACT: f64 = 0.001;

    /// One message for each cost above `allowed`.
    pub fn excesses(&self, allowed: &Self) -> Vec<String> {
        let mut excesses = self.excess_allocations(allowed);
        let mut compare = |what: &str, is: f64, accepted: f64, limit: f64| {
            if is > limit {
                excesses.push(format!("{is} {what} per message, accepted: {accepted}"));
            }
        };
        let limit = allowed.instructions * (1.0 + Self::MARGIN);
        compare("instructions", self.instructions, allowed.instructions, limit);
        compare("atomic instructions", self.atomics, allowed.atomics, allowed.atomics + Self::ROUNDING);
        compare("clock reads", self.clock_reads, allowed.clock_reads, allowed.clock_reads + Self::ROUNDING);
        excesses
    }

    /// One message if there are more instructions than on a path that does the same without an addition.
    pub fn growth(&self, reference: &Self) -> Option<String> {
        let (is, most) = (self.instructions, reference.instructions * (1.0 + Self::GROWTH));
        (is > most).then(|| format!("{is} instructions, and {} without the addition", reference.instructions))
    }

    /// Compares only allocations, which do not depend on profile or machine.
    pub fn excess_allocations(&self, allowed: &Self) -> Vec<String> {
        let (is, accepted) = (self.allocations, allowed.allocations);
        let excess =
            (is > accepted + Self::EXACT).then(|| format!("{is} allocations per message, accepted: {accepted}"));
        excess.into_iter().collect()
    }

    /// Whether a cost is so much lower that the new figure should be accepted.
    pub fn is_better_than(&self, kept: &Self) -> bool {
        kept.instructions > self.instructions * (1.0 + Self::MARGIN)
            || kept.allocations > self.allocations + Self::EXACT
            || kept.atomics > self.atomics + Self::ROUNDING
            || kept.clock_reads > self.clock_reads + Self::ROUNDING
    }
}

/// The figures by name of the hot path.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Figures(pub BTreeMap<String, Figure>);

impl Figures {
    /// The command that accepts new figures.
    pub const ACCEPT: &str = "if this is intended: cargo bench -p switchboard-hot --bench counts -- --accept";

    /// Loads the figures stored in the repository.
    pub fn kept() -> Self {
        let text = fs::read_to_string(Self::path()).unwrap_or_default();
        toml::from_str(&text).unwrap_or_else(|error| panic!("{FILE}: {error}"))
    }

    /// Stores these figures in the repository.
    pub fn keep(&self) {
        let text = toml::to_string(self).unwrap();
        fs::write(Self::path(), format!("{HEADER}\n{text}")).unwrap_or_else(|error| panic!("{FILE}: {error}"));
    }

    fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE)
    }
}
