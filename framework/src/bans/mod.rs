//! Bans of clients ([`Bans`]): by an operator, by another program, or by the server because of strikes.
//!
//! A server has one [`Bans`], which all its listeners use ([`Running::bans`](crate::server::Running::bans)). A banned
//! client is rejected with reason `banned`, its open connections close, and its datagrams are dropped. The address of
//! a client is its effective one, from a PROXY header behind a proxy. An address that `access.allow` of a listener
//! names is never banned there.
//!
//! The instances of a [fleet](crate::fleet) share their bans: a ban or its removal on one instance holds on all,
//! usually within half a second. While the server of the fleet is away, bans hold on their own instance, and all
//! instances have them afterwards.

mod ban;
mod counters;
mod file;
#[cfg(feature = "fleet")]
mod fleet;
mod handle;
mod outgoing;
#[cfg(feature = "fleet")]
mod receive;
mod saving;
mod state;
mod store;
mod strikes;
mod table;

pub use ban::{Ban, BanChange, BanError, BanOrigin, MAX_REASON, NewBan};
pub use counters::BanReport;
pub use file::BanFileError;
#[cfg(feature = "fleet")]
pub(crate) use fleet::run as run_fleet;
pub use handle::Bans;
pub(crate) use handle::WeakBans;

#[cfg(test)]
mod tests;
