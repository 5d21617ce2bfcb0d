//! Fleets: several instances of a server that share limits, [bans](crate::bans) and the rooms of
//! [hubs](crate::hub::Hub::share).
//!
//! # Limits
//!
//! Each instance decides alone and at once. For a source that uses much of a limit it holds a lease: a part of the
//! budget of the whole fleet. One background task renews all leases, with one call of a script at a server that speaks
//! the protocol of Redis. No message and no connection waits for that server. Without an answer for one lease, the
//! instance enforces its part of each limit: the limit divided by the number of instances.
//!
//! | limit | what the fleet admits at most | one slice |
//! |---|---|---|
//! | a rate | rate × time + burst, and one slice per instance | rate × lease |
//! | a number of connections | the limit, and one slice per instance | limit ÷ (2 × instances) |
//!
//! A [`Fleet`] needs the Cargo feature `fleet`.

#[cfg(feature = "fleet")]
mod backoff;
#[cfg(feature = "fleet")]
mod bus;
#[cfg(feature = "fleet")]
mod client;
#[cfg(feature = "fleet")]
mod failure;
mod handle;
mod instance;
mod lease;
#[cfg(feature = "fleet")]
mod link;
mod links;
mod report;
#[cfg(feature = "fleet")]
mod script;
#[cfg(feature = "fleet")]
mod sentinel;
#[cfg(feature = "fleet")]
mod task;
mod terms;

#[cfg(feature = "fleet")]
pub(crate) use backoff::Backoff;
#[cfg(feature = "fleet")]
pub(crate) use bus::{BusCommand, BusMessage, BusReceiver, BusSender};
#[cfg(feature = "fleet")]
pub use failure::FleetError;
#[cfg(feature = "fleet")]
pub(crate) use failure::LinkFailure;
pub use handle::Fleet;
pub(crate) use lease::{Ask, Bucket, Lease, Request, Terms};
#[cfg(feature = "fleet")]
pub(crate) use link::{Link, unexpected};
pub use links::FleetLinkReport;
#[cfg(feature = "fleet")]
pub(crate) use links::LinkState;
pub use report::{FailureClass, FleetReport, FleetState};
