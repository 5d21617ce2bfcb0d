//! Who is connected: the handle to one connection, the roster of a listener's open ones, and the gate that lets them in.
//!
//! All of it is about addresses, counts and orders. It knows nothing of bytes.

mod book;
mod connection;
mod gate;
mod handshakes;

pub(crate) use book::{Place, Roster};
pub(crate) use connection::Order;
pub use connection::{Connection, Kind, TASKS_PER_CONNECTION, TooManyTasks};
pub(crate) use gate::{Gate, TurnedAway};
pub(crate) use handshakes::Handshakes;

use std::sync::Arc;

use crate::drain::DrainSignal;
use crate::metrics::Meters;

/// What all connections share that came to one listener under the same settings. Who is there is shared by all that ever came.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) name: Arc<str>,
    pub(crate) drain: DrainSignal,
    pub(crate) gate: Gate,
    pub(crate) roster: Arc<Roster>,
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) meters: Arc<Meters>,
}
