//! The close reasons of connections. Logs, handlers and metrics use the same list.

use crate::named_enum::named_enum;

named_enum! {
    /// The reason why a connection was closed.
    ///
    /// ```
    /// use switchboard::CloseReason;
    ///
    /// assert_eq!(CloseReason::Idle.as_str(), "idle");
    /// assert_eq!(CloseReason::Killed.description(), "An operator closed the connection.");
    /// ```
    #[non_exhaustive]
    pub enum CloseReason {
        /// The peer ended its input and received all replies.
        PeerClosed = "peer_closed",
        /// The handler closed the connection.
        HandlerClosed = "handler_closed",
        /// The handler returned an error, or a message that the framing cannot encode.
        HandlerError = "handler_error",
        /// The handler panicked.
        Panic = "panic",
        /// Nothing was read or written for `timeouts.idle`.
        Idle = "idle",
        /// No complete message arrived within `timeouts.first_message`.
        FirstMessage = "first_message",
        /// The TLS handshake or PROXY header failed, or did not finish within `timeouts.handshake`.
        Handshake = "handshake",
        /// One handler call took longer than `timeouts.message`.
        MessageTimeout = "message_timeout",
        /// The peer did not read for `timeouts.write`.
        WriteStalled = "write_stalled",
        /// The connection reached `timeouts.lifetime`.
        Lifetime = "lifetime",
        /// A message was larger than `limits.frame`.
        FrameTooLarge = "frame_too_large",
        /// A message was not complete within `timeouts.frame` after its first byte.
        FrameTimeout = "frame_timeout",
        /// The received bytes were not a message of the framing.
        BadFrame = "bad_frame",
        /// The outbox was full, and the handler closed the connection instead of waiting.
        OutboxFull = "outbox_full",
        /// The access list rejected the client.
        Denied = "denied",
        /// A limit on connections rejected the client.
        Limit = "limit",
        /// A rate limit was exceeded.
        Rate = "rate",
        /// The server drained, and no message or reply was in progress.
        Drain = "drain",
        /// The server drained, and the connection did not finish before the deadline.
        DrainDeadline = "drain_deadline",
        /// An operator closed the connection.
        Killed = "killed",
        /// Reading or writing failed, for example because the peer reset the connection.
        IoError = "io_error",
    }
}

impl CloseReason {
    /// Whether the server aborted the connection before its work was finished.
    pub fn is_cut(self) -> bool {
        matches!(self, Self::DrainDeadline | Self::Killed)
    }
}
