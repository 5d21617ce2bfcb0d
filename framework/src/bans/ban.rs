//! A ban ([`Ban`]), how it is requested ([`NewBan`]) and why it can be rejected ([`BanError`]).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};
use tokio::time::Instant;

use crate::settings::Network;
use crate::settings::text::is_unsafe;

/// Maximum bytes of the reason of a ban.
pub const MAX_REASON: usize = 200;
/// Prefix length of an IPv6 source. A longer prefix is banned as the network with this length.
const IPV6_SOURCE: u8 = 64;

/// Who has requested a ban: the values of the metric label `origin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, IntoStaticStr, VariantArray, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum BanOrigin {
    /// An operator.
    #[default]
    Operator,
    /// The server, because of the strikes of the source.
    Strikes,
    /// The program fail2ban.
    Fail2ban,
}

impl BanOrigin {
    /// All origins.
    pub const ALL: [Self; Self::VARIANTS.len()] = *Self::VARIANTS.as_array().unwrap();

    /// The name in logs, metrics and JSON. Names never change.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for BanOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A ban of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ban {
    /// The network: one IPv4 address, an IPv6 /64, or a wider network.
    pub network: Network,
    /// The reason; empty if none is given.
    pub reason: Arc<str>,
    /// Who has requested it.
    pub origin: BanOrigin,
    /// How often strikes have banned the source, this ban included. 0 for other origins.
    pub times: u32,
    /// When it began.
    pub began: SystemTime,
    /// When it ends.
    pub until: Instant,
}

impl Ban {
    /// The time until it ends.
    pub fn time_left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// A request for a ban.
///
/// ```
/// use std::time::Duration;
/// use switchboard::bans::{Bans, NewBan};
///
/// let bans = Bans::default();
/// let ban = NewBan::new("192.0.2.7".parse()?).duration(Duration::from_secs(600)).reason("port scan");
/// bans.add(ban)?;
/// assert!(bans.is_banned("192.0.2.7".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBan {
    pub(super) network: Network,
    pub(super) duration: Option<Duration>,
    pub(super) reason: String,
    pub(super) origin: BanOrigin,
}

impl NewBan {
    /// A ban of a network by an operator for [`BanSettings::term`](crate::settings::BanSettings::term). An IPv6 network
    /// with a prefix longer than 64 bits is banned as its /64.
    pub fn new(network: Network) -> Self {
        Self { network, duration: None, reason: String::new(), origin: BanOrigin::default() }
    }

    /// Sets the duration.
    #[must_use]
    pub fn duration(self, duration: Duration) -> Self {
        Self { duration: Some(duration), ..self }
    }

    /// Sets the reason, of at most [`MAX_REASON`] bytes.
    #[must_use]
    pub fn reason(self, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..self }
    }

    /// Sets who requests it.
    #[must_use]
    pub fn origin(self, origin: BanOrigin) -> Self {
        Self { origin, ..self }
    }

    /// Checks what does not depend on the other bans.
    pub(super) fn check(&self) -> Result<(), BanError> {
        if self.network.prefix_len() == 0 {
            return Err(BanError::Everyone(self.network));
        }
        if self.duration.is_some_and(|duration| duration.is_zero()) {
            return Err(BanError::NoTime);
        }
        if self.reason.len() > MAX_REASON {
            return Err(BanError::LongReason(self.reason.len()));
        }
        if self.reason.chars().any(is_unsafe) {
            return Err(BanError::UnsafeReason);
        }
        Ok(())
    }
}

/// Why a ban is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BanError {
    /// The network contains every address.
    #[error("network: {0} contains every client; ban a smaller network, or drain the server to reject everyone")]
    Everyone(Network),
    /// The duration is zero.
    #[error("duration: \"0s\" is no time; write it like \"1h\", or remove the ban instead")]
    NoTime,
    /// The reason is too long.
    #[error("reason: it has {0} bytes; at most {MAX_REASON} are possible")]
    LongReason(usize),
    /// The reason contains a character that changes how the text around it is shown.
    #[error("reason: it contains a control character or a line break; write one line of text")]
    UnsafeReason,
    /// The table is full.
    #[error("bans.entries is reached: {0} bans are in effect; remove one, or raise bans.entries and reload")]
    Full(usize),
}

/// The network that is banned for a requested one.
pub(super) fn banned_network(network: Network) -> Network {
    match network.address() {
        address @ IpAddr::V6(_) if network.prefix_len() > IPV6_SOURCE => {
            Network::around(address, IPV6_SOURCE).unwrap_or(network)
        }
        _ => network,
    }
}

/// A change of the bans of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BanChange {
    /// A ban has begun, or a ban of the same network has another end or reason.
    Added(Ban),
    /// A ban has been removed before its end.
    Removed(Ban),
}
