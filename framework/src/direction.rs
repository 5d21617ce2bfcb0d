//! The direction of a message.

/// The direction of a message, as the server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The client has sent it.
    Received,
    /// The server sends it.
    Sent,
}
