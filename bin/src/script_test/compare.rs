//! Compares what has arrived with the data of a step.

use std::time::Duration;

use switchboard::registry::HandlerInstance;
use switchboard::script::Data;

use super::connection::Connection;
use super::outcome::{Excerpt, Mismatch};
use super::received::{Closed, Received};

/// The state of a comparison.
#[derive(Debug)]
pub(super) enum Comparison {
    Equal,
    /// More bytes are needed.
    Incomplete,
    Differs(Box<Mismatch>),
}

/// Compares what has arrived with the data, both as the handler normalises them.
pub(super) fn compare_normalised(data: &Data, received: &Received, handler: &HandlerInstance) -> Comparison {
    let reply = match received {
        Received::Bytes(bytes) => bytes.get(..data.len()),
        Received::Messages(..) | Received::Datagrams(_) => received.first().map(|message| &**message),
    };
    let Some(reply) = reply else { return Comparison::Incomplete };
    let (expected, reply) = handler.normalise(data, reply);
    message_differs(&expected, &reply)
}

/// Compares what has arrived with the data. `equal` are the bytes that were equal before; it is updated.
pub(super) fn compare(data: &Data, received: &Received, equal: &mut usize) -> Comparison {
    match received {
        Received::Bytes(bytes) => {
            if let Some(at) = data.first_difference(*equal, &bytes[(*equal).min(bytes.len())..]) {
                return Comparison::Differs(Box::new(differs(data, bytes, at)));
            }
            *equal = bytes.len().min(data.len());
            if *equal == data.len() { Comparison::Equal } else { Comparison::Incomplete }
        }
        Received::Messages(..) | Received::Datagrams(_) => match received.first() {
            None => Comparison::Incomplete,
            Some(message) => message_differs(data, message),
        },
    }
}

/// A message is compared as a whole.
fn message_differs(data: &Data, message: &[u8]) -> Comparison {
    if let Some(at) = data.first_difference(0, message) {
        return Comparison::Differs(Box::new(differs(data, message, at)));
    }
    let (expected, received) = (data.len(), message.len());
    if expected == received {
        return Comparison::Equal;
    }
    let what = if received < expected {
        format!("the reply ends after {received} of {}", bytes(expected))
    } else {
        format!("the reply has {} after the expected {expected}", bytes(received - expected))
    };
    let at = expected.min(received);
    let excerpt = Some(Excerpt::new(data, message, at));
    Comparison::Differs(Box::new(Mismatch { byte: at, excerpt, ..Mismatch::new(what) }))
}

fn differs(data: &Data, received: &[u8], at: usize) -> Mismatch {
    let expected = data.bytes().nth(at).flatten().unwrap_or_default();
    let what =
        format!("the reply differs at offset {at}: expected {}, received {}", byte(expected), byte(received[at]));
    Mismatch { byte: at, excerpt: Some(Excerpt::new(data, received, at)), ..Mismatch::new(what) }
}

/// The mismatch of data that have not arrived.
pub(super) fn missing(
    data: &Data,
    connection: &Connection,
    equal: usize,
    timeout: Duration,
    address: &str,
) -> Mismatch {
    let received = connection.received.front();
    let instead = match &connection.closed {
        Some(closed) => closed.sentence(address),
        None if received.is_empty() => format!("nothing arrived within {}", humantime::format_duration(timeout)),
        None => format!("nothing more arrived within {}", humantime::format_duration(timeout)),
    };
    let is_part = matches!(connection.received, Received::Messages(..)) && !received.is_empty();
    let what = match (equal, is_part) {
        (0, true) => format!(
            "{instead}; with the framing of the script, the {} that arrived are the beginning of a message",
            bytes(received.len())
        ),
        (0, false) => format!("{instead}; {} missing", are(data.len())),
        _ => format!("{instead}; {} of {} missing", data.len() - equal, are(data.len())),
    };
    let excerpt = Excerpt::new(data, received, equal);
    Mismatch { byte: equal, excerpt: (!received.is_empty()).then_some(excerpt), ..Mismatch::new(what) }
}

/// The mismatch of something that no step expects.
pub(super) fn unexpected(received: &Received, context: &str) -> Mismatch {
    let front = received.front();
    let kind = match received {
        Received::Bytes(_) => bytes(front.len()),
        Received::Messages(messages, ..) if messages.is_empty() => {
            format!("an incomplete message of {}", bytes(front.len()))
        }
        Received::Messages(..) => format!("a message of {}", bytes(front.len())),
        Received::Datagrams(_) => format!("a datagram of {}", bytes(front.len())),
    };
    let what = format!("{context}; received {kind} that no step expects");
    Mismatch { excerpt: Some(Excerpt::new(&Data::new(), front, 0)), ..Mismatch::new(what) }
}

impl Closed {
    /// What happened, as a sentence.
    pub(super) fn sentence(&self, address: &str) -> String {
        match self {
            Self::Ended => "the server ended the connection".to_owned(),
            Self::Reset => "the server reset the connection".to_owned(),
            Self::Refused => format!("nothing is listening on {address}"),
            Self::Invalid(what) | Self::Failed(what) => what.clone(),
        }
    }
}

fn bytes(count: usize) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}

fn are(count: usize) -> String {
    if count == 1 { "1 byte is".to_owned() } else { format!("{count} bytes are") }
}

/// `"A"`, `"\n"` or `0xff`.
fn byte(byte: u8) -> String {
    match byte {
        b'\'' => "\"'\"".to_owned(),
        b'\n' | b'\r' | b'\t' | b' '..=b'~' => format!("\"{}\"", byte.escape_ascii()),
        _ => format!("0x{byte:02x}"),
    }
}
