//! Fuzz targets for framings: the same messages for any read sizes, none over the limit, and bounded memory.
//!
//! An input is a limit, four read sizes that repeat, the parameters of the framing, and then the stream.

use bytes::{Bytes, BytesMut};
use switchboard::framing::{AnyFraming, ByteOrder, Delimited, FrameError, Framing, JsonLines, Length, Lines, Raw};
use tokio_util::codec::{Decoder, Encoder};

use super::input::Input;

/// The end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamEnd {
    Complete,
    Truncated,
    TooLarge,
    Malformed,
}

/// Raw: every message is the bytes of one read, and no byte is lost or added.
pub fn raw(data: &[u8]) {
    let mut input = Input(data);
    let (limit, reads) = (input.limit(), input.some(4));
    let stream = input.0;
    let (messages, end) = decode(&AnyFraming::new(Raw::default()), limit, &split_into(stream, reads));
    assert_eq!(end, StreamEnd::Complete);
    assert_eq!(messages.concat(), stream);
    assert!(messages.iter().all(|message| !message.is_empty() && message.len() <= limit.max(1)));
}

/// Lines.
pub fn lines(data: &[u8]) {
    let mut input = Input(data);
    let (limit, reads) = (input.limit(), input.some(4));
    any_stream(&AnyFraming::new(Lines::default()), limit, reads, input.0, strip_cr);
}

/// JSON lines.
pub fn json_lines(data: &[u8]) {
    let mut input = Input(data);
    let (limit, reads) = (input.limit(), input.some(4));
    let framing = AnyFraming::new(JsonLines::default());
    let messages = any_stream(&framing, limit, reads, input.0, strip_cr);
    for message in messages {
        // Grammatically valid JSON may still exceed the limits of serde_json.
        let beyond = ["out of range", "recursion limit", "surrogate", "hex escape", "code point"];
        if let Err(error) = serde_json::from_slice::<serde_json::Value>(&message) {
            let error = error.to_string();
            assert!(beyond.iter().any(|what| error.contains(what)), "{error}");
        }
    }
}

/// Length prefix of every width, in both byte orders, at any offset.
pub fn length(data: &[u8]) {
    let mut input = Input(data);
    let (limit, reads, shape) = (input.limit(), input.some(4), input.byte());
    let width = [1, 2, 3, 4, 8][usize::from(shape & 0x07) % 5];
    let order = if shape & 0x08 == 0 { ByteOrder::Big } else { ByteOrder::Little };
    let offset = if shape & 0x10 == 0 { 0 } else { usize::from(shape >> 5) };
    let framing = AnyFraming::new(Length::new(width, order, offset).expect("a valid length prefix"));
    any_stream(&framing, limit, reads, input.0, <[u8]>::to_vec);
}

/// A delimiter of one to eight bytes.
pub fn delimited(data: &[u8]) {
    let mut input = Input(data);
    let (limit, reads, width) = (input.limit(), input.some(4), 1 + usize::from(input.byte() % 8));
    let Ok(delimited) = Delimited::new(input.some(width)) else { return };
    any_stream(&AnyFraming::new(delimited), limit, reads, input.0, <[u8]>::to_vec);
}

/// Checks the properties of every framing that preserves message boundaries, and returns the messages. `reencoded` maps
/// a message to its form after encoding and decoding.
fn any_stream(
    framing: &AnyFraming,
    limit: usize,
    reads: &[u8],
    stream: &[u8],
    reencoded: fn(&[u8]) -> Vec<u8>,
) -> Vec<Vec<u8>> {
    let (messages, end) = decode(framing, limit, &[stream]);
    let before = if framing.name() == "length" { 7 } else { 0 };
    for message in &messages {
        assert!(message.len() <= limit + before, "message of {} bytes, limit {limit}", message.len());
    }
    for pieces in [split_into(stream, reads), stream.chunks(1).collect()] {
        assert_eq!(decode(framing, limit, &pieces), (messages.clone(), end), "{framing:?}, other read sizes");
    }
    let mut sent = BytesMut::new();
    for message in &messages {
        // The limit applies to decoding only.
        let encoded = framing.codec(limit).encode(Bytes::copy_from_slice(message), &mut sent);
        encoded.expect("a decoded message can be encoded");
    }
    let expected: Vec<Vec<u8>> = messages.iter().map(|message| reencoded(message)).collect();
    assert_eq!(
        decode(framing, limit, &split_into(&sent, reads)),
        (expected, StreamEnd::Complete),
        "{framing:?}, re-encoded"
    );
    messages
}

/// A line that ends in CR loses it when it is encoded again.
fn strip_cr(message: &[u8]) -> Vec<u8> {
    message.strip_suffix(b"\r").unwrap_or(message).to_vec()
}

/// Splits the stream into reads of these sizes, repeated.
fn split_into<'a>(stream: &'a [u8], reads: &[u8]) -> Vec<&'a [u8]> {
    let mut rest = Input(stream);
    let mut sizes = reads.iter().map(|byte| 1 + usize::from(*byte)).cycle();
    std::iter::from_fn(|| {
        let size = sizes.next().unwrap_or(1);
        Some(rest.some(size)).filter(|piece| !piece.is_empty())
    })
    .collect()
}

/// Decodes a stream that arrives in these pieces, like the stream driver.
fn decode(framing: &AnyFraming, limit: usize, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, StreamEnd) {
    let mut codec = framing.codec(limit);
    let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
    let largest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(0);
    for (bytes, is_end) in pieces.iter().map(|piece| (*piece, false)).chain([(&b""[..], true)]) {
        buffer.extend_from_slice(bytes);
        let room = buffer.capacity();
        assert!(room <= 2 * (limit + largest + 16) + 64, "{room} bytes buffered, limit {limit}, reads of {largest}");
        loop {
            let before = buffer.len();
            let decoded = if is_end { codec.decode_eof(&mut buffer) } else { codec.decode(&mut buffer) };
            match decoded {
                Ok(Some(message)) => {
                    assert!(buffer.len() < before, "a message consumed no bytes");
                    messages.push(message.to_vec());
                }
                Ok(None) if is_end && !buffer.is_empty() => return (messages, StreamEnd::Truncated),
                Ok(None) => break,
                Err(FrameError::TooLarge { limit: reported }) => {
                    assert_eq!(reported, limit);
                    return (messages, StreamEnd::TooLarge);
                }
                Err(FrameError::Malformed(detail)) => {
                    assert!(!detail.is_empty());
                    return (messages, StreamEnd::Malformed);
                }
                // tokio-util reports bytes left at end of input as an I/O error.
                Err(FrameError::Io(_)) if is_end => return (messages, StreamEnd::Truncated),
                Err(error) => panic!("unexpected error: {error}"),
            }
        }
    }
    (messages, StreamEnd::Complete)
}
