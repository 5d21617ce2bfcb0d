//! Why a datagram or a reply is dropped. Each reason has its own log throttle, so none hides another.

/// The values of the log field `reason` of `datagram dropped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// The datagram is larger than `limits.frame`.
    FrameTooLarge,
    /// The source port must not be answered.
    SourcePort,
    /// The source address must not be answered.
    SourceAddress,
    /// The source is the socket itself.
    OwnAddress,
    /// `access` rejects the peer.
    Denied,
    /// The datagram is not a valid message.
    BadFrame,
    /// The peer table is full, and no peer can be evicted.
    Sessions,
    /// Too many messages are pending.
    Waiting,
    /// The source exceeds its rate.
    Rate,
    /// The send queue is full.
    OutboxFull,
    /// The peer is not validated, and the reply exceeds its amplification limit.
    AmplificationLimit,
}

impl DropReason {
    pub(crate) const ALL: [Self; 11] = [
        Self::FrameTooLarge,
        Self::SourcePort,
        Self::SourceAddress,
        Self::OwnAddress,
        Self::Denied,
        Self::BadFrame,
        Self::Sessions,
        Self::Waiting,
        Self::Rate,
        Self::OutboxFull,
        Self::AmplificationLimit,
    ];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed_at_its_index() {
        assert!(DropReason::ALL.iter().enumerate().all(|(index, reason)| *reason as usize == index));
    }
}
