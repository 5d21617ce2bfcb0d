//! What the hubs of a fleet send each other.

use bytes::{Buf, BufMut, Bytes};

use crate::hub::origins::Stamp;

/// The version of the format. Other versions are ignored.
const VERSION: u8 = 1;
/// Bytes before the frame: the version, the kind and the stamp.
const HEADER: usize = 26;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// A frame of a room.
    Frame(Stamp, Bytes),
    /// The instance has published in this room up to this stamp.
    Published(Stamp),
    /// The instance exists.
    Alive(u64),
    /// The instance has sent all its frames, and ends.
    Ended(u64),
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let of_instance = |instance| Stamp { instance, epoch: 0, sequence: 0 };
        let (kind, stamp, frame): (u8, Stamp, &[u8]) = match self {
            Self::Frame(stamp, frame) => (0, *stamp, frame),
            Self::Published(stamp) => (1, *stamp, &[]),
            Self::Alive(instance) => (2, of_instance(*instance), &[]),
            Self::Ended(instance) => (3, of_instance(*instance), &[]),
        };
        let mut bytes = Vec::with_capacity(HEADER + frame.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(kind);
        bytes.put_u64(stamp.instance);
        bytes.put_u64(stamp.epoch);
        bytes.put_u64(stamp.sequence);
        bytes.put_slice(frame);
        bytes
    }

    /// The instance that has sent it.
    pub(super) fn instance(&self) -> u64 {
        match self {
            Self::Frame(stamp, _) | Self::Published(stamp) => stamp.instance,
            Self::Alive(instance) | Self::Ended(instance) => *instance,
        }
    }

    /// `None` for a message of another version, and for bytes that are no message.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < HEADER || bytes.get_u8() != VERSION {
            return None;
        }
        let kind = bytes.get_u8();
        let stamp = Stamp { instance: bytes.get_u64(), epoch: bytes.get_u64(), sequence: bytes.get_u64() };
        match kind {
            0 => Some(Self::Frame(stamp, bytes)),
            1 => Some(Self::Published(stamp)),
            2 => Some(Self::Alive(stamp.instance)),
            3 => Some(Self::Ended(stamp.instance)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written_and_other_bytes_are_none() {
        let stamp = Stamp { instance: u64::MAX, epoch: 2, sequence: 3 };
        let messages = [
            Message::Frame(stamp, Bytes::from_static(b"hi")),
            Message::Frame(stamp, Bytes::new()),
            Message::Published(stamp),
            Message::Alive(7),
            Message::Ended(7),
        ];
        for message in messages {
            let bytes = message.encode();
            assert_eq!(Message::decode(bytes.clone().into()), Some(message));
            assert_eq!(Message::decode(bytes[..HEADER - 1].to_vec().into()), None);
            for (at, other) in [(0, 2), (1, 9)] {
                let mut bytes = bytes.clone();
                bytes[at] = other;
                assert_eq!(Message::decode(bytes.into()), None);
            }
        }
        assert_eq!(Message::decode(Bytes::new()), None);
    }
}
