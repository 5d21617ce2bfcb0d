//! DropReason a connection ended: one closed list, used by logs, handlers and metrics alike.

use std::fmt;

/// DropReason a connection was closed. The text form ([`CloseReason::as_str`]) is what logs carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer ended its input and has had its replies.
    PeerClosed,
    /// The handler asked for it.
    HandlerClosed,
    /// The handler returned an error, or a frame that the framing cannot carry.
    HandlerError,
    /// The handler panicked.
    Panic,
    /// Nothing was read or written for `timeouts.idle`.
    Idle,
    /// No whole message came within `timeouts.first_message`.
    FirstMessage,
    /// A handshake of the transport failed or took too long.
    Handshake,
    /// One call of the handler took longer than `timeouts.message`.
    MessageTimeout,
    /// The peer did not read for `timeouts.write`.
    WriteStalled,
    /// The connection reached `timeouts.lifetime`.
    Lifetime,
    /// A message was larger than `limits.frame`.
    FrameTooLarge,
    /// A message that had begun was not whole within `timeouts.frame`.
    FrameTimeout,
    /// Bytes that are no message of this framing.
    BadFrame,
    /// A pusher found the outbox full and gave the connection up.
    OutboxFull,
    /// Not allowed in.
    Denied,
    /// A limit was reached.
    Limit,
    /// A rate was exceeded.
    Rate,
    /// The server drains, and nothing was under way any more.
    Drain,
    /// The server drained, and the deadline passed before the connection had finished.
    DrainDeadline,
    /// Closed by the operator.
    Killed,
    /// Reading or writing failed, a reset by the peer included.
    IoError,
}

impl CloseReason {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::PeerClosed,
        Self::HandlerClosed,
        Self::HandlerError,
        Self::Panic,
        Self::Idle,
        Self::FirstMessage,
        Self::Handshake,
        Self::MessageTimeout,
        Self::WriteStalled,
        Self::Lifetime,
        Self::FrameTooLarge,
        Self::FrameTimeout,
        Self::BadFrame,
        Self::OutboxFull,
        Self::Denied,
        Self::Limit,
        Self::Rate,
        Self::Drain,
        Self::DrainDeadline,
        Self::Killed,
        Self::IoError,
    ];

    /// The name in logs, fixed: `peer_closed`, `handler_closed` …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::HandlerClosed => "handler_closed",
            Self::HandlerError => "handler_error",
            Self::Panic => "panic",
            Self::Idle => "idle",
            Self::FirstMessage => "first_message",
            Self::Handshake => "handshake",
            Self::MessageTimeout => "message_timeout",
            Self::WriteStalled => "write_stalled",
            Self::Lifetime => "lifetime",
            Self::FrameTooLarge => "frame_too_large",
            Self::FrameTimeout => "frame_timeout",
            Self::BadFrame => "bad_frame",
            Self::OutboxFull => "outbox_full",
            Self::Denied => "denied",
            Self::Limit => "limit",
            Self::Rate => "rate",
            Self::Drain => "drain",
            Self::DrainDeadline => "drain_deadline",
            Self::Killed => "killed",
            Self::IoError => "io_error",
        }
    }

    /// Whether the connection ended by force, with something possibly left undone.
    pub fn is_cut(self) -> bool {
        matches!(self, Self::DrainDeadline | Self::Killed)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
