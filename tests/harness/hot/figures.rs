//! What a message may cost: the figures that are kept in the repository, and what counts as more than that.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::root;

/// The file of figures, from the top of the repository.
const FILE: &str = "tests/benches/counts/counts.toml";

const HEADER: &str = "\
# What one message costs on each hot path, on the server's side: tests/benches/counts says how it is counted.
# Written by: cargo bench -p switchboard-tests --bench counts -- --accept
";

/// What one message costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Instructions.
    pub instructions: f64,
    /// Calls of the allocator that ask for memory.
    pub allocations: f64,
    /// Atomic instructions: few, and each as slow as a dozen others or more.
    pub atomics: f64,
    /// Readings of the clock, of which an instruction count knows next to nothing.
    pub clock_reads: f64,
}

impl Figure {
    /// By how much instructions may differ: a compiler lays out code anew for less reason than that.
    pub const MARGIN: f64 = 0.05;
    /// By how much the others may: a timer may tick in between. One more in a batch of sixteen is more than this.
    const ROUNDING: f64 = 0.04;
    /// Allocations are exact.
    const EXACT: f64 = 0.001;

    /// A sentence for each thing that costs more than `allowed`.
    pub fn excesses(&self, allowed: &Self) -> Vec<String> {
        let mut excesses = self.excess_allocations(allowed);
        let mut compare = |what: &str, is: f64, was: f64, most: f64| {
            if is > most {
                excesses.push(format!("{is} {what} a message, {was} are kept as what it may cost"));
            }
        };
        let most = allowed.instructions * (1.0 + Self::MARGIN);
        compare("instructions", self.instructions, allowed.instructions, most);
        compare("atomic instructions", self.atomics, allowed.atomics, allowed.atomics + Self::ROUNDING);
        compare("readings of the clock", self.clock_reads, allowed.clock_reads, allowed.clock_reads + Self::ROUNDING);
        excesses
    }

    /// The same for allocations alone, which are the same for every profile and machine.
    pub fn excess_allocations(&self, allowed: &Self) -> Vec<String> {
        let (is, was) = (self.allocations, allowed.allocations);
        let excess =
            (is > was + Self::EXACT).then(|| format!("{is} allocations a message, {was} are kept as what it may cost"));
        excess.into_iter().collect()
    }

    /// Whether something costs so much less that it should be kept.
    pub fn is_better_than(&self, kept: &Self) -> bool {
        kept.instructions > self.instructions * (1.0 + Self::MARGIN)
            || kept.allocations > self.allocations + Self::EXACT
            || kept.atomics > self.atomics + Self::ROUNDING
            || kept.clock_reads > self.clock_reads + Self::ROUNDING
    }
}

/// The figures by hot path.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Figures(pub BTreeMap<String, Figure>);

impl Figures {
    /// How new figures are accepted.
    pub const ACCEPT: &str = "if that is meant: cargo bench -p switchboard-tests --bench counts -- --accept";

    /// Those of the repository.
    pub fn kept() -> Self {
        let text = fs::read_to_string(Self::path()).unwrap_or_default();
        toml::from_str(&text).unwrap_or_else(|error| panic!("{FILE}: {error}"))
    }

    /// Keeps these.
    pub fn keep(&self) {
        let text = toml::to_string(self).unwrap();
        fs::write(Self::path(), format!("{HEADER}\n{text}")).unwrap_or_else(|error| panic!("{FILE}: {error}"));
    }

    fn path() -> PathBuf {
        root().join(FILE)
    }
}
