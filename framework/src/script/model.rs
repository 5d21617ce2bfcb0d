//! The model of a script.

use std::time::Duration;

use crate::close_reason::CloseReason;
use crate::script::data::Data;

/// What clients and a server send each other, in one order.
///
/// A script that was read is consistent: its peers exist, and its steps are possible in their order. The `Display` of
/// a script that a program has built can be read back if the same holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Script {
    /// The framing of the data, as text of a configuration. Without one, the data are bytes.
    pub framing: Option<String>,
    /// Facts about the script, such as the name of the handler, in their order.
    pub info: Vec<(String, String)>,
    /// The names of the peers. If it is empty, there is one peer without a name.
    pub peers: Vec<String>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// One step of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Nothing is done for this long.
    Wait(Duration),
    /// From here on, a step may take this long.
    Timeout(Duration),
    /// A step of the peer with this index.
    Peer(usize, Action),
}

/// What a client does, or what it expects of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Connects.
    Open,
    /// Sends bytes, a message or a datagram.
    Send(Data),
    /// Ends the output (FIN).
    HalfClose,
    /// Closes the connection.
    Close,
    /// Resets the connection (RST).
    Reset,
    /// Stops reading.
    Pause,
    /// Reads again.
    Resume,
    /// The server sends bytes, a message or a datagram.
    Expect(Data),
    /// The server ends its output.
    ExpectEnd,
    /// The server resets the connection.
    ExpectReset,
    /// The server closes the connection, with this reason.
    ExpectClosed(Option<CloseReason>),
    /// The server sends nothing and does not close for this long.
    ExpectNothing(Duration),
}

impl Script {
    /// The number of peers.
    pub fn peer_count(&self) -> usize {
        self.peers.len().max(1)
    }
}
