//! What a peer has received, and what has not been compared yet.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use switchboard::framing::AnyCodec;
use tokio_util::codec::Decoder;

/// Bytes of one peer that wait to be compared, besides those that its steps expect. Above that, the client stops
/// reading.
pub(super) const MAX_UNREAD: usize = 16 << 20;

/// How the server has closed the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Closed {
    Ended,
    Reset,
    /// No server listens at the address of a datagram socket.
    Refused,
    /// What the server has sent is no message of the framing, as a sentence.
    Invalid(String),
    /// The connection failed, as a sentence.
    Failed(String),
}

/// The input of a peer.
pub(super) enum Received {
    Bytes(BytesMut),
    /// Messages, and the bytes of an incomplete one.
    Messages(VecDeque<Bytes>, Box<AnyCodec>, BytesMut),
    Datagrams(VecDeque<Bytes>),
}

impl Received {
    /// The bytes that wait.
    pub(super) fn len(&self) -> usize {
        let sum = |messages: &VecDeque<Bytes>| messages.iter().map(|message| message.len().max(1)).sum::<usize>();
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Messages(messages, _, rest) => sum(messages) + rest.len(),
            Self::Datagrams(datagrams) => sum(datagrams),
        }
    }

    /// Adds bytes of a stream, or a datagram. `is_end`: the stream ends here. The error is a sentence.
    pub(super) fn add(&mut self, bytes: &[u8], is_end: bool) -> Result<(), String> {
        match self {
            Self::Bytes(all) => all.extend_from_slice(bytes),
            Self::Datagrams(datagrams) => datagrams.push_back(Bytes::copy_from_slice(bytes)),
            Self::Messages(messages, codec, rest) => {
                rest.extend_from_slice(bytes);
                loop {
                    let message = if is_end { codec.decode_eof(rest) } else { codec.decode(rest) };
                    match message.map_err(|error| error.to_string())? {
                        Some(message) => messages.push_back(message),
                        None => break,
                    }
                }
            }
        }
        Ok(())
    }

    /// The first message or datagram.
    pub(super) fn first(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(_) => None,
            Self::Messages(messages, ..) | Self::Datagrams(messages) => messages.front(),
        }
    }

    /// Removes bytes of a stream, or the first message.
    pub(super) fn consume(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::Messages(messages, ..) | Self::Datagrams(messages) => drop(messages.pop_front()),
        }
    }

    /// The beginning of what waits, for a report.
    pub(super) fn front(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Messages(messages, _, rest) => messages.front().map_or(rest, |message| message),
            Self::Datagrams(datagrams) => datagrams.front().map_or(&[], |datagram| datagram),
        }
    }
}
