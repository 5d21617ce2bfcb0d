//! The codec, and topic filters. The codec finds the packets in the byte stream; `mqtt-proto` decodes and encodes them.

use mqtt_proto::v3::{Connect, Header, Packet};
use mqtt_proto::{Error, PollHeader, Protocol, QosPid};
use switchboard::framing::FrameError;
use switchboard::prelude::BytesMut;
use switchboard::tokio_util::codec::{Decoder, Encoder};

/// Maximum length of a client id, a topic and a filter.
pub(crate) const MAX_NAME: usize = 256;

pub(crate) struct Codec {
    /// Maximum length of a packet.
    pub(crate) limit: usize,
}

impl Decoder for Codec {
    type Item = Packet;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, FrameError> {
        let (mut length, mut start) = (0, 1);
        loop {
            let Some(byte) = buffer.get(start) else { return Ok(None) };
            length |= usize::from(byte & 0x7f) << (7 * (start - 1));
            start += 1;
            match byte & 0x80 {
                0 => break,
                _ if start > 4 => return Err(FrameError::Malformed("the remaining length has more than four bytes")),
                _ => {}
            }
        }
        // Type, flags and length are checked before the body is buffered.
        let end = start + length;
        let header = Header::new_with(buffer[0], length as u32, end as u32).map_err(codec_error)?;
        if end > self.limit {
            return Err(FrameError::TooLarge { limit: self.limit });
        }
        if buffer.len() < end {
            return Ok(None);
        }
        let bytes = buffer.split_to(end);
        decode_body(header, &bytes[start..]).map(Some).map_err(codec_error)
    }
}

fn decode_body(header: Header, body: &[u8]) -> Result<Packet, Error> {
    let mut decoded = 0;
    let packet = match header.build_empty_packet().map_or_else(|| header.decode_buffer(body, &mut decoded), Ok) {
        Err(Error::InvalidProtocol(name, _)) if &*name == "MQTT" => return Ok(other_version()),
        Err(Error::UnexpectedProtocol(_)) => return Ok(other_version()),
        result => result?,
    };
    if decoded == body.len() && is_valid(&packet, body) { Ok(packet) } else { Err(Error::InvalidRemainingLength) }
}

/// A CONNECT of another version of the protocol. Everything but the version has a different format, so it is ignored.
fn other_version() -> Packet {
    Connect { protocol: Protocol::V500, ..Connect::new("".into(), 0) }.into()
}

/// Checks limits, and the rules that the crate does not check. The numbers are sections of the standard.
fn is_valid(packet: &Packet, body: &[u8]) -> bool {
    let is_name = |name: &str| (1..=MAX_NAME).contains(&name.len());
    let is_filter = |filter: &str| {
        is_name(filter) && filter.split('/').all(|level| level == "+" || !level.contains('+')) // 4.7.1.3
    };
    match packet {
        Packet::Connect(connect) if connect.protocol != Protocol::V311 => true,
        Packet::Connect(connect) => {
            let (user, will) = (connect.username.as_deref(), &connect.last_will);
            let has_null = [&connect.client_id, user.unwrap_or_default()].iter().any(|text| text.contains('\0')); // 1.5.3
            let retains_nothing = will.is_none() && body[7] & 0x20 != 0; // 3.1.2.7
            let has_only_password = user.is_none() && connect.password.is_some(); // 3.1.2.9
            !has_null
                && !retains_nothing
                && !has_only_password
                && will.as_ref().is_none_or(|will| is_name(&will.topic_name))
        }
        Packet::Publish(publish) => {
            is_name(&publish.topic_name) && !(publish.dup && publish.qos_pid == QosPid::Level0) // 3.3.1.1
        }
        Packet::Subscribe(subscribe) => subscribe.topics.iter().all(|(filter, _)| is_filter(filter)),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.topics.iter().all(|filter| is_filter(filter)),
        _ => true,
    }
}

fn codec_error(error: Error) -> FrameError {
    FrameError::Codec(error.into())
}

impl Encoder<Packet> for Codec {
    type Error = FrameError;

    fn encode(&mut self, packet: Packet, buffer: &mut BytesMut) -> Result<(), FrameError> {
        buffer.extend_from_slice(packet.encode().map_err(codec_error)?.as_ref());
        Ok(())
    }
}

/// Whether a filter matches a topic.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false; // 4.7.2
    }
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        match (part, levels.next()) {
            ("#", _) => return true, // `a/#` matches `a`, too
            ("+", Some(_)) => {}
            (_, level) if level == Some(part) => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
