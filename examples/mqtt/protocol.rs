//! The packets of MQTT 3.1.1, their codec, and topic filters. Numbers in comments are sections of the standard.

use std::sync::Arc;

use switchboard::bytes::{Buf, BufMut};
use switchboard::framing::FrameError;
use switchboard::prelude::{Bytes, BytesMut};
use switchboard::tokio_util::codec::{Decoder, Encoder};

/// Maximum length of a client id, a topic and a filter.
pub(crate) const MAX_NAME: usize = 256;
/// Maximum number of levels of a topic and a filter.
const MAX_LEVELS: usize = 20;
/// Maximum number of filters in a packet and of a client.
pub(crate) const MAX_FILTERS: usize = 50;

#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) topic: Arc<str>,
    pub(crate) payload: Bytes,
    /// 0 or 1.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

/// A packet of a client. The id of a message with QoS 0 is 0.
pub(crate) enum Request {
    Connect {
        client: Arc<str>,
        is_clean: bool,
        keep_alive: u16,
        will: Option<Message>,
    },
    /// CONNECT of another version of MQTT.
    ConnectOtherVersion,
    Publish(Message, u16),
    Puback(u16),
    Subscribe(u16, Vec<(Arc<str>, u8)>),
    Unsubscribe(u16, Vec<Arc<str>>),
    Ping,
    Disconnect,
}

/// A packet of the broker.
pub(crate) enum Response {
    Connack(u8),
    Publish(Message, u16),
    Puback(u16),
    Suback(u16, Vec<u8>),
    Unsuback(u16),
    Pong,
}

pub(crate) struct Codec {
    /// Maximum length of a packet.
    pub(crate) limit: usize,
}

impl Decoder for Codec {
    type Item = Request;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>, FrameError> {
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
        // Checked before the packet is buffered.
        if start + length > self.limit {
            return Err(FrameError::TooLarge { limit: self.limit });
        }
        if buffer.len() < start + length {
            return Ok(None);
        }
        let mut body = buffer.split_to(start + length).freeze();
        let first = body[0];
        body.advance(start);
        let request = request(first, &mut body).filter(|_| body.is_empty());
        request.ok_or(FrameError::Malformed("a packet violates the standard or a limit")).map(Some)
    }
}

/// Reads a packet from its first byte and its body. `None`: it is malformed, or a client does not send it.
fn request(first: u8, body: &mut Bytes) -> Option<Request> {
    Some(match (first >> 4, first & 0xf) {
        (1, 0) => return connect(body),
        (3, flags @ (0..=3 | 10 | 11)) => {
            let (topic, qos) = (topic(body)?, flags >> 1 & 1);
            let id = if qos > 0 { id(body)? } else { 0 };
            // A slice of the body would keep the read buffer in memory.
            let payload = Bytes::copy_from_slice(&body.split_off(0));
            Request::Publish(Message { topic, payload, qos, retain: flags & 1 > 0 }, id)
        }
        (4, 0) => Request::Puback(id(body)?),
        (8, 2) => Request::Subscribe(
            id(body)?,
            list(body, |body| Some((filter(body)?, body.try_get_u8().ok().filter(|qos| *qos <= 2)?)))?,
        ),
        (10, 2) => Request::Unsubscribe(id(body)?, list(body, filter)?),
        (12, 0) => Request::Ping,
        (14, 0) => Request::Disconnect,
        _ => return None,
    })
}

fn connect(body: &mut Bytes) -> Option<Request> {
    match (&*text(body)?, body.try_get_u8().ok()?) {
        ("MQTT", 4) => {}
        ("MQTT" | "MQIsdp", _) => {
            body.clear(); // in an unknown format
            return Some(Request::ConnectOtherVersion);
        }
        _ => return None,
    }
    let flags = body.try_get_u8().ok()?;
    let has = |flag: u8| flags & flag > 0;
    let (keep_alive, client) = (body.try_get_u16().ok()?, text(body)?);
    let will = if has(0x04) {
        let (topic, payload) = (topic(body)?, Bytes::copy_from_slice(&string(body)?));
        Some(Message { topic, payload, qos: u8::from(has(0x18)), retain: has(0x20) })
    } else {
        None
    };
    let is_valid = !has(0x01) && (has(0x04) || !has(0x38)) && flags & 0x18 < 0x18 && (has(0x80) || !has(0x40)); // 3.1.2
    let (user, password) = (!has(0x80) || text(body).is_some(), !has(0x40) || string(body).is_some());
    (is_valid && user && password).then_some(Request::Connect { client, is_clean: has(0x02), keep_alive, will })
}

/// Reads items up to the end of the body. There is at least one.
fn list<T>(body: &mut Bytes, read: impl Fn(&mut Bytes) -> Option<T>) -> Option<Vec<T>> {
    let mut items = vec![read(body)?];
    while !body.is_empty() && items.len() < MAX_FILTERS {
        items.push(read(body)?);
    }
    Some(items)
}

fn id(body: &mut Bytes) -> Option<u16> {
    body.try_get_u16().ok().filter(|id| *id > 0)
}

fn string(body: &mut Bytes) -> Option<Bytes> {
    let length = usize::from(body.try_get_u16().ok()?);
    (length <= body.len()).then(|| body.split_to(length))
}

fn text(body: &mut Bytes) -> Option<Arc<str>> {
    let bytes = string(body)?;
    std::str::from_utf8(&bytes).ok().filter(|text| !text.contains('\0')).map(Arc::from) // 1.5.3
}

fn filter(body: &mut Bytes) -> Option<Arc<str>> {
    let filter = text(body).filter(|text| (1..=MAX_NAME).contains(&text.len()))?;
    let is_level = |(nth, level): (usize, &str)| match level {
        "#" => nth == 0, // from the end
        "+" => true,
        _ => !level.contains(['+', '#']), // 4.7.1
    };
    let is_valid = filter.split('/').count() <= MAX_LEVELS && filter.rsplit('/').enumerate().all(is_level);
    is_valid.then_some(filter)
}

fn topic(body: &mut Bytes) -> Option<Arc<str>> {
    filter(body).filter(|topic| !topic.contains(['+', '#'])) // 3.3.2.1
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

impl Encoder<Response> for Codec {
    type Error = FrameError;

    fn encode(&mut self, response: Response, buffer: &mut BytesMut) -> Result<(), FrameError> {
        match response {
            Response::Connack(code) => buffer.put_slice(&[0x20, 2, 0, code]),
            Response::Puback(id) => buffer.put_u32(0x4002_0000 | u32::from(id)),
            Response::Unsuback(id) => buffer.put_u32(0xb002_0000 | u32::from(id)),
            Response::Pong => buffer.put_slice(&[0xd0, 0]),
            Response::Suback(id, codes) => {
                buffer.put_slice(&[0x90, 2 + codes.len() as u8]); // at most MAX_FILTERS
                buffer.put_u16(id);
                buffer.put_slice(&codes);
            }
            Response::Publish(Message { topic, payload, qos, retain }, id) => {
                buffer.put_u8(0x30 | qos << 1 | u8::from(retain));
                let mut length = 2 + topic.len() + 2 * usize::from(qos) + payload.len();
                while length > 0x7f {
                    buffer.put_u8(0x80 | length as u8);
                    length >>= 7;
                }
                buffer.put_u8(length as u8);
                buffer.put_u16(topic.len() as u16);
                buffer.put_slice(topic.as_bytes());
                if qos > 0 {
                    buffer.put_u16(id);
                }
                buffer.put_slice(&payload);
            }
        }
        Ok(())
    }
}
