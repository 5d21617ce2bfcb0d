//! The close reasons of connections. Logs, handlers and metrics use the same list.

use std::fmt;

use strum::{IntoStaticStr, VariantArray};

/// The reason why a connection was closed.
///
/// ```
/// use switchboard::CloseReason;
///
/// assert_eq!(CloseReason::Idle.as_str(), "idle");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer ended its input and received all replies.
    PeerClosed,
    /// The handler closed the connection.
    HandlerClosed,
    /// The handler returned an error, or a message that the framing cannot encode.
    HandlerError,
    /// The handler panicked.
    Panic,
    /// Nothing was read or written for `timeouts.idle`.
    Idle,
    /// No complete message arrived within `timeouts.first_message`.
    FirstMessage,
    /// The TLS handshake or PROXY header failed, or did not finish within `timeouts.handshake`.
    Handshake,
    /// One handler call took longer than `timeouts.message`.
    MessageTimeout,
    /// The peer did not read for `timeouts.write`.
    WriteStalled,
    /// The connection reached `timeouts.lifetime`.
    Lifetime,
    /// A message was larger than `limits.frame`.
    FrameTooLarge,
    /// A message was not complete within `timeouts.frame` after its first byte.
    FrameTimeout,
    /// The received bytes were not a message of the framing.
    BadFrame,
    /// The outbox was full, and the handler closed the connection instead of waiting.
    OutboxFull,
    /// The access list rejected the client.
    Denied,
    /// A limit on connections rejected the client.
    Limit,
    /// A rate limit was exceeded.
    Rate,
    /// The client is banned.
    Banned,
    /// The peer sent plaintext behind its request for TLS.
    StarttlsInjection,
    /// The server drained, and no message or reply was in progress.
    Drain,
    /// The server drained, and the connection did not finish before the deadline.
    DrainDeadline,
    /// An operator closed the connection.
    Killed,
    /// Reading or writing failed, for example because the peer reset the connection.
    IoError,
}

impl CloseReason {
    /// All reasons.
    pub const ALL: [Self; Self::VARIANTS.len()] = *Self::VARIANTS.as_array().unwrap();

    /// The name in logs and metrics. Names never change.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What the reason means, as a sentence for operators.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::PeerClosed => "The client ended the connection and received all replies.",
            Self::HandlerClosed => "The handler closed the connection.",
            Self::HandlerError => "The handler returned an error, or a reply that the framing cannot encode.",
            Self::Panic => "The handler panicked.",
            Self::Idle => "Nothing was read or written for timeouts.idle.",
            Self::FirstMessage => "No complete message arrived within timeouts.first_message.",
            Self::Handshake => "The TLS handshake or PROXY header failed or was not complete in time.",
            Self::MessageTimeout => "A handler call took longer than timeouts.message.",
            Self::WriteStalled => "The client did not read its replies for timeouts.write.",
            Self::Lifetime => "The connection reached timeouts.lifetime.",
            Self::FrameTooLarge => "A message was larger than limits.frame.",
            Self::FrameTimeout => "A message was not complete within timeouts.frame after its first byte.",
            Self::BadFrame => "The received bytes were not a message of the framing.",
            Self::OutboxFull => "The client read too slowly, and its outbox was full.",
            Self::Denied => "The access list rejected the client.",
            Self::Limit => "A limit on connections rejected the client.",
            Self::Rate => "The client exceeded a rate limit.",
            Self::Banned => "The client is banned, by an operator or because of its strikes.",
            Self::StarttlsInjection => "The client sent plaintext behind its request for TLS.",
            Self::Drain => "The server drained while no message or reply was in progress.",
            Self::DrainDeadline => "The server drained, and the connection did not finish before the deadline.",
            Self::Killed => "An operator closed the connection.",
            Self::IoError => "Reading or writing failed, for example because the client reset the connection.",
        }
    }

    /// Whether the client, the network or the handler failed. Normal ends, timeouts of quiet connections, drains and
    /// rejections are not failures.
    pub fn is_failure(self) -> bool {
        matches!(
            self,
            Self::HandlerError
                | Self::Panic
                | Self::FirstMessage
                | Self::Handshake
                | Self::MessageTimeout
                | Self::WriteStalled
                | Self::FrameTooLarge
                | Self::FrameTimeout
                | Self::BadFrame
                | Self::OutboxFull
                | Self::StarttlsInjection
                | Self::DrainDeadline
                | Self::IoError
        )
    }

    /// Whether the handler failed.
    pub fn is_handler_failure(self) -> bool {
        matches!(self, Self::Panic | Self::HandlerError | Self::MessageTimeout)
    }

    /// Whether the same messages in the same order close a connection for this reason again. Time, the network and
    /// operators have no part in it.
    pub fn is_caused_by_messages(self) -> bool {
        matches!(
            self,
            Self::PeerClosed | Self::HandlerClosed | Self::FrameTooLarge | Self::BadFrame | Self::StarttlsInjection
        )
    }

    /// Whether the server aborted the connection before its work was finished.
    pub fn is_cut(self) -> bool {
        matches!(self, Self::DrainDeadline | Self::Killed)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
