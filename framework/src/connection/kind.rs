//! The kind of traffic that a listener serves.

/// Whether a listener serves byte streams or datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A connection: an ordered byte stream that a framing splits into messages.
    Stream,
    /// A peer of a datagram socket: each datagram is a message.
    Datagram,
}
