//! DropReason a datagram, or the answer to one, is dropped: a closed list, so that each kind has its own line in the log and none
//! hides another.

/// The reasons, named in the log as [`DropReason::as_str`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// It is larger than `limits.frame`.
    FrameTooLarge,
    /// It came from a port that must not be answered.
    SourcePort,
    /// It came from an address that must not be answered.
    SourceAddress,
    /// It came from the socket's own address.
    OwnAddress,
    /// `access` keeps its sender out.
    Denied,
    /// It is no message of the framing.
    BadFrame,
    /// The table of peers is full, and those that could be forgotten are being served.
    Sessions,
    /// Too many messages wait already.
    Waiting,
    /// The source sends more than its rate.
    Rate,
    /// The system does not send as fast as answers are made.
    OutboxFull,
    /// The peer has not shown that it receives, and was sent three times as much as came from it.
    AmplificationLimit,
}

impl DropReason {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::AmplificationLimit as usize + 1;

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::FrameTooLarge => "frame_too_large",
            Self::SourcePort => "source_port",
            Self::SourceAddress => "source_address",
            Self::OwnAddress => "own_address",
            Self::Denied => "denied",
            Self::BadFrame => "bad_frame",
            Self::Sessions => "sessions",
            Self::Waiting => "waiting",
            Self::Rate => "rate",
            Self::OutboxFull => "outbox_full",
            Self::AmplificationLimit => "amplification_limit",
        }
    }
}
