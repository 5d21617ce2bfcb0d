//! Settings of bans and strikes ([`BanSettings`], [`StrikeWeights`]).

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, json};

use super::define::settings;
use super::text::deserialize_optional_path;
use super::{Interval, Rate};
use crate::close_reason::CloseReason;

settings! {
    /// Bans of clients, and the strikes that lead to one.
    pub struct BanSettings {
        /// Strikes of a source in a time, above which it is banned. A source is an IPv4 address or an IPv6 /64. 0/s: no
        /// ban by strikes.
        pub strikes: Rate = Rate::new(20, Duration::from_secs(600)),
        /// Duration of the first ban by strikes, and of a ban without a duration. Each further ban of a source by
        /// strikes takes twice as long, up to `longest`.
        pub term: Duration as "Interval" = Duration::from_secs(3600),
        /// Longest ban by strikes. For this time after its ban, the bans of a source are remembered.
        pub longest: Duration as "Interval" = Duration::from_secs(24 * 3600),
        /// Maximum bans. At the limit, an operator cannot add a ban, and a ban by strikes replaces the one by strikes
        /// that ends first.
        #[schemars(range(min = 1, max = 1_000_000))]
        pub entries: usize = 100_000,
        /// File that keeps the bans over restarts and upgrades. Absent: they are only in memory. A change needs a
        /// restart.
        #[serde(deserialize_with = "deserialize_optional_path")]
        #[schemars(extend("x-restart" = true))]
        pub file: Option<PathBuf> = None,
        /// Strikes of a connection that closes or is rejected, by reason.
        pub weights: StrikeWeights = StrikeWeights::default(),
    }
}

impl BanSettings {
    /// Bans by operators and other programs only, in memory.
    pub fn by_hand() -> Self {
        Self::default().strikes(Rate::default())
    }
}

/// The strikes of a connection that closes or is rejected, by reason. A reason that is not set keeps its default.
///
/// ```
/// use switchboard::CloseReason;
/// use switchboard::settings::StrikeWeights;
///
/// let weights: StrikeWeights = serde_json::from_str(r#"{ "bad_frame": 5, "rate": 0 }"#)?;
/// assert_eq!([CloseReason::BadFrame, CloseReason::Rate, CloseReason::Handshake].map(|r| weights.of(r)), [5, 0, 1]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StrikeWeights([u32; CloseReason::ALL.len()]);

impl StrikeWeights {
    /// The reasons that a client can cause. The others have no weight.
    pub const REASONS: [CloseReason; 15] = [
        CloseReason::HandlerError,
        CloseReason::Panic,
        CloseReason::Idle,
        CloseReason::FirstMessage,
        CloseReason::Handshake,
        CloseReason::MessageTimeout,
        CloseReason::WriteStalled,
        CloseReason::FrameTooLarge,
        CloseReason::FrameTimeout,
        CloseReason::BadFrame,
        CloseReason::OutboxFull,
        CloseReason::Denied,
        CloseReason::Limit,
        CloseReason::Rate,
        CloseReason::StarttlsInjection,
    ];
    /// Largest weight of a reason.
    const MAX: u32 = 10_000;

    /// The weight of a reason.
    pub fn of(&self, reason: CloseReason) -> u32 {
        self.0[reason as usize]
    }

    /// Sets the weight of a reason. A reason that is not one of [`REASONS`](Self::REASONS) keeps weight 0.
    #[must_use]
    pub fn weight(mut self, reason: CloseReason, weight: u32) -> Self {
        if Self::REASONS.contains(&reason) {
            self.0[reason as usize] = weight.min(Self::MAX);
        }
        self
    }

    fn entries(&self) -> impl Iterator<Item = (CloseReason, u32)> {
        Self::REASONS.into_iter().map(|reason| (reason, self.of(reason)))
    }
}

impl Default for StrikeWeights {
    fn default() -> Self {
        let none = Self([0; CloseReason::ALL.len()]);
        [CloseReason::BadFrame, CloseReason::Handshake, CloseReason::Rate]
            .into_iter()
            .fold(none, |weights, reason| weights.weight(reason, 1))
    }
}

impl fmt::Debug for StrikeWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries().filter(|(_, weight)| *weight > 0)).finish()
    }
}

impl Serialize for StrikeWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries().map(|(reason, weight)| (reason.as_str(), weight)))
    }
}

/// The names of the reasons with a weight.
static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| StrikeWeights::REASONS.map(CloseReason::as_str).into());

impl<'de> Deserialize<'de> for StrikeWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = StrikeWeights;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StrikeWeights, A::Error> {
                let mut weights = StrikeWeights::default();
                while let Some(name) = map.next_key::<String>()? {
                    let reason = StrikeWeights::REASONS.into_iter().find(|reason| reason.as_str() == name);
                    let reason = reason.ok_or_else(|| A::Error::unknown_field(&name, &NAMES))?;
                    weights = weights.weight(reason, map.next_value()?);
                }
                Ok(weights)
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

impl JsonSchema for StrikeWeights {
    fn schema_name() -> Cow<'static, str> {
        "StrikeWeights".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let defaults = Self::default();
        let property = |reason: CloseReason| {
            let description = format!("Strikes for the reason {reason}: {}", reason.sentence());
            let default = defaults.of(reason);
            let schema = json!({
                "description": description, "type": "integer", "minimum": 0, "maximum": Self::MAX, "default": default
            });
            (reason.as_str().to_owned(), schema)
        };
        let properties: Map<_, _> = Self::REASONS.into_iter().map(property).collect();
        json_schema!({ "type": "object", "properties": properties, "additionalProperties": false })
    }
}
