//! Framings: the same messages however the bytes are cut, none above the limit, and no more memory than limit and reads need.
//!
//! An input is a limit, the sizes of four reads that are repeated, what the framing asks for, and then the stream.

use bytes::{Bytes, BytesMut};
use switchboard::framing::{AnyFraming, ByteOrder, Delimited, FrameError, Framing, JsonLines, Length, Lines, Raw};
use tokio_util::codec::{Decoder, Encoder};

use super::input::Input;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    CutOff,
    TooLarge,
    Malformed,
}

/// Bytes are bytes: every message is what a read brought, and nothing is lost or added.
pub fn raw(data: &[u8]) {
    let mut input = Input(data);
    let (limit, reads) = (input.limit(), input.some(4));
    let stream = input.0;
    let (messages, end) = decode(&AnyFraming::new(Raw::default()), limit, &cut(stream, reads));
    assert_eq!(end, End::Whole);
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
        // What is a value by its grammar may still be more than a program can hold.
        let beyond = ["out of range", "recursion limit", "surrogate", "hex escape", "code point"];
        if let Err(error) = serde_json::from_slice::<serde_json::Value>(&message) {
            let error = error.to_string();
            assert!(beyond.iter().any(|what| error.contains(what)), "{error}");
        }
    }
}

/// Length of every width, in both orders, at any place.
pub fn length(data: &[u8]) {
    let mut input = Input(data);
    let (limit, reads, shape) = (input.limit(), input.some(4), input.byte());
    let width = [1, 2, 3, 4, 8][usize::from(shape & 0x07) % 5];
    let order = if shape & 0x08 == 0 { ByteOrder::Big } else { ByteOrder::Little };
    let offset = if shape & 0x10 == 0 { 0 } else { usize::from(shape >> 5) };
    let framing = AnyFraming::new(Length::new(width, order, offset).expect("such a length is possible"));
    any_stream(&framing, limit, reads, input.0, <[u8]>::to_vec);
}

/// A delimiter of one to eight bytes.
pub fn delimited(data: &[u8]) {
    let mut input = Input(data);
    let (limit, reads, width) = (input.limit(), input.some(4), 1 + usize::from(input.byte() % 8));
    let Ok(delimited) = Delimited::new(input.some(width)) else { return };
    any_stream(&AnyFraming::new(delimited), limit, reads, input.0, <[u8]>::to_vec);
}

/// What holds for every framing that keeps boundaries; `again` is what a message becomes when it is sent on. Answers with
/// the messages.
fn any_stream(
    framing: &AnyFraming,
    limit: usize,
    reads: &[u8],
    stream: &[u8],
    again: fn(&[u8]) -> Vec<u8>,
) -> Vec<Vec<u8>> {
    let (messages, end) = decode(framing, limit, &[stream]);
    let before = if framing.name() == "length" { 7 } else { 0 };
    for message in &messages {
        assert!(message.len() <= limit + before, "a message of {} bytes, limit {limit}", message.len());
    }
    for pieces in [cut(stream, reads), stream.chunks(1).collect()] {
        assert_eq!(decode(framing, limit, &pieces), (messages.clone(), end), "{framing:?}, cut otherwise");
    }
    let mut sent = BytesMut::new();
    for message in &messages {
        // A limit holds for what comes in.
        let encoded = framing.codec(limit).encode(Bytes::copy_from_slice(message), &mut sent);
        encoded.expect("what was a message can be sent as one");
    }
    let expected: Vec<Vec<u8>> = messages.iter().map(|message| again(message)).collect();
    assert_eq!(decode(framing, limit, &cut(&sent, reads)), (expected, End::Whole), "{framing:?}, sent on");
    messages
}

/// A line that ends in CR loses it when it is sent as a line again.
fn strip_cr(message: &[u8]) -> Vec<u8> {
    message.strip_suffix(b"\r").unwrap_or(message).to_vec()
}

/// The stream in reads of these sizes, over and over.
fn cut<'a>(stream: &'a [u8], reads: &[u8]) -> Vec<&'a [u8]> {
    let mut rest = Input(stream);
    let mut sizes = reads.iter().map(|byte| 1 + usize::from(*byte)).cycle();
    std::iter::from_fn(|| {
        let size = sizes.next().unwrap_or(1);
        Some(rest.some(size)).filter(|piece| !piece.is_empty())
    })
    .collect()
}

/// The messages in a stream that comes in these pieces, and how it ended; as the driver of connections does it.
fn decode(framing: &AnyFraming, limit: usize, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, End) {
    let mut codec = framing.codec(limit);
    let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
    let largest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(0);
    for (bytes, is_end) in pieces.iter().map(|piece| (*piece, false)).chain([(&b""[..], true)]) {
        buffer.extend_from_slice(bytes);
        let room = buffer.capacity();
        assert!(room <= 2 * (limit + largest + 16) + 64, "{room} bytes held, limit {limit}, reads of {largest}");
        loop {
            let before = buffer.len();
            let decoded = if is_end { codec.decode_eof(&mut buffer) } else { codec.decode(&mut buffer) };
            match decoded {
                Ok(Some(message)) => {
                    assert!(buffer.len() < before, "a message of no bytes at all");
                    messages.push(message.to_vec());
                }
                Ok(None) if is_end && !buffer.is_empty() => return (messages, End::CutOff),
                Ok(None) => break,
                Err(FrameError::TooLarge { limit: told }) => {
                    assert_eq!(told, limit);
                    return (messages, End::TooLarge);
                }
                Err(FrameError::Malformed(why)) => {
                    assert!(!why.is_empty());
                    return (messages, End::Malformed);
                }
                // What tokio-util says by itself of bytes that the end of input leaves over.
                Err(FrameError::Io(_)) if is_end => return (messages, End::CutOff),
                Err(error) => panic!("no fault of the stream: {error}"),
            }
        }
    }
    (messages, End::Whole)
}
